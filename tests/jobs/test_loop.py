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
from hornbeam.jobs.train.growth import StoredGrowth
from hornbeam.jobs.train.loop import TrainingLoop
from hornbeam.jobs.train.metrics_log import MetricsLog
from hornbeam.jobs.train.training import Run
from hornbeam.store.database import Store, TreeKey
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


NOTED = {
    "rollouts": ["trees"],
    "learner": ["learn"],
    "policies": ["load"],
    "recorder": ["begin", "record"],
    "checkpoints": ["save_when_due"],
    "evaluator": ["evaluate", "evaluate_before"],
}


def noted(parts, calls):
    """The parts, whose calls are noted as they begin."""
    given = {name: Noted(getattr(parts, name), calls, *names) for name, names in NOTED.items()}
    return replace(parts, **given)


def test_every_step_goes_through_the_parts_in_one_order(made, tmp_path):
    parts, calls = parts_of(made("run.steps=2"), tmp_path / "run"), []
    asyncio.run(TrainingLoop(noted(parts, calls)).go())
    steps = []
    for n in range(2):
        steps += [f"evaluate_before {n}", f"begin {n}", f"trees {n}", f"learn {n}", "load"]
        steps += [f"record {n}", f"save_when_due {n + 1}"]
    assert calls == ["load", "evaluate 0", "load", *steps, "evaluate 2"]
    held = [("eval", "start", 0), ("train", "", 0), ("eval", "train", 1), ("train", "", 1)]
    assert rows(tmp_path / "run") == [*held, ("eval", "final", 2)]


class Growing:
    """Growth whose begin and end are noted; an evaluation waits until the trees of a step are."""

    def __init__(self, growth, calls, waits):
        self.growth, self.calls, self.waits, self.grown = growth, calls, waits, asyncio.Event()

    async def grow(self, grower, keys, tasks):
        self.calls.append(f"{keys[0].stage} {keys[0].step} begins")
        if keys[0].stage == "eval" and keys[0].step == 1 and self.waits:
            await self.grown.wait()
        trees = await self.growth.grow(grower, keys, tasks)
        self.calls.append(f"{keys[0].stage} {keys[0].step} ends")
        if keys[0] == ("train", 1, 0):
            self.grown.set()
        return trees


@pytest.mark.parametrize("resume", ["keep", "exact"])
def test_an_evaluation_goes_on_beside_the_growth_of_the_next_step(made, tmp_path, resume):
    recipe, what = made("run.steps=2", f"run.resume={resume}")
    calls, folder = [], Folder(tmp_path / "run", recipe)
    parts = build(
        what,
        folder,
        Silent(),
        growth=lambda *given: Growing(StoredGrowth(*given), calls, resume == "keep"),
    )
    asyncio.run(TrainingLoop(noted(parts, calls)).go())
    evaluation, step = ["eval 1 begins", "eval 1 ends"], ["train 1 begins", "train 1 ends"]
    both = [step[0], evaluation[0], step[1], evaluation[1]]  # the step's trees come first
    both = [*evaluation, *step] if resume == "exact" else both
    grown = [call for call in calls if call in (*both, "learn 1")]
    assert grown == [*both, "learn 1"]  # the weights change when all have ended
    with Store(tmp_path / "run", read_only=True) as store:
        looks = [row for row in store.metrics() if row["kind"] == "eval" and row["step"] == 1]
        version = {n.origin.version for n in store.read(TreeKey("eval", 1, 0)).tree.nodes[1:]}
        trained = {n.origin.version for n in store.read(TreeKey("train", 1, 0)).tree.nodes[1:]}
    assert len(looks) == 1 and version == trained and len(version) == 1


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
