"""Claims of five papers, tried where they can be told apart: method against baseline, total cost.

    OMP_NUM_THREADS=1 python bench/claims.py run [WORLD ...] [--seeds N] [--seconds N]
    python bench/claims.py size [WORLD ...]
    python bench/claims.py table

`run` grows every arm of a world of worlds.toml on seeds 0, 1, ...; what is in the file is not run
again, so that a long series is run in parts (`--seconds`: begin no seed after so many). `size` runs
the pilot on seeds 1000 and up and writes into worlds.toml how many seeds and questions find a
difference of 5 points at 80 % power. `table` writes docs/claims.md's table and the pictures.

Total cost is all that the ledger holds: sampled, prompt, scorer, judge, anchor, teacher, label and
trained words. Figures are paired over seeds, with Student's 95 % interval. *Holds*: the interval is
above 0. *Does not hold*: it is below 0, or the gain that the claim needs (`least`) is above it. All
else, and whatever has fewer than 10 seeds, is *not decided*. Recorded series stand in docs/results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import time
import tomllib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from arms import at, height
from claims_search import chains_arms, team_arms
from claims_tables import Sparse, Window
from hornbeam import stats
from power import questions_needed, seeds_needed, smallest_found

ROOT = Path(__file__).parent.parent
WORLDS = ROOT / "bench" / "worlds.toml"
RESULTS = ROOT / "docs" / "results"
FILE = RESULTS / "claims.json"
DIFFERENCE, POWER, LEAST_SEEDS, PILOT, LOOKS = 0.05, 0.8, 10, 8, 20
Json = dict[str, Any]


class Claim(NamedTuple):
    """A claim: whose, what the paper has, where it is tried, which figure of a seed."""

    name: str
    paper: str
    figure: str  # the paper's
    world: str
    ours: str
    baseline: str
    measure: str = "curve"
    least: float = 0.0  # what the claim needs; a gain below it is none
    why: str = ""  # the ablation that looks for the reason, if it does not hold
    ablation: tuple[str, str, str] | None = None  # ours, baseline, measure


CLAIMS = [
    Claim(
        "joint training above main only", "M-GRPO", "joint above main only", "window",
        "joint", "main only", least=DIFFERENCE,
    ),
    Claim(
        "main and sub-agent above a single agent", "M-GRPO", "multi above single", "window",
        "joint", "single agent", least=DIFFERENCE,
        why="joint against a single agent whose context has no limit",
        ablation=("joint", "single agent, no limit", "curve"),
    ),
    Claim(
        "alignment learns faster than none", "M-GRPO", "steadier", "window",
        "joint", "no alignment", least=DIFFERENCE,
        why="roughness of the curve without alignment minus with it",
        ablation=("joint", "no alignment", "roughness"),
    ),
    Claim(
        "97 % of GRPO's last score at 40 % of its cost", "PVPO", "97 % at 40 %", "sparse",
        "pvpo", "grpo", "share",
        why="the same, anchors and teacher free, as the paper counts",
        ablation=("pvpo", "grpo", "share, free"),
    ),
    Claim(
        "anchors, pre-sampling, teacher's runs above GRPO at equal total cost", "PVPO",
        "above GRPO", "sparse", "pvpo", "grpo", least=DIFFERENCE,
        why="GRPO with the same kept tasks and teacher's runs against GRPO",
        ablation=("grpo, teacher", "grpo", "curve"),
    ),
    Claim(
        "static anchors alone above GRPO at equal total cost", "PVPO", "above GRPO", "sparse",
        "anchors alone", "grpo", least=DIFFERENCE,
        why="the same, anchors free", ablation=("anchors alone", "grpo", "curve, free"),
    ),
    Claim(
        "smaller variance of advantages", "PVPO", "smaller", "sparse",
        "pvpo", "grpo", "variance",
    ),
    Claim(
        "judge by RL above judge by SFT (F1)", "StepWiser", "61.9 against 39.7", "chains",
        "rl judge", "sft judge", least=DIFFERENCE,
        why="RL against SFT where the analysis is right in 6 of 10 before training",
        ablation=("rl judge, warm", "sft judge", "curve"),
    ),
    Claim(
        "analysis before the verdict helps (F1)", "StepWiser", "about +12", "chains",
        "rl judge", "rl, no analysis", least=DIFFERENCE,
        why="the same where the analysis is right in 6 of 10 before training",
        ablation=("rl judge, warm", "rl, no analysis", "curve"),
    ),
    Claim(
        "chunk-reset above majority at equal total cost", "StepWiser", "+6 over one pass",
        "chains", "reset by rl judge", "majority", "search", least=DIFFERENCE,
        why="chunk-reset by that warm judge against majority",
        ablation=("reset by warm judge", "majority", "search"),
    ),
    Claim(
        "PRM beam with ORM above majority at equal tokens", "MASPRM", "43.9 to 74.6 (one pass)",
        "team", "PRM beam, ORM", "majority", "search", least=DIFFERENCE,
    ),
    Claim(
        "PRM beam with ORM above ORM best of n at equal tokens", "MASPRM", "above", "team",
        "PRM beam, ORM", "best of n, ORM", "search", least=DIFFERENCE,
        why="the same beam without the ORM", ablation=("PRM beam", "best of n, ORM", "search"),
    ),
    Claim(
        "PRM MCTS above majority at equal tokens", "MASPRM", "above", "team",
        "PRM MCTS", "majority", "search", least=DIFFERENCE,
        why="PRM beam with ORM against majority",
        ablation=("PRM beam, ORM", "majority", "search"),
    ),
    Claim(
        "PRM above the policy's likelihood at equal tokens", "MASPRM", "+13.4", "team",
        "PRM beam", "likelihood beam", "search", least=DIFFERENCE,
        why="labels and fit free", ablation=("PRM beam", "likelihood beam", "search, free"),
    ),
]  # fmt: skip


# --- a figure of one seed -------------------------------------------------------------------------


def free(arm: Json) -> list[Any]:
    """The curve without what was paid for anchors and a teacher, or for labels and fits."""
    costs = arm.get("costs", {})
    own = arm.get("own", 0) + costs.get("anchor_tokens", 0) + costs.get("teacher_tokens", 0)
    return [(tokens - own, score) for tokens, score in arm["curve"] if tokens >= own]


def equal_cost(ours: Sequence[Any], base: Sequence[Any]) -> float:
    """Mean over our points of ours minus the baseline's curve at that cost.

    The baseline has straight lines between its points; beyond them its nearest one.
    """
    return statistics.mean(score - at(list(base), tokens) for tokens, score in ours)


def figure(measure: str, ours: Json, base: Json, budget: float) -> float:
    """What a claim compares, ours minus the baseline's."""
    mine = free(ours) if measure.endswith("free") else ours["curve"]
    theirs = base["curve"]
    match measure.removesuffix(", free"):
        case "curve":  # mean height along total cost
            return height(mine, budget) - height(theirs, budget)
        case "end":
            return at(mine, budget) - at(theirs, budget)
        case "share":  # ours at 40 % of the baseline's cost, minus 97 % of its last score
            return at(mine, 0.4 * budget) - 0.97 * at(theirs, budget)
        case "search":
            return equal_cost(mine, theirs)
        case "variance":
            return float(base["variance"] - ours["variance"])
        case "roughness":
            return rough(theirs) - rough(mine)
    raise ValueError(measure)


