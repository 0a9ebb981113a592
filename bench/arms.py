"""A recipe under several settings over several seeds: what each has learned at what total cost.

    OMP_NUM_THREADS=1 python bench/arms.py bench/delegation.toml --out DIR [--seeds 0 1 2 3 4]
        [--jobs 2] [--arms NAME ...] [--json FILE]

The file names the recipe, what all seeds and arms share, and the arms. For every seed the commands
under `first` run, then every arm's training run, in DIR/SEED; what is finished there is not run
again, what was stopped goes on. Total tokens of an arm are all that it computed from step 1 on:
sampled tokens, prompt tokens computed, unique tokens of the trainer, and, of an arm that reads
anchors, what all runs of the reference and of the teacher cost, all of it before step 1. The warm
start is the same for all arms and told apart.

Prints, as means over seeds with the paired difference to the baseline (Student's t, 95 %):
held-out greedy accuracy at `budget` total tokens and its mean height up to there, both from the
curve with straight lines between looks; the score at the end; the share of the baseline's last
score that is reached at `share` of the baseline's whole cost, with and without the anchors' cost;
tokens and steps until a look first shows `score`; variance of the advantages; the roughness of the
reward, the standard deviation of its change from step to step over sqrt(2); wall time of the steps,
shares of it in which engine and trainer idle, and the age of what was trained on, in versions.
`--json` writes all figures, and the mean curves as a picture beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import Field

from hornbeam import stats
from hornbeam.settings import Settings
from hornbeam.store.database import Store

KINDS = ("sampled_tokens", "prompt_tokens_computed", "tokens_unique")
COLOURS = ("#1b7837", "#762a83", "#d95f02", "#2166ac", "#b2182b", "#666666", "#8c6d31", "#01a0a0")
IDLE = ("engine", "trainer")
WATCHED = ("wall_seconds", "engine_idle", "trainer_idle", "age", "stale")
Json = dict[str, Any]
Curve = list[tuple[float, float]]


class Before(Settings):
    """A command that runs once a seed: `train` into `out`, or `anchor`."""

    command: str = "train"
    out: str = ""
    set: list[str] = []


class Arm(Settings):
    """One side of the comparison: settings beside the shared ones, and the recipe if another."""

    recipe: str = ""
    set: list[str] = []
    shared: bool = True  # whether `vary` and `set` of the file hold here


class Arms(Settings):
    """The file. In every setting {seed} and {dir} stand for the seed and its folder."""

    title: str
    recipe: str
    baseline: str
    budget: int
    score: float = 0.9
    share: float = 0.4
    set: list[str] = []
    first: list[Before] = []
    arms: dict[str, Arm] = Field(min_length=2)

    def words(self, own: Sequence[str], seed: int, folder: Path, shared: bool = True) -> list[str]:
        """Command line of the settings that all share and of these."""
        said = [*(self.set if shared else ()), *own]
        text = [s.replace("{seed}", str(seed)).replace("{dir}", str(folder)) for s in said]
        return [word for item in text for word in ("--set", item)]


def hornbeam(log: Path, *words: str) -> None:
    """Run a command; what it says goes to a file."""
    print("$ hornbeam " + " ".join(words), file=sys.stderr, flush=True)
    with log.open("a") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "hornbeam.cli.main", *words], stdout=stream, stderr=stream
        )
    if done.returncode:
        raise SystemExit(f"hornbeam {words[0]} failed: see {log}\n{log.read_text()[-600:]}")


def one_seed(how: Arms, out: Path, names: Sequence[str], seed: int) -> Json:
    """Everything for one seed that was not finished yet; figures of every arm."""
    folder = out / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(how.first):
        mark = folder / f"first{number}.done"
        if not mark.exists():
            where = ["--out", str(folder / one.out)] if one.out else []
            words = how.words(one.set, seed, folder)
            hornbeam(folder / f"first{number}.log", one.command, how.recipe, *where, *words)
            mark.touch()
    row: Json = {"seed": seed}
    for name in names:
        arm = how.arms[name]
        run = folder / name.replace(" ", "_")
        if not (run / "final").is_dir():
            words = how.words(arm.set, seed, folder, arm.shared)
            recipe = arm.recipe or how.recipe
            hornbeam(folder / f"{run.name}.log", "train", recipe, "--out", str(run), *words)
        row[name] = figures(run)
    return row


def figures(run: Path) -> Json:
    """The curve of a run and what else is told of it."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["kind"] == "train"]
    anchors = sum(row["anchor_tokens"] for row in rows if row["kind"] == "anchor")
    spent = [anchors]
    for row in steps:
        spent.append(spent[-1] + sum(row.get(kind, 0) for kind in KINDS))
    looks = {
        r["step"]: r["accuracy"] for r in rows if r["kind"] == "eval" and r["stage"] != "start"
    }
    curve = [(spent[step], looks[step]) for step in sorted(looks)]
    rewards = [row["reward"] for row in steps]
    changes = [b - a for a, b in pairwise(rewards)]
    wall = sum(row["seconds_grow"] + row["seconds_train"] for row in steps)
    idle = {who: sum(row.get(f"seconds_{who}_idle", 0) for row in steps) for who in IDLE}
    return {
        "steps": len(steps),
        "at_steps": sorted(looks),
        "curve": curve,
        "anchor_tokens": anchors,
        "tasks": next((row["tasks"] for row in rows if row["kind"] == "anchor"), None),
        "warm_start_tokens": sum(row["tokens_unique"] for row in rows if row["kind"] == "sft"),
        "final": curve[-1][1],
        "advantage_variance": advantage_variance(run),
        "roughness": statistics.pstdev(changes) / 2**0.5,
        "wall_seconds": wall,
        **{f"{who}_idle": seconds / wall for who, seconds in idle.items()},
        "age": statistics.mean(row.get("age", 0.0) for row in steps),
        "stale": sum(row.get("stale", 0) for row in steps),
        "rewards": rewards,
    }


