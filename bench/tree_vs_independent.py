"""Branching growth against independent growth at equal measured total tokens, in the tiny world.

    OMP_NUM_THREADS=1 python bench/tree_vs_independent.py [--quick] [--seeds 0 1 2] [--json FILE]
    python bench/tree_vs_independent.py --draw FILE

Both begin, for each seed, with the same warm-started weights and the same tasks in the same order,
and grow the same number of episodes a task. `tree` is `recipes/tiny.toml` as it stands: branching
growth with Tree-GRPO's credit. `independent` grows as many episodes, each from the task, and is
credited by GRPO. Total tokens are all that was computed: sampled tokens, prompt tokens computed
(those found in the cache of prefixes are free for both), and unique tokens of the trainer. Each
side learns until the same total is spent, the step that passes it included. The world's rule, the
tasks and the weights differ from seed to seed. Chosen on seeds 1000 to 1003, the same learning
rates tried for both sides (3e-4, 6e-4, 1.2e-3, and before that 1e-3 and 2e-3): 6e-4 was the better
one for both.

Prints held-out greedy accuracy at the budget and its mean along the curve for every seed, and the
paired difference with a 95 % confidence interval (Student's t). `--json` writes all figures, and
the curves as a picture beside them; `--draw` draws the picture again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

from hornbeam import stats

RECIPE = Path(__file__).parent.parent / "recipes" / "tiny.toml"
BUDGET = 100_000  # total tokens of one side on one seed
POINTS = 10  # evaluations along the budget
HELD_OUT = 100  # tasks of an evaluation
ARMS: dict[str, list[str]] = {
    "tree": [],
    "independent": [
        'grow={strategy="independent", n=12}',
        'credit={method="grpo"}',
    ],
}
COUNTED = ("sampled_tokens", "prompt_tokens_computed", "tokens_unique")
COLOURS = {"tree": "#1b7837", "independent": "#762a83"}


def sets(seed: int, arm: str) -> list[str]:
    """What differs from the recipe for one side on one seed."""
    own = [f"run.seed={seed}", f"tasks.eval.0.count={HELD_OUT}"]
    for split in ("train", "eval"):
        own += [f"tasks.{split}.0.seed={seed}", f"tasks.{split}.0.options={{world={seed}}}"]
    return own + ARMS[arm]


class Side:
    """One side of the comparison on one seed: recipe, weights, engine, and what was spent."""

    def __init__(self, seed: int, arm: str, folder: Path) -> None:
        from hornbeam.assembly.loading import load_policies
        from hornbeam.assembly.plan import plan
        from hornbeam.assembly.world import World
        from hornbeam.recipe.recipe import load_recipe
        from hornbeam.store.ledger import Ledger

        self.recipe = load_recipe(RECIPE, sets(seed, arm))
        self.plan = plan(self.recipe, RECIPE.parent)
        policies = load_policies(self.recipe, folder / "model", print)
        self.world = World.build(self.recipe, self.plan, policies)
        self.policy = next(iter(policies)).policy
        self.spent, self.looked = Ledger(), Ledger()
        self.grower = self.world.grower(self.spent, None)
        self.looker = self.world.grower(self.looked, None, greedy=True)

    @property
    def tokens(self) -> int:
        """Total tokens spent on growth and training so far."""
        return round(sum(self.spent.totals.get(kind, 0) for kind in COUNTED))

    async def step(self, number: int) -> None:
        """Grow, credit, train: one step of the recipe on the next tasks."""
        from hornbeam.assembly.task_order import task_at
        from hornbeam.credit import credit
        from hornbeam.store.ledger import Entry

        run, tasks = self.recipe.run, self.plan.train.tasks
        chosen = [task_at(tasks, run.seed, number * run.tasks + n) for n in range(run.tasks)]
        trees = await self.grow(self.grower, "train", number, chosen)
        credit(trees, self.plan.credit)
        metrics = self.policy.step(trees)
        self.spent.enter([Entry("", -1, -1, "tokens_unique", metrics["tokens_unique"])])

    async def accuracy(self) -> float:
        """Greedy accuracy on the held-out tasks."""
        from hornbeam.jobs.train.tree_metrics import measure

        trees = await self.grow(self.looker, "eval", 0, self.plan.eval.tasks)
        return float(measure(trees)["accuracy"])

    async def grow(self, grower: Any, stage: str, step: int, tasks: Sequence[Any]) -> list[Any]:
        """Trees of these tasks by the present weights, no prefix kept from before."""
        from hornbeam.assembly.task_order import tree_seed
        from hornbeam.store.database import TreeKey
        from hornbeam.tree.nodes import Tree

        await self.world.policies.load()
        keys = [TreeKey(stage, step, number) for number in range(len(tasks))]
        seed = self.recipe.run.seed
        starts = [(k, Tree(t.to_json(), seed=tree_seed(seed, k))) for k, t in zip(keys, tasks)]
        return list(await grower.grow_all(starts))

    def warm_start(self) -> None:
        """The recipe's supervised stage."""
        from hornbeam.assembly.examples import demonstrations, examples

        stage, demonstrate = self.recipe.sft, self.plan.demonstration
        assert stage is not None and demonstrate is not None
        shown = demonstrations(self.plan.train.tasks, demonstrate, stage.count)
        chat = next(iter(self.world.policies)).engine.chat
        for _ in self.policy.fit([e for turns in shown for e in examples(turns, chat)], stage):
            pass


