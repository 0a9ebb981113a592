"""A recipe's whole search job over several seeds: policy, labels, value models, searches.

    python bench/search_seeds.py RECIPE --out DIR [--seeds 0 1 2] [--vary KEY={seed} ...]
        [--set KEY=VALUE ...] [--collect] [--json FILE] [--page FILE]

For every seed it runs `hornbeam train`, `label`, `fit` (once for each model folder that guides
name: by regression on q, or on outcomes where only an "orm" names it) and `search` in DIR/SEED, all
of which go on where they were stopped. Prints accuracy and costs of every point as means over
seeds, and the difference to the baseline: over seeds (Student) and over all questions of all seeds
(paired bootstrap). With --collect it runs nothing and reads the searches that are there, the points
that all of them have. The page is that of a search, over all questions of all seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hornbeam import stats
from hornbeam.cli.recipes_command import find
from hornbeam.recipe.recipe import Recipe, load_recipe
from hornbeam.view.search_page import write_search

COSTS = ("policy_tokens", "prompt_tokens", "scorer_tokens", "total_tokens", "calls", "seconds")
SHARES = ("oracle", "hit_k", "gap")
Json = dict[str, Any]


def hornbeam(*words: str) -> None:
    """Run a command; its output is ours."""
    print("$ hornbeam " + " ".join(words), file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "hornbeam.cli.main", *words], check=True)


def one_seed(recipe: str, report: Recipe, folder: Path, sets: list[str]) -> Json:
    """All commands for one seed that were not finished yet; the search's result."""
    options = [word for item in sets for word in ("--set", item)]
    policy, labels = folder / "policy", folder / "labels"
    began = time.perf_counter()
    if not (policy / "final" / "config.json").is_file():
        hornbeam("train", recipe, "--out", str(policy), *options)
    model = ["--model", str(policy / "final")]
    fitted = by_model(report)
    if fitted and not (labels / "trees.jsonl").is_file():
        hornbeam("label", recipe, *model, "--out", str(labels), *options)
    more: list[str] = []
    for columns in fitted:
        out = folder / columns[0]
        if not (out / "config.json").is_file():
            outcome = all(report.guides[column].kind == "orm" for column in columns)
            how = ["--set", "fit.objective=outcome"] if outcome else []
            trees = ["--trees", str(labels / "trees.jsonl")]
            hornbeam("fit", recipe, *model, *trees, "--out", str(out), *options, *how)
        for column in columns:
            more += ["--set", f"guides.{column}.model={out}"]
    hornbeam("search", recipe, *model, "--out", str(folder / "search"), *options, *more)
    result: Json = json.loads((folder / "search" / "search.json").read_text())
    print(f"{folder.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return result


def collect(folders: list[Path]) -> list[Json]:
    """The results of searches that were run, with the points that all of them have."""
    results: list[Json] = [json.loads((f / "search" / "search.json").read_text()) for f in folders]
    held = [{(m["name"], p["label"]) for m in r["methods"] for p in m["points"]} for r in results]
    shared = set.intersection(*held)
    for result in results:
        for method in result["methods"]:
            method["points"] = [
                point for point in method["points"] if (method["name"], point["label"]) in shared
            ]
        result["methods"] = [method for method in result["methods"] if method["points"]]
    return results


def by_model(recipe: Recipe) -> list[list[str]]:
    """Columns of guides that are fitted models, those of one folder together."""
    out: dict[str, list[str]] = {}
    for column, guide in recipe.guides.items():
        if guide.kind in ("prm", "orm"):
            out.setdefault(str(guide.model_dump()["model"]), []).append(column)
    return list(out.values())


def whole(results: list[Json], rows: list[Json], command: str) -> Json:
    """The result of one search over the questions of all seeds; trees are the first seed's."""
    first = results[0]
    methods: dict[str, list[Json]] = {m["name"]: [] for m in first["methods"]}
    for row in rows:
        against = dict(zip(("low", "high"), row["over_questions"]))
        against |= {"difference": row["difference"], "p": row["p"]}
        low, high = row["interval"]
        named = row["method"] == first["baseline"]
        methods[row["method"]].append(
            {**row, "low": low, "high": high, "against": None if named else against}
        )
    return {
        "title": f"{first['title']}: {len(results)} seeds",
        "command": command,
        **{name: first[name] for name in ("baseline", "k", "questions")},
        "methods": [{"name": name, "points": found} for name, found in methods.items()],
    }


def points(results: list[Json]) -> list[Json]:
    """Every point over all seeds."""
    out = []
    last = {m["name"]: m["points"][-1] for m in results[0]["methods"]}
    base = [m["points"][-1] for r in results for m in r["methods"] if m["name"] == r["baseline"]]
    assert last[results[0]["baseline"]]["label"] == base[0]["label"]
    for at, method in enumerate(results[0]["methods"]):
        for number, first in enumerate(method["points"]):
            rows = [r["methods"][at]["points"][number] for r in results]
            differences = [row["accuracy"] - b["accuracy"] for row, b in zip(rows, base)]
            ours = [value for row in rows for value in row["right"]]
            theirs = [value for b in base for value in b["right"]]
            out.append(
                {
                    "method": method["name"],
                    "label": first["label"],
                    "accuracy": statistics.mean(row["accuracy"] for row in rows),
                    "by_seed": [row["accuracy"] for row in rows],
                    "interval": stats.bootstrap(ours),
                    **{kind: statistics.mean(row[kind] for row in rows) for kind in COSTS},
                    **{kind: statistics.mean(row[kind] for row in rows) for kind in SHARES},
                    "questions": len(ours),
                    "difference": statistics.mean(differences),
                    "over_questions": stats.paired_bootstrap(ours, theirs),
                    "over_seeds": stats.student(differences) if len(differences) > 1 else None,
                    "p": stats.mcnemar([v >= 1 for v in ours], [v >= 1 for v in theirs]),
                }
            )
    return out


def report(rows: list[Json], baseline: str) -> str:
    """The points as a table."""
    lines = [
        f"{'method':18} {'':22} {'acc %':>6} {'by seed':>20} {'tokens':>7} {'policy':>7}"
        f" {'scorer':>7} {'s':>6}  against {baseline}: 95 % over questions, over seeds"
    ]
    for row in rows:
        low, high = (100 * x for x in row["over_questions"])
        seeds = row["over_seeds"]
        over = f" [{100 * seeds[0]:+.1f}, {100 * seeds[1]:+.1f}]" if seeds else ""
        lines.append(
            f"{row['method']:18} {row['label']:22} {100 * row['accuracy']:6.1f}"
            f" {' '.join(f'{100 * a:.1f}' for a in row['by_seed']):>20}"
            f" {row['total_tokens']:7.0f} {row['policy_tokens']:7.0f} {row['scorer_tokens']:7.0f}"
            f" {row['seconds']:6.2f}  {100 * row['difference']:+.1f}"
            f" [{low:+.1f}, {high:+.1f}]{over}"
            f" p={row['p']:.2g}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--vary", nargs="*", default=["run.seed={seed}"], metavar="KEY={seed}")
    parser.add_argument("--set", nargs="*", default=[], dest="sets", metavar="KEY=VALUE")
    parser.add_argument("--collect", action="store_true", help="run nothing, read what is there")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="the page of all seeds together")
    args = parser.parse_args()
    results = collect([args.out / str(seed) for seed in args.seeds]) if args.collect else []
    for seed in args.seeds if not args.collect else ():
        sets = [*args.sets, *(item.replace("{seed}", str(seed)) for item in args.vary)]
        recipe = load_recipe(find(args.recipe), sets)
        results.append(one_seed(args.recipe, recipe, args.out / str(seed), sets))
    rows = points(results)
    command = "python bench/search_seeds.py " + " ".join(sys.argv[1:])
    print(report(rows, results[0]["baseline"]))
    if args.page:
        write_search(whole(results, rows, command), args.page)
    if args.json:
        about = {
            "command": command,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "seeds": args.seeds,
            "questions_a_seed": [len(r["methods"][0]["points"][0]["right"]) for r in results],
            "baseline": results[0]["baseline"],
            "points": rows,
        }
        args.json.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
