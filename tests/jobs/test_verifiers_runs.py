"""Environments of `verifiers` grown as trees: the real library, in an environment of its own."""

import json
import shutil
import warnings
from pathlib import Path

import pytest

import hornbeam as hb
from hornbeam.errors import RecipeError
from hornbeam.programs import make_program
from hornbeam.score.reward_settings import RewardSettings
from hornbeam.score.rules import RuleScorer

pytest.importorskip("verifiers", reason="needs the extra verifiers (.ci/verifiers)")

from hornbeam.tasks.verifiers_environment import environment
from hornbeam.tools.verifiers_tools import environment_tools

DATA = Path(__file__).with_name("data")


def call(name, **arguments):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


def played(say, strategy=hb.Independent(n=1), number=12, **settings):
    """The tree of a task of the till (12: 4 plus 2) with its tools, and its rewards."""
    tools = environment_tools("till_env", {}, DATA)
    program, _ = make_program("verifiers", {"environment": "till_env", **settings})
    task = environment("till_env", "{}", DATA).tasks(number + 1)[number]
    (tree,) = hb.grow_trees(program, [task], {"solver": hb.Scripted(say)}, strategy, tools=tools)
    return tree


def verdict(tree, leaf):
    import asyncio

    scorer = RuleScorer(RewardSettings(rule="verifiers"))
    (found,) = asyncio.run(scorer.verdicts(tree, [leaf]))
    return found


def tools_of(tree, leaf):
    return [c for i in tree.path(leaf) for c in tree.nodes[i].calls if c.tool.startswith("till_")]


def test_tasks_and_tools_are_the_environments():
    task = environment("till_env", '{"num_tasks": 3}', DATA).tasks(None)[2]
    assert (task.id, task.question) == ("till_env-2", "What is 3 plus 1?")
    tools = environment_tools("till_env", {}, DATA)
    assert list(tools) == ["till_enter", "till_total", "verifiers_stop", "verifiers_score"]
    schema = tools["till_enter"].hornbeam_schema["function"]
    assert schema["description"] == "Enter an amount into the till."
    assert schema["parameters"]["properties"]["amount"]["type"] == "integer"


def test_rewards_and_metrics_are_those_of_the_state_and_the_conversation():
    said = [call("till_enter", amount=4), call("till_enter", amount="2"), "It is 6."]
    tree = played([said[0], said[1].replace('"2"', "2"), said[2]])
    (leaf,) = tree.leaves()
    assert tree.nodes[leaf].answer == "It is 6." and not tree.nodes[leaf].error
    assert [c.result for c in tools_of(tree, leaf)] == ["entry 1", "entry 2"]
    assert verdict(tree, leaf) == {
        "reward": 1.5,
        "figure.right": 1.0,
        "figure.entered": 1.0,
        "figure.turns": 3.0,
    }


def test_what_a_tool_raises_reaches_the_model_and_a_stop_ends_the_episode():
    tree = played([call("till_enter", amount=7), "no"])
    (leaf,) = tree.leaves()
    (failed,) = tools_of(tree, leaf)
    assert failed.error == "ValueError: more than 6 cannot be paid"
    tree = played([call("till_enter", amount=1)] * 4)
    (leaf,) = tree.leaves()
    assert [c.result for c in tools_of(tree, leaf)] == ["entry 1", "entry 2", "entry 3"]
    assert tree.nodes[leaf].calls[-2].result == "full"
    assert verdict(tree, leaf)["figure.turns"] == 3.0
    tree = played([call("till_total")] * 2, max_turns=2)
    assert verdict(tree, tree.leaves()[0])["reward"] == 0.0


def spender(prompt, rng):
    """Enters an amount at each of two turns, then says what is in the till."""
    entered = prompt.count("tool: entry")
    return call("till_enter", amount=rng.choice([1, 2])) if entered < 2 else call("till_total")


