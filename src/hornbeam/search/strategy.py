"""What a strategy is: settings that say where a tree should grow next. Pure ask and tell.

State goes in and comes out; it is a function of facts (which episode was sent where, which have
come back), so it can be read off a stored tree again. Tells come in any order, twice is once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Self

from pydantic import Field

from hornbeam.settings import Settings
from hornbeam.tree.nodes import Column, Tree


@dataclass(frozen=True, slots=True)
class Fork:
    """Grow episode number `episode` from node `node`, to its end or for `steps` nodes."""

    episode: int
    node: int
    steps: int | None = None


@dataclass(slots=True)
class State:
    """`asked`: episode -> node it grows from. `told`: episode -> last node that it grew.

    Whoever grows the tree writes both; a strategy only reads them. `memo` is the strategy's own:
    what it worked out from the tree and these facts so far, so that it need not start over at every
    ask. It may be thrown away at any moment.
    """

    asked: dict[int, int] = field(default_factory=dict)
    results: dict[int, int] = field(default_factory=dict)
    memo: Any = field(default=None, compare=False, repr=False)


def restore(tree: Tree, steps: int | None = None) -> State:
    """The state that a stored tree stands for: episodes with nodes were asked.

    Told are those that ended, and those that grew the `steps` nodes after which they pause.
    """
    asked: dict[int, int] = {}
    results: dict[int, int] = {}
    for i, node in enumerate(tree.nodes[1:], 1):
        asked.setdefault(node.origin.episode, node.parent)
        if node.done or (steps is not None and node.origin.step + 1 >= steps):
            results[node.origin.episode] = i
    return State(asked, results)


class Strategy(Settings):
    """Where a tree grows. Holds settings only."""

    later: ClassVar[Mapping[str, Any]] = MappingProxyType({})  # settings that came later, as it was

    def identity(self) -> dict[str, Any]:
        """All settings by which stored trees are told from those of others.

        One of `later` is left out where it stands as it was before: so trees of then are found.
        """
        data = self.model_dump()
        return {k: v for k, v in data.items() if k not in self.later or v != self.later[k]}

    def before(self) -> Self:
        """What the settings that were given meant before there were those of `later`."""
        unsaid = {k: v for k, v in self.later.items() if k not in self.model_fields_set}
        return self.model_copy(update=unsaid)

    @property
    def steps(self) -> int | None:
        """After how many nodes an episode pauses; None: each runs to its end."""
        return None

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that it steers by."""
        return ()

    @property
    def logprobs(self) -> bool:
        """Whether it steers by the log-probs of what was sampled."""
        return False

    @property
    def makes(self) -> tuple[str, ...]:
        """The columns that `columns` makes."""
        return ()

    @abstractmethod
    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """Forks to start now, none of them asked before; may be empty while episodes are out.

        Equal trees (whatever the order of their nodes) and equal states give equal forks: draws
        come from `tree.seed`. Empty while nothing is out means the tree is grown.
        """

    @abstractmethod
    def leaves(self) -> int:
        """How many episodes a grown tree has, or the most it can have."""

    def drops(self, tree: Tree, state: State) -> Collection[int]:
        """Episodes that are out and can no longer change the result; growth stops them."""
        return ()

    def columns(self, tree: Tree) -> dict[str, Column]:
        """What it thinks of a grown tree, by column: "kept", "visits", "q". Nothing by default."""
        return {}


class Stepwise(Strategy):
    """Grows one node an episode, steered by a column of values, and marks the nodes it kept."""

    column: str = Field("value", min_length=1)

    @property
    def steps(self) -> int | None:
        """One node an episode."""
        return 1

    @property
    def reads(self) -> tuple[str, ...]:
        """The column of values."""
        return (self.column,)

    @property
    def makes(self) -> tuple[str, ...]:
        """What was kept last."""
        return ("kept",)
