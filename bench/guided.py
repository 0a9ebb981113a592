"""Growth guided by a value head against random and entropy growth, at equal measured total tokens.

    OMP_NUM_THREADS=1 python bench/guided.py WORLD [--seeds 0 1 ...] [--arms NAME ...] [--json FILE]
    python bench/guided.py --json FILE

WORLD is `doors` (recipes/tiny.toml), `game` (recipes/key_door_tiny.toml) or `rooms` (states.toml,
the world of states_world.py, in trees). For each seed all arms begin with the same warm-started
weights, see the same tasks in the same order, and grow by branches from 4 trunks a task. `random`
and `entropy` are picks that cost nothing. `guided` picks the steps that a value head takes for
nearest to one half and branches no trunk that it takes for hopeless or solved; the head is fitted
again every few steps on the trees just grown. `pick` is the same without stopping, `guide` takes
the steps of highest value. Total tokens are all that is computed: sampled, prompt tokens computed,
unique tokens of the trainer, tokens that the head reads, and unique tokens that it is fitted on.
Each arm learns until the same total is spent.

How often the head is fitted, and on how much, was set by what it cost on a few seeds other than
those of the table; the recipes are as they ship. What is finished for a seed stands in `--json` and
is not run again, so a long series is run in parts; without WORLD the file's table is printed.
Figures are accuracy held out (greedy; in `rooms` of 8 sampled runs a task) at the budget and its
mean along the curve, paired differences with a 95 % interval (Student's t), and the power to find 3
points with so many seeds of that spread. `free` is the ablation: the same runs with the head's
tokens not counted, both arms up to where the shorter of the two curves ends, so what the picks
alone earn. The AUC is that of what the head said before branches that it chose itself, so it tells
of picks, not of the head on all steps.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from arms import at, height
from hornbeam import stats
from tree_vs_independent import COUNTED
from tree_vs_independent import Side as TinySide

ROOT = Path(__file__).parent.parent
HEAD = ("scorer_tokens", "fit_tokens")
POINTS = 10  # looks along the budget
TARGET = 0.03  # points of accuracy that are asked for
GUIDE = "guides.value={kind='value_head', every=5, span=1, batch_size=1, lr=1e-3}"
TREES = ["grow={strategy='branch', trunks=4, nodes=2, rounds=1}", "credit.method=tree_grpo"]
WORLDS: dict[str, tuple[Path, int, list[str]]] = {  # recipe, budget, settings
    "doors": (ROOT / "recipes" / "tiny.toml", 80_000, []),
    "game": (ROOT / "recipes" / "key_door_tiny.toml", 120_000, []),
    "rooms": (ROOT / "bench" / "states.toml", 30_000, TREES),
}
SAMPLED = {"rooms": 8}  # runs a held-out task by sampling; elsewhere one, greedy
ARMS: dict[str, list[str]] = {
    "random": [],
    "entropy": ["grow.pick=entropy"],
    "guided": ["grow.pick=predicted_mixed", "grow.stop=0.15", GUIDE],
    "pick": ["grow.pick=predicted_mixed", GUIDE],
    "guide": ["grow.pick=guide", GUIDE],
}
Json = dict[str, Any]


class Side(TinySide):
    """One arm on one seed."""

    def __init__(self, world: str, seed: int, arm: str, folder: Path) -> None:
        from hornbeam.assembly.loading import load_policies
        from hornbeam.assembly.plan import plan
        from hornbeam.assembly.world import World
        from hornbeam.recipe.recipe import load_recipe
        from hornbeam.search import Independent
        from hornbeam.store.ledger import Ledger

        path, self.budget, more = WORLDS[world]
        own = [f"run.seed={seed}", *more, *ARMS[arm]]
        for split in ("train", "eval"):
            own.append(f"tasks.{split}.0.seed={seed}")
            if world == "doors":
                own.append(f"tasks.{split}.0.options={{world={seed}}}")
        self.recipe = load_recipe(path, own)
        self.plan = plan(self.recipe, path.parent)
        policies = load_policies(self.recipe, folder / "model", lambda line: None)
        self.world = World.build(self.recipe, self.plan, policies, lambda line: None)
        self.policy = next(iter(policies)).policy
        self.spent, self.looked = Ledger(), Ledger()
        self.grower = self.world.grower(self.spent, None)
        self.looker = self.world.grower(self.looked, None, greedy=True)
        if world in SAMPLED:
            sampled = self.world.grower(self.looked, None, trained=False)
            self.looker = replace(sampled, strategy=Independent(n=SAMPLED[world]))
        self.head, self.seen, self.mixed = None, list[Any](), list[float]()
        self.told: list[tuple[float, bool]] = []
        self.fitted = False  # before, the head says one half of everything
        if "value" in self.recipe.guides:
            self._guide(folder / "model", seed)

    def _guide(self, folder: Path, seed: int) -> None:
        """The value head, and growth that it steers."""
        from hornbeam.score.prm import ValueGuide
        from hornbeam.score.some_steps import SomeSteps
        from hornbeam.train.train_settings import HeadSettings
        from hornbeam.train.value import ValueModel
        from hornbeam.train.value_head import ValueHead

        settings = HeadSettings(**self.recipe.guides["value"].rest())
        self.head = ValueHead(ValueModel.load(folder, optim=self.recipe.optim, seed=seed), settings)
        guide = SomeSteps(ValueGuide(self.head.model, "value"), self.plan.strategy.reads_at)
        self.grower = replace(self.grower, guides=[guide])

    @property
    def tokens(self) -> int:
        """Total tokens spent so far."""
        return round(sum(self.spent.totals.get(kind, 0) for kind in (*COUNTED, *HEAD)))

    @property
    def of_head(self) -> int:
        """Those of them that the value head took."""
        return round(sum(self.spent.totals.get(kind, 0) for kind in HEAD))

    async def grow(self, grower: Any, stage: str, step: int, tasks: Sequence[Any]) -> list[Any]:
        """As there; trees of training are kept for the head."""
        from hornbeam.credit import mixed

        trees = await super().grow(grower, stage, step, tasks)
        if stage == "train":
            self.seen.append(trees)
            found = mixed(trees)
            self.mixed.append(found.mixed / (found.mixed + found.unmixed))
            if self.fitted:
                self.told += [pair for tree in trees for pair in predictions(tree)]
        return trees

    async def step(self, number: int) -> None:
        """One step of the recipe, and of the head where it is due."""
        from hornbeam.store.ledger import Entry

        await super().step(number)
        if self.head is not None and self.head.settings.due(number):
            trees = [tree for k in self.head.settings.steps(number) for tree in self.seen[k]]
            told = self.head.fit(trees, self.policy.causal.base_model)
            self.spent.enter([Entry("", -1, -1, "fit_tokens", told.get("fit_tokens", 0))])
            self.fitted = True


def predictions(tree: Any) -> list[tuple[float, bool]]:
    """(what the head said of the step that a branch left, whether the branch was right)."""
    value, reward, out = tree.columns.get("value"), tree.columns["reward"], []
    for leaf in tree.leaves() if value else ():
        first = next(
            i
            for i in tree.path(leaf)
            if tree.nodes[i].origin.episode == tree.nodes[leaf].origin.episode
        )
        said = value[tree.nodes[first].parent]
        if said is not None and reward[leaf] is not None:
            out.append((said, reward[leaf] > 0.5))
    return out


async def learn(side: Side) -> Json:
    """Steps until the budget is spent; looks are (tokens, accuracy, tokens of the head)."""
    from hornbeam.train.value_rows import auc

    began, number = time.process_time(), 0
    looks = [(0, await side.accuracy(), 0)]
    while side.tokens < side.budget:
        await side.step(number)
        number += 1
        if side.tokens * POINTS >= len(looks) * side.budget:
            looks.append((side.tokens, await side.accuracy(), side.of_head))
    await side.world.aclose()
    totals = side.spent.totals
    curve = [(tokens, score) for tokens, score, _ in looks]
    free = [(tokens - head, score) for tokens, score, head in looks]
    return {
        "steps": number,
        "tokens": side.tokens,
        **{kind: round(totals.get(kind, 0)) for kind in (*COUNTED, *HEAD)},
        "mixed": round(statistics.mean(side.mixed), 3),
        "auc": auc([said for said, _ in side.told], [right for _, right in side.told]),
        "final": at(curve, side.budget),
        "mean": height(curve, side.budget),
        "free": height(free, free[-1][0]),
        "looks": looks,
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def one_seed(world: str, seed: int, arms: Sequence[str]) -> Json:
    """These arms from the same warm-started weights."""
    row: Json = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        first = Side(world, seed, "random", folder)
        first.warm_start()
        first.policy.save_state(folder)
        for arm in arms:
            side = Side(world, seed, arm, folder)
            side.policy.load_state(folder)
            row[arm] = asyncio.run(learn(side))
    return row


def power(differences: Sequence[float], target: float = TARGET) -> float:
    """The chance that so many seeds of this spread show a true difference of `target`.

    Two-sided at 5 %: 1 - Phi(q - target / se), q the half width of the interval over se.
    """
    se = statistics.stdev(differences) / math.sqrt(len(differences))
    if not se:
        return 1.0
    low, high = stats.student(differences)
    return 1 - statistics.NormalDist().cdf((high - low) / 2 / se - target / se)


def without_head(mine: Json, other: Json) -> tuple[float, float]:
    """Mean heights at equal tokens, the head's not counted, up to where the first curve ends."""
    a, b = ([(t - head, score) for t, score, head in one["looks"]] for one in (mine, other))
    budget = min(a[-1][0], b[-1][0])
    return height(a, budget), height(b, budget)


