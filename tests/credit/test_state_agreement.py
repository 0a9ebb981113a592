"""Credit from states against the published codes' arithmetic on random batches, to 1e-6.

Typed anew from the papers and from what those codes compute, row by row, a row a step of a chain:
GiGPO and HGPO as verl-agent does (its functions of GiGPO and of the HGPO recipe, commit 20bd331),
RTMC by its paper's equations, whose authors have published no code that we know of. What differs:

- they add 1e-6 to each std (and HGPO's code to the sum of weights), we add nothing: the references
  here take `eps`, and with theirs the difference is told by the last test;
- a group of one rollout has its bare reward there, and 0 here: batches have two at least;
- they compute in float32.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean, pstdev, stdev

import pytest

from hornbeam.credit import credit
from hornbeam.tree.nodes import Column, Node, StepReward, Tree

BATCHES = range(30)


@dataclass(frozen=True, slots=True)
class Row:
    """A step: its task, its rollout, its place there, what it saw, did and was given."""

    task: int
    rollout: int
    step: int
    state: str
    action: str
    reward: float


def batch(seed: int, inner: bool = True) -> list[list[Row]]:
    """Rollouts of two tasks that meet in few states; with `inner` steps are rewarded too."""
    rng, out = Random(seed), []
    for task in (0, 1):
        for rollout in range(rng.randint(2, 6)):
            rows = []
            for step in range(steps := rng.randint(1, 6)):
                last = step == steps - 1
                given = (
                    rng.choice([0.0, 1.0, 0.5, -0.2])
                    if last or (inner and rng.random() < 0.3)
                    else 0.0
                )
                rows.append(Row(task, rollout, step, rng.choice("abc"), rng.choice("xy"), given))
            out.append(rows)
    return out


def trees(rollouts: Sequence[Sequence[Row]]) -> list[Tree]:
    """One tree a rollout; the last reward is its outcome, the others are given as it runs."""
    out = []
    for rows in rollouts:
        nodes, reward = [Node(-1)], [None] * len(rows) + [rows[-1].reward]
        for row in rows:
            given = () if row is rows[-1] or not row.reward else (StepReward(row.reward),)
            nodes.append(Node(row.step, state=row.state, text=row.action, rewards=given))
        out.append(Tree({"id": rows[0].task}, nodes, {"reward": reward}))
    return out


def ours(rollouts: Sequence[Sequence[Row]], name: str, **settings: object) -> list[list[float]]:
    given = trees(rollouts)
    credit(given, name, **settings)
    columns: list[Column] = [tree.columns["advantage"][1:] for tree in given]
    return [[value or 0.0 for value in column] for column in columns]


def returns(rows: Sequence[Row], gamma: float) -> list[float]:
    """Discounted returns of one trajectory, from its end."""
    out, running = [], 0.0
    for row in reversed(rows):
        running = row.reward + gamma * running
        out.append(running)
    return out[::-1]


def normed(values: dict[Hashable, list[float]], std: bool, eps: float) -> dict[Hashable, tuple]:
    """(mean, what is divided by) of every group; one of one row has its mean and 1."""
    out: dict[Hashable, tuple] = {}
    for key, group in values.items():
        spread = stdev(group) + eps if std and len(group) > 1 else 1.0
        out[key] = (fmean(group), spread or 1.0)
    return out


def gigpo(
    rollouts: Sequence[Sequence[Row]], gamma: float, weight: float, std: bool, eps: float = 0.0
) -> list[list[float]]:
    """episode_norm_reward + step_advantage_w * step_norm_reward."""
    whole, steps = defaultdict(list), defaultdict(list)
    for rows in rollouts:
        whole[rows[0].task].append(sum(row.reward for row in rows))
        for row, value in zip(rows, returns(rows, gamma)):
            steps[row.task, row.state].append(value)
    episode, step, out = normed(whole, std, eps), normed(steps, std, eps), []
    for rows in rollouts:
        mean, spread = episode[rows[0].task]
        first = (sum(row.reward for row in rows) - mean) / spread
        out.append([])
        for row, value in zip(rows, returns(rows, gamma)):
            m, s = step[row.task, row.state]
            out[-1].append(first + weight * (value - m) / s)
    return out


def hgpo(
    rollouts: Sequence[Sequence[Row]], gamma: float, history: int, alpha: float, std: bool
) -> list[list[float]]:
    """hgpo_advantage_estimate without base_group: by the last k states, k <= history + 1."""
    groups = defaultdict(list)
    for n, rows in enumerate(rollouts):
        states, values = [row.state for row in rows], returns(rows, gamma)
        for t in range(len(rows)):
            for k in range(1, min(history + 1, t + 1) + 1):
                groups[rows[0].task, k, tuple(states[t - k + 1 : t + 1])].append((n, t, values[t]))
    items = defaultdict(list)
    for (_, k, _), members in groups.items():
        if len(members) > 1:
            values = [value for _, _, value in members]
            spread = (pstdev(values) or 1.0) if std else 1.0
            for n, t, value in members:
                items[n, t].append((k, (value - fmean(values)) / spread))
    out = []
    for n, rows in enumerate(rollouts):
        out.append([])
        for t in range(len(rows)):
            valid = [((k + 1) ** alpha, a) for k, a in items[n, t] if abs(a) > 1e-12]
            over = sum(w for w, _ in valid)
            out[-1].append(sum(w * a for w, a in valid) / over if valid else 0.0)
    return out


def rtmc(
    rollouts: Sequence[Sequence[Row]], gamma: float, n0: float, scale: bool
) -> list[list[float]]:
    """Q(s, a) - V'(s) of first visits, V' smoothed toward the group's mean outcome."""
    out = []
    for task in (0, 1):
        own = [rows for rows in rollouts if rows[0].task == task]
        q, v = defaultdict(list), defaultdict(list)
        for rows in own:
            seen = set()
            for row, value in zip(rows, returns(rows, gamma)):
                if (row.state, row.action) not in seen:
                    seen.add((row.state, row.action))
                    q[row.state, row.action].append(value)
                    v[row.state].append(value)
        prior = fmean(rows[-1].reward for rows in own)
        found = [
            [
                fmean(q[row.state, row.action])
                - (sum(v[row.state]) + n0 * prior) / (len(v[row.state]) + n0)
                for row in rows
            ]
            for rows in own
        ]
        spread = pstdev([a for rows in found for a in rows]) if scale else 0.0
        out += [[a / (spread if spread > 1e-8 else 1.0) for a in rows] for rows in found]
    return out


