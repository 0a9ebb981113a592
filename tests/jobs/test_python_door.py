"""Jobs called from Python: the very jobs of their recipes, equal to the bit."""

import json
from importlib import import_module

import pytest

import hornbeam as hb
from hornbeam.errors import ArgumentError, RecipeError
from hornbeam.tasks.task_sources import TaskSettings, load_tasks

SOURCE = {"source": "lookup", "options": {"depth": 3, "signs": 4, "known": 0.75}}


def sections(world):
    """Arguments of a short run on the weights of the tiny world."""
    return {
        "model": world.policy,
        "agents": {"seeker": {"max_tokens": 4}},
        "tools": {"lookup": None},
        "reward": "exact",
        "strategy": hb.Branch(trunks=2, nodes=2),
        "credit": "tree_grpo",
        "run": {"tasks": 4, "eval_start": False},
        "optim": {"lr": 1e-2},
        "seed": 5,
    }


def tasks(count=12, split="train"):
    source = TaskSettings(**SOURCE, split=split, count=count)
    return load_tasks([source]).tasks


def left(folder):
    """What a run left: its weights, and its rows of metrics but for seconds."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    kept = [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]
    return (folder / "final" / "model.safetensors").read_bytes(), kept


def test_a_run_by_train_and_by_its_recipe_ends_in_equal_weights(world, hornbeam, tmp_path):
    given = ("lookup", tasks())
    more = {**sections(world), "eval_tasks": tasks(4, "test"), "steps": 2}
    done = hb.train(*given, **more, out=tmp_path / "python", progress=False)
    text = hb.recipe_of(*given, **more, path=tmp_path / "mine" / "same.toml")
    assert (tmp_path / "mine" / "same.toml").read_text() == text
    code, err, _ = hornbeam("train", tmp_path / "mine" / "same.toml", "--out", tmp_path / "recipe")
    assert code == 0, err
    assert left(tmp_path / "python") == left(tmp_path / "recipe")
    before = left(tmp_path / "python")
    code, err, _ = hornbeam(  # the recipe of the run goes on by itself, and finds all done
        "train", tmp_path / "python" / "recipe.toml", "--out", tmp_path / "python"
    )
    assert code == 0 and left(tmp_path / "python") == before, err
    weights = (world.policy / "model.safetensors").read_bytes()
    assert left(tmp_path / "python")[0] != weights  # it learned
    assert done.model == tmp_path / "python" / "final" and done.page.is_file()
    assert [row["step"] for row in done.metrics if row["kind"] == "train"] == [0, 1]
    assert done.eval.count == 4 and done.eval.interval[0] <= done.eval.value
    assert len(done.trees(step=1)) == 4 and len(done.trees()) == 8
    assert done.cost["sampled_tokens"] > 0


async def seeker(task, ep):
    return (await ep.ask("seeker", [hb.user(task.question)])).text


def plain(task, ep):
    return ""


TASK = hb.Task("t", "What is 1 + 1?", "2")
# (what is given instead, family, what its one line says)
WRONG = [
    ({"lr": 1e-3}, ArgumentError, r"no argument 'lr': it is a key of optim: optim=\{'lr': ...\}"),
    ({"program": plain}, ArgumentError, "async function.*the function plain: write async def pl"),
    ({"program": 3}, ArgumentError, "train: program takes a program: .* not 3"),
    ({"program": "recat"}, ArgumentError, "unknown program 'recat': did you mean 'react'"),
    ({"program": "here.py:walk"}, RecipeError, "program.name = .*no such file in"),
    ({"tasks": []}, ArgumentError, "tasks: the list of tasks is empty"),
    ({"tasks": TASK}, ArgumentError, "not a Task: put it in a list"),
    ({"tasks": [TASK, {"answer": 2}]}, ArgumentError, "task 1 of the list: no 'question'"),
    ({"tasks": [TASK, 3]}, ArgumentError, "task 1 of the list is 3: a Task or a dict"),
    ({"tasks": [{"question": "?", "answer": {1}}]}, ArgumentError, "written as JSON: .* set"),
    ({"tasks": 7}, ArgumentError, "tasks takes tasks: a list of Task.*not 7"),
    ({"tasks": "loukup"}, RecipeError, "unknown task source 'loukup': did you mean 'lookup'"),
    ({"reward": 1.0}, ArgumentError, "reward takes a function .* or the name of a rule, not 1.0"),
    ({"reward": "exatc"}, RecipeError, "rule = .exatc.: expected 'exact'.*did you mean 'exact'"),
    ({"strategy": "brunch"}, ArgumentError, "strategy: unknown 'brunch': did you mean 'branch'"),
    ({"strategy": {"strategy": "branch", "trunk": 2}}, RecipeError, "did you mean 'trunks'"),
    ({"credit": 2}, ArgumentError, "credit takes one of grpo, .* not 2"),
    ({"tools": {"lookup": 2}}, ArgumentError, r"tools\['lookup'\] takes a function, not 2"),
    ({"stratgy": "branch"}, ArgumentError, "no argument 'stratgy': did you mean 'strategy'"),
    ({"optim": {"lrr": 1e-5}}, RecipeError, r"\[optim\] has no key 'lrr': did you mean 'lr'"),
    ({"steps": 2, "run": {"steps": 3}}, ArgumentError, "steps is given twice"),
    ({"steps": 1.5}, RecipeError, "steps = 1.5: expected a whole number"),
    ({"model": 3}, ArgumentError, "model takes the name or folder of a model, not 3"),
    ({"model": "smolm2-135m"}, Exception, "did you mean 'smollm2-135m'"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_arguments_are_one_line_and_leave_nothing(number, tmp_path, monkeypatch):
    given, family, says = WRONG[number]
    monkeypatch.chdir(tmp_path)
    good = {"program": seeker, "tasks": [TASK], "model": "tiny", "steps": 1}
    good["agents"] = {"seeker": {"max_tokens": 2}}
    with pytest.raises(hb.HornbeamError, match=says) as caught:
        hb.train(**{**good, **given}, out="run", progress=False)
    assert isinstance(caught.value, family) and "\n" not in str(caught.value)
    assert not [*tmp_path.iterdir()]


def test_what_is_pure_only_in_this_process_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop_tools.py").write_text("def price(item: str):\n    return 3\n")
    shop = import_module("shop_tools")
    given = {"program": seeker, "tasks": "tasks.jsonl"}
    assert "shop_tools.py:price" in hb.recipe_of(**given, tools=[shop.price])
    with pytest.raises(ArgumentError, match=r"marked pure here.*\(shop_tools.py:price\): write"):
        hb.recipe_of(**given, tools={"price": hb.pure(shop.price)})


def test_no_error_of_a_call_has_that_of_the_missing_loop_before_it(tmp_path):
    sources = {"source": "jsonl", "path": "none.jsonl"}
    with pytest.raises(RecipeError) as caught:
        hb.train("single", sources, model="tiny", out=tmp_path / "run", progress=False)
    before = caught.value
    while before is not None:
        assert not isinstance(before, RuntimeError)
        before = before.__context__
