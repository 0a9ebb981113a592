"""What can be replaced: every part that Hornbeam asks for, on one page.

    part            is asked for by           ready-made ones
    Engine          growth, judges, guides    engine/{scripted, local, remote, vllm}
    Program         growth                    programs/
    Tool            a program's `ep.call`     tools/
    World           tools                     worlds/
    Strategy        growth                    search/
    Scorer          growth, at its end        score/rules
    Guide           growth, at each step      score/prm, score/judge_guide, score/likelihood
    CreditMethod    training                  credit/methods
    Keeper          growth                    store/database
    Sink            training                  sinks/

A recipe names ready-made ones by the tables `strategies`, `methods`, `tools`, `rules`, `programs`
and `sinks` of the rooms' doors, one's own as "file.py:name" (docs/own-parts.md). The parts of the
training loop are in jobs/train/parts. Shapes: `n` nodes asked about, `T` tokens. A column has one
entry a node of its tree, `None` where nothing is known (which is not zero). Node 0 of a tree is its
task; a *trunk* is a child of node 0 and what grew below it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hornbeam.chat import Chat
from hornbeam.engine.request import Barrier, Completion, Request
from hornbeam.settings import VersionedSettings
from hornbeam.store.keys import TreeKey
from hornbeam.store.run_facts import RunFacts as RunFacts
from hornbeam.store.run_facts import TimedCall as TimedCall
from hornbeam.tree.nodes import Column, Node, Tree
from hornbeam.tree.return_settings import ReturnSettings
from hornbeam.tree.task import Task

# async def f(task, ep: hb.Episode) -> JSON data: the answer. `ep` has `ask(agent, messages)`,
# `call(tool, **arguments)`, `delegate(agent, program, task)` and `rng` (episode/program). All that
# is not deterministic goes through it, so that the program can be replayed to any of its steps.
# What it raises fails its episode.
Program = Callable[[Task, Any], Awaitable[Any]]

# def f(**arguments), or async: JSON data. What it raises, its caller hears as a `ToolError`.
Tool = Callable[..., Any]


class World(Protocol):
    """What the tools of one episode act on: given to each that has a parameter `world`.

    Optional: `snapshot()` and `restore(snapshot)` in place of `fork`, one with neither is copied as
    Python data; `size`, in bytes. Of one that nobody can copy, calls are made again (worlds/).
    """

    def fork(self) -> World:
        """Another world in the same state; what is done to one of them, the other does not see."""
        ...

    def close(self) -> None:
        """The episode has ended: give back what is held."""
        ...


class Engine(Protocol):
    """Samples token ids. `chat` turns messages into its ids, `version` counts its weights.

    `barrier` counts episodes that are busy elsewhere: an engine that makes batches waits on it
    (`await barrier.quiet()`), so that which requests share a batch does not depend on timing.

    Optional: `continues = False` (takes messages, cannot go on inside an answer), `keeps = True`
    (keeps prefixes, dropped by `load` alone), `disconnect()` (leaves the connections of an event
    loop), `context` (how many tokens a prompt with its answer may have, None where not known),
    `only_search(sampling)` (why it cannot be trained on, or ""), `gives_logprobs(sampling)`.
    """

    chat: Chat
    version: int
    barrier: Barrier

    async def generate(self, request: Request) -> Completion:
        """One completion: ids of shape [T] with their log-probs, the ending token included.

        Raises `PromptTooLong` when prompt and one token do not fit, `EngineLost` when nobody can be
        answered any more, `EngineError` for the rest.
        """
        ...

    def cached(self, prompt: array[int]) -> int:
        """How many of the prompt's first tokens need not be computed, if it is asked next."""
        ...

    async def load(self, version: int) -> None:
        """Sample from the weights of this version from the next request on."""
        ...

    async def aclose(self) -> None:
        """End what runs and give back what is held."""
        ...


# --- where a tree grows ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fork:
    """Grow episode number `episode` from node `node`, to its end or for `steps` nodes."""

    episode: int
    node: int
    steps: int | None = None


@dataclass(slots=True)
class State:
    """`asked`: episode -> node it grows from. `results`: episode -> last node that it grew.

    Whoever grows the tree writes both; a strategy only reads them. `memo` is the strategy's own:
    what it worked out from the tree and these facts so far, so that it need not start over at every
    ask. It may be thrown away at any moment.
    """

    asked: dict[int, int] = field(default_factory=dict)
    results: dict[int, int] = field(default_factory=dict)
    memo: Any = field(default=None, compare=False, repr=False)


class Strategy(VersionedSettings):
    """Where a tree grows next. Holds settings only: all that it knows is the tree and the state.

    A setting that is added later stands in `later` with the value that stored trees were grown by.
    """

    @property
    def steps(self) -> int | None:
        """After how many nodes an episode pauses; None: each runs to its end."""
        return None

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of guides that it steers by."""
        return ()

    def reads_at(self, tree: Tree, node: int) -> bool:
        """Whether it may read those columns there: a guide that serves growth alone is not asked
        about other steps.
        """
        return True

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

    def may_fork(self, tree: Tree, state: State, node: int) -> bool:
        """Whether it may still ask for a fork at this node; once false, it stays so.

        Asked when the node has come, and after each `ask`: what its tools act on is kept as long.
        """
        return True

    def drops(self, tree: Tree, state: State) -> Collection[int]:
        """Episodes that are out and can no longer change the result; growth stops them."""
        return ()

    def columns(self, tree: Tree) -> dict[str, Column]:
        """What it thinks of a grown tree, by column: "kept", "visits", "q". Nothing by default."""
        return {}


# --- what a tree is worth -------------------------------------------------------------------------


class Scorer(Protocol):
    """Judges outcomes, when an episode has ended. `column` names where its opinion stands.

    Optional: `verdicts(tree, nodes)`, asked in place of `score`: [n] values by column, more than
    one where it has more to say.
    """

    column: str

    async def score(self, tree: Tree, nodes: Sequence[int]) -> list[float | None]:
        """[n] values; `None` where it has no verdict, a checker's time-out or crash included."""
        ...

    async def aclose(self) -> None:
        """Give back what is held."""
        ...


