"""On-policy distillation along trees against GRPO's reward alone: real runs of a tiny model.

    OMP_NUM_THREADS=1 python bench/distill.py [--seeds 1 2 3 4 5] [--steps 20] [--json FILE]

For each seed a teacher learns recipes/tiny.toml (world and seed of its own) from the reward; then
students begin from a short warm start in the teacher's world and grow the same trees of the same
tasks: `reward` learns from the reward alone, `teacher` from the teacher's log-probs alone (both
forms), `both` from the sum. Shown: held-out greedy accuracy before and after, its mean over the
steps at which it was looked at, and the mean gap log pi - log p of the first and the last step, in
nats a token. Runs are `hornbeam train`, in processes of their own; what is in `--json` stays.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hornbeam import stats

Json = dict[str, Any]
TEACHER = ["run.steps=60", "run.eval_every=60"]
STUDENT = ["run.eval_every=2", "sft.count=500"]
ARMS: dict[str, Json] = {
    "reward": {},
    "teacher": {"alone": True},
    "teacher, full": {"alone": True, "form": "full"},
    "both": {},
}


def train(out: Path, seed: int, sets: list[str]) -> list[Json]:
    """The rows of metrics of a run."""
    where = [f"run.seed={seed}", "run.threads=1"]
    for part in ("train", "eval"):
        where += [f"tasks.{part}.0.seed={seed}", f"tasks.{part}.0.options={{world={seed}}}"]
    given = [word for one in [*where, *sets] for word in ("--set", one)]
    command = [sys.executable, "-m", "hornbeam", "train", "tiny", "--out", str(out), *given]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]


def figures(rows: list[Json]) -> Json:
    """What a student has learned."""
    looks = [row["accuracy"] for row in rows if row["kind"] == "eval"]
    gaps = [row["teacher_gap"] for row in rows if row["kind"] == "train" and "teacher_gap" in row]
    tokens = [row.get("teacher_tokens", 0) for row in rows if row["kind"] == "train"]
    found = {"before": looks[1], "after": looks[-1], "mean": statistics.fmean(looks[1:])}
    found |= {"teacher_tokens": sum(tokens)}
    return found | ({"first_gap": gaps[0], "last_gap": gaps[-1]} if gaps else {})


def one_seed(seed: int, steps: int) -> Json:
    """The teacher's accuracy, and each student's figures."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = train(folder / "teacher", seed, TEACHER)
        out: Json = {"teacher's own": rows[-1]["accuracy"]}
        for arm, how in ARMS.items():
            sets = [*STUDENT, f"run.steps={steps}"]
            if arm != "reward":
                table = {"teacher": str(folder / "teacher" / "final"), **how}
                inside = ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
                sets.append(f"loss.distill={{{inside}}}")
            out[arm] = figures(train(folder / f"student {arm}", seed, sets))
    return out


def table(rows: dict[str, Json]) -> str:
    """The means of each arm, and paired differences to `reward`."""
    own = statistics.fmean(row["teacher's own"] for row in rows.values())
    lines = [f"{len(rows)} seeds, the teacher's own accuracy {own:.1%}"]
    for arm in ARMS:
        mean = {
            key: statistics.fmean(row[arm][key] for row in rows.values())
            for key in next(iter(rows.values()))[arm]
        }
        line = f"  {arm:14} {mean['before']:6.1%} to {mean['after']:6.1%}, mean {mean['mean']:6.1%}"
        if "first_gap" in mean:
            line += f", gap {mean['first_gap']:.3f} to {mean['last_gap']:.3f} nats"
        if arm != "reward" and len(rows) > 1:
            found = [row[arm]["mean"] - row["reward"]["mean"] for row in rows.values()]
            low, high = stats.student(found)
            line += f"; mean - reward's {100 * statistics.fmean(found):+.1f} points"
            line += f" [{100 * low:+.1f}, {100 * high:+.1f}]"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    whole = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    rows: dict[str, Json] = whole.get("seeds", {})
    for seed in args.seeds:
        if str(seed) not in rows:
            rows[str(seed)] = one_seed(seed, args.steps)
            print(
                seed,
                {k: v if isinstance(v, float) else v["after"] for k, v in rows[str(seed)].items()},
                flush=True,
            )
        if args.json:
            command = f"python bench/distill.py --steps {args.steps}"
            machine = f"{platform.machine()}, one core"
            whole = {"command": command, "machine": machine, "steps": args.steps, "seeds": rows}
            args.json.write_text(json.dumps(whole, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
