"""How alignment of delegations steadies the gradient of a sub-agent (M-GRPO), at fixed weights.

    OMP_NUM_THREADS=1 python bench/alignment.py --out DIR [--seeds 0 1 2 3 4] [--json FILE]

For every seed the recipe delegate_tiny, with fewer signs known as in bench/delegation.toml, makes
its warm start and grows one step of BATCHES x TASKS tasks. From there, at the warm-started weights,
each batch of TASKS tasks gives the seeker one gradient for every alignment. Printed as means over
seeds, each divided by the squared length of its own mean gradient over all batches (so that the
scale of the weights is no matter):

    variance    sum over parameters of the variance between batches: what an update really sees
    drawing     the part of it that comes from drawing copies, over DRAWS seeds on the same trees

and the ratio of every variance to that of "weight", paired by seed.
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

import torch

from hornbeam import stats
from hornbeam.assembly.loading import load_policies
from hornbeam.assembly.policies import Member
from hornbeam.credit import credit
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store
from hornbeam.train.update_metrics import StepMetrics
from hornbeam.tree.nodes import Tree

BATCHES, TASKS, DRAWS = 32, 8, 8
RECIPE = Path(__file__).parent.parent / "recipes" / "delegate_tiny.toml"
ALIGNS = ("weight", "resample", "none")
Json = dict[str, Any]


def sets(seed: int) -> list[str]:
    """What differs from the recipe on one seed."""
    world = f"{{world={seed},known=0.6}}"
    own = [f"run.seed={seed}", "run.steps=1", "run.eval_start=false", "run.eval_every=0"]
    own += [f"run.tasks={BATCHES * TASKS}", "run.keep=2", "tasks.eval.0.count=1"]
    for part in ("train", "eval"):
        own += [f"tasks.{part}.0.seed={seed}", f"tasks.{part}.0.options={world}"]
    return own


def grown(folder: Path, seed: int) -> tuple[Member, list[Tree]]:
    """The seeker as it is after the warm start, and the trees that it grew then."""
    words = [word for item in sets(seed) for word in ("--set", item)]
    if not (folder / "final").is_dir():
        command = ["train", str(RECIPE), "--out", str(folder), *words]
        subprocess.run([sys.executable, "-m", "hornbeam.cli.main", *command], check=True)
    recipe = load_recipe(RECIPE, sets(seed))
    with tempfile.TemporaryDirectory() as scratch:
        policies = load_policies(recipe, Path(scratch), lambda text: None)
    policies.load_states(folder / "checkpoints" / "step-000000")
    with Store(folder, read_only=True) as store:
        trees = [store.read(key).tree for key in store.keys("train", 0)]
    return policies.of("seeker"), trees


def gradient(member: Member, trees: list[Tree]) -> torch.Tensor:
    """The seeker's gradient on credited trees, as one vector."""
    policy = member.policy
    with policy._training():
        for batch in policy._batches(list(policy._parts(trees, member.sampled))):
            policy._backward(batch, StepMetrics())
    parts = [
        (torch.zeros_like(p) if p.grad is None else p.grad).flatten().double()
        for p in policy._named.values()
    ]
    policy._optimiser.zero()
    return torch.cat(parts)


def one_seed(folder: Path, seed: int) -> Json:
    """Variances of the gradient under every alignment, over its squared mean."""
    member, trees = grown(folder, seed)
    batches = [trees[n * TASKS : (n + 1) * TASKS] for n in range(BATCHES)]
    out: Json = {"seed": seed}
    for align in ALIGNS:
        draws = DRAWS if align == "resample" else 1
        found = []
        for batch in batches:
            own = []
            for draw in range(draws):
                credit(batch, "m_grpo", align=align, d=8, seed=draw)
                own.append(gradient(member, batch))
            found.append(torch.stack(own))
        all_of = torch.stack(found)  # batches, draws, parameters
        size = float(all_of.mean((0, 1)).square().sum())
        between = float(all_of[:, 0].var(0).sum())  # one draw a batch, as in training
        within = float(all_of.var(1).sum(1).mean()) if draws > 1 else 0.0
        out[align] = {"variance": between / size, "drawing": within / size}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [one_seed(args.out / str(seed), seed) for seed in args.seeds]
    print(f"{'alignment':10} {'variance':>9} {'drawing':>8}  variance / that of weight [95 %]")
    for align in ALIGNS:
        variance, drawing = (
            statistics.mean(row[align][key] for row in rows) for key in ("variance", "drawing")
        )
        ratio = [row[align]["variance"] / row["weight"]["variance"] for row in rows]
        text = f"{align:10} {variance:9.3g} {drawing:8.3g}"
        if align != "weight" and len(ratio) > 1:
            low, high = stats.student(ratio)
            text += f"  {statistics.mean(ratio):.3f} [{low:.3f}, {high:.3f}]"
        print(text)
    if args.json:
        about = {
            "command": "python bench/alignment.py " + " ".join(sys.argv[1:]),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "batches": BATCHES,
            "tasks": TASKS,
            "draws": DRAWS,
            "seeds": rows,
        }
        args.json.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
