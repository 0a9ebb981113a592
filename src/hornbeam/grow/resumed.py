"""What had been run before a stop: so that what is run again for it is told apart.

A process that goes on has lost the prefixes that its engine and its guides kept. What they run
again is paid, but it is no cost of the trees: an undisturbed run would not have run it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping

from hornbeam.grow.guide_costs import marks_of
from hornbeam.store.keys import Stored, TreeKey
from hornbeam.store.ledger import Entry


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
                marks = [*marks_of(context + node.tokens[:-1])]
                out._prompts.add(marks[len(context) - 1])
                out._run.update(marks[max(0, len(context) - int(ran)) :])
        return out

    def known(self, ids: array[int]) -> int:
        """How many of the ids had been run, after those before them."""
        return sum(mark in self._run for mark in marks_of(ids))

    def again(self, prompt: array[int], computed: int) -> int:
        """Of the `computed` tokens of a prompt, those that an undisturbed run would have kept.

        The last token is run again for its logits, where no call asked for them.
        """
        marks = [*marks_of(prompt)]
        found = [mark in self._run for mark in marks[len(marks) - computed :]]
        return sum(found) - (bool(found) and found[-1] and marks[-1] not in self._prompts)
