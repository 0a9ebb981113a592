"""Anchors on a world of luck: what is cached, how training uses it, a teacher, what is refused.

A task is right where the one word that is sampled is a word of the tiny world ("maybe", three times
in ten with weights from nothing), always ("sure") or never.
"""

import asyncio
import json
import math
from collections import Counter
from pathlib import Path
from random import Random

import pytest
import torch

from hornbeam.assembly.plan import plan
from hornbeam.assembly.task_records import Record, mark_of_task
from hornbeam.errors import DataError, ProgramError, RecipeError, StoreError
from hornbeam.jobs.anchor.run_anchors import Anchors
from hornbeam.jobs.train.anchored_tasks import Anchored, drawn, priority
from hornbeam.jobs.train.training import Run
from hornbeam.models import tiny_model
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store
from hornbeam.store.ledger import TOKENS
from hornbeam.tree.jsonl import from_json
from hornbeam.tree.nodes import INJECTED
from hornbeam.tree.task import Task

from .doors import Silent

ROOT = Path(__file__).parents[2]
PROGRAM = """
from hornbeam.chat import user
from hornbeam.tasks.lookup_world import WORDS

async def luck(task, ep):
    kind = task.question.split()[0]
    if kind == "broken":
        raise ValueError("a broken task")
    reply = await ep.ask("player", [user(task.question)])
    return "yes" if kind == "sure" or (kind == "maybe" and reply.text in WORDS) else "no"
"""
RECIPE = """
run = {steps = 2, tasks = 3, eval_start = false, eval_every = 0, at_once = 8}
model = {name = "tiny", options = {width = 16, heads = 2, layers = 1}}
agents = {player = {max_tokens = 1}}
program = {name = "luck.py:luck"}
reward = {rule = "exact"}
grow = {strategy = "independent", n = 4}
credit = {method = "pvpo"}
loss = {old = "trainer"}
optim = {lr = 1e-3}
tasks = {train = [{source = "jsonl", path = "TASKS"}]}
anchor = {store = "STORE", rollouts = 3}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with recipe, program, tasks, and a teacher of the same and of another template."""
    path = tmp_path_factory.mktemp("luck")
    (path / "luck.py").write_text(PROGRAM)
    kinds = ["sure"] * 2 + ["maybe"] * 10 + ["never"] * 2
    rows = ({"question": f"{kind} {i}", "answer": "yes"} for i, kind in enumerate(kinds))
    (path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = RECIPE.replace("TASKS", str(path / "tasks.jsonl"))
    (path / "luck.toml").write_text(text.replace("STORE", str(path / "anchors")))
    for name in ("teacher", "stranger"):
        tiny_model.make(path / name, seed=5, width=16, heads=2, layers=1)
    for file in ("tokenizer_config.json", "chat_template.jinja"):
        here = path / "stranger" / file
        if here.is_file():
            here.write_text(here.read_text().replace("'<end>'", "' <end>'"))
    return path


def recipe_of(folder, *sets):
    return load_recipe(folder / "luck.toml", sets)


def anchor(folder, *sets):
    """What an anchor run told."""
    result = recipe_of(folder, *sets)
    return asyncio.run(Anchors(result, plan(result, folder), Silent()).go())


@pytest.fixture(scope="module")
def anchors(folder):
    """What the first anchor run of the world told."""
    return anchor(folder)


def train(folder, out, *sets):
    """A run, gone to its end."""
    result = recipe_of(folder, *sets)
    run = Run(result, plan(result, folder), out, Silent())
    asyncio.run(run.go())
    return run


def grown(out, stage="train"):
    """The trees of a run in order."""
    with Store(out, read_only=True) as store:
        return [store.read(key).tree for key in store.keys(stage)]


def rows(out, kind):
    """The rows of metrics of a kind."""
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == kind]


def test_kinds_and_costs_by_hand():
    record = Record(0, (1.0, 0.0, None, 0.5), {"sampled_tokens": 3, "prompt_tokens_cached": 9})
    assert record.mean == 0.5 and record.tokens == 3
    assert (record.accuracy(1.0), record.accuracy(0.5)) == (0.25, 0.5)
    kinds = [Record(0, rewards).kind(1.0) for rewards in ((1.0, 1.0), (1.0, None), (0.9, None))]
    assert kinds == ["solved", "mixed", "unsolved"]
    assert Record(0, (1 - 2.0**-24, 1.0)).kind(1.0) == "solved"  # 1 but for float32's rounding
    assert Record(0, (None, None)).mean == 0.0


