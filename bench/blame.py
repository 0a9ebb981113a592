"""Which step lost a run: blame against uniform Monte-Carlo labels, on worlds with a planted step.

A planted run of T steps failed at step k, drawn: before it a new run from any position succeeds
with chance a, behind it with chance b. Every step takes 20 to 80 tokens, forks take their own.
Blame spends by default settings, with a cap and a confidence of 0.99 for the curves (it stops where
it is sure), and with one fork at a time in place of up to four; its answer at a budget is the
likeliest step.
Uniform labels take n whole runs from every position, and the largest drop of the shares (ties are
drawn); `uniform, read by the posterior` shows how much of the gain is the reading alone. A ratio is
uniform tokens over blame's mean tokens at the same share found, 95 % bootstrap over runs.

    python bench/blame.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import hornbeam as hb
from hornbeam.blame import BlameSettings, DropSearch, ForkOutcome, Step, blame_run
from hornbeam.blame.posterior import Levels
from hornbeam.grow.grower import Grower
from hornbeam.score.function_scorer import FunctionScorer
from hornbeam.stats import wilson
from hornbeam.store.keys import TreeKey
from hornbeam.tree.task import Task

DEPTHS, RATES = (4, 8, 16, 32), (0.05, 0.1, 0.2, 0.4, 0.6, 0.9)
SHARES = (0.5, 0.7, 0.8, 0.9, 0.95)
BUDGETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # in whole runs' tokens
FORKS, UNIFORM = 512, (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
SETTINGS = BlameSettings(forks=FORKS, confidence=0.99)
ALONE = BlameSettings(forks=FORKS, confidence=0.99, batch=1)
SEEDS = (0, 1, 2, 3, 4)


@dataclass(slots=True)
class Planted:
    """One run with its planted step; what forks of it come to."""

    values: list[float]
    step: int
    rng: Random
    tokens: list[int]

    @classmethod
    def draw(cls, depth: int, before: float, seed: int, number: int, k: int = 0) -> Planted:
        """Step k decides (drawn, if 0); half of the worlds leave a tenth of the chance behind."""
        rng = Random(f"{seed}:{number}:{depth}:{before}")
        step = k or rng.randint(1, depth)
        after = rng.choice([0.0, before / 10])
        values = [before] * step + [after] * (depth - step) + [0.0]
        return cls(values[: depth + 1], step, rng, [rng.randint(20, 80) for _ in range(depth)])

    def fork(self, position: int) -> ForkOutcome:
        """A new run from a position."""
        spent = sum(self.rng.randint(20, 80) for _ in self.tokens[position:])
        return ForkOutcome(float(self.rng.random() < self.values[position]), spent)


def searched(run: Planted, settings: BlameSettings, seed: int) -> tuple[list[Any], DropSearch]:
    """(tokens, likeliest step) after every batch, and the search at its end."""
    steps = [Step(tokens=n) for n in run.tokens]
    search = DropSearch(steps, settings, seed=seed)
    trace = [(0, 1 + int(np.argmax(search.posterior.chances[1:])))]
    while positions := search.ask():
        for position in positions:
            search.tell(position, run.fork(position))
        trace.append((search.tokens, 1 + int(np.argmax(search.posterior.chances[1:]))))
    return trace, search


def uniform(run: Planted, most: Sequence[int]) -> list[tuple[int, float, float, int]]:
    """(tokens, share of exact answers and of those within one over ties, by the posterior)."""
    depth, rows = len(run.tokens), []
    won, tokens, done = np.zeros(depth + 1), 0, 0
    levels = Levels(depth, SETTINGS.tolerance, SETTINGS.drift)
    for n in most:
        for position in range(depth):
            for _ in range(done, n):
                fork = run.fork(position)
                won[position] += fork.success or 0.0
                tokens += fork.tokens
                levels.add(position, fork.success or 0.0)
        done = n
        share = won / n
        drops = share[:-1] - share[1:]
        best = 1 + np.flatnonzero(drops >= drops.max() - 1e-12)
        near = float(np.mean(np.abs(best - run.step) <= 1))
        read = 1 + int(np.argmax(levels.posterior().chances[1:]))
        rows.append((tokens, float(np.mean(best == run.step)), near, int(read == run.step)))
    return rows


def whole(depth: int) -> float:
    """Tokens of a whole run, expected."""
    return 50.0 * depth


def curve_of(traces: Sequence[tuple[int, list[Any]]], depth: int) -> list[list[tuple[float, int]]]:
    """For every run and budget: (tokens spent by then, how far the answer is off)."""
    out = []
    for step, trace in traces:
        row = []
        for budget in BUDGETS:
            tokens, answer = [t for t in trace if t[0] <= budget * whole(depth)][-1]
            row.append((float(tokens), abs(answer - step)))
        out.append(row)
    return out


def shares_of(curve: list[list[tuple[float, int]]]) -> tuple[np.ndarray, np.ndarray]:
    """[runs, points, 2] of tokens and exact; [points] of the share within one."""
    spent = np.array(curve)
    exact = np.stack([spent[:, :, 0], spent[:, :, 1] == 0], axis=2)
    return exact, (spent[:, :, 1] <= 1).mean(axis=0)


def points(
    name: str, at: Sequence[int], exact: np.ndarray, near: np.ndarray | None
) -> list[dict[str, float]]:
    """A curve as rows."""
    rows = [
        {name: where, "tokens": round(t), "exact": round(s, 3)}
        for where, (t, s) in zip(at, means(exact))
    ]
    for row, part in zip(rows, () if near is None else near):
        row["within one"] = round(float(part), 3)
    return rows


def at_share(curve: Sequence[tuple[float, float]], share: float) -> float | None:
    """Tokens at which a curve of (mean tokens, share found) first gets to a share, by lines."""
    last = (0.0, 0.0)
    for tokens, found in curve:
        if found >= share:
            if found == last[1]:
                return tokens
            part = (share - last[1]) / (found - last[1])
            return last[0] + max(0.0, part) * (tokens - last[0])
        last = (tokens, max(found, last[1]))
    return None


def means(rows: np.ndarray) -> list[tuple[float, float]]:
    """[runs, points, 2] to (mean tokens, mean share) a point."""
    return [(float(t), float(s)) for t, s in rows.mean(axis=0)]


def ratios(blame: np.ndarray, other: np.ndarray, draws: int = 300) -> dict[str, Any]:
    """Tokens of the other over blame's at each share that both reach, with an interval."""
    rng, out = np.random.default_rng(0), {}
    for share in SHARES:
        ours, theirs = at_share(means(blame), share), at_share(means(other), share)
        if not ours or not theirs:
            out[str(share)] = {"blame": ours, "uniform": theirs, "ratio": None}
            continue
        drawn = []
        for _ in range(draws):
            pick = rng.integers(len(blame), size=len(blame))
            a, b = at_share(means(blame[pick]), share), at_share(means(other[pick]), share)
            if a and b:
                drawn.append(b / a)
        low, high = np.quantile(drawn, [0.025, 0.975])
        out[str(share)] = {
            "blame": round(ours),
            "uniform": round(theirs),
            "ratio": round(theirs / ours, 2),
            "interval": [round(float(low), 2), round(float(high), 2)],
        }
    return out