@dataclass(frozen=True, slots=True)
class Opinions:
    """What a guide says: [n] values, and how many tokens it ran for that."""

    values: list[float | None]
    tokens: int = 0


class Guide(Protocol):
    """Values of steps, when they were grown, so that a strategy steers by them; it is paid.

    `barrier` lets it wait until all growing episodes wait for something. Optional: `reads_ids =
    True`, for one that runs the ids of nodes and keeps prefixes: a prefix that two episodes share
    is then entered as a cost once (grow/guide_costs).
    """

    column: str
    barrier: Barrier

    def most(self, tree: Tree, nodes: Sequence[int]) -> int:
        """The most tokens that `judge` can run for these nodes."""
        ...

    async def judge(self, tree: Tree, nodes: Sequence[int]) -> Opinions:
        """Opinions of nodes that were just grown, parents before children. Raises `ScoreError`.

        `tree` is the one growing tree itself: a guide may keep what it computed for its nodes
        until `forget`.
        """
        ...

    def forget(self, tree: Tree) -> None:
        """Give back what is kept for a tree, which is grown."""
        ...

    async def aclose(self) -> None:
        """Give back what is held."""
        ...


# --- which step earned the outcome ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Leaf:
    """One scored leaf: which tree of the batch, which node, below which trunk, its outcome.

    `prior` is what column "prior" says of its task, at node 0; `parts` what the columns that the
    method names say of the leaf.
    """

    tree: int
    node: int
    trunk: int
    reward: float
    prior: float | None = None
    parts: tuple[float | None, ...] = ()


class CreditMethod(ReturnSettings, ABC):
    """Trees of one task with outcomes -> advantages. Write one of the three kinds below.

    Pure arithmetic: columns in, columns out; no torch, no input or output.
    """

    @property
    def reads(self) -> str:
        """The column of a guide that it needs; "" where outcomes are enough."""
        return ""

    @property
    def anchored(self) -> bool:
        """Whether it reads a prior of each task, so that equal outcomes teach too."""
        return False

    @property
    def stateful(self) -> bool:
        """Whether it reads the states of steps."""
        return False

    @property
    def parts(self) -> tuple[str, ...]:
        """Columns that it reads at leaves, in place of the outcome."""
        return ()

    def check(self, trees: Sequence[Tree]) -> None:
        """Raise `DataError` where the trees of a task lack what it reads."""


class PathMethod(CreditMethod):
    """One advantage a leaf. A group is all scored leaves of one task, of one or more trees."""

    @abstractmethod
    def advantages(self, groups: Sequence[Sequence[Leaf]]) -> list[list[float]]:
        """One advantage for every leaf of every group of the batch."""


class NodeMethod(CreditMethod):
    """One credit a node, from values at and above it; asked for the trees of one task at a time."""

    @abstractmethod
    def credits(self, trees: Sequence[Tree], outcomes: Sequence[Column]) -> list[Column]:
        """One column for every tree of a group; `None` at the task and where nothing is known."""


class ScopeMethod(CreditMethod):
    """One advantage a delegation, at its end, and one for the main agent, at the leaf."""

    @abstractmethod
    def credits(
        self, trees: Sequence[Tree], outcomes: Sequence[Column]
    ) -> list[tuple[Column, Column]]:
        """(advantage, mass) for every tree of a group; `None` elsewhere, and a mass of None is 1.

        Mass says how often a delegation counts when it is trained, all rollouts that hold it added.
        """


Method = PathMethod | NodeMethod | ScopeMethod


# --- where trees are kept -------------------------------------------------------------------------


class Keeper(Protocol):
    """Keeps what grows, as it grows: a `Store`, or nobody. Raises `StoreError`."""

    def begin(self, key: TreeKey, tree: Tree) -> None:
        """A new tree, with the task's own node."""
        ...

    def write(
        self, key: TreeKey, tree: Tree, index: int | None, node: Node, is_open: bool = False
    ) -> None:
        """A node, in place `index` of the tree (None: not placed yet, as an open one is).

        An open node still waits for its calls and comes again.
        """
        ...

    def opinion(self, key: TreeKey, node: Node, column: str, value: float) -> None:
        """A guide's value of a node, while the tree grows."""
        ...

    def columns(self, key: TreeKey, columns: Mapping[str, Column]) -> None:
        """The tree's columns, by name."""
        ...

    def done(self, key: TreeKey) -> None:
        """The tree is grown and scored."""
        ...


# --- who else hears of a run ----------------------------------------------------------------------


class Sink:
    """Hears of a run while it trains, and shows it elsewhere. Overwrite what is of interest.

    A thread of its own calls one method after the other. What they raise is told once and counted,
    and never stops the run; after an error in `start` nothing more is called. A resumed run tells
    rows that were told before only where it was killed between a row and the note of it.
    """

    def start(self, run: RunFacts) -> None:
        """The run begins or goes on."""

    def row(self, kind: str, step: int, figures: Mapping[str, Any]) -> None:
        """A row of metrics.jsonl: numbers and texts by name.

        `kind` is "train", "eval" (whose `figures["stage"]` says when), "sft", "stage" or "anchor".
        """

    def tree(self, key: TreeKey, tree: Tree, calls: Sequence[TimedCall]) -> None:
        """A grown and scored tree, and when its calls were made, as far as this process knows."""

    def close(self) -> None:
        """The run has ended, or stops."""