def test_the_record_is_that_of_the_runs_and_what_is_cached_is_not_run_again(folder, anchors):
    assert anchors["tasks"] == anchors["fresh"] == 14 and anchors["solved"] >= 2
    assert anchors["mixed"] > 2 and anchors["unsolved"] > 2
    assert anchors["solved"] + anchors["mixed"] + anchors["unsolved"] == 14
    with Store(folder / "anchors", read_only=True) as store:
        keys = store.keys(f"anchor {anchors['mark']}")
        trees = [store.read(key).tree for key in keys]
        entries = list(store.entries(keys[0].stage))
        for key, tree in zip(keys, trees):
            name = mark_of_task(plan(recipe_of(folder), folder).train.tasks[key.number])
            record = Record.read(store, f"{anchors['mark']}/{name}")
            assert record.rewards == tuple(tree.columns["reward"][i] for i in tree.leaves())
            assert len(record.rewards) == 3
            paid = [e.amount for e in entries if e.tree == str(key) and e.kind in TOKENS]
            assert record.tokens == sum(paid) > 0
    assert anchors["tokens"] == anchors["anchor_tokens"]
    again = anchor(folder)
    assert (again["fresh"], again["tokens"]) == (0, 0)
    assert again == {**anchors, "fresh": 0, "tokens": 0}


def test_more_runs_are_added_to_those_there_and_other_settings_are_other_anchors(
    folder, anchors, tmp_path
):
    place = f"anchor.store={tmp_path / 'a'}"
    few = anchor(folder, place, "anchor.rollouts=1")
    more = anchor(folder, place)
    assert more["fresh"] == 14 and few["mark"] == more["mark"] == anchors["mark"]
    same = ("solved", "mixed", "unsolved", "mean")
    assert [more[k] for k in same] == pytest.approx([anchors[k] for k in same])
    assert few["tokens"] + more["tokens"] == more["anchor_tokens"] >= anchors["anchor_tokens"]
    for change in ("agents.player.temperature=0.5", "run.seed=3", "limits.turns=9"):
        result = recipe_of(folder, change, place)
        job = Anchors(result, plan(result, folder), Silent())
        asyncio.run(job.store_grower.aclose())
        assert job.mark != anchors["mark"], change


def test_training_keeps_the_mixed_tasks_and_credits_against_their_anchors(
    folder, anchors, tmp_path
):
    out = tmp_path / "run"
    train(folder, out)
    (row,) = rows(out, "anchor")
    assert row["anchor_tokens"] == anchors["anchor_tokens"] and row["tasks"] == anchors["mixed"]
    trees = grown(out)
    assert len(trees) == 6
    with Store(folder / "anchors", read_only=True) as store:
        for tree in trees:
            assert tree.task["question"].startswith("maybe")
            name = mark_of_task(Task.from_json(tree.task))
            record = Record.read(store, f"{anchors['mark']}/{name}")
            assert 0 < record.mean < 1 and tree.columns["prior"][0] == record.mean
            assert set(tree.columns["prior"][1:]) == {None}
            for i in tree.leaves():
                difference = tree.columns["reward"][i] - record.mean
                assert tree.columns["advantage"][i] == pytest.approx(difference)
    with Store(out, read_only=True) as store:
        assert store.totals()["anchor_tokens"] == anchors["anchor_tokens"]


def test_a_teacher_tries_what_is_unsolved_and_its_run_takes_the_place_of_one(
    folder, anchors, tmp_path
):
    sets = [f"anchor.teacher={folder / 'teacher'}", "anchor.attempts=6", "run.tasks=12"]
    result = anchor(folder, *sets)
    assert result["fresh"] == 0 and result["scored_by"] == ["teacher"]
    assert 0 < result["taught"] <= result["unsolved"] - 2  # none solves "never"
    assert result["anchor_tokens"] == anchors["anchor_tokens"] + result["tokens"]
    out = tmp_path / "run"
    train(folder, out, *sets)
    (row,) = rows(out, "anchor")
    assert row["anchor_tokens"] == result["anchor_tokens"] and row["taught"] == result["taught"]
    assert row["tasks"] == result["mixed"] + result["taught"]
    injected = 0
    for tree in grown(out):
        versions = [node.origin.version for node in tree.nodes[1:]]
        assert len(tree.leaves()) == 4 and sorted({n.origin.episode for n in tree.nodes[1:]}) == [
            0,
            1,
            2,
            3,
        ]
        if tree.columns["prior"][0] == 0.0:
            injected += 1
            assert versions.count(INJECTED) == 1 and tree.nodes[1].origin.version == INJECTED
            assert (tree.columns["reward"][1], tree.columns["advantage"][1]) == (1.0, 1.0)
            assert len(tree.nodes[1].logprobs) == len(tree.nodes[1].tokens) == 1
        else:
            assert INJECTED not in versions
    assert injected >= result["taught"]
    own = [r["reward"] for r in rows(out, "train")]
    every = [v for tree in grown(out)[:12] for v in tree.columns["reward"] if v is not None]
    assert own[0] < sum(every) / len(every)  # the teacher's success is not the policy's


