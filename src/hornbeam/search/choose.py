"""Choosing an answer from a grown tree. Pure: the same tree serves every chooser, free of charge.

A candidate is a leaf where an episode ended with an answer; failed ones and answers of `None` are
none. Candidates stand in order of (episode, step); of equals the first in that order is chosen. A
choice is the index of a leaf, `None` where there is no candidate.

Values are in [-1, 1]. Where a chooser finds no entry: a vote without one has weight 0, a candidate
without one is below all others. So a tree without any entry gives the majority, or the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from hornbeam.arguments import described
from hornbeam.errors import DataError, RecipeError
from hornbeam.own.own_functions import OwnFunction, own_function
from hornbeam.own.own_parts import Base, find_part
from hornbeam.search.values import FLOOR, chance, failed, place, worth
from hornbeam.search.vote import as_text
from hornbeam.tree.nodes import Tree

Same = Callable[[Any], Hashable]  # answers are equal when their keys are


@dataclass(frozen=True, slots=True)
class Chooser:
    """How an answer is chosen: `pick(tree, candidates, same)`, and what of a tree it reads.

    That are columns, and the log-probs of what was sampled.
    """

    pick: Callable[[Tree, Sequence[int], Same], int | None]
    reads: tuple[str, ...] = ()
    logprobs: bool = False


def candidates(tree: Tree) -> list[int]:
    """Leaves where an episode ended with an answer, in order of (episode, step)."""
    ends = (i for i in tree.leaves() if tree.nodes[i].done and not failed(tree, i))
    return sorted(
        (i for i in ends if tree.nodes[i].answer is not None), key=lambda i: place(tree, i)
    )


def choose(tree: Tree, name: str, same: Same = as_text) -> int | None:
    """The leaf that the chooser of that name takes; raises `RecipeError` if there is none such."""
    return chooser(name).pick(tree, candidates(tree), same)


def chooser(name: str, base: Base = "", /, **settings: Any) -> Chooser:
    """The chooser of that name; raises `RecipeError` if there is none such.

    One's own is "file.py:name", its file in `base` (a recipe's folder) or here: a function of a
    tree and its candidates (and `same`, if it takes that), with settings, or a `Chooser`.
    """
    part = None if name in choosers else find_part("chooser", name, choosers, base)
    ready = choosers[name] if part is None else part.thing
    if part is None or isinstance(ready, Chooser):
        if settings:
            raise RecipeError(f"chooser {name!r} takes no settings, {min(settings)!r} is given")
        return ready  # type: ignore[no-any-return]
    return Chooser(OwnChoice(own_function(part, settings, ["tree", "leaves"], ["same"])))


@dataclass(frozen=True, slots=True)
class OwnChoice:
    """A choice by a function of one's own."""

    function: OwnFunction

    def __call__(self, tree: Tree, leaves: Sequence[int], same: Same = as_text) -> int | None:
        """The leaf that it takes. Raises `DataError` for what is none of these leaves."""
        found = self.function(tree, leaves, same=same)
        if found is None:
            return None
        if isinstance(found, bool) or found not in leaves:
            raise DataError(
                f"{self.function.part.where}, task {tree.task.get('id')!r}: one of the leaves"
                f" {list(leaves)} or None is expected, not {described(found)}"
            )
        return int(found)


# --- one leaf, one score --------------------------------------------------------------------------


def first(tree: Tree, leaves: Sequence[int], same: Same = as_text) -> int | None:
    """The first answer: a single pass."""
    return leaves[0] if leaves else None


def highest(tree: Tree, leaves: Sequence[int], column: str) -> int | None:
    """The leaf of the highest entry in a column: best-of-n."""
    return _largest(leaves, [worth(tree, i, column) for i in leaves])


def surest(
    tree: Tree, leaves: Sequence[int], join: Callable[[Sequence[float]], float], column: str
) -> int | None:
    """Best-of-n by all values of a path: the leaf of the highest `join` of those that there are."""
    paths = _values_of(tree, leaves, column)
    return _largest(leaves, [join(values) if values else None for values in paths])


