"""What had been run before a stop: so that what is run again for it is told apart.

A process that goes on has lost the prefixes that its engine and its guides kept. What they run
again is paid, but it is no cost of the trees: an undisturbed run would not have run it.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from hornbeam.protocols import Guide, Opinions
from hornbeam.store.keys import Stored, TreeKey
from hornbeam.store.ledger import Entry, lost
from hornbeam.tree.nodes import Tree


class Before:
    """Prefixes whose last token was run and paid, each by a mark of its own.

    `prompts` are those after which a token was asked for: their logits were kept too.
    """

    def __init__(self) -> None:
        self._run: set[int] = set()
        self._prompts: set[int] = set()

    @classmethod
    def of(cls, stored: Mapping[TreeKey, Stored], entries: Iterable[Entry]) -> Before:
        """What was run for the calls of trees; of grown ones only what others may begin with.

        `entries` tell how much of a prompt a call ran itself, and did not find in the cache.
        """
        out, paid = cls(), dict[tuple[str, int, int], float]()
        for entry in entries:
            if entry.kind == "prompt_tokens_computed":
                paid[entry.tree, entry.episode, entry.turn] = entry.amount
        for key, (tree, done, waiting) in stored.items():
            calls = [
                (node, tree.context(i))
                for i, node in enumerate(tree.nodes)
                if node.tokens and not (done and node.parent)
            ]
            calls += [(node, tree.before(node)) for node in waiting if node.tokens]
            for node, context in calls:
                ran = paid.get((str(key), node.origin.episode, node.origin.turn))
                if ran is None:
                    continue  # put in, not run here
                marks = [*_marks(context + node.tokens[:-1])]
                out._prompts.add(marks[len(context) - 1])
                out._run.update(marks[max(0, len(context) - int(ran)) :])
        return out

    def known(self, ids: array[int]) -> int:
        """How many of the ids had been run, after those before them."""
        return sum(mark in self._run for mark in _marks(ids))

    def again(self, prompt: array[int], computed: int) -> int:
        """Of the `computed` tokens of a prompt, those that an undisturbed run would have kept.

        The last token is run again for its logits, where no call asked for them.
        """
        marks = [*_marks(prompt)]
        found = [mark in self._run for mark in marks[len(marks) - computed :]]
        return sum(found) - (bool(found) and found[-1] and marks[-1] not in self._prompts)


class Read:
    """What a guide has read of a tree, each prefix by the first of its episodes that has it.

    First in order of episodes, not of time: who was read earlier pays for it, and is given it back
    by an earlier episode that is read later. So costs do not hang on who came first, nor on a stop.
    """

    def __init__(self) -> None:
        self._by: dict[int, int] = {}  # episode that pays, by mark of the prefix

    def new(self, sequences: Sequence[array[int]]) -> int:
        """How many tokens of these sequences had not been read."""
        return len({mark for ids in sequences for mark in _marks(ids)} - self._by.keys())

    def read(
        self, episode: int, sequences: Sequence[array[int]], most: int
    ) -> tuple[int, Counter[int]]:
        """(tokens that an episode is the first to have, at most so many; by episode, given back).

        What is given back is for this episode to pay instead.
        """
        fresh, back = 0, Counter[int]()
        for mark in dict.fromkeys(mark for ids in sequences for mark in _marks(ids)):
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


def costs(
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


def _marks(ids: array[int]) -> Iterator[int]:
    """A mark of every prefix that is not empty."""
    mark = 0
    for token in ids:
        mark = hash((mark, token))
        yield mark
