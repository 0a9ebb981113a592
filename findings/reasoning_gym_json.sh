#!/bin/sh
# reasoning-gym 0.1.25: an item that went through JSON is scored otherwise than the item itself.
#
# Metadata hold tuples, JSON has lists. The scorers of `arc_agi` and `rearc` compare a tuple of tuples
# with what stands in metadata["output"], so once an item was written to a file and read again the
# right answer pays 0.05, as much as any grid. Who keeps items as JSON lines must keep tuples apart.
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
seen = {}
for name in ("arc_agi", "rearc", "gcd"):
    made = reasoning_gym.create_dataset(name, seed=1, size=3)
    items = [made[i] for i in range(3)]
    back = json.loads(json.dumps(items))
    told = [[made.score_answer(i["answer"], i) for i in each] for each in (items, back)]
    seen[name] = told
    print(f"{name}: its own answers pay {told[0]}, after JSON {told[1]}")
lost = [[1.0] * 3, [0.05] * 3]
sys.exit(seen != {"arc_agi": lost, "rearc": lost, "gcd": [[1.0] * 3] * 2})
P