async def learn(side: Side, budget: int) -> dict[str, Any]:
    """Steps until the budget is spent; the curve has one point for every share of it."""
    began, number = time.process_time(), 0
    curve = [(0, await side.accuracy())]
    while side.tokens < budget:
        await side.step(number)
        number += 1
        if side.tokens * POINTS >= len(curve) * budget:
            curve.append((side.tokens, await side.accuracy()))
    await side.world.aclose()
    return {
        "tokens": side.tokens,
        **{kind: round(side.spent.totals.get(kind, 0)) for kind in COUNTED},
        "steps": number,
        "final": curve[-1][1],
        "mean": mean_height(curve),
        "curve": curve,
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def mean_height(curve: Sequence[tuple[int, float]]) -> float:
    """Mean accuracy over tokens along the curve (trapezoids)."""
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(curve))
    return area / (curve[-1][0] - curve[0][0])


def compare(seed: int, budget: int) -> dict[str, Any]:
    """Both sides on one seed, from the same warm-started weights."""
    import torch

    torch.set_num_threads(1)
    out: dict[str, Any] = {"seed": seed}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        first = Side(seed, "tree", folder)
        first.warm_start()
        first.policy.save_state(folder)
        for arm in ARMS:
            side = Side(seed, arm, folder)
            side.policy.load_state(folder)
            out[arm] = asyncio.run(learn(side, budget))
    return out


def paired(rows: Sequence[dict[str, Any]], figure: str) -> dict[str, float]:
    """Mean of tree - independent with its 95 % interval, and on how many seeds tree is ahead."""
    differences = [row["tree"][figure] - row["independent"][figure] for row in rows]
    low, high = stats.student(differences)
    return {
        "mean_difference": statistics.mean(differences),
        "low": low,
        "high": high,
        "seeds_tree_ahead": sum(value > 0 for value in differences),
        "seeds_equal": sum(value == 0 for value in differences),
        "seeds": len(differences),
    }


