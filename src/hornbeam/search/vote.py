"""Independent runs until the vote is settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from pydantic import Field

from hornbeam.search.base import Fork, State, Strategy
from hornbeam.search.values import failed
from hornbeam.tree import Tree


def as_text(answer: object) -> str:
    """An answer as it is compared when nothing better is known: lower case, single spaces."""
    return " ".join(str(answer).lower().split())


class Vote(Strategy):
    """At most `n` episodes from the task, `parallel` at a time (`None`: all at once).

    Stops as soon as the majority is certain: the leading answer has more votes than the next could
    reach if all that are out or not yet asked spoke for it. What is out by then is dropped. Answers
    are compared as texts (`as_text`); a failed episode and an answer of `None` have no vote.

    When it stops hangs on which episodes come back first; with `parallel` 1 it hangs on nothing.
    """

    n: int = Field(8, ge=1)
    parallel: int | None = Field(None, ge=1)

    def leaves(self) -> int:
        """The most episodes a grown tree can have: n."""
        return self.n

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """New episodes while the vote is open and fewer than `parallel` are out."""
        if len(state.asked) >= self.n or self._settled(tree, state):
            return []
        out = len(state.asked) - len(state.told)
        room = self.n if self.parallel is None else self.parallel - out
        fresh = (e for e in range(self.n) if e not in state.asked)
        return [Fork(e, 0) for e, _ in zip(fresh, range(room))]

    def drops(self, tree: Tree, state: State) -> Collection[int]:
        """All that are out, once the vote is settled."""
        if len(state.told) == len(state.asked) or not self._settled(tree, state):
            return ()
        return state.asked.keys() - state.told.keys()

    def _settled(self, tree: Tree, state: State) -> bool:
        nodes = [tree.nodes[i] for i in state.told.values() if not failed(tree, i)]
        votes = Counter(as_text(n.answer) for n in nodes if n.answer is not None)
        (_, first), (_, second) = [*votes.most_common(2), ("", 0), ("", 0)][:2]
        return first > second + self.n - len(state.told)
