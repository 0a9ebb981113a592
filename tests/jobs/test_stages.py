"""Curricula: stages begin at their step, with the tasks that the policy's own runs let in."""

import asyncio
import json

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.assembly.task_order import task_at
from hornbeam.assembly.task_records import Record, rewards_of
from hornbeam.errors import DataError, RecipeError
from hornbeam.jobs.recipe_checks import check_decoupled
from hornbeam.jobs.train.curriculum import STAGE
from hornbeam.jobs.train.training import Run
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store

from .doors import Silent

RECIPE = """
run = {steps = 4, tasks = 3, eval_every = 0, eval_start = false, checkpoint_every = 1}
model = {name = "tiny", options = {width = 32}}
agents = {seeker = {max_tokens = 4}}
program = {name = "lookup"}
tools = {lookup = {}}
reward = {rule = "exact"}
grow = {n = 2}
optim = {lr = 6e-4}
sft = {count = 24, epochs = 24, lr = 5e-3, batch_size = 8}
[[tasks.train]]
source = "lookup"
count = 24
options = {depth = 2, known = 0.5}
[[stages]]
least = 0.25
rollouts = 4
[[stages]]
begin = 2
most = 0.2
rollouts = 4
"""


def made(folder, *sets):
    (folder / "doors.toml").write_text(RECIPE)
    recipe = load_recipe(folder / "doors.toml", sets)
    return recipe, plan(recipe, folder)


def go(folder, out, *sets):
    asyncio.run(Run(*made(folder, *sets), folder / out, Silent()).go())
    with Store(folder / out, read_only=True) as store:
        trees = {
            stage: {key: store.read(key).tree for key in store.keys(stage)}
            for stage in ("train", STAGE)
        }
    rows = map(json.loads, (folder / out / "metrics.jsonl").read_text().splitlines())
    return trees, [*rows]


def test_each_stage_trains_on_what_its_measure_lets_in(tmp_path):
    trees, rows = go(tmp_path, "run")
    result = [row for row in rows if row["kind"] == "stage"]
    recipe, what = made(tmp_path)
    for begin, least, most, row in ((0, 0.25, 1.0, result[0]), (2, 0.0, 0.2, result[1])):
        measured = {k.number: t for k, t in trees[STAGE].items() if k.step == begin}
        assert [t.task["id"] for _, t in sorted(measured.items())] == [
            task.id for task in what.train.tasks
        ]
        shares = [Record(0, rewards_of(measured[n])).accuracy(1.0) for n in sorted(measured)]
        assert all(len(tree.leaves()) == 4 for tree in measured.values())
        kept = [task for task, s in zip(what.train.tasks, shares) if least <= s <= most]
        assert 0 < len(kept) < 24 and row["tasks"] == len(kept) and row["of"] == 24
        assert row["step"] == begin and row["accuracy"] == pytest.approx(sum(shares) / 24)
        for step in (begin, begin + 1):
            came = [t.task["id"] for k, t in trees["train"].items() if k.step == step]
            places = range(3 * (step - begin), 3 * (step - begin) + 3)
            assert came == [task_at(kept, recipe.run.seed, place).id for place in places]
    sampled = sum(len(node.tokens) for t in trees[STAGE].values() for node in t.nodes)
    trained = sum(len(node.tokens) for t in trees["train"].values() for node in t.nodes)
    paid = sum(row["sampled_tokens"] for row in rows if row["kind"] == "train")
    assert paid == sampled + trained  # measuring is paid for


def test_a_resumed_run_has_the_same_stages(tmp_path):
    whole, _ = go(tmp_path, "whole", "run.resume=exact")
    go(tmp_path, "parts", "run.resume=exact", "run.steps=3")
    parts, rows = go(tmp_path, "parts", "run.resume=exact")
    assert [t.nodes for t in parts["train"].values()] == [t.nodes for t in whole["train"].values()]
    assert parts[STAGE].keys() == whole[STAGE].keys()
    assert sum(row["kind"] == "stage" for row in rows) == 2


def test_without_rollouts_all_tasks_come(tmp_path):
    trees, _ = go(tmp_path, "run", "stages=[{}]", "run.steps=8")
    assert len({t.task["id"] for t in trees["train"].values()}) == 24 and not trees[STAGE]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("[{begin=1}]", "the first at 0"),
        ("[{}, {begin=4}, {begin=4}]", "each later"),
        ("[{least=0.5}]", "need rollouts"),
        ("[{least=0.5, most=0.2, rollouts=2}]", "above most"),
    ],
)
def test_bad_stages_are_one_line(tmp_path, stages, message):
    with pytest.raises(RecipeError, match=message):
        made(tmp_path, f"stages={stages}")


def test_stages_alone_choose_tasks(tmp_path):
    with pytest.raises(RecipeError, match="leave one out"):
        made(tmp_path, "anchor={}")
    recipe, _ = made(tmp_path, "policies={one={}}", "agents.seeker.policy=one")
    with pytest.raises(RecipeError, match="stages"):
        check_decoupled(recipe, "one")


def test_no_task_left_is_told_and_the_run_can_go_on(tmp_path):
    with pytest.raises(
        DataError, match=r"from step 0: no training task has an accuracy of 0\.3 to 0\.4"
    ):
        go(tmp_path, "run", "stages=[{least=0.3, most=0.4, rollouts=2}]")