def advantage_variance(run: Path) -> float:
    """Mean over steps of the variance of all advantages that a step trains on."""
    out = []
    with Store(run, read_only=True) as store:
        for step in sorted({key.step for key in store.keys("train")}):
            trees = [store.read(key).tree for key in store.keys("train", step)]
            own = [a for tree in trees for a in tree.columns.get("advantage", []) if a is not None]
            out.append(statistics.pvariance(own))
    return statistics.mean(out)


def at(curve: Curve, tokens: float) -> float:
    """Height of the curve at so many tokens; before its first look nothing is known but that."""
    if tokens <= curve[0][0]:
        return curve[0][1]
    for (a, low), (b, high) in pairwise(curve):
        if a <= tokens <= b:
            return low + (high - low) * (tokens - a) / (b - a)
    return curve[-1][1]


def height(curve: Curve, budget: float) -> float:
    """Mean height from 0 to the budget; what comes before the first look counts as that."""
    inner = [(0.0, curve[0][1]), *((x, y) for x, y in curve if 0 < x < budget)]
    points = [*inner, (budget, at(curve, budget))]
    return sum((b - a) * (y + z) / 2 for (a, y), (b, z) in pairwise(points)) / budget


def free(one: Json) -> Curve:
    """The curve without what the anchors cost, as the paper draws it."""
    return [(tokens - one["anchor_tokens"], score) for tokens, score in one["curve"]]


def figures_of(one: Json, base: Json, how: Arms) -> Json:
    """The figures of one arm on one seed."""
    curve: Curve = one["curve"]
    part = how.share * base["curve"][-1][0]
    first = next((n for n, (_, y) in enumerate(curve) if y >= how.score), None)
    return {
        "at_budget": at(curve, how.budget),
        "height": height(curve, how.budget),
        "final": one["final"],
        "spent": curve[-1][0],
        "share": at(curve, part) / base["final"],
        "share_without_anchors": at(free(one), part) / base["final"],
        "tokens_to_score": None if first is None else curve[first][0],
        "steps_to_score": None if first is None else one["at_steps"][first],
        **{key: one[key] for key in ("advantage_variance", "roughness", *WATCHED)},
        "anchor_tokens": one["anchor_tokens"],
    }


def table(rows: list[Json], names: Sequence[str], how: Arms) -> Json:
    """Figures of every arm: by seed, mean, and paired difference to the baseline."""
    out: Json = {}
    result = {n: [figures_of(row[n], row[how.baseline], how) for row in rows] for n in names}
    for name in names:
        out[name] = {}
        for figure in result[name][0]:
            values = [one[figure] for one in result[name]]
            base = [one[figure] for one in result[how.baseline]]
            whole = None not in values
            entry: Json = {"by_seed": values, "mean": statistics.mean(values) if whole else None}
            if whole and None not in base and name != how.baseline and len(rows) > 1:
                differences = [a - b for a, b in zip(values, base)]
                entry["difference"] = statistics.mean(differences)
                entry["interval"] = (
                    stats.student(differences) if len(set(differences)) > 1 else None
                )
            out[name][figure] = entry
    return out