def cell(depth: int, rate: float, runs: int) -> dict[str, Any]:
    """One depth and success rate: curves, ratios, guesses, and what default settings say."""
    traces, alone, flat, read, said = [], [], [], [], []
    for seed in SEEDS:
        for number in range(runs):
            run = Planted.draw(depth, rate, seed, number)
            traces.append((run.step, searched(run, SETTINGS, seed)[0]))
            alone.append(
                (run.step, searched(Planted.draw(depth, rate, seed, number), ALONE, seed)[0])
            )
            rows = uniform(Planted.draw(depth, rate, seed, number), UNIFORM)
            flat.append([(t, exact, near) for t, exact, near, _ in rows])
            read.append([(t, by) for t, _, _, by in rows])
            _, plain = searched(Planted.draw(depth, rate, seed, number), BlameSettings(), seed)
            guess = 1 + int(np.argmax(plain.posterior.chances[1:]))
            said.append((plain.state(), abs(guess - run.step), len(plain.told), plain.tokens))
    (exact, near), (one, one_near) = (shares_of(curve_of(t, depth)) for t in (traces, alone))
    plain_labels, labels_near = np.array(flat)[:, :, :2], np.array(flat)[:, :, 2].mean(axis=0)
    by = np.array(read)
    found = [row for row in said if row[0] == "found"]
    count = len(said)
    return {
        "depth": depth,
        "rate": rate,
        "runs": count,
        "blame": points("runs' tokens", BUDGETS, exact, near),
        "blame, one fork at a time": points("runs' tokens", BUDGETS, one, one_near),
        "uniform": points("forks a step", UNIFORM, plain_labels, labels_near),
        "uniform read by the posterior": points("forks a step", UNIFORM, by, None),
        "ratio to uniform": ratios(exact, plain_labels),
        "ratio to uniform, one fork at a time": ratios(one, plain_labels),
        "ratio to uniform read by the posterior, one fork at a time": ratios(one, by),
        "last step": round(float(np.mean([step == depth for step, _ in traces])), 3),
        "random step": round(1 / depth, 3),
        "default settings": {
            "exact": share([row[1] == 0 for row in said]),
            "within one": share([row[1] <= 1 for row in said]),
            "found": share([row[0] == "found" for row in said]),
            "found, and another step": share([row[1] > 0 for row in found]) if found else None,
            "forks": round(sum(row[2] for row in said) / count, 1),
            "tokens": round(sum(row[3] for row in said) / count),
        },
    }