def rough(curve: Sequence[Any]) -> float:
    """Standard deviation of the changes from look to look."""
    return statistics.stdev(b[1] - a[1] for a, b in pairwise(curve))


def verdict(differences: Sequence[float], least: float = 0.0) -> str:
    """Holds, does not hold, not decided: see the head of this file."""
    if len(differences) < LEAST_SEEDS:
        return "not decided"
    low, high = stats.student(differences)
    if low > 0:
        return "holds"
    return "does not hold" if high < 0 or high < least else "not decided"


def judged(differences: Sequence[float], least: float = 0.0) -> Json:
    """Mean, interval, verdict and power of the figures of seeds."""
    sd = statistics.stdev(differences)
    return {
        "mean": statistics.mean(differences),
        "interval": stats.student(differences) if sd else [differences[0]] * 2,
        "verdict": verdict(differences, least),
        "power_80": smallest_found(sd, len(differences)),
        "seeds": len(differences),
    }


# --- series of seeds ------------------------------------------------------------------------------


def worlds() -> Json:
    """The worlds of worlds.toml, each with its name."""
    found = tomllib.loads(WORLDS.read_text("utf-8"))
    found.pop("sizes", None)
    return {name: how | {"name": name} for name, how in found.items()}


def one_seed(how: Json, seed: int) -> Json:
    """Every arm on one seed; curves of training at so many looks along the budget."""
    began = time.process_time()
    learners: dict[str, Callable[..., Window | Sparse]] = {"window": Window, "sparse": Sparse}
    if how["name"] in learners:
        arms = how["arms"].items()
        made = learners[how["name"]]
        out = {name: made(how, arm, seed).run(how["budget"]) for name, arm in arms}
    else:
        out = (team_arms if how["name"] == "team" else chains_arms)(how, seed)
    for arm in out.values():
        if "costs" in arm:
            budget = how["budget"]
            looks = [budget * k / LOOKS for k in range(LOOKS + 1)]
            arm["curve"] = [(x, at(arm["curve"], x)) for x in looks]
            arm["variance"] = round(arm["variance"], 5)
        arm["curve"] = [(round(x, 1), round(y, 4)) for x, y in arm["curve"]]
    return {"arms": out, "seconds": round(time.process_time() - began, 2)}


