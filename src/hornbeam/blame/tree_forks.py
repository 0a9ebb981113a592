"""The search on a tree that grows: forks of recorded runs, as a strategy.

Episode numbers are places: run r may have the forks `first` + r * forks on, in the order in which
its search asks for them; a round of a run begins when all before it of that run have come back. So
a tree does not hang on the order in which episodes come, and a stopped one goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from hornbeam.blame.result import Blame, blame_of
from hornbeam.blame.search import BlameSettings, DropSearch, ForkOutcome, Step
from hornbeam.protocols import Fork, State, Strategy
from hornbeam.search.strategy import restore
from hornbeam.search.values import worth
from hornbeam.tree.nodes import Column, Node, Tree


@dataclass(slots=True)
class _BlamedRun:
    """A run and its search: its steps by node, and the newest round."""

    search: DropSearch
    path: list[int]
    forks: list[Fork] = field(default_factory=list)


class BlameForks(BlameSettings, Strategy):
    """Forks of the first `runs` episodes of a tree, where they tell most of the step that lost it.

    Those that the tree does not hold are grown first. A run that failed without a reward has
    outcome 0, and so have its forks that fail; else failed ones have no verdict. `guide` names a
    column whose values in [0, 1] are the prior, where `prior` is set. Forks have numbers from
    `first` on (`runs` by default). Of runs with an outcome of `below` or more no fork is asked.
    """

    runs: int = Field(1, ge=1)
    first: int = Field(0, ge=0)
    below: float | None = None
    guide: str = ""

    @property
    def reads(self) -> tuple[str, ...]:
        """Outcomes, and the guide's values."""
        return ("reward", self.guide) if self.guide else ("reward",)

    @property
    def makes(self) -> tuple[str, ...]:
        """N and Q."""
        return ("visits", "q")

    def leaves(self) -> int:
        """The most episodes a grown tree can have."""
        return self.runs * (1 + self.forks)

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """The forks that the newest round of each run still lacks."""
        if state.memo is None:
            state.memo = {}
        missing = [r for r in range(self.runs) if r not in state.asked]
        forks = [Fork(r, 0) for r in missing]
        for r in range(self.runs):
            if r in state.results and self._looks(tree, state.results[r]):
                forks += self._round(r, tree, state)
        return [fork for fork in forks if fork.episode not in state.asked]

    def may_fork(self, tree: Tree, state: State, node: int) -> bool:
        """At the steps of runs."""
        return not node or tree.nodes[node].origin.episode < self.runs

    def _looks(self, tree: Tree, end: int) -> bool:
        """Whether the step that lost the run which ends there is looked for."""
        if self.below is not None and (_outcome(tree, end) or 0.0) >= self.below:
            return False
        return bool(steps_of(tree, end))

    def columns(self, tree: Tree) -> dict[str, Column]:
        """Columns "visits" (forks at or through) and "q" (V by the posterior), at the steps of
        runs and, by the first of them, at the task. Where a run was not looked at, 1 and its
        outcome.
        """
        visits: Column = [None] * len(tree)
        q: Column = [None] * len(tree)
        state = restore(tree)
        for r, end in state.results.items():
            if r < self.runs and not self._looks(tree, end):
                for i in [0, *steps_of(tree, end)]:
                    visits[i], q[i] = 1.0, _outcome(tree, end)
        for run, blame in reversed(self._found(tree, state)):
            for i, value in zip([0, *run.path], blame.values):
                visits[i], q[i] = float(value.forks), value.value
        return {"visits": visits, "q": q}

    def labels(self, tree: Tree) -> Column:
        """Labels of steps: 1 before the one that lost a run and -1 there, none behind it; 1 in a
        run that was not looked at. Steps of a run of which no step was found have none.
        """
        out: Column = [None] * len(tree)
        state = restore(tree)
        for r, end in state.results.items():
            if r < self.runs and not self._looks(tree, end):
                for i in steps_of(tree, end):
                    out[i] = 1.0
        for run, blame in self._found(tree, state):
            for k, i in enumerate(run.path[: blame.step or 0], 1):
                out[i] = -1.0 if k == blame.step else 1.0
        return out

    def blames(self, tree: Tree) -> list[Blame]:
        """What was found of each run of a grown tree; of one that a budget stopped, by then."""
        return [blame for _, blame in self._found(tree, restore(tree))]

    def _found(self, tree: Tree, state: State) -> list[tuple[_BlamedRun, Blame]]:
        """Every run that has ended and has a step, its forks told, be their round over or not."""
        found = []
        state.memo = {}
        for r in range(self.runs):
            if r in state.results and self._looks(tree, state.results[r]):
                for fork in self._round(r, tree, state):
                    if fork.episode in state.results:
                        self._tell(state.memo[r], tree, state.results, fork)
                found.append((state.memo[r], blame_of(state.memo[r].search)))
        return found

    def _round(self, r: int, tree: Tree, state: State) -> list[Fork]:
        """The newest round of a run, all before it told; empty at the end."""
        runs: dict[int, _BlamedRun] = state.memo
        if r not in runs:
            runs[r] = self._run(tree, state.results[r], f"{tree.seed}:{r}")
        run = runs[r]
        while all(fork.episode in state.results for fork in run.forks):
            for fork in run.forks:
                self._tell(run, tree, state.results, fork)
            begin = max(self.first, self.runs) + r * self.forks + run.search.asked
            nodes = [0, *run.path]
            run.forks = [Fork(begin + k, nodes[at]) for k, at in enumerate(run.search.ask())]
            if not run.forks:
                break
        return run.forks

    def _run(self, tree: Tree, end: int, seed: str) -> _BlamedRun:
        path = steps_of(tree, end)
        steps = [step_of(tree.nodes[i]) for i in path]
        guide = tree.columns.get(self.guide, []) if self.guide else []
        values = [guide[i] for i in [0, *path][: len(path)]] if guide else []
        outcome = _outcome(tree, end)
        return _BlamedRun(DropSearch(steps, self, outcome or 0.0, values, seed), path)

    def _tell(self, run: _BlamedRun, tree: Tree, results: Mapping[int, int], fork: Fork) -> None:
        """One that left its path above where it was to (`on_divergence`) is a fork from there."""
        end = results[fork.episode]
        walk = tree.path(end)
        kept = sum(a == b for a, b in zip(walk, run.path))
        new = [i for i in walk[kept:] if tree.nodes[i].origin.episode == fork.episode]
        same = _repeated([tree.nodes[i] for i in new], [tree.nodes[i] for i in run.path[kept:]])
        success = _outcome(tree, end)
        if success is None and tree.nodes[walk[-1]].error and self._failed(tree, run):
            success = 0.0
        tokens = sum(step_of(tree.nodes[i]).tokens for i in new)
        other = step_of(tree.nodes[new[same]]) if same < len(new) else Step()
        run.search.tell(kept, ForkOutcome(success, tokens, same, other.text, other.agent))

    def _failed(self, tree: Tree, run: _BlamedRun) -> bool:
        """Whether the run itself ended by an error."""
        last = run.path[-1]
        ends = [last, *(c for c in tree.children(last) if tree.nodes[c].finish == "end")]
        return any(
            tree.nodes[i].done and tree.nodes[i].error
            for i in ends
            if tree.nodes[i].origin.episode == tree.nodes[last].origin.episode
        )


