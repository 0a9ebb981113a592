"""Branching growth against independent growth where tools act on a world, at equal total cost.

    OMP_NUM_THREADS=1 python bench/world_tasks.py RECIPE [--budget TOKENS] [--seeds 0 1 2 3 4]
        [--set KEY=VALUE ...] [--quick] [--json FILE]

RECIPE is a recipe of a tiny model that grows branches, by name. For each seed both arms begin with
the same warm-started weights and take the same tasks in the same order. `tree` is the recipe as it
stands; `independent` grows as many episodes, each from the task, and is credited by GRPO. Weights,
tasks and worlds differ from seed to seed.

Total tokens are all that was computed: sampled tokens, prompt tokens computed and unique tokens of
the trainer. Seconds are wall time of growth and training, worlds and tools included, without looks
at held-out tasks: give the process a core of its own. Each arm learns until the budget of tokens is
spent. Arms are held against each other at that budget, and at as many seconds as the quicker of the
two took, by straight lines between looks; `mean` is the mean height of the curve up to there.
`world_seconds` are summed over episodes that run at once, their waiting for each other included.

Prints both for every seed, and paired differences with a 95 % confidence interval (Student's t).
`--json` adds the figures to those of other recipes in that file.
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
from hornbeam import stats
from tree_vs_independent import COUNTED
from tree_vs_independent import Side as TinySide

ROOT = Path(__file__).parent.parent
BUDGET = 60_000  # total tokens of one arm on one seed
POINTS = 5  # looks along the budget
WORLDS = ("world_seconds", "world_bytes", "world_calls_again", "tool_calls")
MEASURES = ("tokens, at the end", "tokens, mean", "seconds, at the end", "seconds, mean")
Json = dict[str, Any]


class Side(TinySide):
    """One arm on one seed."""

    def __init__(
        self, recipe: Path, seed: int, arm: str, folder: Path, more: Sequence[str] = ()
    ) -> None:
        from hornbeam.assembly.loading import load_policies
        from hornbeam.assembly.plan import plan
        from hornbeam.assembly.world import World
        from hornbeam.recipe.recipe import load_recipe
        from hornbeam.store.ledger import Ledger

        own = [f"run.seed={seed}", *(f"tasks.{part}.0.seed={seed}" for part in ("train", "eval"))]
        own += more
        if arm == "independent":
            leaves = plan(load_recipe(recipe, own), recipe.parent).strategy.leaves()
            own += [f'grow={{strategy="independent", n={leaves}}}', 'credit={method="grpo"}']
        self.recipe = load_recipe(recipe, own)
        self.plan = plan(self.recipe, recipe.parent)
        policies = load_policies(self.recipe, folder / "model", print)
        self.world = World.build(self.recipe, self.plan, policies)
        self.policy = next(iter(policies)).policy
        self.spent, self.looked = Ledger(), Ledger()
        self.grower = self.world.grower(self.spent, None)
        self.looker = self.world.grower(self.looked, None, greedy=True)


async def learn(side: Side, budget: int) -> Json:
    """Steps until the budget is spent; looks are (tokens, seconds, held-out accuracy)."""
    number, seconds = 0, 0.0
    looks = [(0, 0.0, await side.accuracy())]
    while side.tokens < budget:
        began = time.perf_counter()
        await side.step(number)
        seconds += time.perf_counter() - began
        number += 1
        if side.tokens * POINTS >= len(looks) * budget:
            looks.append((side.tokens, round(seconds, 3), await side.accuracy()))
    await side.world.aclose()
    totals = side.spent.totals
    return {
        "steps": number,
        "tokens": side.tokens,
        "seconds": round(seconds, 3),
        **{kind: round(totals.get(kind, 0), 3) for kind in (*COUNTED, *WORLDS)},
        "looks": looks,
    }


def one_seed(recipe: Path, seed: int, budget: int, more: Sequence[str] = ()) -> Json:
    """Both arms from the same warm-started weights, and what is measured of them."""
    row: Json = {"seed": seed}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        first = Side(recipe, seed, "tree", folder, more)
        first.warm_start()
        first.policy.save_state(folder)
        for arm in ("tree", "independent"):
            side = Side(recipe, seed, arm, folder, more)
            side.policy.load_state(folder)
            row[arm] = asyncio.run(learn(side, budget))
    most = min(row[arm]["seconds"] for arm in ("tree", "independent"))
    for arm in ("tree", "independent"):
        curves = [[(look[k], look[2]) for look in row[arm]["looks"]] for k in (0, 1)]
        values = [f(c, x) for c, x in zip(curves, (budget, most)) for f in (at, height)]
        row[arm] |= dict(zip(MEASURES, values))
    return row


def compared(rows: Sequence[Json]) -> Json:
    """Of every measure the means of both arms, and tree - independent with its interval."""
    out = {}
    for name in MEASURES:
        pairs = [(row["tree"][name], row["independent"][name]) for row in rows]
        differences = [a - b for a, b in pairs]
        out[name] = {
            **{arm: statistics.mean(v) for arm, v in zip(("tree", "independent"), zip(*pairs))},
            "difference": statistics.mean(differences),
            "interval": stats.student(differences) if len({*differences}) > 1 else None,
            "seeds_tree_ahead": sum(d > 0 for d in differences),
            "seeds": len(rows),
        }
    return out


def say(rows: Sequence[Json], found: Json) -> str:
    """The tables on the screen."""
    lines = []
    for row in rows:
        for arm in ("tree", "independent"):
            one = row[arm]
            curve = " ".join(f"{100 * look[2]:.0f}" for look in one["looks"])
            lines.append(
                f"{row['seed']:4} {arm:12} {one['steps']:3} steps {one['tokens']:8,} tokens"
                f" {one['seconds']:6.1f} s, of worlds {one['world_seconds']:5.1f} s"
                f"  looks {curve}"
            )
    for name, one in found.items():
        line = f"equal {name:20} tree {one['tree']:6.1%} independent {one['independent']:6.1%}"
        if one["interval"]:
            low, high = (100 * x for x in one["interval"])
            line += f"  {100 * one['difference']:+.1f} points [{low:+.1f}, {high:+.1f}]"
        lines.append(f"{line}, tree ahead on {one['seeds_tree_ahead']} of {one['seeds']}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="name of a recipe")
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--set", action="append", default=[], help="of the recipe, both arms")
    parser.add_argument("--quick", action="store_true", help="two seeds, a fifth of the budget")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    budget = args.budget // 5 if args.quick else args.budget
    recipe, began = ROOT / "recipes" / f"{args.recipe}.toml", time.perf_counter()
    rows = []
    for seed in args.seeds[:2] if args.quick else args.seeds:
        rows.append(one_seed(recipe, seed, budget, args.set))
        print(say(rows[-1:], {}), flush=True)
    found = compared(rows)
    print(say([], found))
    if args.json:
        known = json.loads(args.json.read_text()) if args.json.exists() else {}
        known[args.recipe] = {
            "command": f"python bench/world_tasks.py {args.recipe} --budget {budget} "
            + "".join(f"--set {each} " for each in args.set)
            + "--seeds "
            + " ".join(str(row["seed"]) for row in rows),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, one used",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "budget": budget,
            "wall_seconds": round(time.perf_counter() - began),
            "tree_against_independent": found,
            "seeds": rows,
        }
        args.json.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