def say(found: Json, how: Arms) -> str:
    """The table on the screen."""
    shown = {"at_budget": 100, "height": 100, "final": 100, "share": 100}
    shown |= {"share_without_anchors": 100, "advantage_variance": 1, "roughness": 1}
    shown |= {"wall_seconds": 1, "engine_idle": 100, "trainer_idle": 100, "age": 1}
    lines = [f"{how.title}; budget {how.budget:,} total tokens; baseline: {how.baseline}"]
    for figure, times in shown.items():
        lines.append(f"\n{figure}")
        for name, entries in found.items():
            one = entries[figure]
            line = f"  {name:24} {times * one['mean']:8.3g}"
            if one.get("interval"):
                low, high = one["interval"]
                line += (
                    f"  {times * one['difference']:+.3g} [{times * low:+.3g}, {times * high:+.3g}]"
                )
            values = " ".join(f"{times * value:.3g}" for value in one["by_seed"])
            lines.append(f"{line}   by seed: {values}")
    lines.append(f"\ntotal tokens (steps) until a look shows {how.score:.0%}, by seed")
    for name, entries in found.items():
        steps, tokens = entries["steps_to_score"], entries["tokens_to_score"]
        values = [
            f"{b:,.0f} ({a})" if a is not None else "never"
            for a, b in zip(steps["by_seed"], tokens["by_seed"])
        ]
        cost = entries["anchor_tokens"]["mean"]
        lines.append(f"  {name:24} {'  '.join(values)}" + f"   anchors {cost:,.0f}" * bool(cost))
    return "\n".join(lines)


def draw(rows: list[Json], names: Sequence[str], how: Arms) -> str:
    """Mean accuracy over total tokens as SVG; dashed, the same without the anchors' cost."""
    width, tall, left, top = 620, 320, 48, 16
    most = 1.05 * max(row[name]["curve"][-1][0] for row in rows for name in names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 16} '
        f'{top + tall + 52 + 18 * len(names)}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for tenth in range(0, 11, 2):
        y = top + (1 - tenth / 10) * tall
        parts.append(f'<path d="M{left},{y} h{width}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{tenth * 10} %</text>')
    for quarter in range(5):
        x, tokens = left + quarter / 4 * width, most * quarter / 4
        parts.append(
            f'<text x="{x}" y="{top + tall + 18}" text-anchor="middle">{tokens:,.0f}</text>'
        )
    parts.append(
        f'<text x="{left + width / 2}" y="{top + tall + 36}" text-anchor="middle">total tokens: '
        "sampled + prompt computed + trained (unique), anchors' included (dashed: left out)</text>"
    )
    for n, name in enumerate(names):
        colour, y = COLOURS[n % len(COLOURS)], top + tall + 54 + 18 * n
        curves = [row[name]["curve"] for row in rows]
        paid = any(row[name]["anchor_tokens"] for row in rows)
        bare = [free(row[name]) for row in rows] if paid else []
        for found, dash in ((curves, ""), (bare, ' stroke-dasharray="5 4"')):
            points = [[statistics.mean(axis) for axis in zip(*point)] for point in zip(*found)]
            line = " ".join(
                f"{left + x / most * width:.1f},{top + (1 - h) * tall:.1f}" for x, h in points
            )
            parts.append(
                f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
            )
        parts.append(f'<text x="{left}" y="{y}" fill="{colour}" font-weight="bold">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=2, help="seeds at once [2]")
    parser.add_argument("--arms", nargs="+", help="only these, the baseline among them")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    how = Arms.model_validate(tomllib.loads(args.file.read_text()))
    names = args.arms or list(how.arms)
    with ThreadPoolExecutor(args.jobs) as pool:
        rows = list(pool.map(partial(one_seed, how, args.out.absolute(), names), args.seeds))
    found = table(rows, names, how)
    print(say(found, how))
    if args.json:
        about = {
            "command": "python bench/arms.py " + " ".join(sys.argv[1:]),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "settings": how.model_dump(),
            "arms": found,
            "seeds": rows,
        }
        args.json.write_text(json.dumps(about, indent=1) + "\n")
        args.json.with_suffix(".svg").write_text(draw(rows, names, how))


if __name__ == "__main__":
    main()
