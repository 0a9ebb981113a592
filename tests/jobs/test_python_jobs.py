"""Search, evaluation, labels, fits and warm starts called from Python are those of the commands."""

import json

import pytest

import hornbeam as hb
from hornbeam.errors import ArgumentError, DataError, RecipeError, StoreError
from hornbeam.search import Beam, Rollouts

from .test_python_door import SOURCE, TASK, seeker

EVAL = {**SOURCE, "split": "test", "count": 4}
TRAIN = {**SOURCE, "split": "train", "count": 40}


@pytest.fixture
def given(world):
    """What all jobs of the tiny world are given."""
    return {
        "model": world.policy,
        "agents": {"seeker": {"max_tokens": 4}},
        "tools": {"lookup": None},
        "reward": "exact",
        "engine": {"max_batch": 32},
        "run": {"at_once": 4},
    }


def test_a_search(world, given, hornbeam, tmp_path):
    guides = {"value": {"kind": "prm", "model": world.prm}}
    methods = {"single": hb.Independent(n=1), "beam": Beam(beams=2, width=2)}
    methods["beam"] = {"strategy": methods["beam"], "choose": "kept"}
    found = hb.search(
        "lookup",
        EVAL,
        methods=methods,
        guides=guides,
        out=tmp_path / "own",
        progress=False,
        **given,
    )
    path = tmp_path / "same.toml"
    hb.recipe_of("lookup", eval_tasks=EVAL, methods=methods, guides=guides, path=path, **given)
    code, err, _ = hornbeam("search", path, "--out", tmp_path / "recipe")
    assert code == 0, err
    rows = [
        {k: v for k, v in row.items() if "seconds" not in k and k not in ("free", "anytime")}
        for row in found.metrics
    ]
    other = json.loads((tmp_path / "recipe" / "search.json").read_text())
    for row, method in zip(rows, other["methods"], strict=True):
        assert row.pop("method") == method["name"]
        assert {name: method["points"][0][name] for name in row} == row
    assert found.page.is_file() and found.cost["model_calls"] > 0
    assert len(found.trees("beam")) == 4 and len(found.trees()) == 8
    assert "beam" in str(found) and "accuracy" in found._repr_html_()


def test_an_evaluation(world, given, hornbeam, tmp_path):
    found = hb.evaluate("lookup", EVAL, progress=False, **given)
    path = tmp_path / "same.toml"
    hb.recipe_of("lookup", eval_tasks=EVAL, path=path, **given)
    code, _, said = hornbeam("eval", path, "--json")
    other = json.loads(said)
    assert code == 0 and found.eval.value == other["accuracy"] and found.eval.count == 4
    assert {k: v for k, v in found.cost.items() if k != "seconds"} == {
        k: v for k, v in other["costs"].items() if k != "seconds"
    }
    assert len({tree.task["id"] for tree in found.trees()}) == 4


def test_labels_and_a_fit_on_them(world, given, hornbeam, tmp_path):
    how = Rollouts(trunks=1, rollouts=2)
    more = {**given, "label": {"tasks": 4, "most": 1.0}}
    found = hb.label("lookup", TRAIN, strategy=how, out=tmp_path / "own", progress=False, **more)
    path = tmp_path / "same.toml"
    label = {**more["label"], "strategy": "rollouts", "trunks": 1, "rollouts": 2}
    hb.recipe_of("lookup", TRAIN, path=path, **{**given, "label": label})
    code, err, _ = hornbeam("label", path, "--out", tmp_path / "recipe")
    assert code == 0, err
    assert found.path.read_bytes() == (tmp_path / "recipe" / "trees.jsonl").read_bytes()
    assert len(found.trees()) == found.metrics[0]["kept"] == 4

    own = hb.fit(found.trees(), model=world.policy, out=tmp_path / "prm", progress=False)
    words = ["--trees", found.path, "--model", world.policy, "--out", tmp_path / "same"]
    assert hornbeam("fit", path, *words)[0] == 0
    for name in ("model.safetensors", "value_head.safetensors"):
        if (own.model / name).is_file():
            assert (own.model / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    assert own.after == json.loads((tmp_path / "same" / "fit.json").read_text())["after"]
    with pytest.raises(StoreError, match="holds another fit"):
        hb.fit(found.trees()[:3], model=world.policy, out=tmp_path / "prm", progress=False)


def test_a_warm_start_on_conversations(world, given, hornbeam, tmp_path):
    talk = [{"role": "user", "content": "left:3 right:4"}, {"role": "assistant", "content": "left"}]
    rows = [{"messages": talk}] * 3
    more = {"model": world.policy, "sft": {"epochs": 2, "lr": 1e-3}}
    found = hb.sft(rows, out=tmp_path / "own", progress=False, **more)
    assert [row["kind"] for row in found.metrics].count("sft") == 2 and found.eval is None
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage = {**more["sft"], "data": "rows.jsonl"}
    hb.recipe_of(path=tmp_path / "same.toml", **{**more, "sft": stage, "steps": 0})
    assert hornbeam("train", tmp_path / "same.toml", "--out", tmp_path / "recipe")[0] == 0
    weights = (found.model / "model.safetensors").read_bytes()
    assert weights == (tmp_path / "recipe" / "final" / "model.safetensors").read_bytes()
    assert weights != (world.policy / "model.safetensors").read_bytes()


def inner():
    async def walk(task, ep):
        return ""

    return walk


WRONG = [
    (lambda: hb.sft(), ArgumentError, "takes data: a file or a list of conversations"),
    (lambda: hb.sft([]), ArgumentError, "data: the list is empty"),
    (lambda: hb.sft([1]), ArgumentError, "a list of conversations, not 1: it is number 0"),
    (lambda: hb.fit([], out="x"), ArgumentError, "fit: there are no trees"),
    (lambda: hb.fit("nowhere.jsonl", out="x"), DataError, "nowhere.jsonl: no such file"),
    (lambda: hb.fit(TASK, out="x"), ArgumentError, "a list of trees, or a file, not a Task"),
    (lambda: hb.fit([hb.Tree({"id": "t"})], out=3), ArgumentError, "out takes a folder, not 3"),
    (lambda: hb.label(seeker, [TASK], strategy="mtcs"), ArgumentError, "did you mean 'mcts'"),
    (
        lambda: hb.label(seeker, trees=[hb.Tree({"id": "t"})]),
        ArgumentError,
        'trees go by rollouts alone: strategy="rollouts"',
    ),
    (lambda: hb.search(seeker, [TASK], model="tiny"), RecipeError, "search.methods is empty"),
    (lambda: hb.search(seeker, [TASK], methods=["beam"]), ArgumentError, "a list of dicts with"),
    (lambda: hb.search(seeker, [TASK], methods={"a": 3}), ArgumentError, "a strategy, not 3"),
    (lambda: hb.evaluate(seeker, []), ArgumentError, "the list of tasks is empty"),
    (lambda: hb.evaluate(seeker, [TASK], modle="x"), ArgumentError, "did you mean 'model'"),
    (lambda: hb.recipe_of(seeker, [TASK]), RecipeError, "recipe_of: a list of tasks is a file be"),
    (lambda: hb.recipe_of(inner()), RecipeError, "walk is made inside of something else: define"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_arguments_are_one_line(number, tmp_path, monkeypatch):
    call, family, says = WRONG[number]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(family, match=says) as caught:
        call()
    assert "\n" not in str(caught.value) and not [*tmp_path.iterdir()]
