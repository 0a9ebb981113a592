#!/bin/sh
# trackio 0.43.0: a step that is logged again stands there twice; wandb 0.31.0, whose interface it takes over, keeps one.
#
# A training run that is resumed trains the steps after its last checkpoint again, and logs them again. Weights & Biases ignores a row whose step is below
# the run's last one and writes one of the same step over it, so the history has one value a step. Trackio is offered as its drop-in replacement
# ("import trackio as wandb"), goes on with a run by `resume="allow"`, and keeps both rows: curves run back, and who reads them gets a step twice, with both
# values. Nothing says so at either call. Here both log steps 0, 1, 2 and then, as after a resume from the checkpoint of step 0, 1, 2, 3. Nothing is sent.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check trackio==0.43.0 wandb==0.31.0
cat >"$place/look.py" <<'PYTHON'
import contextlib
import glob
import io
import json
import os
import sqlite3
import struct

STEPS = (0, 1, 2, 1, 2, 3)
os.environ.update(TRACKIO_DIR=os.path.abspath("trackio"), WANDB_MODE="offline", WANDB_SILENT="true")
import trackio
import wandb
from wandb.proto.wandb_internal_pb2 import Record


def records(data):
    """Of a LevelDB log behind a header of 7 bytes."""
    at, parts = 7, b""
    while at + 7 <= len(data):
        if (room := 32768 - at % 32768) < 7:
            at += room
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        parts, at = parts + data[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):
            yield Record.FromString(parts)
            parts = b""


run = wandb.init(project="p", settings=wandb.Settings(console="off"))
for count, step in enumerate(STEPS):
    run.log({"loss": count}, step=step)
run.finish()
wandb.teardown()  # which waits until the file is written
(path,) = glob.glob("wandb/offline-run-*/*.wandb")
rows = [record.history for record in records(open(path, "rb").read()) if record.WhichOneof("record_type") == "history"]
losses = [json.loads(item.value_json) for row in rows for item in row.item if "loss" in (item.key, *item.nested_key)]
print("wandb: steps", [row.step.num for row in rows], "losses", losses)

with contextlib.redirect_stdout(io.StringIO()):
    for part in (range(3), range(3, 6)):
        run = trackio.init(project="p", name="run", resume="allow", embed=False, auto_log_cpu=False, auto_log_gpu=False)
        for count in part:
            run.log({"loss": count}, step=STEPS[count])
        run.finish()
with sqlite3.connect("trackio/p.db") as db:
    rows = db.execute("select run_id, step, metrics from metrics order by id").fetchall()
print("trackio: runs", len({row[0] for row in rows}), "steps", [row[1] for row in rows], "losses", [json.loads(row[2])["loss"] for row in rows])
PYTHON
cd "$place"
HOME="$place" "$place/venv/bin/python" look.py >"$place/said" 2>&1
grep '^wandb: steps\|^trackio: runs' "$place/said" >"$place/seen"
cat "$place/seen"
cat >"$place/wanted" <<'SEEN'
wandb: steps [0, 1, 2, 3] losses [0, 1, 4, 5]
trackio: runs 1 steps [0, 1, 2, 1, 2, 3] losses [0, 1, 2, 3, 4, 5]
SEEN
cmp -s "$place/seen" "$place/wanted" || { cat "$place/said"; echo "changed"; exit 1; }
