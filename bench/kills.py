"""Kills every job at its writes, runs the same command again, and holds what it leaves against
what an undisturbed run leaves.

    python bench/kills.py [--jobs train search] [--every 8] [--at 17] [--json FILE]

A write is a commit or a change of a file (kill_points.py). All changes of files are killed at, in
the middle and after them; of a job's commits every `--every`-th. After the kill the command is run
again, to its end, in the same folder. Then everything below it must be as undisturbed: the files
that are there, the weights bit for bit, trees and their columns, rows of metrics, the ledger but
for what is told apart as lost, costs on the page, records, results as JSON. Left out: seconds, and
what a killed run tells apart (`redone_...`). With `--again` every second kill is followed by one of
the command that goes on. Exit code 1 where something is not so.

Processes are forks of this one, which has imported all: each begins at once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transformers  # noqa: F401  # so that the forks need not import it

import hornbeam.jobs.train.decoupled.decoupled_run  # noqa: F401
from hornbeam.cli.main import main as hornbeam_command
from kill_facts import Facts, differences, facts, in_order, lost, over
from kill_points import Points
from resume import machine

RECIPE = Path(__file__).with_name("kills.toml")
LIMIT = 120  # seconds a command may take
PRINTED = "what it printed"
MISSED = "the write was not reached"  # two runs do not write alike: commits go by time
WRITES = ("write", "weights")
SIDES = ("before", "half", "after")


@dataclass(frozen=True)
class Job:
    """A command, in words; `RECIPE` stands for the recipe. `given`: folders that it starts from.

    With several commands they run at once, and the first is the one that is killed.
    """

    name: str
    words: str
    given: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    exact: bool = True  # bit for bit; not where trees that were begun grow on in other batches


ON_POLICY = " --set model.name=policy --set model.options={} --set anchor.model=policy"
APART = (
    "train RECIPE --out run --set 'policies={asks={},tells={}}'"
    ' --set \'agents={asks={max_tokens=5,policy="asks"},tells={max_tokens=5,policy="tells"}}\''
    " --set program.name=kills_world.py:relay --set run.resume=exact --set run.lease=20"
    " --set engine.max_batch=1 --set engine.cache_tokens=0"
)
ANCHORED = (
    "train RECIPE --out run --set credit.method=anchor --set anchor.refresh=1"
    " --set anchor.tracker=0.9"
) + ON_POLICY
# What later jobs start from, made first.
MADE = {
    "policy": "train RECIPE --out policy-run --set run.steps=0 --set sft.epochs=12"
    " --set sft.lr=5e-3",
    "teacher": "train RECIPE --out teacher-run --set run.seed=1",
    "labels": "label RECIPE --out labels" + ON_POLICY,
    "prm": "fit RECIPE --trees labels/trees.jsonl --out prm" + ON_POLICY,
    "anchors": "anchor RECIPE --json" + ON_POLICY,
}
JOBS = (
    Job("train", "train RECIPE --out run", exact=False),
    Job("train exact", "train RECIPE --out run --set run.resume=exact"),
    Job("train on anchors", ANCHORED, ("policy", "teacher", "anchors"), exact=False),
    Job(
        "train on anchors, exact",
        ANCHORED + " --set run.resume=exact",
        ("policy", "teacher", "anchors"),
    ),
    Job("search", "search RECIPE --out run --json" + ON_POLICY, ("policy", "prm")),
    Job("label", "label RECIPE --out run" + ON_POLICY, ("policy",)),
    Job(
        "label rollouts",
        "label RECIPE --out run --method rollouts --set label.rollouts=2" + ON_POLICY,
        ("policy",),
    ),
    Job("anchor", "anchor RECIPE --json" + ON_POLICY, ("policy", "teacher")),
    Job(
        "fit",
        "fit RECIPE --trees labels/trees.jsonl --out run" + ON_POLICY,
        ("policy", "labels"),
    ),
    Job(
        "blame",
        "blame policy-run --all-failed --forks 12 --out run --json",
        ("policy-run",),
    ),
    Job("export", "export policy-run --out trees.jsonl", ("policy-run",)),
    Job("view", "view policy-run", ("policy-run",)),
    Job("eval", "eval RECIPE --out trees.jsonl --json" + ON_POLICY, ("policy",)),
    Job("chunks", "chunks RECIPE --run run --out set.jsonl" + ON_POLICY, ("policy",)),
    Job("two policies", APART),
    Job("apart", APART + " --policy asks", beside=(APART + " --policy tells",)),
)


# --- processes -----------------------------------------------------------------------------------


def start(folder: Path, words: str, said: str, points: Points | None = None) -> int:
    """Run a command in a folder, in a fork; what it says goes into files beside the folder."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.chdir(folder)
        for stream, name in ((1, "out"), (2, "err")):
            handle = os.open(f"{folder}.{said}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, stream)
        if points is not None:
            points.pid = os.getpid()
            points.install()
        sys.argv = ["hornbeam", *shlex.split(words.replace("RECIPE", str(RECIPE)))]
        hornbeam_command()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(pid: int) -> int:
    """The exit code of a process, less than 0 where a signal ended it."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 99


def whole(
    job: Job, folder: Path, points: Points, torn: str = "", again: Points | None = None
) -> tuple[str, int]:
    """Run a job to its end; where `points` says so it is killed before, and run again.

    Returns ("" or what went wrong, how often it was killed). `torn` is a file that may not be there
    right after the kill, `again` may kill what goes on.
    """
    others = [start(folder, words, f"{n}") for n, words in enumerate(job.beside)]
    code = ended(start(folder, job.words, "main", points))
    wrong, kills = "", int(code == -signal.SIGKILL)
    if points.at >= 0 and code != -signal.SIGKILL:
        wrong = f"it was not killed and ended with {code}" if code else MISSED
    elif points.at >= 0:
        hidden = any(part.startswith(".") for part in Path(torn).parts)
        if torn and not hidden and (folder / torn).exists():
            wrong = f"{torn} stood there half-written after the kill"
        if again is not None:
            kills += ended(start(folder, job.words, "main", again)) == -signal.SIGKILL
        points.over = over(folder)
        code = ended(start(folder, job.words, "main"))
    codes = [code, *map(ended, others)]
    if any(codes) and not wrong:
        said = [Path(f"{folder}.{n}.err").read_text()[-300:] for n in ("main", "0")[: len(codes)]]
        wrong = f"exit codes {codes}: {' | '.join(said)}"
    return wrong, kills


# --- trials --------------------------------------------------------------------------------------


class Bench:
    """Folders below `scratch`: what jobs start from, and one a trial."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.made = scratch, scratch / "made"
        self.made.mkdir()

    def make(self, wanted: set[str]) -> None:
        """Make what jobs start from, and what that starts from."""
        wanted |= {"labels"} if "prm" in wanted else set()
        wanted |= {"teacher"} if "anchors" in wanted else set()
        for name, words in MADE.items():
            if not wanted & {name, f"{name}-run"} and name != "policy":
                continue
            code = ended(start(self.made, words, name))
            if code:
                raise SystemExit(Path(f"{self.made}.{name}.err").read_text())
            if (self.made / f"{name}-run").is_dir():
                (self.made / name).symlink_to(f"{name}-run/final")

    def folder(self, job: Job, name: str) -> Path:
        """A fresh folder in which a job starts."""
        folder = self.scratch / name
        folder.mkdir()
        for given in job.given:
            if given.endswith("-run"):
                shutil.copytree(self.made / given, folder / given)
            else:
                (folder / given).symlink_to(self.made / given)
        return folder

    def drop(self, folder: Path) -> None:
        """Remove a trial."""
        shutil.rmtree(folder)
        for path in self.scratch.glob(f"{folder.name}.*"):
            path.unlink()


@dataclass
class KillCounts:
    """What the kills of one job showed."""

    job: str
    writes: int
    runs: int = 0  # that were killed, each once or twice
    kills: int = 0
    good: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, dict[str, str]] = field(default_factory=dict)  # by kill, by fact


