"""The program of commands: what a line means, what is heard, what ends it."""

import pytest

import hornbeam as hb
from hornbeam.errors import DataError, RecipeError
from hornbeam.programs import make_program
from hornbeam.tree.task import Task

SETTINGS = {"commands": {"put": ["key", "text"], "get": ["key"], "look": []}, "state": "all_of_it"}


def put(key, text, world):
    world[key] = text
    return "ok"


def get(key, world):
    if key not in world:
        raise hb.ToolError(f"there is no {key}")
    return {"is": world[key]}


def look(world):
    return " ".join(world) or "nothing"


def all_of_it(world):
    return "; ".join(f"{key}={world[key]}" for key in sorted(world))


def episode(*lines, **more):
    """(what was heard, the answer) of these replies."""
    program, _ = make_program("commands", SETTINGS | more)
    tools = {each.__name__: each for each in (put, get, look, all_of_it)}
    who = {"solver": hb.Scripted([*lines])}
    (tree,) = hb.grow_trees(
        program, [Task("t", "?")], who, hb.Independent(n=1), tools=tools, world=dict
    )
    (leaf,) = tree.leaves()
    assert not tree.nodes[leaf].error
    last = tree.nodes[leaf]
    return [c.error or c.result for n in tree.path(leaf) for c in tree.nodes[n].calls], last.answer


def test_the_last_parameter_takes_the_rest_of_the_line():
    heard, answer = episode("put a  b  c ", "get a", "look", "done")
    assert heard == ["ok", {"is": "b  c"}, "a", "a=b  c"]
    assert answer == "a=b  c"


def test_an_answer_is_the_words_behind_it():
    assert episode("answer  two words \nand more") == ([], "two words")
    assert episode("look", "look", max_turns=2) == (["nothing", "nothing"], None)


def test_a_result_that_ends_the_episode_is_the_answer():
    heard, answer = episode("put a b", "look", "get a", over=["nothing", "a"])
    assert (heard, answer) == (["ok", "a"], "a")


def test_what_is_wrong_is_said_and_the_episode_goes_on():
    heard, answer = episode("put a", "get a", "look here", "dance", "", "done")
    assert heard[0].startswith("put takes (key, text): missing")
    assert heard[1:] == ["there is no a", ""] and answer == ""


def test_without_a_state_done_is_no_command():
    assert episode("done", "answer x", state="") == ([], "x")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"commands": {}}, "at least 1"),
        ({"commands": {"done": []}}, "'done' cannot be the name of a command here"),
        ({"commands": {"two words": []}}, "'two words' cannot be the name of a command here"),
    ],
)
def test_bad_settings_are_one_line(settings, said):
    with pytest.raises(RecipeError, match=said):
        make_program("commands", settings)


def test_a_demonstration_is_what_the_task_shows():
    _, show = make_program("commands", SETTINGS | {"system": "Do it."})
    task = Task("t", "?", "x", {"demonstration": [["look", "nothing"], ["answer x", ""]]})
    first, second = show(task)
    assert (first.text, second.text, second.agent) == ("look", "answer x", "solver")
    said = [(m["role"], m["content"]) for m in second.messages]
    assert said == [("system", "Do it."), ("user", "?"), ("assistant", "look"), ("user", "nothing")]
    with pytest.raises(DataError, match=r"task t has no data\.demonstration"):
        show(Task("t", "?"))
