"""Training by anchors: which tasks come, what is known of them beforehand, whose run is put in.

What `hornbeam anchor` found is read once and kept in the run's own store, so that a resumed run
trains on the same. What training adds (anchors estimated again, trackers) is kept a step at a time:
the priors of a step are those that the steps before it left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from hornbeam.assembly.plan import Plan
from hornbeam.assembly.task_order import task_at
from hornbeam.assembly.task_records import Record, mark_of_task, rewards_of
from hornbeam.credit import by_task
from hornbeam.credit.anchored import Tracked, track
from hornbeam.errors import DataError, StoreError
from hornbeam.jobs.anchor.anchor_marks import reference_mark, settings, teacher_mark
from hornbeam.jobs.anchor.injected_runs import TeacherTree
from hornbeam.jobs.train.parts import Runs
from hornbeam.recipe.recipe import Recipe
from hornbeam.store.database import Store, TreeKey
from hornbeam.tree.jsonl import from_json, to_json
from hornbeam.tree.nodes import INJECTED, Tree
from hornbeam.tree.task import Task

STAGE = "anchor"  # of the trees by which a run estimates anchors again


class Prior(NamedTuple):
    """What is held of a task: its value, how often outcomes moved it, the step of its estimate."""

    value: float
    heard: int = 0
    step: int = 0


class Anchored:
    """The anchors of a run. Raises `StoreError` where there are none, `DataError` if none is kept.

    `base` is the folder of the recipe's own model, `store` the run's.
    """

    def __init__(self, recipe: Recipe, plan: Plan, base: Path, store: Store) -> None:
        self.how, self.store, self.recipe = settings(recipe), store, recipe
        held = store.get("anchors")
        if held is None:
            held = self._read(plan, base)
            store.set("anchors", held)
            store.flush()
        with store.reading("value of 'anchors'"):
            self.row: dict[str, Any] = {**held["row"]}
            self._now = {name: Prior(float(value)) for name, value in held["priors"].items()}
            self._taught: dict[str, Any] = {**held["taught"]}  # tree as JSON
        self._step = 0  # the first whose changes are not in `_now` yet
        self._renewed: dict[str, Prior] = {}
        self.kept = [task for task in plan.train.tasks if mark_of_task(task) in self._now]
        if not self.kept:
            raise DataError(
                f"no training task is left: {self.row['solved']} are solved by every run of the"
                f" reference policy, {self.row['unsolved']} by none and by no teacher; take others"
            )

    # --- what was found before ------------------------------------------------------------------

    def _read(self, plan: Plan, base: Path) -> dict[str, Any]:
        """Priors of the tasks that are kept, runs of the teacher, and a row that tells of both."""
        mark = reference_mark(self.recipe, plan, base)
        teacher = teacher_mark(self.recipe, plan, base)
        pair = f"{mark}/{teacher}" if teacher else ""
        place, tasks = self.how.store, {mark_of_task(task): task for task in plan.train.tasks}
        if "://" not in place and not (Path(place) / "run.db").is_file():
            raise self._missing(len(tasks), len(tasks), "model")
        priors: dict[str, float] = {}
        taught: dict[str, Any] = {}
        row: dict[str, Any] = {"solved": 0, "mixed": 0, "unsolved": 0, "anchor_tokens": 0.0}
        missing = untaught = 0
        with Store(place, read_only=True) as shared:
            for name, task in tasks.items():
                record = Record.read(shared, f"{mark}/{name}")
                if record is None or len(record.rewards) < self.how.rollouts:
                    missing += 1
                    continue
                kind = record.kind(self.how.solved)
                row[kind] += 1
                row["anchor_tokens"] += record.tokens
                run = TeacherTree.read(shared, pair, task) if pair and kind == "unsolved" else None
                untaught += bool(pair) and kind == "unsolved" and run is None
                row["anchor_tokens"] += run.tokens if run else 0.0
                if run is not None and run.tree is not None:
                    taught[name] = to_json(run.tree)
                if kind == "mixed" or name in taught:
                    priors[name] = record.mean
        if missing or untaught:
            raise self._missing(missing or untaught, len(tasks), "model" if missing else "teacher")
        return {"priors": priors, "taught": taught, "row": {**row, "taught": len(taught)}}

    def _missing(self, missing: int, of: int, who: str) -> StoreError:
        return StoreError(
            f"{self.how.store}: {missing} of {of} training tasks have no runs of this {who}, with"
            " this program, sampling and reward: run `hornbeam anchor` with the same recipe first"
        )

    # --- a step ---------------------------------------------------------------------------------

    async def tasks(self, step: int, runs: Runs) -> list[Task]:
        """The tasks of a step, what is known of them brought up to date."""
        while self._step < step:
            name = f"anchors/{self._step}"
            with self.store.reading(f"value of {name!r}"):
                held = self.store.get(name, {}).items()
                self._now.update(
                    {task: Prior(float(v), int(h), int(s)) for task, (v, h, s) in held}
                )
            self._step += 1
        chosen = self._chosen(step)
        self._renewed = {}
        every = self.how.refresh
        named = {mark_of_task(task): task for task in chosen}
        old = {n: task for n, task in named.items() if every and step - self._now[n].step >= every}
        if old:
            keys = [TreeKey(STAGE, step, number) for number in range(len(old))]
            for name, tree in zip(old, await runs(keys, list(old.values()), self.how.rollouts)):
                value = Record(0, rewards_of(tree)).mean
                self._now[name] = self._renewed[name] = Prior(value, 0, step)
        return chosen

    def _chosen(self, step: int) -> list[Task]:
        run, tasks = self.recipe.run, self.kept
        if self.how.sample == "uniform":
            return [task_at(tasks, run.seed, step * run.tasks + at) for at in range(run.tasks)]
        weights = [priority(self._now[mark_of_task(t)].value, self.how.floor) for t in tasks]
        order = drawn(weights, Random(f"{run.seed}:priority:{step}"))
        return [tasks[order[at % len(order)]] for at in range(run.tasks)]

    def start(self, key: TreeKey, tree: Tree) -> Tree:
        """A fresh training tree with its prior, and the teacher's run where there is one."""
        if key.stage != "train":
            return tree
        name = mark_of_task(Task.from_json(tree.task))
        if name in self._taught:
            tree = Tree(tree.task, from_json(self._taught[name]).nodes, {}, tree.seed)
        tree.column("prior")[0] = self._now[name].value
        return tree

    def learned(self, step: int, trees: Sequence[Tree]) -> None:
        """Keep what the outcomes of a step change."""
        changed = dict(self._renewed)
        if self.how.tracker is not None:
            for group in by_task(trees).values():
                name = mark_of_task(Task.from_json(trees[group[0]].task))
                before = self._now[name]
                heard = [reward for i in group for reward in own_rewards(trees[i])]
                after = track(Tracked(before.value, before.heard), heard, self.how.tracker)
                changed[name] = Prior(after.value, after.count, before.step)
        if changed:
            self.store.set(f"anchors/{step}", changed)


def own_rewards(tree: Tree) -> list[float]:
    """The rewards of the runs that the policy itself ended."""
    reward = tree.columns["reward"]
    own = [reward[i] for i in tree.leaves() if tree.nodes[i].origin.version != INJECTED]
    return [value for value in own if value is not None]


def priority(value: float, floor: float) -> float:
    """The weight of a task of value v: sqrt(v (1 - v)) + floor, v taken into [0, 1].

    The outcome's standard deviation, as in SPO (arXiv 2509.13232): what is settled teaches little.
    """
    held = min(max(value, 0.0), 1.0)
    return math.sqrt(held * (1 - held)) + floor


def drawn(weights: Sequence[float], random: Random) -> list[int]:
    """All places in the order of draws by weight without replacement.

    By the largest u^(1/w) (Efraimidis and Spirakis 2006); weights are above 0.
    """
    keys = [math.log(1.0 - random.random()) / weight for weight in weights]
    return sorted(range(len(weights)), key=lambda i: -keys[i])
