"""Grows a tree in a run folder, on a world of a kind, and kills itself at a call (test_kills)."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hornbeam.grow.grower import Grower
from hornbeam.grow.speakers import Speaker
from hornbeam.score.function_scorer import FunctionScorer
from hornbeam.store.database import Store, TreeKey
from hornbeam.store.ledger import NO_BUDGET, Ledger
from hornbeam.tree.jsonl import to_json
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers
from hornbeam.worlds import Snapshots
from worlds.kinds import KINDS, STRATEGIES, ByText, program_of, speakers

KEY = TreeKey("train", 0, 0)
SCRIPT = [["add", "add"], ["last"], ["add", "fail"], ["drop", "count"]]


def grow(folder, kind, strategy, kill_at, budget=NO_BUDGET):
    """The grown tree as JSON; nothing where the process was killed at call `kill_at`."""
    make, act = KINDS[kind]
    made = 0

    def counted(word, text, world):
        nonlocal made
        made += 1
        if made == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(word, text, world)

    how = STRATEGIES[strategy]
    with Store(folder) as store:
        grower = Grower(
            program_of(SCRIPT, ["add"]),
            {name: Speaker(engine) for name, engine in speakers().items()},
            how,
            FunctionScorer(lambda task, answer: len(str(answer)) % 5 / 4),
            LocalWorkers({"act": counted}),
            Ledger(budget, sink=store.enter),
            keeper=store,
            guides=[ByText()] if "value" in how.reads else [],
            worlds=Snapshots(make()),
        )
        start = Tree(Task("t", "?").to_json(), seed=5)
        stored = store.read(KEY) if KEY in store.keys() else start  # noqa: SIM118
        tree = stored.tree if stored is not start and stored.done else None
        return to_json(tree or asyncio.run(grower.grow(KEY, stored)))


if __name__ == "__main__":
    folder, kind, strategy, kill_at = sys.argv[1:]
    print(json.dumps(grow(Path(folder), kind, strategy, int(kill_at))))
