"""Kills trainer, agent and gateway by SIGKILL at random moments, and compares what stands then.

    python bench/gateway_kills.py [--victims trainer agent gateway] [--kills 20] [--json FILE]

trainer: the command is run again, to its end, in the same folder. Then everything below it must be
as undisturbed: trees, ledger but for what is told apart as lost, metrics, weights bit for bit; and
no agent may be left behind.
agent: one of the agents' processes is killed, in a run of one step. The run ends well; one leaf has
failed of that; all other trees of the same weights are as undisturbed; every sampled token that was
paid stands in a tree once.
gateway: three agents that others start are asking `hornbeam gateway`; it is killed and started
again. The agents, which ask again where nobody answers, end as if undisturbed; so do trees, ledger
and records.

Exit code 1 where something is not so. Trainers are forks of this process, which has imported all;
the gateway is the command.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hornbeam.gateway.agent_program  # so that the forks need not import it
import hornbeam.jobs.gateway.gateway_job  # noqa: F401
from gateway_kills_agent import post, talk
from hornbeam.store.database import Store
from hornbeam.tree.jsonl import to_json
from hornbeam.workers.marked_processes import marked
from kill_facts import Facts, differences, facts, lost
from kills import LIMIT, ended, start
from resume import machine

RECIPE = Path(__file__).with_name("gateway_kills.toml")
TRAIN = f"train {RECIPE} --out run"
GONE = 20.0  # seconds in which what a kill leaves behind has to end
SESSIONS = 3
KILLED = "the agent was ended by SIGKILL"
LAUNCHED: list[subprocess.Popen[bytes]] = []  # so that nobody else awaits them


class Trials:
    """Folders below `scratch`; `rng` draws the moments."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.scratch, self.rng = scratch, random.Random(seed)
        self.mark = f"HORNBEAM_KILLS={os.getpid()}"
        os.environ["HORNBEAM_KILLS"] = str(os.getpid())
        os.environ["PIDS"] = str(scratch / "pids")
        (scratch / "pids").mkdir()

    def folder(self, name: str) -> Path:
        """A fresh folder."""
        folder = self.scratch / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        return folder

    def left(self) -> str:
        """What goes on of agents and their helpers after a kill; "" where all ends."""
        end = time.monotonic() + GONE
        while found := list(marked(self.mark)):
            if time.monotonic() > end:
                return f"{len(found)} processes were left behind"
            time.sleep(0.02)
        return ""

    def said(self, folder: Path) -> str:
        """The end of what a command said."""
        return Path(f"{folder}.main.err").read_text()[-300:]


def until(pid: int, met: Callable[[], bool]) -> bool:
    """Wait until something is so; False where the process ends before, or `LIMIT` is over."""
    limit = time.monotonic() + LIMIT
    while not met():
        if time.monotonic() > limit:
            return False
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return False
        time.sleep(0.002)
    return True


def after(pid: int, seconds: float) -> bool:
    """Kill a process after a time; False where it ended before."""
    end = time.monotonic() + seconds
    if not until(pid, lambda: time.monotonic() >= end):
        ended(pid)
        return False
    os.kill(pid, signal.SIGKILL)
    ended(pid)
    return True


# --- the trainer ----------------------------------------------------------------------------------


def trainer(trials: Trials, kills: int) -> dict[str, Any]:
    """Runs killed once each, and gone on with."""
    folder = trials.folder("undisturbed")
    began = time.monotonic()
    if ended(start(folder, TRAIN, "main")):
        raise SystemExit(trials.said(folder))
    seconds, wanted = time.monotonic() - began, facts(folder)
    out: dict[str, Any] = {"kills": 0, "as_undisturbed": 0, "wrong": [], "lost": Counter()}
    while out["kills"] < kills:
        folder, at = trials.folder("killed"), trials.rng.uniform(0.02, 1.0)
        if not after(start(folder, TRAIN, "main"), at * seconds):
            continue
        out["kills"] += 1
        wrong = trials.left()
        code = ended(start(folder, TRAIN, "main"))
        found = {"end": trials.said(folder)} if code else differences(facts(folder), wanted, True)
        out["lost"] += lost(folder)
        wrong = wrong or "; ".join(f"{name}: {how}" for name, how in found.items())
        out["as_undisturbed"] += not wrong
        if wrong:
            out["wrong"].append(f"at {at:.2f}: {wrong}"[:500])
    return out


# --- the agent ------------------------------------------------------------------------------------


def trees_of(folder: Path) -> tuple[dict[str, Any], float]:
    """(trees by key, sampled tokens that were paid)."""
    with Store(folder / "run", read_only=True) as store:
        keys = store.keys()
        trees = {str(key): store.read(key).tree for key in keys}
        paid = sum(e.amount for e in store.entries() if e.kind == "sampled_tokens")
    return trees, paid