def steps_of(tree: Tree, leaf: int) -> list[int]:
    """The nodes of a run that are steps: all but an end without an ask."""
    return [i for i in tree.path(leaf) if tree.nodes[i].finish != "end"]


def step_of(node: Node) -> Step:
    """A node as a step; where its engine told no ids, a token for four characters."""
    return Step(node.agent, node.text, len(node.tokens) or -(-len(node.text) // 4))


def run_of(tree: Tree, leaf: int) -> Tree:
    """The tree of one run alone, as episode 0; its seed stays, for what the program draws."""
    out, at = Tree(tree.task, [tree.nodes[0]], {}, tree.seed), 0
    path = tree.path(leaf)
    for step, i in enumerate(path):
        node = tree.nodes[i]
        origin = node.origin
        own = type(origin)(0, step, origin.turn, origin.seed, origin.version, origin.ask)
        placed = out.place(at, node.agent, tree.context(i))
        at = out.append(node.changed(origin=own).placed(at, placed))
    for name, column in tree.columns.items():
        out.columns[name] = [column[i] for i in [0, *path]]
    return out


def _repeated(new: Sequence[Node], old: Sequence[Node]) -> int:
    """How many steps a fork took as they were recorded, until one of its own or another ask."""
    same = 0
    for a, b in zip(new, old):
        if a.origin.ask != b.origin.ask:
            return max(0, same - 1)  # the step before it led elsewhere
        if _facts(a) != _facts(b):
            break
        same += 1
    return same


def _facts(node: Node) -> tuple[object, ...]:
    calls = [(c.tool, dict(c.arguments), c.result, c.error, c.scope) for c in node.calls]
    return node.agent, node.scope, node.tokens, node.text, calls


def _outcome(tree: Tree, end: int) -> float | None:
    """The reward of an episode in [0, 1]; `None` where it has none."""
    reward = worth(tree, end, "reward")
    return None if reward is None else min(max(reward, 0.0), 1.0)
