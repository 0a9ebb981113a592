#!/bin/sh
# reasoning-gym 0.1.25: the same data set, seed and index is another item in another process.
#
# Five sets walk over Python sets, whose order hangs on PYTHONHASHSEED, which differs in every process
# by default; `list_functions` also draws from the global random numbers, so that its items differ
# even within one process. A run that is resumed, or whose tasks are made by several workers, meets
# other tasks under the same number unless the hash seed and the global generator are fixed.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check reasoning-gym==0.1.25
cd "$folder"
cat > items.py <<'P'
import hashlib
import sys

import reasoning_gym


def digest(name):
    made = reasoning_gym.create_dataset(name, seed=1, size=8)
    text = repr([(made[i]["question"], made[i]["answer"]) for i in range(8)])
    return hashlib.md5(text.encode()).hexdigest()[:8]


for name in sys.argv[1:]:
    print(name, digest(name), digest(name))
P
sets="gcd isomorphic_strings knight_swap list_functions polynomial_multiplication ransom_note word_ladder"
for seed in 1 2; do
  echo "PYTHONHASHSEED=$seed"
  PYTHONHASHSEED=$seed "$folder/venv/bin/python" items.py $sets | tee "seed$seed"
done
"$folder/venv/bin/python" - <<'P'
import sys

one, two = ([line.split() for line in open(name)] for name in ("seed1", "seed2"))
between = {a[0] for a, b in zip(one, two) if a[1] != b[1]}
within = {row[0] for row in one + two if row[1] != row[2]}
print("differ between processes:", *sorted(between))
print("differ within a process:", *sorted(within))
hashed = "isomorphic_strings knight_swap polynomial_multiplication ransom_note word_ladder".split()
sys.exit(between != {*hashed, "list_functions"} or within != {"list_functions"})
P