def agent(trials: Trials, kills: int) -> dict[str, Any]:
    """Runs of which one agent was killed."""
    words = f"{TRAIN} --set run.steps=1"
    folder = trials.folder("undisturbed")
    if ended(start(folder, words, "main")):
        raise SystemExit(trials.said(folder))
    wanted, _ = trees_of(folder)
    out: dict[str, Any] = {"kills": 0, "one_leaf_failed": 0, "wrong": []}
    while out["kills"] < kills:
        folder = trials.folder("killed")
        pid = start(folder, words, "main")
        if not killed_agent(trials, pid):
            ended(pid)
            continue
        code, wrong = ended(pid), ""
        trees, paid = trees_of(folder)
        failed = {k: [n.error for n in t.nodes if n.error] for k, t in trees.items()}
        failed = {key: errors for key, errors in failed.items() if errors}
        if not failed and not code:
            continue  # it had said all that it had to say
        out["kills"] += 1
        # Trees of the evaluation behind the step have other weights, unless it was hit itself.
        alike = [k for k in wanted if k not in failed and not k.startswith("eval/1")]
        same = all(to_json(trees[k]) == to_json(wanted[k]) for k in alike)
        stands = sum(len(node.tokens) for tree in trees.values() for node in tree.nodes)
        if code:
            wrong = trials.said(folder)
        elif [KILLED in error for errors in failed.values() for error in errors] != [True]:
            wrong = f"failed: {failed}"
        elif not same or trees.keys() != wanted.keys():
            wrong = "other trees than undisturbed"
        elif stands != paid:
            wrong = f"{paid} tokens were paid, {stands} stand in trees"
        wrong = wrong or trials.left()
        out["one_leaf_failed"] += not wrong
        if wrong:
            out["wrong"].append(wrong[:500])
    return out


def killed_agent(trials: Trials, pid: int) -> bool:
    """Kill an agent at a random moment of its life; False where none was there."""
    pids = trials.scratch / "pids"
    for path in pids.iterdir():
        path.unlink()
    seen: set[str] = set()
    chosen = trials.rng.randrange(10)

    def one_more() -> bool:
        seen.update(path.name for path in pids.iterdir())
        return len(seen) > chosen

    if not until(pid, one_more):
        return False
    time.sleep(trials.rng.uniform(0, 0.05))
    here = [path.name for path in pids.iterdir()]
    if not here:
        return False
    try:
        os.kill(int(trials.rng.choice(here)), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


# --- the gateway ----------------------------------------------------------------------------------


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def agents(port: int, said: Path) -> int:
    """A fork that opens sessions, says so, talks in each and ends it; then says what it heard."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        address = urlsplit(f"http://127.0.0.1:{port}")
        opened = []
        for number in range(SESSIONS):
            body = {"question": f"question {number}"}
            opened.append(post(address, "/sessions", {"task": body}, patient=True))
        said.with_suffix(".opened").touch()
        heard = []
        for number, session in enumerate(opened):
            token = session["token"]
            root = f"http://127.0.0.1:{port}/s/{token}"
            text = talk(root, token, f"question {number}", patient=True)
            end = {"answer": text, "reward": len(text) / 10}
            told = post(address, f"/sessions/{token}/end", end, patient=True)
            heard.append([text, told["answer"]])
        said.write_text(json.dumps(heard))
        code = 0
    finally:
        os._exit(code)


def launch(folder: Path, words: str) -> int:
    """Run the command in a folder; what it says goes into files beside the folder."""
    command = [sys.executable, "-m", "hornbeam", *words.split()]
    with open(f"{folder}.main.out", "w") as out, open(f"{folder}.main.err", "w") as err:
        LAUNCHED.append(subprocess.Popen(command, cwd=folder, stdout=out, stderr=err))
    return LAUNCHED[-1].pid


def served(trials: Trials, name: str, port: int, at: float = -1.0) -> tuple[Facts, Any, float]:
    """What stands when the agents have ended, what they heard, and how long it took.

    `at` is when the gateway is killed, in seconds after all sessions were opened.
    """
    folder = trials.folder(name)
    words, said = f"gateway {RECIPE} --out run --port {port}", folder.with_suffix(".said")
    for path in (said, said.with_suffix(".opened")):
        path.unlink(missing_ok=True)
    server, client = launch(folder, words), agents(port, said)
    until(client, said.with_suffix(".opened").exists)
    began = time.monotonic()
    if at >= 0:
        if not after(server, at):
            raise SystemExit(trials.said(folder))
        server = launch(folder, words)
    code = ended(client)
    seconds = time.monotonic() - began
    # It may have begun when all had been said: then it is told to stop when it can hear it.
    until(server, lambda: "Gateway:" in Path(f"{folder}.main.out").read_text())
    os.kill(server, signal.SIGTERM)
    if ended(server) or code:
        raise SystemExit(f"agents: {code}; {trials.said(folder)}")
    # What was counted, not paid, is entered when a gateway stops: a killed one has not.
    found = {key: value for key, value in facts(folder).items() if "metrics" not in key}
    found["run/run.db: records"].pop("gateway/secret")  # each run has its own
    return found, json.loads(said.read_text()), seconds


def gateway(trials: Trials, kills: int) -> dict[str, Any]:
    """Gateways killed once each, and started again."""
    port = free_port()
    wanted, heard, seconds = served(trials, "undisturbed", port)
    out: dict[str, Any] = {"kills": 0, "as_undisturbed": 0, "wrong": []}
    while out["kills"] < kills:
        at = trials.rng.uniform(0, 1)
        found, other, _ = served(trials, "killed", port, at * seconds)
        out["kills"] += 1
        wrong = differences(found, wanted, True)
        if other != heard:
            wrong["heard"] = f"{other} for {heard}"
        out["as_undisturbed"] += not wrong
        if wrong:
            out["wrong"].append(f"at {at:.2f}: {wrong}"[:500])
    return out


VICTIMS = {"trainer": trainer, "agent": agent, "gateway": gateway}


def main() -> None:
    """A line a victim, and the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=[*VICTIMS])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    out: dict[str, Any] = {**machine()}
    for name in given.victims:
        with tempfile.TemporaryDirectory() as scratch:
            out[name] = VICTIMS[name](Trials(Path(scratch), given.seed), given.kills)
        print(name, json.dumps(out[name], indent=1), flush=True)
    if given.json:
        given.json.write_text(json.dumps(out, indent=1) + "\n")
    sys.exit(any(out[name]["wrong"] for name in given.victims))


if __name__ == "__main__":
    main()
