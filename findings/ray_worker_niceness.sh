#!/bin/sh
# ray 2.60.0: tasks and actors run at niceness 15, below the process that waits for them.
#
# On a machine that trains and rolls out (one node, or rollout actors beside the trainer) the actors of a cluster that `ray.init()` starts are put to
# niceness 15 (`worker_niceness` of its internal settings), while the driver stays at 0: whatever else computes on those cores, the trainer itself among
# them, takes nearly all of the time. Here an actor and a plain process count beside each other on one core for the same seconds: the process gets many times
# the actor's share. The variable RAY_worker_niceness (in this spelling), set before the cluster starts, changes it. Nothing in `ray.init` or in the options of
# an actor says so. Exits 0 while that is so, 1 when it has changed. Needs Linux, Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0
cat >"$place/look.py" <<'PYTHON'
import os
import subprocess
import sys
import time

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray

CORE = min(os.sched_getaffinity(0))
COUNT = (
    "import os, sys, time\n"
    f"os.sched_setaffinity(0, {{{CORE}}})\n"
    "end, n = time.time() + float(sys.argv[1]), 0\n"
    "while time.time() < end:\n    n += 1\n"
    "print(n)\n"
)


@ray.remote
class Actor:
    def niceness(self):
        return os.nice(0)

    def count(self, seconds):
        os.sched_setaffinity(0, {CORE})
        end, n = time.time() + seconds, 0
        while time.time() < end:
            n += 1
        return n


ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
actor = Actor.remote()
print("niceness of the driver and of the actor:", os.nice(0), ray.get(actor.niceness.remote()))
counting = actor.count.remote(4.0)
plain = int(subprocess.run([sys.executable, "-c", COUNT, "4.0"], capture_output=True, text=True, check=True).stdout)
print("the plain process counted", "more than 5 times" if plain > 5 * ray.get(counting) else "about as far", "as the actor")
ray.shutdown()
PYTHON
cd "$place"
"$place/venv/bin/python" look.py >"$place/seen"
RAY_worker_niceness=0 "$place/venv/bin/python" look.py >>"$place/seen"
cat "$place/seen"
cat >"$place/wanted" <<'SEEN'
niceness of the driver and of the actor: 0 15
the plain process counted more than 5 times as the actor
niceness of the driver and of the actor: 0 0
the plain process counted about as far as the actor
SEEN
cmp -s "$place/seen" "$place/wanted" || { echo "changed"; exit 1; }