def differences(claim: Claim, seeds: Json, how: Json, ablation: bool = False) -> list[float]:
    """The figure of every seed."""
    ours, base, measure = claim.ours, claim.baseline, claim.measure
    if ablation and claim.ablation:
        ours, base, measure = claim.ablation
    budget = how.get("budget", 0)
    rows = [row["arms"] for row in seeds.values()]
    return [figure(measure, row[ours], row[base], budget) for row in rows]


def run(names: Sequence[str], seeds: int, seconds: float) -> None:
    """What is missing, until the time is over."""
    began, known = time.monotonic(), read()
    for name in names:
        how, rows = worlds()[name], known["worlds"].setdefault(name, {})
        for seed in range(seeds):
            if str(seed) in rows or time.monotonic() - began > seconds:
                continue
            rows[str(seed)] = one_seed(how, seed)
            keep(known)
            print(name, seed, rows[str(seed)]["seconds"], flush=True)


def read() -> Json:
    """What was run so far."""
    empty: Json = {"worlds": {}}
    return json.loads(FILE.read_text("utf-8")) if FILE.exists() else empty


def keep(known: Json) -> None:
    """Write the file whole."""
    known["command"] = "python bench/claims.py run"
    known["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, one used"
    part = FILE.with_suffix(".part")
    text = json.dumps(known, indent=1)
    pair = re.compile(r"\[\s+(-?[\d.e-]+),\s+(-?[\d.e-]+)\s+\]")
    part.write_text(pair.sub(r"[\1, \2]", text) + "\n", "utf-8")
    part.replace(FILE)


def size(names: Sequence[str]) -> None:
    """Pilots, and what they say is needed, at the end of worlds.toml."""
    text = WORLDS.read_text("utf-8")
    sizes = tomllib.loads(text).get("sizes", {})
    for name in names:
        how = worlds()[name]
        rows = {str(seed): one_seed(how, seed) for seed in range(1000, 1000 + PILOT)}
        points = [c for c in CLAIMS if c.world == name and c.measure in ("curve", "search")]
        sd = max(statistics.stdev(differences(claim, rows, how)) for claim in points)
        seeds = max(LEAST_SEEDS, seeds_needed(sd, DIFFERENCE, POWER))
        asked = how.get("questions", 0) if how.get("arms") and name != "sparse" else 0
        share = 0.5  # the worst case of a binomial draw
        least = questions_needed(sd, asked, share, seeds, DIFFERENCE, POWER) if asked else None
        sizes[name] = {"sd": round(sd, 4), "seeds": seeds, "questions": least or asked}
        print(name, sizes[name], flush=True)
    head = text.split("\n[sizes]")[0].rstrip()
    lines = [f"{k} = {json.dumps(v).replace(': ', ' = ')}" for k, v in sizes.items()]
    lines = [re.sub(r'"(\w+)" =', r"\1 =", line).replace("{", "{ ") for line in lines]
    lines = [line.replace("}", " }") for line in lines]
    note = "[sizes]  # written by `claims.py size`: sd of a seed's difference, seeds, questions"
    WORLDS.write_text("\n".join([head, "", note, *lines]) + "\n", "utf-8")


def main() -> None:
    """Run, size, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "size", "table"])
    parser.add_argument("worlds", nargs="*", help="of worlds.toml; all")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    args = parser.parse_args()
    names = args.worlds or [*worlds()]
    if args.what == "run":
        run(names, args.seeds, args.seconds)
    elif args.what == "size":
        size(names)
    else:
        from claims_page import write

        write()


if __name__ == "__main__":
    main()