def share(values: Sequence[bool]) -> list[float]:
    """A share with Wilson's interval."""
    part = sum(values) / len(values)
    return [round(v, 3) for v in (part, *wilson(part, len(values)))]


# --- worlds where no step is to blame, or not one -------------------------------------------------


def honest(runs: int) -> dict[str, Any]:
    """What default settings say where no chance was there, and where it slid away evenly."""
    out = {}
    for depth in DEPTHS:
        shapes = {
            "no chance from the start": [0.0] * (depth + 1),
            "sliding from 0.8 to 0": [0.8 * (1 - t / depth) for t in range(depth + 1)],
            "two equal drops": [
                0.8 - 0.4 * (t >= depth // 4) - 0.4 * (t >= depth // 2) for t in range(depth + 1)
            ],
        }
        for name, values in shapes.items():
            states: dict[str, int] = {}
            forks = 0
            for number in range(runs):
                rng = Random(f"{name}:{depth}:{number}")
                run = Planted(values, 1, rng, [rng.randint(20, 80) for _ in range(depth)])
                _, search = searched(run, BlameSettings(), number)
                states[search.state()] = states.get(search.state(), 0) + 1
                forks += len(search.told)
            row = {state: round(n / runs, 3) for state, n in sorted(states.items())}
            out[f"{name}, {depth} steps"] = {**row, "forks": round(forks / runs, 1), "runs": runs}
    return out


# --- the growth itself ----------------------------------------------------------------------------


def real(depth: int, rate: float, seed: int) -> tuple[int, int | None, int, int, int]:
    """A program grown and its failed run blamed: (planted, found, likeliest, forks, tokens)."""
    step = Random(f"{depth}:{rate}:{seed}").randint(1, depth)

    async def walk(task: Task, ep: hb.Episode) -> list[str]:
        said: list[str] = []
        for turn in range(depth):
            prompt = f"{'decide' if turn == step - 1 else 'go on'} after {','.join(said)}"
            said.append((await ep.ask("walker", [hb.user(prompt)])).text)
        return said

    def say(prompt: str, rng: Random) -> str:
        if "decide" in prompt.rpartition("user")[2] or prompt.rfind("decide") > prompt.rfind(
            "go on"
        ):
            return "bad" if rng.random() >= rate else "good"
        return rng.choice(["left", "right", "straight on"])

    scorer = FunctionScorer(lambda task, answer: float("bad" not in answer))
    who = {"walker": hb.Speaker(hb.Scripted(say))}
    grower = Grower(walk, who, hb.Independent(n=64), scorer)
    key, start = TreeKey("bench", 0, 0), hb.Tree(Task("t", "?").to_json(), seed=seed)

    async def both() -> tuple[int, int | None, int, int, int]:
        tree = await grower.grow(key, start)
        leaf = next(i for i in tree.leaves() if tree.columns["reward"][i] == 0)
        found, _ = await blame_run(grower, key, tree, leaf)
        return step, found.step, found.likeliest, found.forks, found.tokens

    return asyncio.run(both())


def grown(runs: int) -> list[dict[str, Any]]:
    """The same through programs, replay and growth, on a smaller grid."""
    rows = []
    for depth in (4, 8, 16):
        for rate in (0.2, 0.5, 0.8):
            made = [real(depth, rate, seed) for seed in range(runs)]
            rows.append(
                {
                    "depth": depth,
                    "rate": rate,
                    "runs": runs,
                    "exact": share([row[2] == row[0] for row in made]),
                    "found": share([row[1] is not None for row in made]),
                    "found, and another step": sum(
                        row[1] is not None and row[1] != row[0] for row in made
                    ),
                    "forks": round(sum(row[3] for row in made) / runs, 1),
                    "tokens": round(sum(row[4] for row in made) / runs),
                }
            )
    return rows


def pooled(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Ratios over all cells: median, least, most, and in how many it is at least 4."""
    out = {}
    kinds = [name for name in cells[0] if name.startswith("ratio")]
    for against, depth, want in product(kinds, (*DEPTHS, 0), SHARES):
        rows = [c[against][str(want)]["ratio"] for c in cells if depth in (c["depth"], 0)]
        found = [ratio for ratio in rows if ratio is not None]
        if found:
            where = f"{depth} steps" if depth else "all"
            out[f"{against}, {where}, share {want}"] = {
                "cells": len(found),
                "median": round(float(np.median(found)), 2),
                "least": min(found),
                "most": max(found),
                "at least 4": sum(r >= 4 for r in found),
            }
    return out


def main() -> None:
    """Print tables, write JSON."""
    parser = argparse.ArgumentParser(description="Blame against uniform labels.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    runs, began = 2 if given.quick else 16, time.perf_counter()
    cells = []
    for depth in DEPTHS:
        for rate in RATES:
            cells.append(made := cell(depth, rate, runs))
            plain = made["default settings"]
            ratio = made["ratio to uniform, one fork at a time"]
            told = {s: r["ratio"] for s, r in ratio.items()}
            print(
                f"{depth:2} steps, rate {rate:.2f}: exact {plain['exact']}, within one"
                f" {plain['within one']}, {plain['forks']} forks; uniform tokens / ours {told}"
                f"  ({time.perf_counter() - began:.0f} s)",
                flush=True,
            )
    result = {
        "command": "python bench/blame.py --json docs/results/blame.json",
        "python": platform.python_version(),
        "settings": SETTINGS.model_dump(),
        "seeds": list(SEEDS),
        "pooled": pooled(cells),
        "no step": honest(5 if given.quick else 100),
        "grown": grown(3 if given.quick else 20),
        "cells": cells,
    }
    for name in ("pooled", "no step", "grown"):
        print(name, json.dumps(result[name], indent=1))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
