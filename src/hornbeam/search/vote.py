"""Independent runs until the vote is settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable

from pydantic import Field

from hornbeam.protocols import Fork, State, Strategy
from hornbeam.search.values import failed
from hornbeam.tree.nodes import Tree

ALIKE = "alike"  # column: the class of an answer, by the rule that says which are equal


def as_text(answer: object) -> str:
    """An answer as it is compared when nothing better is known: lower case, single spaces."""
    return " ".join(str(answer).lower().split())


class Vote(Strategy):
    """At most `n` episodes from the task, `parallel` at a time (`None`: all at once).

    Stops as soon as the majority is certain: the leading answer has more votes than any other could
    reach if all that are out or not yet asked spoke for it. What is out by then is dropped. An
    episode that failed and an answer of `None` have no vote.

    Which answers are equal stands in column "alike", where a guide writes it (`AlikeGuide`). Where
    none does only equal texts are known to be, and all others could turn out to be one: the leader
    must then be ahead of all of them together.

    When it stops depends on which episodes come back first, unless `parallel` is 1.
    """

    n: int = Field(8, ge=1)
    parallel: int | None = Field(None, ge=1)

    def may_fork(self, tree: Tree, state: State, node: int) -> bool:
        """At the task alone."""
        return not node

    def leaves(self) -> int:
        """The most episodes a grown tree can have: n."""
        return self.n

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """New episodes while the vote is open and fewer than `parallel` are out."""
        if len(state.asked) >= self.n or self._settled(tree, state):
            return []
        out = len(state.asked) - len(state.results)
        room = self.n if self.parallel is None else self.parallel - out
        fresh = (e for e in range(self.n) if e not in state.asked)
        return [Fork(e, 0) for e, _ in zip(fresh, range(room))]

    def drops(self, tree: Tree, state: State) -> Collection[int]:
        """All that are out, once the vote is settled."""
        if len(state.results) == len(state.asked) or not self._settled(tree, state):
            return ()
        return state.asked.keys() - state.results.keys()

    def _settled(self, tree: Tree, state: State) -> bool:
        ends = [i for i in state.results.values() if not failed(tree, i)]
        ends = [i for i in ends if tree.nodes[i].answer is not None]
        column = tree.columns.get(ALIKE)
        known = column is not None and all(column[i] is not None for i in ends)
        votes = Counter[Hashable](
            column[i] if known and column is not None else str(tree.nodes[i].answer) for i in ends
        )
        counts = [many for _, many in votes.most_common()]
        first, others = sum(counts[:1]), counts[1:2] if known else counts[1:]
        return first > sum(others) + self.n - len(state.results)
