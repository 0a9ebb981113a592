"""Tool calls that fail in a program which catches `ToolError`: counted, and told."""

import json

import pytest

from hornbeam.assembly.failed_episodes import tool_figures
from hornbeam.assembly.progress import train_line
from hornbeam.tree.nodes import INJECTED, Call, Node, Origin, Tree

from .test_mend import RECIPE as LITTLE

WALK = 'name = "mine.py:walk"\n'
RECIPE = LITTLE.replace(WALK, f'{WALK}[tools.tmes]\nuse = "mine.py:times"\n')
PROGRAM = """
from hornbeam import user
from hornbeam.errors import ToolError

def times(a):
    return a * 2

async def walk(task, ep):
    reply = await ep.ask("seeker", [user(task.question)])
    try:
        return str(await ep.call("times", a=len(reply.text)))
    except ToolError as error:
        return f"error: {error}"
"""
MISSING = "there is no tool 'times': did you mean 'tmes'?"


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "mine.py").write_text(PROGRAM)
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    return path


def warnings(*said):
    return [line for text in said for line in text.splitlines() if "named a tool that" in line]


def test_a_misspelt_tool_is_warned_of_once_and_counted_in_every_row(recipe, tmp_path, hornbeam):
    code, err, out = hornbeam("train", recipe, "--out", tmp_path / "run")
    (warning,) = warnings(err, out)
    assert code == 0
    assert warning.startswith("warning: 3 of 3 tool calls named a tool that is not there: ")
    assert MISSING in warning and "[tools.NAME]" in warning
    assert f"of 3; 3 of 3 tool calls failed: {MISSING}" in out  # an evaluation
    assert f"; 4 of 4 tool calls failed: {MISSING}" in out  # a step
    rows = [json.loads(r) for r in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(row["kind"], row["tool_errors"], row["unknown_tools"]) for row in rows] == [
        ("eval", 3, 3),
        ("train", 4, 4),
        ("eval", 3, 3),
    ]
    _, _, text = hornbeam("view", tmp_path / "run", "--tree", "train/0/0")
    assert text.count('call times {"a": ') == 2 and text.count("FAILED  there is no tool") == 2


def test_eval_label_and_search_tell_it_too(recipe, tmp_path, hornbeam):
    code, err, out = hornbeam("eval", recipe)
    assert code == 0 and len(warnings(err, out)) == 1
    assert out.splitlines()[-1].endswith(f"; 3 of 3 tool calls failed: {MISSING}")
    result = json.loads(hornbeam("eval", recipe, "--json")[2])
    assert (result["tool_errors"], result["unknown_tools"]) == (3, 3)
    code, err, out = hornbeam("label", recipe, "--out", tmp_path / "label")
    assert len(warnings(err, out)) == 1 and f"tool calls failed: {MISSING}" in out
    code, err, out = hornbeam("search", recipe, "--out", tmp_path / "search", "--json")
    assert len(warnings(err, out)) == 1
    point = json.loads(out)["methods"][0]["points"][0]
    assert (point["tool_errors"], point["unknown_tools"]) == (3, 3)


def test_a_tool_that_is_there_is_not_told_of(recipe, tmp_path, hornbeam):
    recipe.write_text(RECIPE.replace("tmes", "times"))
    code, err, out = hornbeam("train", recipe, "--out", tmp_path / "run")
    assert code == 0 and not warnings(err, out) and "tool calls failed" not in out
    rows = [json.loads(r) for r in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all((row["tool_errors"], row["unknown_tools"]) == (0, 0) for row in rows)


def tree(*errors, version=0):
    calls = tuple(Call("t", {}, None if error else 1, error) for error in errors)
    return Tree({"id": "a"}, [Node(-1), Node(0, calls=calls, origin=Origin(version=version))])


def test_figures_of_calls_by_hand():
    few = tree(*[""] * 19, "t took longer than 1 s")
    refused = {"unreadable_calls": 0, "wrong_arguments": 0}
    assert tool_figures([few]) == {"tool_errors": 1, "unknown_tools": 0, **refused}
    many = tool_figures([few, tree(MISSING, MISSING, "")])
    assert many == {
        "tool_errors": 3,
        "unknown_tools": 2,
        **refused,
        "tool_failure": f"3 of 23 tool calls failed: {MISSING}",
    }
    assert tool_figures([tree(), tree(MISSING, version=INJECTED)]) == {}


def test_a_step_line_tells_of_many_failed_calls():
    row = dict.fromkeys(("seconds_grow", "seconds_train", "sampled_tokens", "reward", "loss"), 1.0)
    row |= {"step": 0, "mixed_groups": 1, "unmixed_groups": 0, "cut_off": 0.0, "failed": 0}
    line = train_line(row | {"tool_failure": "3 of 4 tool calls failed: x"}, 4)[1]
    assert line.endswith(" s; 3 of 4 tool calls failed: x")
