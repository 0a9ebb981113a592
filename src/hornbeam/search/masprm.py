"""Monte-Carlo tree search as published with MASPRM (arXiv 2510.24803): `mcts(style = "masprm")`.

A simulation runs on to an answer: at every new level `children` steps are sampled at once, one of
them is gone on from, and what the answer is worth is backed up along the whole path. Simulations go
one after another, and every draw has a seed of its own: a tree depends on nothing but its seed.

Left out: the published label search samples half as many candidates for the last agent of a team;
here an agent does not know that it is the last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from hornbeam.protocols import Fork
from hornbeam.search.uct import puct, shares, uct
from hornbeam.search.values import ended, worth
from hornbeam.search.visits import LOST, Sums, kept_to
from hornbeam.tree.nodes import Tree

if TYPE_CHECKING:
    from hornbeam.search.mcts import Mcts

NEAR = 0.05  # a root value so close to -1 or 1 stays put, whatever it does


@dataclass(slots=True)
class Descents:
    """All that a search knows: its sums, where its simulation stands, the forks that it waits for.

    `sums.begun` counts simulations that ended.
    """

    sums: Sums = field(default_factory=Sums)
    path: list[int] = field(default_factory=lambda: [0])
    forks: list[Fork] = field(default_factory=list)


def advance(seen: Descents, how: Mcts, tree: Tree, results: Mapping[int, int]) -> None:
    """Go on until the simulation under way waits for steps, or all have come to their end."""
    sums = seen.sums
    while not over(sums, how):
        at = seen.path[-1]
        if seen.forks:
            if any(fork.episode not in results for fork in seen.forks):
                return
            _enter(seen, how, tree, [results[fork.episode] for fork in seen.forks])
        elif (at and ended(tree, at)) or len(seen.path) > how.levels:
            _end(seen, how, tree, seen.path)
        elif sums.children[at]:
            seen.path.append(_select(sums, how, tree, at))
        else:
            first = sums.episodes
            seen.forks = [Fork(first + k, at, 1) for k in range(how.children)]
            sums.episodes += how.children


def _end(seen: Descents, how: Mcts, tree: Tree, path: Sequence[int]) -> None:
    """A simulation came to its end, along this path."""
    _back_up(seen.sums, path, _outcome(seen.sums, how, tree, path[-1]))
    seen.sums.begun += 1
    _settle(seen.sums, how.tolerance)
    seen.path = [0]


def over(sums: Sums, how: Mcts) -> bool:
    """Whether the last simulation has come to its end."""
    still = how.patience is not None and sums.still >= how.patience
    return still or sums.begun >= how.simulations


def _enter(seen: Descents, how: Mcts, tree: Tree, ends: Sequence[int]) -> None:
    """A new level: its steps are children now; by runs, one of them is gone on from at once."""
    sums, at = seen.sums, seen.path[-1]
    seen.forks = []
    values = sums.values_of([_value(how, tree, i) for i in ends])
    paths = {i: kept_to(tree, seen.path, i) for i in ends}
    for i, value in zip(ends, values):
        if sums.add(tree, paths[i][-1], i, merge=not how.rollout) == i:
            sums.value[i] = value
            node = tree.nodes[i]
            sums.answered |= node.done and not node.error and node.answer is not None
    if not how.rollout and sums.children[at]:
        return  # by values the best is selected among them, as at any level
    if not how.rollout:  # none came there: all left their paths (`on_divergence`)
        best = sums.best(list(ends), virtual=True)
        _end(seen, how, tree, [*paths[best], best])
        return
    finished = [i for i in ends if ended(tree, i)]
    draw = Random(f"{tree.seed}:masprm:{sums.begun}:{len(seen.path)}")
    chosen = draw.choice(finished or list(ends))
    for i in finished:
        if i != chosen:
            _back_up(sums, [*paths[i], i], _outcome(sums, how, tree, i))
    if paths[chosen] != seen.path:  # it left its path: what it came to is all that there is
        _end(seen, how, tree, [*paths[chosen], chosen])
    else:
        seen.path.append(chosen)


def _value(how: Mcts, tree: Tree, i: int) -> float | None:
    """V of a new step: what counts as a virtual visit; 0 by runs, and where none is read."""
    return 0.0 if how.rollout or not how.column else worth(tree, i, how.column)


def _outcome(sums: Sums, how: Mcts, tree: Tree, i: int) -> float:
    """What is backed up from where a simulation ended."""
    if how.rollout:
        reward = worth(tree, i, "reward") if tree.nodes[i].done else None
        return LOST if reward is None else 2 * min(max(reward, 0.0), 1.0) - 1
    if how.leaf is None or not tree.nodes[i].done:
        return sums.value[i]
    (value,) = sums.values_of([worth(tree, i, how.leaf)])
    return value


def _back_up(sums: Sums, path: Sequence[int], outcome: float) -> None:
    """N += 1, W += outcome along the path."""
    for i in path:
        sums.visits[i] += 1
        sums.total[i] += outcome


def _settle(sums: Sums, tolerance: float) -> None:
    """Count for how many simulations the root value has not moved by more than `tolerance`.

    Nor does one move that is within `NEAR` of -1 or 1, whatever it does.
    """
    value = sums.total[0] / sums.visits[0]
    if abs(value - sums.anchor) > tolerance:
        sums.anchor = value
        sums.still = sums.still + 1 if abs(value) >= 1 - NEAR else 0
    else:
        sums.still += 1


def _select(sums: Sums, how: Mcts, tree: Tree, at: int) -> int:
    """The child to go on from, the oldest of equals."""
    below = sums.children[at]
    means, visits = sums.stand(below, virtual=not how.rollout)
    if how.rollout:
        scores = uct_of_runs(means, visits, sums.visits[at], how.c)
    elif how.rule == "uct":
        scores = uct(means, visits, how.c)
    else:
        known = [None if how.prior is None else worth(tree, i, how.prior) for i in below]
        scores = puct(means, visits, shares(known), how.c, least=1)
    return below[scores.index(max(scores))]


def uct_of_runs(
    means: Sequence[float], visits: Sequence[int], parent: int, c: float
) -> list[float]:
    """Q_a + c sqrt(ln N / N_a), N of the parent and N_a taken as 1 at least (2510.24803, code)."""
    spread = math.log(max(parent, 1))
    return [q + c * math.sqrt(spread / max(n, 1)) for q, n in zip(means, visits)]