def draw(result: dict[str, Any]) -> str:
    """Accuracy over total tokens as SVG: every seed thin, the mean of the seeds bold."""
    width, height, left, top = 560, 300, 48, 16
    most = result["budget"] * 1.05

    def at(tokens: float, accuracy: float) -> str:
        return f"{left + tokens / most * width:.1f},{top + (1 - accuracy) * height:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 16} '
        f'{top + height + 48}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for tenth in range(0, 11, 2):
        y = top + (1 - tenth / 10) * height
        parts.append(f'<path d="M{left},{y} h{width}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{tenth * 10} %</text>')
    for share in range(5):
        tokens = result["budget"] * share / 4
        x = left + tokens / most * width
        parts.append(
            f'<text x="{x}" y="{top + height + 18}" text-anchor="middle">{tokens:,.0f}</text>'
        )
    parts.append(
        f'<text x="{left + width / 2}" y="{top + height + 38}" text-anchor="middle">total tokens: '
        "sampled + prompt computed + trained (unique)</text>"
    )
    for number, arm in enumerate(ARMS):
        curves = [row[arm]["curve"] for row in result["seeds"]]
        means = [[statistics.mean(axis) for axis in zip(*point)] for point in zip(*curves)]
        for points, stroke, opacity in [*((c, 1, 0.35) for c in curves), (means, 3, 1)]:
            line = " ".join(at(*point) for point in points)
            parts.append(
                f'<polyline points="{line}" fill="none" stroke="{COLOURS[arm]}" '
                f'stroke-width="{stroke}" opacity="{opacity}"/>'
            )
        parts.append(
            f'<text x="{left + 12}" y="{top + 18 + 18 * number}" fill="{COLOURS[arm]}" '
            f'font-weight="bold">{arm}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def settings() -> dict[str, Any]:
    """What each side ran with, as the recipe says it."""
    from hornbeam.recipe.recipe import load_recipe

    out = {}
    for arm in ARMS:
        recipe = load_recipe(RECIPE, sets(0, arm)).model_dump(mode="json")
        out[arm] = {k: recipe[k] for k in ("grow", "credit", "loss", "optim", "sft")}
        out[arm]["tasks_a_step"] = recipe["run"]["tasks"]
    return out


def report(result: dict[str, Any]) -> str:
    """The table and the verdicts."""
    lines = [
        f"{'seed':>4} {'arm':12} {'tokens':>8} {'steps':>5} {'final':>7} {'mean':>7} {'cpu s':>6}"
    ]
    for row in result["seeds"]:
        for arm in ARMS:
            one = row[arm]
            lines.append(
                f"{row['seed']:4} {arm:12} {one['tokens']:8,} {one['steps']:5} "
                f"{one['final']:7.1%} {one['mean']:7.1%} {one['cpu_seconds']:6.0f}"
            )
    for figure in ("final", "mean"):
        one = result["tree_minus_independent"][figure]
        lines.append(
            f"tree - independent, {figure} accuracy: {100 * one['mean_difference']:+.1f} points "
            f"[{100 * one['low']:+.1f}, {100 * one['high']:+.1f}] (95 %); ahead on "
            f"{one['seeds_tree_ahead']} of {one['seeds']} seeds, equal on {one['seeds_equal']}"
        )
    return "\n".join(lines)


def run(seeds: Sequence[int], budget: int, jobs: int, command: str) -> dict[str, Any]:
    """All seeds, in processes of one thread each."""
    import torch
    import transformers

    began = time.perf_counter()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn) as pool:
        rows = list(pool.map(compare, seeds, [budget] * len(seeds)))
    return {
        "command": command,
        "budget": budget,
        "held_out_tasks": HELD_OUT,
        "settings": settings(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "machine": f"{os.cpu_count()} cores of {platform.machine()}, no accelerator used",
        "wall_seconds": round(time.perf_counter() - began),
        "seeds": rows,
        "tree_minus_independent": {name: paired(rows, name) for name in ("final", "mean")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(20, 40)))
    parser.add_argument("--quick", action="store_true", help="two seeds, a sixth of the budget")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at once, a process each [2]")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="only draw the curves of FILE")
    args = parser.parse_args()
    if args.draw:
        args.draw.with_suffix(".svg").write_text(draw(json.loads(args.draw.read_text())))
        return
    seeds = args.seeds[:2] if args.quick else args.seeds
    if len(seeds) < 2:
        parser.error("--seeds takes 2 or more of them")
    command = "python bench/tree_vs_independent.py --seeds " + " ".join(map(str, seeds))
    command += " --quick" if args.quick else ""
    result = run(seeds, BUDGET // 6 if args.quick else BUDGET, args.jobs, command)
    print(report(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
        args.json.with_suffix(".svg").write_text(draw(result))


if __name__ == "__main__":
    sys.exit(main())