def test_what_another_vocabulary_said_is_told_again_and_scored_by_the_policy(folder, anchors):
    sets = [f"anchor.teacher={folder / 'stranger'}", "anchor.attempts=6"]
    result = anchor(folder, *sets)
    assert result["scored_by"] == ["policy"] and result["taught"] > 0
    recipe = recipe_of(folder, *sets)
    job = Anchors(recipe, plan(recipe, folder), Silent())
    _, stage = job._stages()
    name = f"{job.mark}/{stage.split()[2]}"
    try:
        found = [job.store.get(f"{name}/{mark_of_task(task)}") for task in job.tasks]
        costs = job.store.totals(stage)
        trees = [held["tree"] for held in found if held and held["tree"]]
        ran = 0
        for tree in map(from_json, trees):
            (leaf,) = tree.leaves()
            request = [*tree.context(leaf)], tree.nodes[leaf].tokens
            logits = job.policy.model(input_ids=torch.tensor([request[0]])).logits[0, -1]
            expected = logits.log_softmax(-1)[request[1][0]].item()
            assert list(tree.nodes[leaf].logprobs) == pytest.approx([expected], abs=1e-5)
            assert tree.nodes[leaf].origin.version == INJECTED and tree.nodes[leaf].answer == "yes"
            ran += tree.length(leaf)
        assert costs["scorer_tokens"] == ran > 0 and len(trees) == result["taught"]
    finally:
        asyncio.run(job.store_grower.aclose())


