"""What guides cost, judges and value models among them: the ledger's entries for what they read."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence

from hornbeam.protocols import Guide, Opinions
from hornbeam.store.ledger import Entry, lost
from hornbeam.tree.nodes import Tree


class Read:
    """What a guide has read of a tree, each prefix by the first of its episodes that has it.

    First in order of episodes, not of time: who was read earlier pays for it, and is given it back
    by an earlier episode that is read later. So costs do not hang on who came first, nor on a stop.
    """

    def __init__(self) -> None:
        self._by: dict[int, int] = {}  # episode that pays, by mark of the prefix

    def new(self, sequences: Sequence[array[int]]) -> int:
        """How many tokens of these sequences had not been read."""
        return len({mark for ids in sequences for mark in marks_of(ids)} - self._by.keys())

    def read(
        self, episode: int, sequences: Sequence[array[int]], most: int
    ) -> tuple[int, Counter[int]]:
        """(tokens that an episode is the first to have, at most so many; by episode, given back).

        What is given back is for this episode to pay instead.
        """
        fresh, back = 0, Counter[int]()
        for mark in dict.fromkeys(mark for ids in sequences for mark in marks_of(ids)):
            by = self._by.get(mark)
            if by is None:
                if fresh == most:
                    continue
                fresh += 1
            elif by <= episode:
                continue
            else:
                back[by] += 1
            self._by[mark] = episode
        return fresh, back

    @classmethod
    def of(cls, tree: Tree, guide: Guide) -> Read:
        """What a guide had read of a tree that was left half-grown: where it told values."""
        out, column = cls(), tree.column(guide.column)
        known = [i for i, value in enumerate(column) if value is not None]
        for i in sorted(known, key=lambda i: tree.nodes[i].origin.episode):
            out.read(tree.nodes[i].origin.episode, [tree.sequence(i)], tree.length(i))
        return out


def guide_costs(
    name: str, tree: Tree, grown: Sequence[int], said: Opinions, read: Read | None, fresh: bool
) -> list[Entry]:
    """What an opinion of an episode's new nodes cost, first, and what others do not pay any more.

    `name` is the tree's. After a stop (not `fresh`), what was read again for it is told as lost.
    """
    node = tree.nodes[grown[-1]]
    paid = Entry(name, node.origin.episode, node.origin.turn, "scorer_tokens", said.tokens)
    if read is None:
        return [paid]
    known = [tree.sequence(i) for i, value in zip(grown, said.values) if value is not None]
    new, back = read.read(node.origin.episode, known, said.tokens)
    new = said.tokens if fresh else new
    out = [paid._replace(amount=new + back.total())]
    for episode, amount in back.items():
        last = next(n for n in reversed(tree.nodes) if n.origin.episode == episode)
        out.append(Entry(name, episode, last.origin.turn, "scorer_tokens", -amount))
    if again := said.tokens - new:
        out.append(lost(paid._replace(amount=again)))
    return out


def marks_of(ids: array[int]) -> Iterator[int]:
    """A mark of every prefix that is not empty."""
    mark = 0
    for token in ids:
        mark = hash((mark, token))
        yield mark