def verdict(mean: float, low: float, high: float) -> str:
    """Of "3 points, and more than none": what an interval says."""
    if low > 0:
        return "holds" if mean >= TARGET else "holds, below 3 points"
    return "does not hold" if high < TARGET else "not decided"


def compared(rows: dict[str, Json]) -> Json:
    """Of every figure the guided arms against the others, over the seeds that have both."""
    out: Json = {}
    for mine in ("guided", "pick", "guide"):
        for other in ("random", "entropy"):
            pairs = [(row[mine], row[other]) for row in rows.values() if {mine, other} <= {*row}]
            if len(pairs) < 2:
                continue
            for figure in ("mean", "final", "free"):
                both = [
                    without_head(a, b) if figure == "free" else (a[figure], b[figure])
                    for a, b in pairs
                ]
                found = [a - b for a, b in both]
                low, high = stats.student(found)
                out[f"{mine} - {other}, {figure}"] = {
                    mine: statistics.mean(a for a, _ in both),
                    other: statistics.mean(b for _, b in both),
                    "difference": statistics.mean(found),
                    "interval": (low, high),
                    "seeds": len(found),
                    "seeds_ahead": sum(d > 0 for d in found),
                    "power_for_3_points": power(found),
                    "verdict": verdict(statistics.mean(found), low, high),
                }
    return out


