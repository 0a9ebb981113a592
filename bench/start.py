"""CPU seconds of a start: the package, the help of the command, and what they rest on.

    python bench/start.py [--repeats N] [--json FILE]

CPU seconds are user and system time of a process of its own, minimum, median and maximum of the
repeats; the first start of each, which may compile, is not counted. The target is under 0.3.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from typos import cpu

PYTHON = sys.executable
STARTS = {  # name: command
    "python -c pass": [PYTHON, "-c", "pass"],
    "import hornbeam": [PYTHON, "-c", "import hornbeam"],
    "import hornbeam, all its names": [PYTHON, "-c", "from hornbeam import *"],
    "hornbeam --help": [PYTHON, "-m", "hornbeam", "--help"],
    "hornbeam --version": [PYTHON, "-m", "hornbeam", "--version"],
    "hornbeam recipes list": [PYTHON, "-m", "hornbeam", "recipes", "list"],
    "hornbeam train --help": [PYTHON, "-m", "hornbeam", "train", "--help"],
}
HELD = ("import hornbeam", "hornbeam --help")  # that the target is of
TARGET = 0.3  # CPU seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = {}
    print(f"{'':32}{'min':>6}{'median':>8}{'max':>6}")
    for name, command in STARTS.items():
        runs = [cpu(command, Path.cwd()) for _ in range(args.repeats + 1)][1:]
        if wrong := [line for _, code, line in runs if code]:
            raise SystemExit(f"{name}: {wrong[0]}")
        seconds = [run[0] for run in runs]
        figures = min(seconds), statistics.median(seconds), max(seconds)
        rows[name] = dict(zip(("min", "median", "max"), (round(s, 3) for s in figures)))
        print("{:32}{:6.2f}{:8.2f}{:6.2f}".format(name, *figures))
    most = max(rows[name]["max"] for name in HELD)
    print(f"{' and '.join(HELD)}: at most {most:.2f} CPU seconds (target: under {TARGET})")
    if args.json:
        args.json.write_text(json.dumps({"repeats": args.repeats, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