def test_anchors_are_estimated_again_and_trackers_follow_and_a_resumed_run_knows(
    folder, anchors, tmp_path
):
    sets = ["anchor.refresh=2", "anchor.tracker=0.5", "anchor.sample=priority", "run.tasks=2"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(folder, whole, "run.steps=4", *sets)
    train(folder, parts, "run.steps=2", *sets)
    train(folder, parts, "run.steps=4", f"anchor.store={tmp_path / 'gone'}", *sets)
    assert [t.task for t in grown(whole)] == [t.task for t in grown(parts)]
    assert [t.columns for t in grown(whole)] == [t.columns for t in grown(parts)]
    with Store(whole, read_only=True) as store:
        keys = store.keys("anchor")
        assert {key.step for key in keys} <= {2, 3} and keys
        fresh = {(k.step, store.read(k).tree.task["id"]): store.read(k).tree for k in keys}
        value = {}
        for key in store.keys("train"):
            tree, task = store.read(key).tree, store.read(key).tree.task["id"]
            if (key.step, task) in fresh:
                rewards = [fresh[key.step, task].columns["reward"][i] for i in (1, 2, 3)]
                value[task] = sum(rewards) / 3
            prior = tree.columns["prior"][0]
            assert prior == pytest.approx(value.get(task, prior))
            own = [tree.columns["reward"][i] for i in tree.leaves()]
            value[task] = prior + 0.5 * (sum(own) / len(own) - prior)
        assert store.totals("anchor")["sampled_tokens"] == 3 * len(keys)
    assert sum(row["sampled_tokens"] for row in rows(whole, "train")) == 3 * len(keys) + 4 * 8


def test_priority_draws_by_what_is_not_settled():
    assert priority(0.5, 0.05) == pytest.approx(0.55) and priority(1.0, 0.05) == 0.05
    assert priority(-3.0, 0.1) == priority(7.0, 0.1) == 0.1
    weights = [3.0, 1.0, 1.0, 0.0001]
    firsts = Counter(drawn(weights, Random(seed))[0] for seed in range(2000))
    for place, share in enumerate((0.6, 0.2, 0.2, 0.0)):
        assert firsts[place] / 2000 == pytest.approx(share, abs=4 * math.sqrt(0.25 / 2000))
    assert sorted(drawn(weights, Random(1))) == [0, 1, 2, 3]
    assert drawn(weights, Random(1)) == drawn(weights, Random(1))


def test_training_without_anchors_says_what_to_do(folder, anchors, tmp_path):
    missing = r"14 of 14 training tasks have no runs of this model.*hornbeam anchor"
    for out, change in enumerate(
        (f"anchor.store={tmp_path / 'none'}", "run.seed=9", "anchor.rollouts=9")
    ):
        with pytest.raises(StoreError, match=missing):
            train(folder, tmp_path / str(out), change)
    other = [f"anchor.teacher={folder / 'teacher'}", "agents.player.top_k=3"]
    with pytest.raises(StoreError, match="of this model"):
        train(folder, tmp_path / "run", *other)
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_is_refused(folder, anchors, tmp_path, hornbeam):
    with pytest.raises(RecipeError, match=r"credit 'pvpo' reads a prior.*\[anchor\]"):
        result = recipe_of(folder)
        plan(result.model_copy(update={"anchor": None}), folder)
    with pytest.raises(RecipeError, match=r"anchor\.inject.*anchor\.teacher"):
        recipe_of(folder, "anchor.inject=true")
    with pytest.raises(RecipeError, match=r"warm start.*run\.steps = 0"):
        anchor(folder, "sft={data='x.jsonl'}")
    code, err, _ = hornbeam("anchor", folder / "luck.toml", "--model", tmp_path / "no")
    assert code == 2 and "no such model" in err and len(err.splitlines()) == 1
    settled = json.dumps({"question": "sure 1", "answer": "yes"}) + "\n"
    (tmp_path / "sure.jsonl").write_text(settled)
    sure = f"tasks.train.0.path={tmp_path / 'sure.jsonl'}"
    assert anchor(folder, sure)["solved"] == 1
    with pytest.raises(DataError, match=r"no training task is left: 1 are solved"):
        train(folder, tmp_path / "run", sure)


def test_tasks_that_all_fail_are_told_and_forgotten(folder, tmp_path):
    (tmp_path / "broken.jsonl").write_text(
        json.dumps({"question": "broken", "answer": "yes"}) + "\n"
    )
    sets = [f"tasks.train.0.path={tmp_path / 'broken.jsonl'}", f"anchor.store={tmp_path / 'a'}"]
    for _ in range(2):
        with pytest.raises(ProgramError, match=r"no run of the first 1 tasks.*a broken task"):
            anchor(folder, *sets)
    with Store(tmp_path / "a", read_only=True) as store:
        assert not store.keys()


def test_the_command_says_it_in_one_line(folder, anchors, hornbeam):
    code, err, out = hornbeam("anchor", folder / "luck.toml")
    assert (code, err) == (0, "")
    line = (
        f"14 tasks: {anchors['solved']} solved, {anchors['mixed']} mixed,"
        f" {anchors['unsolved']} unsolved; mean reward {anchors['mean']:.3f}; 0 tokens now,"
        f" {anchors['anchor_tokens']:,.0f} in all"
    )
    assert line in out and str(folder / "anchors") in out
    code, _, out = hornbeam("anchor", folder / "luck.toml", "--json")
    assert code == 0 and json.loads(out)["mark"] == anchors["mark"]


def test_a_run_keeps_its_anchors_of_its_own(folder, anchors, tmp_path):
    result = recipe_of(folder)
    made = plan(result, folder)
    tiny_model.make(tmp_path / "model", result.run.seed, **result.model.options)
    with Store(tmp_path / "run") as store:
        first = Anchored(result, made, tmp_path / "model", store)
        gone = result.model_copy(
            update={"anchor": result.anchor.model_copy(update={"store": str(tmp_path / "gone")})}
        )
        again = Anchored(gone, made, tmp_path / "nowhere", store)
    assert first.kept == again.kept and first.row == again.row


def test_the_recipe_that_ships_goes_by_the_commands_of_its_head(tmp_path, hornbeam, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HORNBEAM_DATA", raising=False)
    head = (ROOT / "recipes" / "anchor_tiny.toml").read_text().split("[run]")[0]
    commands = [line[4:].split()[1:] for line in head.splitlines() if line[4:12] == "hornbeam"]
    small = ["run.tasks=2", "tasks.train.0.count=24", "tasks.eval.0.count=2", "sft.count=24"]
    small += [f"tasks.{part}.0.options={{depth=2}}" for part in ("train", "eval")]
    small += ["sft.epochs=30", "anchor.rollouts=4"]
    sets = [word for each in small for word in ("--set", each)]
    for number, command in enumerate(commands[:4]):
        steps = ["--set", "run.steps=2"] * (number > 1)
        code, err, _ = hornbeam(*command, *sets, *steps)
        assert (code, err) == (0, ""), command
    assert "24 tasks: " in hornbeam(*commands[1], *sets)[2]
    (row,) = rows(tmp_path / "runs" / "anchored" / "pvpo", "anchor")
    assert row["mixed"] == row["tasks"] > 0 and row["anchor_tokens"] > 0
