"""Credit over trees: group them by task, call a method, write the columns.

Columns written, one entry a node: `advantage` (leaf: its path's; node methods write inner nodes
too, scope methods the ends of delegations), `advantage_pos` and `advantage_neg` (sums of max(A, 0)
and min(A, 0) over the leaves below, unweighted), `leaves` (how many leaves below carry an
advantage). Scope methods alone write `mass`; where it stands, a delegation's nodes are trained with
the advantage at its end.

Read: column `reward` at leaves, by scope methods at the ends of delegations too, and rewards of
steps (step_rewards). A leaf without reward (a failed episode) counts nowhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from hornbeam.arguments import described, finite
from hornbeam.credit.baselines import equal
from hornbeam.credit.methods import methods
from hornbeam.credit.own_baseline import own_baseline
from hornbeam.credit.returns import below, counts
from hornbeam.credit.scoped import sums
from hornbeam.credit.step_rewards import earned, is_step, path_returns
from hornbeam.errors import ArgumentError, DataError
from hornbeam.own.own_classes import subclass
from hornbeam.own.own_parts import Base, find_part
from hornbeam.protocols import CreditMethod, Leaf, Method, NodeMethod, PathMethod, ScopeMethod
from hornbeam.settings import build
from hornbeam.tree.nodes import Column, Tree


def method(name: str, base: Base = "", /, **settings: Any) -> Method:
    """The credit method of that name with these settings; `RecipeError` if there is none such.

    One's own is "file.py:name", its file in `base` (a recipe's folder) or here: a class, or a
    function of the outcomes of a group (`OwnBaseline`).
    """
    if name in methods:
        return build("credit method", methods, name, settings)
    part = find_part("credit method", name, methods, base)
    if isinstance(part.thing, type):
        own: dict[str, type[Method]] = {name: subclass(part, get_args(Method))}
        return build("credit method", own, name, settings)
    return own_baseline(part, settings)


def credit(trees: Sequence[Tree], how: str | Method, /, **settings: Any) -> None:
    """Write the columns of this head into every tree; trees of one task id form one group.

    `how` is a method or its name, then `settings` are its own. Nothing is written unless all can
    be. A tree none of whose leaves has a reward stays without advantage. Raises `DataError` naming
    the task of a tree that was never scored (`outcome`).
    """
    chosen = method(how, **settings) if isinstance(how, str) else how
    outs = [path_returns(tree, outcome(tree), chosen) for tree in trees]
    groups = list(by_task(trees).values())
    for group in groups:
        chosen.check([trees[t] for t in group])
    try:
        if isinstance(chosen, NodeMethod):
            written = _by_node(trees, outs, groups, chosen)
        elif isinstance(chosen, ScopeMethod):
            written = _by_scope(trees, outs, groups, chosen)
        else:
            written = _by_path(trees, outs, groups, chosen)
    except OverflowError as error:
        raise DataError("column 'reward': values too large to add; scale them down") from error
    for tree, columns in zip(trees, written):
        tree.columns.pop("mass", None)  # another method's would be read with this one's advantage
        tree.columns.update(columns)


def by_task(trees: Sequence[Tree]) -> dict[str, list[int]]:
    """Indices of the trees of each task, in order; keyed by the task id as JSON."""
    groups: dict[str, list[int]] = {}
    for i, tree in enumerate(trees):
        groups.setdefault(json.dumps(tree.task["id"], sort_keys=True), []).append(i)
    return groups


def outcome(tree: Tree) -> Column:
    """The reward at each leaf that has one, `None` elsewhere; entries at inner nodes are not read.

    Raises `DataError` where there is no column `reward`, or one that speaks at inner nodes of the
    main agent only.
    """
    name = tree.task.get("id")
    if "reward" not in tree.columns:
        raise DataError(f"task {name!r}: no column 'reward': score the tree before crediting it")
    reward = tree.columns["reward"]
    out: Column = [None] * len(tree)
    for leaf in tree.leaves():
        value = reward[leaf]
        if value is not None and not math.isfinite(value):
            raise DataError(f"task {name!r}, node {leaf}: reward {value!r} is not a finite number")
        out[leaf] = value
    inner = ((i, value) for i, value in enumerate(reward) if not tree.nodes[i].scope)
    astray = next((i for i, value in inner if value is not None), None)
    if astray is not None and all(value is None for value in out):
        raise DataError(
            f"task {name!r}: node {astray} has a 'reward' but no leaf has: put it there"
        )
    return out


def _by_path(
    trees: Sequence[Tree], outs: Sequence[Column], groups: list[list[int]], how: PathMethod
) -> list[dict[str, Column]]:
    """The columns of a path method: one advantage a leaf, summed upwards."""
    leaves = [
        [leaf for t in group for leaf in _leaves(t, trees[t], outs[t], how)] for group in groups
    ]
    advantage: list[Column] = [[None] * len(tree) for tree in trees]
    for group, values in zip(leaves, _sized(how, leaves, how.advantages(leaves))):
        for leaf, value in zip(group, values):
            advantage[leaf.tree][leaf.node] = value
    return [
        {
            "advantage": own,
            "advantage_pos": [*below(tree, [max(a or 0.0, 0.0) for a in own])],
            "advantage_neg": [*below(tree, [min(a or 0.0, 0.0) for a in own])],
            "leaves": [*counts(tree, out)],
        }
        for tree, out, own in zip(trees, outs, advantage)
    ]


def _sized(how: Method, groups: Sequence[Sequence[Leaf]], found: Any) -> list[list[float]]:
    """What a path method gave: one finite number a leaf. Raises `DataError` for all else."""
    if len(_listed(how, found)) != len(groups):
        raise DataError(f"{_said(how)}: {len(found)} lists for {len(groups)} groups of leaves")
    for leaves, values in zip(groups, found):
        if len(_listed(how, values)) != len(leaves):
            raise DataError(
                f"{_said(how)}: {len(values)} advantages for a group of {len(leaves)} leaves"
            )
    return [[_number(how, value) or 0.0 for value in values] for values in found]


def _fit(how: Method, tree: Tree, column: Any) -> Column:
    """What a method gave as a column of this tree. Raises `DataError` for all else."""
    if len(_listed(how, column)) != len(tree):
        raise DataError(
            f"{_said(how)}, task {tree.task.get('id')!r}: a column of {len(column)} entries for"
            f" {len(tree)} nodes"
        )
    return [_number(how, value) for value in column]


def _listed(how: Method, found: Any) -> Sequence[Any]:
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise DataError(f"{_said(how)}: a list is expected, not {described(found)}")
    return found


def _number(how: Method, value: Any) -> float | None:
    try:
        return finite(value)
    except ArgumentError as error:
        raise DataError(f"{_said(how)}: {error}") from error


def _said(how: Method) -> str:
    return f"credit {getattr(how, 'name', type(how).__name__)}"


def _leaves(index: int, tree: Tree, out: Column, how: PathMethod) -> list[Leaf]:
    """The scored leaves of one tree; the trunk of every node in one pass, parents first."""
    columns = [part_of(tree, name, out, how) for name in how.parts]
    trunk = list(range(len(tree)))
    for i, node in enumerate(tree.nodes):
        if node.parent > 0:
            trunk[i] = trunk[node.parent]
    prior = tree.columns.get("prior", [None])[0]
    scored = [(i, reward) for i, reward in enumerate(out) if reward is not None]
    return [
        Leaf(index, i, trunk[i], reward, prior, tuple(column[i] for column in columns))
        for i, reward in scored
    ]


def part_of(tree: Tree, name: str, out: Column, how: CreditMethod) -> Column:
    """A column that is read at scored leaves; one of rewards of steps as sums over the path."""
    if is_step(name):
        return [*earned(tree, tree.columns.get(name), how.discount)]
    where = f"task {tree.task.get('id')!r}"
    if name not in tree.columns:
        known = ", ".join(sorted(tree.columns))
        raise DataError(f"{where}: no column {name!r} to credit by; it has {known}")
    column = tree.columns[name]
    for i, reward in enumerate(out):
        value = column[i]
        if reward is not None and value is not None and not math.isfinite(value):
            raise DataError(f"{where}, node {i}: {name} {value!r} is not a finite number")
    return column


def _by_node(
    trees: Sequence[Tree], outs: Sequence[Column], groups: list[list[int]], how: NodeMethod
) -> list[dict[str, Column]]:
    """The columns of a node method: a node's credit counts once for each leaf below it."""
    written: list[dict[str, Column]] = [{} for _ in trees]
    for group in groups:
        columns = how.credits([trees[t] for t in group], [outs[t] for t in group])
        for t, given in zip(group, _listed(how, columns)):
            own = _fit(how, trees[t], given)
            many = counts(trees[t], outs[t])
            written[t] = {
                "advantage": own,
                "advantage_pos": [n * max(a or 0.0, 0.0) for n, a in zip(many, own)],
                "advantage_neg": [n * min(a or 0.0, 0.0) for n, a in zip(many, own)],
                "leaves": [*many],
            }
    return written