def product(tree: Tree, leaves: Sequence[int], column: str) -> int | None:
    """Best-of-n by the product of the chances (v + 1)/2 of a path, as in `path_weights`."""
    return _largest(leaves, path_weights(tree, leaves, column))


def kept(tree: Tree, leaves: Sequence[int], column: str = "value") -> int | None:
    """The best value among the leaves that a beam or particle search kept last (column "kept").

    The best of all where it kept none that gave an answer.
    """
    stayed = [i for i in leaves if worth(tree, i, "kept")]
    return highest(tree, stayed or leaves, column)


def likeliest(tree: Tree, leaves: Sequence[int], mean: bool = False) -> int | None:
    """The leaf whose path has the highest log-likelihood."""
    return _largest(leaves, [likelihood(tree, i, mean) for i in leaves])


def down(tree: Tree, leaves: Sequence[int], column: str) -> int | None:
    """From the task down, each time to the child of the highest entry: "q" or "visits" of MCTS.

    Only children are walked below which there is a candidate.
    """
    open_: dict[int, list[int]] = {}  # node -> its children above candidates, in their order
    for leaf in leaves:
        i = leaf
        while i > 0:
            below = open_.setdefault(tree.nodes[i].parent, [])
            if i in below:
                break
            below.append(i)
            i = tree.nodes[i].parent
    at = 0
    while at in open_:
        below = sorted(open_[at], key=lambda i: place(tree, i))
        chosen = _largest(below, [worth(tree, i, column) for i in below])
        assert chosen is not None
        at = chosen
    return at or None


def _largest(nodes: Sequence[int], scores: Sequence[float | None]) -> int | None:
    """The node of the highest score, the first of equals; `None` is below all."""
    if not nodes:
        return None
    known = [-math.inf if score is None else score for score in scores]
    return nodes[known.index(max(known))]


# --- votes ----------------------------------------------------------------------------------------


def vote(
    tree: Tree, leaves: Sequence[int], weights: Sequence[float], same: Same = as_text
) -> int | None:
    """The first leaf of the answer with the largest sum of weights; then of the most leaves."""
    clusters: dict[Hashable, list[int]] = {}
    for k, leaf in enumerate(leaves):
        clusters.setdefault(same(tree.nodes[leaf].answer), []).append(k)
    if not clusters:
        return None
    won = max(clusters.values(), key=lambda ks: (math.fsum(weights[k] for k in ks), len(ks)))
    return leaves[won[0]]


def majority(tree: Tree, leaves: Sequence[int], same: Same = as_text) -> int | None:
    """The answer that most leaves gave (self-consistency, Wang et al. 2022)."""
    return vote(tree, leaves, [1.0] * len(leaves), same)


def prm_vote(
    tree: Tree, leaves: Sequence[int], same: Same = as_text, floor: float = FLOOR
) -> int | None:
    """Vote with weights `path_weights` of column "value" (METHODS 4)."""
    return vote(tree, leaves, path_weights(tree, leaves, "value", floor), same)


def orm_vote(tree: Tree, leaves: Sequence[int], same: Same = as_text) -> int | None:
    """Vote with weights `outcome_weight` of column "orm" (METHODS 4)."""
    return vote(tree, leaves, [outcome_weight(worth(tree, i, "orm")) for i in leaves], same)


def likelihood_vote(
    tree: Tree, leaves: Sequence[int], same: Same = as_text, mean: bool = False
) -> int | None:
    """Vote with weights exp(log-likelihood) of the paths, the largest taken as 1."""
    logs = [likelihood(tree, i, mean) for i in leaves]
    top = max(logs, default=0.0)
    return vote(tree, leaves, [math.exp(log - top) for log in logs], same)


