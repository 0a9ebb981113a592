"""Whole jobs on an agent outside: equal to those of the equal program, bit for bit."""

import hashlib
import venv
from pathlib import Path

import pytest

import hornbeam as hb
from hornbeam.store.database import Store

HERE = Path(__file__).parent
RECIPE = """
[run]
steps = 2
tasks = 2
eval_every = 2
[model]
name = "tiny"
options = {width = 16, layers = 1}
[agents.seeker]
max_tokens = 3
[program]
PROGRAM
[tools.lookup]
[[tasks.train]]
source = "lookup"
split = "train"
count = 4
[[tasks.eval]]
source = "lookup"
split = "test"
count = 3
[reward]
rule = "mine.py:vowels"
workers = 1
[grow]
strategy = "branch"
trunks = 3
nodes = 1
rounds = 1
[credit]
method = "grpo"
[engine]
max_batch = 1   # requests of processes come as they come: batches of several differ in the last bit
[optim]
lr = 1e-2
"""
NATIVE = 'name = "lookup"'
OUTSIDE = 'agent = "python lookup_agent.py {task_file}"'
FUNCTION = 'agent = "lookup_agent.py:function"\ngold = true'


MINE = """
def vowels(task, text):
    return sum(text.count(v) for v in "aeiou") + len(text) / 100
"""


def weights(folder):
    files = sorted(folder.rglob("*.safetensors"))
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def write(folder, program):
    folder.mkdir()
    (folder / "lookup_agent.py").write_text((HERE / "lookup_agent.py").read_text("utf-8"), "utf-8")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.replace("PROGRAM", program), "utf-8")
    return recipe


@pytest.fixture
def run(tmp_path, hornbeam):
    """Runs a command on the recipe with this program; (exit code, all that was said)."""

    def go(name, program, command="train", *more):
        recipe = tmp_path / name / "recipe.toml"
        if not recipe.is_file():
            write(tmp_path / name, program)
            (tmp_path / name / "mine.py").write_text(MINE)
        code, err, said = hornbeam(command, recipe, "--out", tmp_path / name / "out", *more)
        return code, err + said

    return go


@pytest.mark.parametrize("program", [OUTSIDE, FUNCTION], ids=["command", "function"])
def test_an_agent_outside_trains_to_the_weights_of_the_equal_program(run, tmp_path, program):
    code, said = run("native", NATIVE)
    assert code == 0, said
    code, said = run("outside", program)
    assert code == 0, said
    trained = weights(tmp_path / "outside" / "out" / "final")
    assert trained == weights(tmp_path / "native" / "out" / "final") != []
    assert trained != weights(tmp_path / "outside" / "out" / "model")


def test_the_files_of_an_agent_are_held(run, tmp_path):
    assert run("agent", OUTSIDE, "train", "--set", "run.steps=1")[0] == 0
    file = tmp_path / "agent" / "lookup_agent.py"
    file.write_text(file.read_text() + "\n")
    code, said = run("agent", OUTSIDE, "train", "--set", "run.steps=1")
    assert code == 2 and "other code of the agent than lookup_agent.py has now" in said


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ('agent = "no-such-command {task}"', "there is no command 'no-such-command'"),
        ('agent = "none.py:run"', "none.py"),
        ('agent = "python \'x"', "No closing quotation"),
        ('agent = "python lookup_agent.py"\npython = "no/python"', "no interpreter 'no/python'"),
        ('agent = "python lookup_agent.py"\nanswers = "x"', "did you mean 'answer'"),
    ],
)
def test_what_cannot_start_is_told_before_anything_is_loaded(run, tmp_path, program, line):
    code, said = run("bad", program)
    assert code == 2 and line in said and "Traceback" not in said
    assert not (tmp_path / "bad" / "out").exists()


def test_the_reward_of_an_agent_counts(run, tmp_path):
    sets = ("--set", "run.steps=1", "--set", "reward.rule='none'")
    code, said = run("own", FUNCTION, "train", *sets)
    assert code == 0, said
    store = Store(tmp_path / "own" / "out")
    trees = [store.read(key).tree for key in store.keys("train")]
    store.close()
    for tree in trees:
        told = [float(tree.nodes[i].answer == tree.task["answer"]) for i in tree.leaves()]
        assert [tree.columns["step_reward.agent"][i] for i in tree.leaves()] == told
        assert [tree.columns["reward"][i] for i in tree.leaves()] == [0.0] * len(told)


PLAIN = """
import json, os, sys, urllib.request

assert sys.prefix == {prefix!r}, sys.prefix
try:
    import pydantic
    raise SystemExit("it sees what lies beside the package")
except ImportError:
    pass


def run(task, session):
    body = json.dumps({{"messages": [{{"role": "user", "content": "?"}}]}}).encode()
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    with urllib.request.urlopen(urllib.request.Request(url, body)) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


if __name__ == "__main__" and len(sys.argv) == 2:
    print(run(None, None))
"""


@pytest.mark.parametrize("program", ["plain.py:run", "python plain.py {task}"])
def test_an_agent_runs_by_the_interpreter_that_has_its_framework(run, tmp_path, program):
    """One that lacks this package and all that it needs."""
    other = tmp_path / "other"
    venv.create(other)
    write(tmp_path / "plain", f'agent = "{program}"\npython = "{other}/bin/python"')
    (tmp_path / "plain" / "plain.py").write_text(PLAIN.format(prefix=str(other)))
    (tmp_path / "plain" / "mine.py").write_text(MINE)
    code, said = run("plain", "", "train", "--set", "run.steps=1")
    assert code == 0 and "failed" not in said, said


def test_a_missing_file_of_an_agent_is_one_cause_without_its_passing_folder(run):
    code, said = run("gone", 'agent = "python no_such_agent.py {task}"')
    assert code == 2 and "first evaluation: all 3 episodes failed" in said
    assert "can't open file 'no_such_agent.py'" in said.replace("\n", " ")
    assert "hornbeam-agent-" not in said


def test_an_agent_of_a_call_lies_in_the_working_directory_and_is_held(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "lookup_agent.py"
    file.write_text((HERE / "lookup_agent.py").read_text("utf-8"), "utf-8")
    agent = {"agent": "python lookup_agent.py {task_file}"}
    tasks = {"source": "lookup", "count": 2}
    given = {"model": {"name": "tiny", "options": {"width": 16, "layers": 1}}, "reward": "exact"}
    given |= {"agents": {"seeker": {"max_tokens": 3}}, "tools": {"lookup": None}}
    given |= {"run": {"tasks": 1}, "strategy": hb.Independent(n=2), "out": "out"}
    run = hb.train(agent, tasks, **given, steps=1, progress=False)
    assert [row["failed"] for row in run.metrics if row["kind"] == "train"] == [0]
    file.write_text(file.read_text() + "\n")
    with pytest.raises(hb.HornbeamError, match=r"code of the agent than lookup_agent\.py"):
        hb.train(agent, tasks, **given, steps=1, progress=False)
