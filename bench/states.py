"""Credit from states against credit of whole rollouts and of trees, at equal sampled tokens.

    OMP_NUM_THREADS=1 python bench/states.py [--budget TOKENS] [--seeds 0 1 ... 9]
        [--arms NAME ...] [--json FILE]

A tiny model learns the world of states_world.py by bench/states.toml. For each seed all arms begin
with the same warm-started weights and take the same tasks in the same order; weights, the ring and
draws differ from seed to seed. `tree_grpo` grows trees of as many leaves, the others rollouts. Each
learns until as many tokens were sampled.

The learning rate was chosen on seeds 1000 and 1001 for `grpo` (mean up to 20,000 tokens: none moved
at 1e-3 within 8,000, 39 % at 3e-3, 19 % at 6e-3).

Prints for every arm the share of the walks grown that reach the goal, at the budget and in the mean
up to there (by straight lines between steps), and the greedy accuracy on walks held out at the end;
with the paired difference to `grpo` (Student's t, 95 %), seeds ahead, and the
difference that so many seeds could tell from 0 with a power of 80 %. `--json` adds seeds to those
that are in the file; the table is of all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arms import at, height
from hornbeam.assembly.task_order import task_at
from hornbeam.credit import credit
from hornbeam.store.ledger import Entry
from paired_arms import compared, say
from tree_vs_independent import Side as TinySide

RECIPE = Path(__file__).with_suffix(".toml")
BUDGET = 40_000
TREE = 'grow={strategy="branch", trunks=2, nodes=3, rounds=1}'
ARMS = {
    "grpo": ['credit={method="grpo"}'],
    "tree_grpo": ['credit={method="tree_grpo"}', TREE],
    "gigpo": ['credit={method="gigpo", gamma=0.9}'],
    "hgpo": ['credit={method="hgpo", gamma=0.9}'],
    "rtmc": ['credit={method="rtmc", gamma=0.9, scale="group"}'],
    "state_gae": ['credit={method="state_gae", gamma=0.9}'],
    "gigpo, n0 = 4": ['credit={method="gigpo", gamma=0.9, n0=4}'],
}
MEASURES = ("at the budget", "mean height", "greedy, held out")
Json = dict[str, Any]


class Side(TinySide):
    """One arm on one seed."""

    def __init__(self, seed: int, arm: str, folder: Path) -> None:
        from hornbeam.assembly.loading import load_policies
        from hornbeam.assembly.plan import plan
        from hornbeam.assembly.world import World
        from hornbeam.recipe.recipe import load_recipe
        from hornbeam.store.ledger import Ledger

        own = [f"run.seed={seed}", *(f"tasks.{part}.0.seed={seed}" for part in ("train", "eval"))]
        self.recipe = load_recipe(RECIPE, own + ARMS[arm])
        self.plan = plan(self.recipe, RECIPE.parent)
        policies = load_policies(self.recipe, folder / "model", print)
        self.world = World.build(self.recipe, self.plan, policies)
        self.policy = next(iter(policies)).policy
        self.spent, self.looked = Ledger(), Ledger()
        self.grower = self.world.grower(self.spent, None)
        self.looker = self.world.grower(self.looked, None, greedy=True)

    async def step(self, number: int, learns: bool = True) -> float:
        """One step of the recipe on the next tasks; the share of its walks that reach the goal."""
        run, tasks = self.recipe.run, self.plan.train.tasks
        chosen = [task_at(tasks, run.seed, number * run.tasks + n) for n in range(run.tasks)]
        trees = await self.grow(self.grower, "train", number, chosen)
        if learns:
            credit(trees, self.plan.credit)
            metrics = self.policy.step(trees)
            self.spent.enter([Entry("", -1, -1, "tokens_unique", metrics["tokens_unique"])])
        return statistics.mean(
            t.columns["reward"][leaf] or 0.0 for t in trees for leaf in t.leaves()
        )

    @property
    def sampled(self) -> int:
        """Tokens sampled so far, looks left out."""
        return round(self.spent.totals.get("sampled_tokens", 0))


async def learn(side: Side, budget: int) -> Json:
    """Steps until the budget is spent; the curve is (sampled tokens before a step, its success)."""
    began = time.perf_counter()
    curve: list[tuple[int, float]] = []
    while side.sampled < budget:
        spent = side.sampled
        curve.append((spent, await side.step(len(curve))))
    curve.append((side.sampled, await side.step(len(curve), learns=False)))
    greedy = await side.accuracy()
    await side.world.aclose()
    seconds, total = round(time.perf_counter() - began, 2), side.tokens
    figures = {"steps": len(curve) - 1, "seconds": seconds, "total_tokens": total}
    return {**figures, "greedy": greedy, "curve": curve}


def one_seed(seed: int, arms: Sequence[str], budget: int) -> Json:
    """All arms from the same warm-started weights."""
    row: Json = {"seed": seed}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        first = Side(seed, "grpo", folder)
        first.warm_start()
        first.policy.save_state(folder)
        for arm in arms:
            side = Side(seed, arm, folder)
            side.policy.load_state(folder)
            row[arm] = asyncio.run(learn(side, budget))
            curve = row[arm]["curve"]
            found = at(curve, budget), height(curve, budget), row[arm]["greedy"]
            row[arm] |= dict(zip(MEASURES, found))
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--seeds", type=int, nargs="+", default=[*range(10)])
    parser.add_argument("--arms", nargs="+", default=[*ARMS], choices=[*ARMS])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    about: Json = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    rows = {row["seed"]: row for row in about.get("seeds", [])}
    for seed in args.seeds:
        rows[seed] = one_seed(seed, args.arms, args.budget)
        print(seed, {arm: rows[seed][arm] for arm in args.arms}, flush=True)
        about = {
            "command": f"python bench/states.py --budget {args.budget} --seeds"
            f" {' '.join(map(str, sorted(rows)))} --arms {' '.join(map(repr, args.arms))}",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, one used",
            "budget": args.budget,
            "arms": compared([rows[n] for n in sorted(rows)], args.arms, MEASURES),
            "seeds": [rows[n] for n in sorted(rows)],
        }
        if args.json:
            args.json.write_text(json.dumps(about, indent=1) + "\n")
    print(say(about["arms"]))


if __name__ == "__main__":
    main()
