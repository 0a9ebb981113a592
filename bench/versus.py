"""Benchmarks of this checkout beside those of another, in turn: the ratio of every figure.

    python bench/versus.py OTHER_CHECKOUT BENCH ... [--repeats N] [--only REGEX] [--json FILE]

A BENCH is a script of bench/ with its options, in quotes: `grow`, `"resume --kills 5"`. Each
checkout runs its own script on its own sources, in processes of their own, in changing order, so
that noise of the machine falls on both. Every number that both write to their --json is compared:
this / other, median (min to max) over the repeats. Whether more or less is better the name of a
figure says. Numbers that are equal in all repeats are counted, not listed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number in a JSON value, by the path that leads to it; rows by what names them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            words = inner.values() if isinstance(inner, dict) else ()
            label = " ".join(word for word in words if isinstance(word, str))
            yield from numbers(inner, f"{name}[{label or place}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, float(value)


def run(checkout: Path, bench: str) -> dict[str, float]:
    """The figures of one run of a bench of a checkout."""
    script, *options = shlex.split(bench)
    env = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, f"bench/{script}.py", *options, "--json", str(out)]
        done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{checkout}: {bench}: {(done.stderr or done.stdout)[-2000:]}")
        return dict(numbers(json.loads(out.read_text("utf-8"))))


def spread(ratios: list[float]) -> list[float]:
    """[median, min, max]."""
    return [statistics.median(ratios), min(ratios), max(ratios)]


def main() -> None:
    """Run all, print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("other", type=Path, metavar="OTHER_CHECKOUT")
    parser.add_argument("benches", nargs="+", metavar="BENCH")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", metavar="REGEX", help="figures that match it")
    parser.add_argument("--json", type=Path, metavar="FILE")
    words = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    for bench in words.benches:
        pairs: dict[str, list[tuple[float, float]]] = {}
        for turn in range(words.repeats):
            both: dict[Path, dict[str, float]] = {}
            for checkout in (HERE, words.other.resolve())[:: 1 if turn % 2 else -1]:
                both[checkout] = run(checkout, bench)
            ours, others = both[HERE], both[words.other.resolve()]
            for name in ours.keys() & others.keys():
                if re.search(words.only, name):
                    pairs.setdefault(name, []).append((ours[name], others[name]))
        equal = sorted(name for name, found in pairs.items() if all(a == b for a, b in found))
        rows = {
            name: spread([a / b for a, b in found])
            for name, found in sorted(pairs.items())
            if name not in equal and all(b for _, b in found)
        }
        print(f"\n{bench}: this / other, median (min to max) of {words.repeats}")
        for name, (middle, low, high) in rows.items():
            print(f"  {name:<60}{middle:8.3f} ({low:.3f} to {high:.3f})")
        print(f"  equal in both: {len(equal)} figures")
        results[bench] = {"ratios": rows, "equal": equal, "figures": pairs}
    if words.json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        whole = {"command": "bench/versus.py", **machine, "benches": results}
        words.json.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
