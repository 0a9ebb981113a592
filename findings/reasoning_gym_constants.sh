#!/bin/sh
# reasoning-gym 0.1.25: four scorers pay one and the same answer for (nearly) every item.
#
# - game_of_life_halting compares bool(answer) with bool("False"): any text that is not empty pays 1.
# - coin_flip pays the share of leading characters that agree, of the shorter one: "0" pays 1 for 0.375.
# - game_of_life pays every cell that agrees, and nearly all cells are empty: so does an empty board.
# - puzzle24 asks for four numbers within its bounds that make 24, not for the four that were given.
# A policy that learns to say the constant has learned nothing, with a reward near 1.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check reasoning-gym==0.1.25
cd "$folder"
PYTHONHASHSEED=0 "$folder/venv/bin/python" - <<'P'
import json
import sys
from importlib.metadata import version

import reasoning_gym

print("reasoning-gym", version("reasoning-gym"))
empty = json.dumps([[0] * 10] * 10)
least = {"game_of_life_halting": ("no idea", 1.0), "coin_flip": ("0", 0.8),
         "game_of_life": (empty, 0.9), "puzzle24": ("1*2*3*4", 1.0)}
changed = False
for name, (said, floor) in least.items():
    made = reasoning_gym.create_dataset(name, seed=3, size=50)
    items = [made[i] for i in range(50)]
    mean = sum(made.score_answer(said, item) for item in items) / 50
    right = sum(said == item["answer"] for item in items) / 50
    print(f"{name}: {said[:20]!r} pays {mean:.3f} on average, and is the stored answer of {right:.0%}")
    changed |= mean < floor
sys.exit(changed)
P
