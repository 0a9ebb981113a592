#!/bin/sh
# reasoning-gym 0.1.25: scorers run the answer as Python, in the process that scores.
#
# spiral_matrix, string_insertion, binary_matrix and n_queens pass an answer that does not match to
# eval(). What a model says is then a program: below an expression that only makes the stored answer
# is paid for its value. Score in a process that may be lost, or give eval() nothing but literals.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check reasoning-gym==0.1.25
cd "$folder"
PYTHONHASHSEED=0 "$folder/venv/bin/python" - <<'P'
import sys
from importlib.metadata import version

import reasoning_gym

print("reasoning-gym", version("reasoning-gym"))
paid = {}
for name in ("spiral_matrix", "string_insertion", "rotate_matrix"):  # the last one only compares
    made = reasoning_gym.create_dataset(name, seed=1, size=1)
    item = made[0]
    parts = [*item["answer"]] if name == "string_insertion" else item["answer"].split()
    said = f"list(reversed({parts[::-1]!r}))"
    paid[name] = made.score_answer(said, item)
    print(f"{name}: {said[:60]}... pays {paid[name]}")
sys.exit(not (paid["spiral_matrix"] > 0 and paid["string_insertion"] > 0 == paid["rotate_matrix"]))
P