def path_weights(
    tree: Tree, leaves: Sequence[int], column: str, floor: float = FLOOR
) -> list[float]:
    """prod_t max(floor, (v_t + 1)/2) over the steps of each path that have a value, up to scale.

    0 for a path where none has one. All are divided by one power of two, exactly, so that no path
    is so long that its weight vanishes.
    """
    products = [
        _product([chance(v, floor) for v in values]) for values in _values_of(tree, leaves, column)
    ]
    most = max((power for mantissa, power in products if mantissa), default=0)
    return [math.ldexp(mantissa, power - most) for mantissa, power in products]


def _values_of(tree: Tree, leaves: Sequence[int], column: str) -> list[list[float]]:
    """The values of each path, of the steps that have one."""
    return [[v for i in tree.path(k) if (v := worth(tree, i, column)) is not None] for k in leaves]


def _product(factors: Sequence[float]) -> tuple[float, int]:
    """(m, e): the product is m 2^e, as rounded as if e had no bounds; 0 of no factors."""
    mantissa, power = (1.0, 0) if factors else (0.0, 0)
    for factor in factors:
        mantissa, more = math.frexp(mantissa * factor)
        power += more
    return mantissa, power


def outcome_weight(value: float | None) -> float:
    """sigmoid(z) of a head fitted on outcomes, which tells v = 2 sigmoid(z) - 1; 0 for `None`."""
    return 0.0 if value is None else max(0.0, (value + 1) / 2)


def likelihood(tree: Tree, leaf: int, mean: bool = False) -> float:
    """Sum of the log-probs of all sampled tokens of the path, or their mean; nats.

    Raises `DataError` where an engine told none.
    """
    if lacks_logprobs(tree, leaf):
        name = tree.task.get("id")
        raise DataError(f"task {name!r}: its engine gives no log-probs: choose by something else")
    spoken = [x for i in tree.path(leaf) for x in tree.nodes[i].logprobs]
    total = math.fsum(spoken)
    return total / len(spoken) if mean and spoken else total


def lacks_logprobs(tree: Tree, leaf: int) -> bool:
    """Whether a step of the path was sampled by an engine that told no log-probs of it."""
    return any(tree.nodes[i].tokens and not tree.nodes[i].logprobs for i in tree.path(leaf))


choosers: dict[str, Chooser] = {
    "first": Chooser(first),
    "majority": Chooser(majority),
    "prm_vote": Chooser(prm_vote, ("value",)),
    "plain_prm_vote": Chooser(lambda t, leaves, same: prm_vote(t, leaves, same, 0.0), ("value",)),
    "orm_vote": Chooser(orm_vote, ("orm",)),
    "likelihood_vote": Chooser(likelihood_vote, logprobs=True),
    "mean_likelihood_vote": Chooser(
        lambda t, leaves, same: likelihood_vote(t, leaves, same, True), logprobs=True
    ),
    "best": Chooser(lambda t, leaves, _: highest(t, leaves, "value"), ("value",)),
    "best_orm": Chooser(lambda t, leaves, _: highest(t, leaves, "orm"), ("orm",)),
    "best_product": Chooser(lambda t, leaves, _: product(t, leaves, "value"), ("value",)),
    "best_min": Chooser(lambda t, leaves, _: surest(t, leaves, min, "value"), ("value",)),
    "best_mean": Chooser(lambda t, leaves, _: surest(t, leaves, fmean, "value"), ("value",)),
    "likelihood": Chooser(lambda t, leaves, _: likeliest(t, leaves), logprobs=True),
    "mean_likelihood": Chooser(lambda t, leaves, _: likeliest(t, leaves, True), logprobs=True),
    "kept": Chooser(lambda t, leaves, _: kept(t, leaves), ("value", "kept")),
    "kept_orm": Chooser(lambda t, leaves, _: kept(t, leaves, "orm"), ("orm", "kept")),
    "q": Chooser(lambda t, leaves, _: down(t, leaves, "q"), ("q",)),
    "visits": Chooser(lambda t, leaves, _: down(t, leaves, "visits"), ("visits",)),
}