def same(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> None:
    assert [len(rows) for rows in one] == [len(rows) for rows in other]
    for a, b in zip(one, other):
        assert a == pytest.approx(b, abs=1e-6)


@pytest.mark.parametrize("gamma, weight", [(1.0, 1.0), (0.95, 0.5)])
@pytest.mark.parametrize("std", [True, False])
def test_gigpo_agrees(gamma: float, weight: float, std: bool) -> None:
    for seed in BATCHES:
        rollouts = batch(seed)
        how = {"gamma": gamma, "weight": weight, "std": "sample" if std else "none"}
        same(ours(rollouts, "gigpo", **how), gigpo(rollouts, gamma, weight, std))


@pytest.mark.parametrize("gamma, history, alpha", [(1.0, 2, 1.0), (0.95, 4, 0.5), (0.9, 0, 1.0)])
@pytest.mark.parametrize("std", [True, False])
def test_hgpo_agrees(gamma: float, history: int, alpha: float, std: bool) -> None:
    for seed in BATCHES:
        rollouts = batch(seed)
        how = {"history": history, "alpha": alpha, "std": "population" if std else "none"}
        same(ours(rollouts, "hgpo", gamma=gamma, **how), hgpo(rollouts, gamma, history, alpha, std))


@pytest.mark.parametrize("gamma, n0", [(0.99, 2.0), (1.0, 0.0)])
@pytest.mark.parametrize("scale", [True, False])
def test_rtmc_agrees(gamma: float, n0: float, scale: bool) -> None:
    for seed in BATCHES:
        rollouts = batch(seed, inner=False)
        how = {"gamma": gamma, "n0": n0, "scale": "group" if scale else "none"}
        same(ours(rollouts, "rtmc", **how), rtmc(rollouts, gamma, n0, scale))


def test_their_epsilon_is_the_difference() -> None:
    """1e-6 on a std of 0.1 and more moves an advantage by less than 1e-5 of itself, and by some."""
    moved = 0.0
    for seed in BATCHES:
        rollouts = batch(seed)
        exact, theirs = ours(rollouts, "gigpo"), gigpo(rollouts, 1.0, 1.0, True, 1e-6)
        for a, b in zip(exact, theirs):
            assert b == pytest.approx(a, rel=1e-4, abs=1e-4)
            moved = max(moved, *(abs(x - y) for x, y in zip(a, b)))
    assert moved > 1e-7