def say(world: str, known: Json) -> str:
    """The table of a world."""
    rows, lines = known["seeds"], [f"{world}: {known['budget']:,} total tokens an arm and seed"]
    for arm in ARMS:
        own = [row[arm] for row in rows.values() if arm in row]
        if own:
            mean = {k: statistics.mean(one[k] for one in own) for k in ("mean", "final", "free")}
            head = statistics.mean(sum(one[k] for k in HEAD) / one["tokens"] for one in own)
            steps, mixed = (statistics.mean(one[k] for one in own) for k in ("steps", "mixed"))
            told = [one["auc"] for one in own if one["auc"] is not None]
            auc = f"; AUC of its predictions {statistics.mean(told):.2f}" if told else ""
            lines.append(
                f"  {arm:8} {len(own)} seeds, {steps:5.1f} steps, mixed groups {mixed:4.0%}, head's"
                f" share {head:4.0%}: mean {mean['mean']:.1%}, at the end {mean['final']:.1%}, mean"
                f" without the head's cost {mean['free']:.1%}{auc}"
            )
    for name, one in compared(rows).items():
        low, high = (100 * x for x in one["interval"])
        lines.append(
            f"  {name}: {100 * one['difference']:+.1f} points [{low:+.1f}, {high:+.1f}], ahead on"
            f" {one['seeds_ahead']} of {one['seeds']}; power for 3 points"
            f" {one['power_for_3_points']:.0%}: {one['verdict']}"
        )
    return "\n".join(lines)


def keep(file: Path | None, world: str, known: Json) -> None:
    """Write the file whole, with this world's part."""
    if file is None:
        return
    import torch

    whole = json.loads(file.read_text()) if file.exists() else {}
    known |= {
        "compared": compared(known["seeds"]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one used",
        "torch": torch.__version__,
    }
    whole[world] = known
    part = file.with_suffix(".part")
    part.write_text(json.dumps(whole, indent=1) + "\n")
    part.replace(file)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("world", nargs="?", choices=[*WORLDS])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seconds", type=float, help="begin no seed after so many")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    whole = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    if args.world is None:
        print("\n".join(say(world, known) for world, known in whole.items()))
        return
    import torch

    torch.set_num_threads(1)
    began = time.perf_counter()
    known = whole.get(args.world, {"budget": WORLDS[args.world][1], "arms": ARMS, "seeds": {}})
    known["command"] = f"python bench/guided.py {args.world}"
    for seed in args.seeds:
        row = known["seeds"].setdefault(str(seed), {})
        missing = [arm for arm in args.arms if arm not in row]
        if args.seconds and time.perf_counter() - began > args.seconds:
            break
        if missing:
            row |= one_seed(args.world, seed, missing)
            keep(args.json, args.world, known)
            for arm in missing:
                one = row[arm]
                curve = " ".join(f"{100 * look[1]:.0f}" for look in one["looks"])
                print(
                    f"{seed:4} {arm:8} {one['steps']:3} steps, mixed {one['mixed']:.0%}, mean"
                    f" {one['mean']:.1%}, {one['cpu_seconds']:.0f} s: {curve}",
                    flush=True,
                )
    print(say(args.world, known))


if __name__ == "__main__":
    main()
