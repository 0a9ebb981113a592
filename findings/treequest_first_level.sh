#!/bin/sh
# treequest 0.3.3: TreeOfThoughtsBFSAlgo samples one step from the root, by the first action only, whatever `size_limit` says.
#
# "For each selected node, generates k new samples" (size_limit = k, 5 by default) holds from the second level on. The root gets a single sample, and of several
# actions (models, say) only the one that is named first. So the whole tree stands under one first step: a bad one cannot be left again, and a comparison with
# tree of thoughts or beam search as published is one at another width.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check treequest==0.3.3
"$place/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from treequest import TreeOfThoughtsBFSAlgo

K, CALLS = 6, 40
asked = {"one": [], "two": []}  # action -> depth of every call


def by(name):
    def generate(parent):
        depth = 1 if parent is None else parent + 1
        asked[name].append(depth)
        return depth, 0.5

    return generate


how = TreeOfThoughtsBFSAlgo(breadth_limit=3, size_limit=K)
state = how.init_tree()
for _ in range(CALLS):
    state = how.step(state, {name: by(name) for name in asked})
print("treequest", version("treequest"))
counts = {
    depth: {name: depths.count(depth) for name, depths in asked.items()} for depth in (1, 2, 3)
}
for depth, found in counts.items():
    print(f"level {depth}, samples by action: {found}")
same = counts[1] == {"one": 1, "two": 0} and counts[2] == {"one": K // 2, "two": K // 2}
raise SystemExit(0 if same else 1)
PYTHON
