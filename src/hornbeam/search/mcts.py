"""Monte-Carlo tree search: by values of steps (at inference) or by whole runs (for labels).

The search is the sequential algorithm with a window: simulation s is chosen by what simulations
before s - `parallel` brought in, the rest of the window counting as lost, whichever of them came
back meanwhile. So a tree depends on nothing but its seed, at any `parallel`, and everything can be
worked out again from the stored tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from hornbeam.protocols import Fork, State, Strategy
from hornbeam.search.masprm import Descents, advance, over
from hornbeam.search.strategy import restore
from hornbeam.search.uct import puct, shares, uct
from hornbeam.search.values import ended, failed, worth
from hornbeam.search.visits import LOST, Simulation, Sums, kept_to
from hornbeam.tree.nodes import Column, Tree

_ONLY = {"widen": 0.0, "expand": "all", "virtual_visit": True, "merge": False, "parallel": 1}


class Mcts(Strategy):
    """`simulations` times: select down the tree, grow it there, back the outcome up.

    *Select* (METHODS 4): from the task down to the first node that may have more children, each
    time to the child of highest Q + c sqrt(ln(1 + sum N)/(1 + N_a)) (`uct`) or of highest
    Q + c P sqrt(sum N)/(1 + N_a) (`puct`; P from column `prior`, or uniform); the oldest of equals.
    A node may have floor(`children` * N^`widen`) children, so `children` at `widen` 0. At a node
    where an episode ended there is nothing to grow: it is visited again, free of charge.

    *Grow, by values*: all children that the node may still have (`expand` "all"), or one. V of a
    child is its entry in `column` (for a child that ends its episode in column `leaf`, if named);
    the best of the new ones is visited, outcome V. With `virtual_visit` V counts as one more visit:
    Q = (W + V)/(N + 1). Where no answer was reached by the end, the best leaf is grown on to one,
    by at most `depth` steps.

    *Grow, by runs* (`rollout`, MAS-MCTS): one run from the node to its end; its steps all enter the
    tree, and the outcome is 2r - 1, r its reward in [0, 1].

    Failed steps and those without a value or reward count as -1, or as the least value seen. With
    `merge`, children of one node that say the same are one child. With `patience` the search stops
    when the root value has stayed within `tolerance` of where it was for so many simulations. N of
    the task is the number of simulations.

    With `style` "masprm" it is the search published with MASPRM: a simulation runs on, growing
    `children` steps at every new level, until an answer or `levels` steps, and what that is worth
    is backed up: its value in `leaf`, or in `column` (which may be "": then steps have none and
    count as 0). By values V counts as a virtual visit, and steps that say the same are one; by runs
    the next step is drawn among new ones, and all of them that ended are backed up at once.
    """

    simulations: int = Field(10, ge=1)
    children: int = Field(3, ge=1)
    widen: float = Field(0.0, ge=0, le=1)
    c: float = Field(1.4, ge=0)
    rule: Literal["uct", "puct"] = "uct"
    prior: str | None = None
    rollout: bool = False
    expand: Literal["all", "one"] = "all"
    virtual_visit: bool = True
    merge: bool = False
    parallel: int = Field(1, ge=1)
    patience: int | None = Field(None, ge=1)
    tolerance: float = Field(0.01, gt=0)
    column: str = "value"
    leaf: str | None = None
    depth: int = Field(32, ge=0)
    style: Literal["hornbeam", "masprm"] = "hornbeam"
    levels: int = Field(32, ge=1)
    later: ClassVar[Mapping[str, Any]] = MappingProxyType({"style": "hornbeam", "levels": 32})

    @model_validator(mode="after")
    def _check(self) -> Mcts:
        if self.style == "masprm":
            for name, only in _ONLY.items():
                if getattr(self, name) != only:
                    raise ValueError(f'style "masprm" knows {name} = {only!r} only: leave it out')
            if self.rollout and self.rule != "uct":
                raise ValueError('style "masprm" selects runs by rule "uct" only')
        elif self.levels != 32:
            raise ValueError('levels are those of style "masprm": leave them out')
        if not self.column and (self.style != "masprm" or self.leaf is None):
            raise ValueError('only style "masprm" goes without a column, and by a leaf alone')
        if self.prior is not None and self.rule != "puct":
            raise ValueError('a prior is read by rule "puct" only')
        if self.rollout and self.leaf is not None:
            raise ValueError("with rollout the outcome is the reward: leave leaf out")
        return self

    @property
    def steps(self) -> int | None:
        """One node an episode by values, a whole run by runs; in style "masprm" always one."""
        return None if self.rollout and self.style != "masprm" else 1

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of values and priors; of outcomes, if it goes by runs."""
        found = ("reward",) if self.rollout else (self.column, self.leaf)
        return tuple(column for column in (*found, self.prior) if column)

    @property
    def makes(self) -> tuple[str, ...]:
        """N and Q."""
        return ("visits", "q")

    def leaves(self) -> int:
        """The most episodes a grown tree can have."""
        if self.style == "masprm":
            most = self.simulations * self.children * self.levels
            return most if self.rollout else most + self.depth
        if self.rollout:
            return self.simulations
        return self.simulations * (self.children if self.expand == "all" else 1) + self.depth

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """Forks of the simulations in flight that were not asked yet."""
        if self.style == "masprm":
            return self._descend(tree, state)
        if state.memo is None:
            state.memo = Sums()
        sums: Sums = state.memo
        self._advance(sums, tree, state.results)
        if not sums.flight and not self.rollout and not sums.answered:
            return self._finish(sums, tree, state)
        return [f for s in sums.flight for f in s.forks if f.episode not in state.asked]

    def columns(self, tree: Tree) -> dict[str, Column]:
        """Columns "visits" (N) and "q" (mean outcome), at every node that was taken in."""
        state = restore(tree, self.steps)
        self.ask(tree, state)
        sums: Sums = state.memo.sums if isinstance(state.memo, Descents) else state.memo
        sums.out.clear()  # simulations that never came back are no loss
        visits: Column = [None] * len(tree)
        q: Column = [None] * len(tree)
        if sums.visits[0]:
            known = [0, *(i for below in sums.children.values() for i in below)]
            for i, mean, count in zip(known, *sums.stand(known, self._virtual)):
                visits[i], q[i] = float(count), None if self.rollout and not count else mean
        return {"visits": visits, "q": q}

    @property
    def _virtual(self) -> bool:
        return self.virtual_visit and not self.rollout

    def _descend(self, tree: Tree, state: State) -> list[Fork]:
        """Forks that the one simulation under way waits for and that were not asked yet."""
        if state.memo is None:
            state.memo = Descents()
        seen: Descents = state.memo
        advance(seen, self, tree, state.results)
        if over(seen.sums, self):
            wanted = not self.rollout and not seen.sums.answered
            return self._finish(seen.sums, tree, state) if wanted else []
        return [fork for fork in seen.forks if fork.episode not in state.asked]

    def _advance(self, sums: Sums, tree: Tree, results: Mapping[int, int]) -> None:
        """Fill the window; when it is full, take in its oldest simulation, if that came back."""
        while True:
            if len(sums.flight) < self.parallel and not self._over(sums):
                chosen = self._select(sums, tree)
                if chosen is not None:
                    sums.begin(chosen)
                    continue
            if not sums.flight or any(f.episode not in results for f in sums.flight[0].forks):
                return
            self._take_in(sums, tree, [results[f.episode] for f in sums.flight[0].forks])

    def _over(self, sums: Sums) -> bool:
        if self.patience is not None and sums.still >= self.patience:
            return True
        return sums.begun >= self.simulations

    def _select(self, sums: Sums, tree: Tree) -> Simulation | None:
        """The next simulation; `None` where all children of a node are still out."""
        path = [0]
        while not (len(path) > 1 and ended(tree, path[-1])):
            i = path[-1]
            room = self._room(sums, i)
            if room > 0:
                many = room if self.expand == "all" and not self.rollout else 1
                forks = (Fork(sums.episodes + k, i, self.steps) for k in range(many))
                return Simulation(tuple(path), tuple(forks))
            if not sums.children[i]:
                return None
            path.append(self._best(sums, tree, sums.children[i]))
        return Simulation(tuple(path))

    def _room(self, sums: Sums, i: int) -> int:
        """How many more children node i may have; never more than `children`, as `widen` <= 1."""
        visits = max(1, sums.visits[i] + sums.out[i])
        return int(self.children * visits**self.widen + 1e-9) - sums.asked[i]

    def _best(self, sums: Sums, tree: Tree, children: list[int]) -> int:
        """The child to visit next."""
        means, visits = sums.stand(children, self._virtual)
        if self.rule == "uct":
            scores = uct(means, visits, self.c)
        else:
            prior = self.prior
            known = [None if prior is None else worth(tree, i, prior) for i in children]
            scores = puct(means, visits, shares(known), self.c)
        return children[scores.index(max(scores))]

    def _take_in(self, sums: Sums, tree: Tree, ends: list[int]) -> None:
        """Back up the oldest simulation; `ends` are the last nodes of its episodes."""
        path = list(sums.flight[0].path)
        paths = [kept_to(tree, path, end) for end in ends]
        for own in paths:
            sums.asked[path[-1]] -= 1
            sums.asked[own[-1]] += 1
        if not ends:
            outcome = sums.value[path[-1]]
        elif self.rollout:
            (path,) = paths
            path += self._enter_run(sums, tree, path[-1], ends[0])
            outcome = sums.value[path[-1]]
        else:
            values = sums.values_of([self._value(tree, end) for end in ends])
            new = [
                self._enter(sums, tree, own[-1], end, value)
                for own, end, value in zip(paths, ends, values)
            ]
            best = sums.best(new, self._virtual)
            path = [*paths[new.index(best)], best]
            outcome = sums.value[path[-1]]
        sums.take_in(path, outcome)
        sums.settle(self.tolerance)

    def _value(self, tree: Tree, i: int) -> float | None:
        """V of a new step: in `leaf`, if named, where its episode ended."""
        column = self.leaf if self.leaf is not None and tree.nodes[i].done else self.column
        return worth(tree, i, column)

    def _enter(self, sums: Sums, tree: Tree, parent: int, i: int, value: float) -> int:
        """Enter a new child with its value; the node it is counted as."""
        known = sums.add(tree, parent, i, self.merge)
        if known == i:
            sums.value[i] = value
            sums.answered |= _has_answer(tree, i)
        return known

    def _enter_run(self, sums: Sums, tree: Tree, at: int, end: int) -> list[int]:
        """Enter all steps of a run from node `at`; the nodes they are counted as."""
        steps = []
        while end != at:
            steps.append(end)
            end = tree.nodes[end].parent
        known: list[int] = []
        for i in reversed(steps):
            if known:
                sums.asked[at] += 1
            at = sums.add(tree, at, i, self.merge)
            known.append(at)
        reward = worth(tree, steps[0], "reward")
        outcome = LOST if reward is None else 2 * min(max(reward, 0.0), 1.0) - 1
        sums.value.setdefault(at, outcome)
        return known

    def _finish(self, sums: Sums, tree: Tree, state: State) -> list[Fork]:
        """One step after another from the best leaf, until an answer or `depth` of them."""
        at = 0
        while below := [i for i in sums.children[at] if not failed(tree, i)]:
            at = sums.best(below, self._virtual)
        for episode in range(sums.episodes, sums.episodes + self.depth):
            if at and ended(tree, at):
                return []
            if episode not in state.results:
                return [] if episode in state.asked else [Fork(episode, at, 1)]
            at = state.results[episode]
        return []


def _has_answer(tree: Tree, i: int) -> bool:
    node = tree.nodes[i]
    return node.done and not node.error and node.answer is not None