def test_behind_a_fork_the_state_is_that_of_its_path():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = played(spender, hb.Branch(trunks=2, nodes=3, rounds=2), max_turns=3)
    leaves = tree.leaves()
    forks = {tree.nodes[i].origin.episode for i in leaves}
    assert len(leaves) > 4 and len(forks) == len(leaves)
    begun = {node.origin.episode: node.origin.turn for node in reversed(tree.nodes[1:])}
    assert any(turn for turn in begun.values())  # some fork behind a call
    for leaf in leaves:
        *entered, total = tools_of(tree, leaf)
        assert total.result == {"total": sum(c.arguments["amount"] for c in entered)}


RECIPE = """
[run]
steps = 1
tasks = 2
eval_every = 1
[model]
name = "tiny"
chat_template = "tiny"
options = {width = 16, layers = 1}
[agents.solver]
max_tokens = 8
[program]
verifiers = "till_env"
taskset = {num_tasks = 10}
max_turns = 2
[[tasks.train]]
source = "verifiers"
count = 6
[[tasks.eval]]
source = "verifiers"
skip = 6
[reward]
rule = "verifiers"
[grow]
strategy = "independent"
n = 2
"""


@pytest.fixture
def recipe(tmp_path):
    shutil.copy(DATA / "till_env.py", tmp_path)
    path = tmp_path / "till.toml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_trains_in_an_environment(recipe, hornbeam):
    out = recipe.with_name("run")
    code, err, said = hornbeam("train", recipe, "--out", out)
    assert code == 0, err
    assert "verifiers till_env: 6 tasks made by it" in said
    rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["eval", "train", "eval"]
    assert all(row["failed"] == 0 and row["figure.turns"] >= 1 for row in rows)
    assert [row["figure.right.count"] for row in rows] == [4, 4, 4]


TASKSET = "taskset = {num_tasks = 10}"
WRONG = {
    "name": ({'"till_env"': '"tillenv"'}, "verifiers = 'tillenv': "),
    "setting": ({"num_tasks": "num_task"}, "taskset.num_task = 10"),
    "program": ({"max_turns": "turns"}, "no setting 'turns'"),
    "agent": ({"agents.solver": "agents.other"}, "asks agent 'solver'"),
    "endless": ({"skip = 6": 'name = "endless_env"'}, "has no end: give `count`"),
    "other": ({'source = "verifiers"\nskip = 6': 'source = "lookup"\ncount = 2'}, "not of source"),
    "runtime": ({f'"till_env"\n{TASKSET}': '"boxed_env"'}, "a hook `setup`, which wants a runtime"),
}
OTHERS = """
import verifiers.v1 as vf

class BoxedTask(vf.Task[vf.TaskData]):
    async def setup(self, trace, runtime):
        pass

class BoxedTaskset(vf.Taskset[BoxedTask, vf.TasksetConfig]):
    INFINITE = True

    def load(self):
        yield BoxedTask(vf.TaskData(prompt="?"), self.config.task)

__all__ = ["BoxedTaskset"]
"""


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_one_line(case, recipe, hornbeam):
    changes, line = WRONG[case]
    text = RECIPE
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text)
    recipe.with_name("boxed_env.py").write_text(OTHERS)
    plain = OTHERS.replace("    async def setup(self, trace, runtime):\n", "").replace(
        "Boxed", "End"
    )
    recipe.with_name("endless_env.py").write_text(plain)
    code, err, _ = hornbeam("train", recipe, "--out", recipe.with_name("run"))
    assert code == 2 and line in err and "Traceback" not in err, err
    assert len(err.strip().splitlines()) == 1 and not recipe.with_name("run").exists()


def test_one_that_ships_with_it_and_plays_the_user_is_refused():
    with pytest.raises(RecipeError, match=r"verifiers = 'openenv'.* a `run` of its own"):
        environment("openenv", '{"env": "echo"}', DATA)