def _by_scope(
    trees: Sequence[Tree], outs: Sequence[Column], groups: list[list[int]], how: ScopeMethod
) -> list[dict[str, Column]]:
    """The columns of a scope method: one advantage a delegation and one a leaf."""
    written: list[dict[str, Column]] = [{} for _ in trees]
    for group in groups:
        columns = how.credits([trees[t] for t in group], [outs[t] for t in group])
        for t, (given, share) in zip(group, _listed(how, columns)):
            advantage, mass = (_fit(how, trees[t], column) for column in (given, share))
            own = {"advantage": advantage, **sums(trees[t], outs[t], advantage)}
            written[t] = {**own, "mass": mass}
    return written


def _told_apart_by(tree: Tree, name: str, how: CreditMethod | None) -> Column:
    """What a column says of leaves, for a method as it reads it."""
    column = tree.columns.get(name) or [None] * len(tree)
    if how is None:
        return column
    if is_step(name):
        return [*earned(tree, tree.columns.get(name), how.discount)]
    return path_returns(tree, column, how) if name == "reward" and not how.parts else column


@dataclass(frozen=True, slots=True)
class Mixed:
    """How many groups can teach: outcomes differ (`mixed`), agree, or are missing altogether."""

    mixed: int
    unmixed: int
    unscored: int


def mixed(trees: Sequence[Tree], how: CreditMethod | None = None) -> Mixed:
    """Counts of groups by whether their scored leaves differ; raises nothing on unscored trees.

    They differ in the outcome, or in what the method `how` reads: its parts, returns of paths.
    """
    kinds = []
    for group in by_task(trees).values():
        own = [trees[t] for t in group]
        rewards: list[list[float]] = []
        for name in (how.parts if how else ()) or ("reward",):
            rewards.append([])
            for tree in own:
                reward = tree.columns.get("reward") or [None] * len(tree)
                column = _told_apart_by(tree, name, how)
                there = [leaf for leaf in tree.leaves() if reward[leaf] is not None]
                rewards[-1] += [value for i in there if (value := column[i]) is not None]
        same = all(map(equal, rewards))
        kinds.append("unmixed" if same and any(rewards) else "unscored" if same else "mixed")
    return Mixed(*(kinds.count(kind) for kind in ("mixed", "unmixed", "unscored")))
