"""The training loop and what it is given: another part in place of a plain one, and its end."""

import asyncio
import json
import sys
from dataclasses import replace
from functools import partial
from itertools import count as counted
from itertools import pairwise

import pytest

from hornbeam.assembly.run_folder import Folder
from hornbeam.errors import ProgramError, RecipeError
from hornbeam.jobs.train.build import build
from hornbeam.jobs.train.loop import TrainingLoop
from hornbeam.jobs.train.metrics_log import MetricsLog
from hornbeam.jobs.train.training import Run
from hornbeam.store.database import Store
from hornbeam.view.account import amount_text

from .doors import Silent


def parts_of(made, folder):
    recipe, what = made
    return build(what, Folder(folder, recipe), Silent())


def rows(folder):
    found = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [(row["kind"], row.get("stage", ""), row["step"]) for row in found]


class Noted:
    """A part whose calls are noted before they are passed on."""

    def __init__(self, part, calls, *names):
        self.part, self.calls, self.names = part, calls, names

    def __getattr__(self, name):
        whole = getattr(self.part, name)
        if name not in self.names:
            return whole

        def noted(*given):
            step = next((value for value in given if isinstance(value, int)), "")
            self.calls.append(f"{name} {step}".strip())
            return whole(*given)

        return noted


def test_every_step_goes_through_the_parts_in_one_order(made, tmp_path):
    parts, calls = parts_of(made("run.steps=2"), tmp_path / "run"), []
    noted = {
        "rollouts": ["trees"],
        "learner": ["learn"],
        "policies": ["load"],
        "recorder": ["record"],
        "checkpoints": ["save_when_due"],
        "evaluator": ["evaluate", "evaluate_when_due"],
    }
    given = {name: Noted(getattr(parts, name), calls, *names) for name, names in noted.items()}
    asyncio.run(TrainingLoop(replace(parts, **given)).go())
    begin = ["load", "evaluate 0", "load", "evaluate_when_due 0"]
    step = ["trees 0", "learn 0", "load", "record 0", "save_when_due 1", "evaluate_when_due 1"]
    then = ["trees 1", "learn 1", "load", "record 1", "save_when_due 2", "evaluate_when_due 2"]
    assert calls == [*begin, *step, *then, "evaluate 2"]
    held = [("eval", "start", 0), ("train", "", 0), ("eval", "train", 1), ("train", "", 1)]
    assert rows(tmp_path / "run") == [*held, ("eval", "final", 2)]


def test_a_part_that_fails_leaves_nothing_open_and_the_run_goes_on(made, tmp_path):
    class Failing:
        def __init__(self, learner):
            self.learner = learner

        async def learn(self, trees, step):
            if step == 1:
                raise ProgramError("no more")
            return await self.learner.learn(trees, step)

    parts = parts_of(made(), tmp_path / "run")
    with pytest.raises(ProgramError, match="no more"):
        asyncio.run(TrainingLoop(replace(parts, learner=Failing(parts.learner))).go())
    with Store(tmp_path / "run") as store:  # its lock was given back
        assert [row["step"] for row in store.metrics() if row["kind"] == "train"] == [0]
        assert all(store.read(key).done for key in store.keys("train", 1))
    asyncio.run(Run(*made(), tmp_path / "run", Silent()).go())
    assert [step for kind, _, step in rows(tmp_path / "run") if kind == "train"] == [0, 1, 2]


def test_parts_that_cannot_be_made_leave_nothing_open(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(RecipeError, match=r"sinks\.tensorboard needs the extra"):
        Run(*made("run.tensorboard=true"), tmp_path / "run", Silent())
    Store(tmp_path / "run").close()
    asyncio.run(Run(*made("run.steps=1"), tmp_path / "run", Silent()).go())
    assert rows(tmp_path / "run")[-1] == ("eval", "final", 1)


def test_rows_are_told_to_who_listens_once(made, tmp_path):
    heard = []
    for steps in (1, 2):
        recipe, what = made(f"run.steps={steps}")
        listen = partial(MetricsLog, listen=lambda row: heard.append(row["kind"]))
        folder = Folder(tmp_path / "run", recipe)
        parts = build(what, folder, Silent(), metrics=lambda folder, _: listen(folder))
        asyncio.run(TrainingLoop(parts).go())
    assert sorted(heard) == sorted(kind for kind, _, _ in rows(tmp_path / "run"))


def test_training_and_evaluation_tell_one_wall_clock_over_resumes(made, tmp_path):
    def second_a_look(ledger):
        ticks = counted(ledger._stamp + 1)
        ledger._clock = lambda: next(ticks)

    seen = [0.0]
    for steps in (1, 2):
        parts = parts_of(made(f"run.steps={steps}"), tmp_path / "run")
        for grower in (parts.evaluator.context.grower, parts.evaluator.context.greedy):
            second_a_look(grower.ledger)
        page = asyncio.run(TrainingLoop(parts).go())
        with Store(tmp_path / "run", read_only=True) as store:
            seconds = [row["seconds"] for row in store.metrics()]
            assert store.totals()["seconds"] == pytest.approx(seconds[-1], abs=0.01)
        new = seconds[len(seen) - 1 :]
        assert all(now > before for before, now in pairwise([seen[-1], *new]))
        seen += new
        row = f"the others lie within it</small></th><td>{amount_text(seconds[-1])}<"
        assert row in page.read_text("utf-8")