def held(job: Job, folder: Path) -> Facts:
    """What stands in a folder after a job."""
    return in_order(facts(folder)) if job.beside else facts(folder)


def without(found: Facts, names: Sequence[str]) -> Facts:
    """Facts whose printed JSON leaves these names out."""
    printed = {k: v for k, v in found[PRINTED].items() if k not in names}
    return {**found, PRINTED: printed}


def compared(job: Job, folder: Path, wanted: Facts, over: bool) -> dict[str, str]:
    """How a folder differs from the wanted one; a job that was `over` at its kill does no more."""
    found, no_more = held(job, folder), ("fresh", "tokens")
    if over:
        if any(found[PRINTED][name] for name in no_more):
            return {PRINTED: "what was done already is called fresh"}
        found, wanted = without(found, no_more), without(wanted, no_more)
    return differences(found, wanted, job.exact)


def moments(log: Sequence[str], every: int) -> list[tuple[int, str]]:
    """The kills of a job: all sides of every change of files, every so many commits one."""
    out, commits = [], 0
    for at, what in enumerate(log):
        if what == "commit":
            commits += 1
            if commits % every == 0:
                out.append((at, SIDES[2 * (commits // every % 2)]))
        elif what == "table":
            out.append((at, "after"))
        elif what.split()[0] in (*WRITES, "append"):
            out += [(at, "half"), (at, "after")]
        else:
            out.append((at, "after"))
    return out


def trial(bench: Bench, job: Job, given: argparse.Namespace) -> KillCounts:
    """All kills of one job."""
    folder = bench.folder(job, "undisturbed")
    log = folder.with_suffix(".log")
    if wrong := whole(job, folder, Points(folder, log=log))[0]:
        raise SystemExit(f"{job.name}, undisturbed: {wrong}")
    wanted, writes = held(job, folder), log.read_text().splitlines()
    result = KillCounts(job.name, len(writes))
    if found := lost(folder):
        result.wrong["undisturbed"] = {"lost": str(dict(found))}
    bench.drop(folder)
    chosen = moments(writes, given.every)
    if given.of:
        chosen = [(at, side) for at, side in chosen if given.of in writes[at]]
    if given.at:
        chosen = [(at, side) for at, side in chosen if at in given.at]
    rng = random.Random(0)
    for number, (at, side) in enumerate(chosen[given.first :: given.stride]):
        folder = bench.folder(job, "killed")
        later = rng.randrange(1, len(writes) - at + 9), rng.choice(SIDES[::2])
        again = Points(folder, *later) if given.again and number % 2 else None
        what, _, path = writes[at].partition(" ")
        torn = path if what in WRITES else ""
        points = Points(folder, at, side)
        wrong, kills = whole(job, folder, points, torn, again)
        if wrong == MISSED:
            bench.drop(folder)
            continue
        found = {"end": wrong} if wrong else compared(job, folder, wanted, points.over)
        result.runs += 1
        result.kills += kills
        result.good += not found
        result.lost += lost(folder)
        if found:
            name = f"{side} {at} ({writes[at]})"
            name += f", then {later[1]} {later[0]}" if again else ""
            result.wrong[name] = found
            print(f"{job.name}: {name}", *(f"\n    {k}: {v}" for k, v in found.items()), flush=True)
        if not (found and given.keep):
            bench.drop(folder)
        else:
            folder.rename(folder.with_name(f"{job.name}-{at}-{side}".replace(" ", "-")))
    return result


def main() -> None:
    """All jobs, a table, and the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    names = [job.name for job in JOBS]
    parser.add_argument("--jobs", nargs="+", choices=names, default=names)
    parser.add_argument("--every", type=int, default=8, help="commits, one kill")
    parser.add_argument("--stride", type=int, default=1, help="of the kills, take every so many")
    parser.add_argument("--first", type=int, default=0, help="and begin with this")
    parser.add_argument("--again", action="store_true", help="kill every second a second time")
    parser.add_argument("--of", default="", help="only at writes that are named so")
    parser.add_argument("--at", type=int, nargs="+", help="only at these writes")
    parser.add_argument("--keep", type=Path, help="make folders here, keep those that went wrong")
    parser.add_argument("--json", type=Path, help="jobs that it holds already stay there")
    given = parser.parse_args()
    jobs = [job for job in JOBS if job.name in given.jobs]
    result: list[KillCounts] = []
    with tempfile.TemporaryDirectory() as made:
        bench = Bench(given.keep or Path(made))
        bench.make({name for job in jobs for name in job.given})
        print(f"{'job':24}{'writes':>7}{'kills':>7}{'runs':>6}{'as undisturbed':>16}  told apart")
        for job in jobs:
            one = trial(bench, job, given)
            result.append(one)
            lost = ", ".join(f"{kind} {amount:,}" for kind, amount in sorted(one.lost.items()))
            counts = f"{one.writes:7}{one.kills:7}{one.runs:6}{one.good:16}"
            print(f"{one.job:24}{counts}  {lost}", flush=True)
    writes, kills, runs, good = (
        sum(getattr(one, name) for one in result) for name in ("writes", "kills", "runs", "good")
    )
    print(f"{'all':24}{writes:7}{kills:7}{runs:6}{good:16}")
    if given.json:
        keep(given.json, [{**vars(one), "lost": dict(one.lost)} for one in result])
    sys.exit(any(one.wrong for one in result))


def keep(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write what was found beside what the file holds of other jobs, and the sums of all."""
    before = json.loads(path.read_text()) if path.exists() else {}
    commands = [*before.get("commands", ()), f"bench/kills.py {shlex.join(sys.argv[1:])}"]
    names = {row["job"] for row in rows}
    rows = [row for row in before.get("jobs", ()) if row["job"] not in names] + rows
    sums = {name: sum(row[name] for row in rows) for name in ("kills", "runs", "good")}
    sums["as undisturbed"] = sums.pop("good")
    out = {"commands": commands, **machine(), **sums, "jobs": rows}
    path.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
