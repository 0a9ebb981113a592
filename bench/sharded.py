"""Two gloo ranks against one process: gradients, weights after three steps, balance of the packs.

    python bench/sharded.py [--json FILE] [--seeds N]

For every case of tests/train/ranks_world.py (losses, aggregations, adapters, flat rows, bfloat16)
the gradient of the first step and the weights after the third are compared: |two - one| / |one|
over all parameters, the weights against the way they went. Then, on random trees of growing number,
what `spread` gives each of 2, 4 and 8 ranks: unique tokens of the busiest rank over the mean, and
the ranks' common time (tokens of the largest pack, summed over rounds) over an even share of the
whole trie. Exits with 1 where a float32 gradient differs by 1e-5 or more.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hornbeam.credit import credit
from hornbeam.train.pack import unique
from hornbeam.train.rows import collect
from hornbeam.train.sharded import spread
from train import ranks_world, worlds

TOLERANCE = 1e-5
BOUND = 512  # tokens of a pack
FORESTS = (4, 16, 64)  # tasks of four trees each


def gradients(out: Path) -> list[dict[str, Any]]:
    """Differences of two ranks and one process, case by case."""
    codes = ranks_world.spawn(2, "train", out, out / "two", patience=3600)
    if codes[0]:
        raise SystemExit(f"rank 0 ended with exit code {codes[0]}")
    result = []
    for case in ranks_world.CASES:
        (out / "one" / case).mkdir(parents=True)
        p = ranks_world.policy(case)
        start = ranks_world.weights(p._named).clone()
        ranks_world.train(p, out / "one" / case)
        first, last = (
            [ranks_world.read(out / n / case / step) for n in ("one", "two")] for step in "13"
        )
        result.append(
            {
                "case": case,
                "gradient": distance(first[1].gradient, first[0].gradient, 0),
                "weights": distance(last[1].weights, last[0].weights, start),
            }
        )
    return result


def distance(two: torch.Tensor, one: torch.Tensor, start: torch.Tensor | int) -> float:
    return float((two - one).norm() / (one - start).norm())


def balances(seed: int) -> list[dict[str, Any]]:
    """What every rank runs of random trees."""
    result = []
    for tasks in FORESTS:
        trees = worlds.random_trees(seed, tasks=tasks, each=4)
        credit(trees, "grpo")
        rows = collect(trees)
        for ranks in (2, 4, 8):
            given = spread(rows, BOUND, ranks, packed=True)
            tokens = [sum(size for size, _ in own) for own in given]
            rounds = range(max(map(len, given)))
            time = sum(max(own[n][0] for own in given if n < len(own)) for n in rounds)
            result.append(
                {
                    "seed": seed,
                    "trees": len(trees),
                    "unique": unique(rows),
                    "ranks": ranks,
                    "packs": sum(map(len, given)),
                    "rounds": len(rounds),
                    "tokens": tokens,
                    "busiest_over_mean": max(tokens) * ranks / sum(tokens),
                    "time_over_even_share": time * ranks / unique(rows),
                }
            )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        same = gradients(Path(folder))
    print(f"{'two ranks against one':<24}{'gradient':>12}{'weights, 3 steps':>18}")
    for line in same:
        print(f"{line['case']:<24}{line['gradient']:>12.1e}{line['weights']:>18.1e}")
    even = [line for seed in range(options.seeds) for line in balances(seed)]
    print(
        f"\n{'trees':>6}{'unique':>8}{'ranks':>7}{'packs':>7}{'rounds':>8}"
        f"{'busiest/mean':>14}{'time/even':>11}  tokens of each rank"
    )
    for line in even:
        print(
            f"{line['trees']:>6}{line['unique']:>8}{line['ranks']:>7}{line['packs']:>7}"
            f"{line['rounds']:>8}{line['busiest_over_mean']:>14.3f}"
            f"{line['time_over_even_share']:>11.3f}  {' '.join(map(str, line['tokens']))}"
        )
    worst = max(line["gradient"] for line in same if line["case"] != "bf16")
    print(f"\nlargest float32 difference of gradients: {worst:.1e} (bound {TOLERANCE:.0e})")
    if options.json:
        data = {"torch": torch.__version__, "bound": BOUND, "cases": same, "balance": even}
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    if worst >= TOLERANCE:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
