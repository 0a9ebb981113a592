"""Rewards by a test command, run in the folder that an agent leaves; its verdict is recorded."""

import asyncio
from pathlib import Path

import pytest

from gateway.test_agent_jobs import RECIPE
from gateway.test_sessions import read
from grow.worlds import KEY
from hornbeam.engine.scripted import Scripted
from hornbeam.gateway.agent_program import AgentCommand, AgentProgram
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.score.rules import RewardSettings, make_scorer
from hornbeam.search import Independent
from hornbeam.store.database import Store
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

# Asks once, leaves a file with what it heard, answers it.
AGENT = """
import json, os, sys, urllib.request
ask = json.dumps({"messages": [{"role": "user", "content": sys.argv[1]}]}).encode()
key = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
with urllib.request.urlopen(urllib.request.Request(url, ask, key)) as answer:
    said = json.load(answer)["choices"][0]["message"]["content"]
open("left.txt", "w").write(said)
print(said)
"""
# What a test can do; each run adds a line to `ran`, beside the test.
CHECK = """
import json, os, sys, time
from pathlib import Path
how, answer, task = sys.argv[1:4]
with open(Path(__file__).with_name("ran"), "a") as ran:
    ran.write("x")
left = Path("left.txt").read_text()
assert left == Path(answer).read_text() == Path(os.environ["HORNBEAM_ANSWER_FILE"]).read_text()
assert json.loads(Path(task).read_text())["question"] == "What?"
assert "OPENAI_API_KEY" not in os.environ or os.environ["OPENAI_API_KEY"] == "own"
if how == "exit":
    sys.exit(0 if left == "one" else "not one")
if how == "json":
    print("some words")
    print(json.dumps({"reward": len(left) / 10, "letters": len(left), "ok": True}))
    sys.exit(3)
if how == "leaves":
    import subprocess
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(603)"], start_new_session=True)
if how == "wrong":
    print(json.dumps({"reward": "much"}))
if how == "hangs":
    if not os.fork():
        time.sleep(1234)
    time.sleep(1234)
if how == "loud":
    print("x" * 1_000_000)
    sys.exit("y" * 1_000_000)
"""


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """(the column of rewards and the leaf's last call) of one episode, `how` as above."""
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "check.py").write_text(CHECK)
    monkeypatch.setenv("OPENAI_API_KEY", "own")

    def run(how, said="one", start=None, **settings):
        async def grow():
            test = f"python check.py {how} {{answer_file}} {{task_file}}"
            command = AgentCommand(command="python agent.py {task}", test=test, **settings)
            program = AgentProgram(command.beside(tmp_path))
            scorer = make_scorer(RewardSettings(rule="test"))
            agents = {"solver": Speaker(Scripted(said))}
            fresh = Tree(Task("t", "What?").to_json(), seed=5)
            grower = Grower(program, agents, Independent(n=1), scorer=scorer)
            try:
                return await grower.grow(KEY, start or fresh)
            finally:
                await program.aclose()
                await scorer.aclose()

        tree = asyncio.run(grow())
        (leaf,) = tree.leaves()
        assert tree.nodes[leaf].error == ""
        return {name: column[leaf] for name, column in tree.columns.items()}, tree.nodes[leaf]

    return run


def test_the_exit_code_is_the_reward(judged):
    columns, leaf = judged("exit", "one")
    assert columns["reward"] == 1.0 and leaf.answer == "one"
    columns, leaf = judged("exit", "two")
    assert columns["reward"] == 0.0 and leaf.answer == "two"
    assert leaf.calls[-1].result["why"] == "exit code 1: not one"


def test_a_line_of_json_says_more(judged):
    columns, _ = judged("json", "three")
    assert columns["reward"] == 0.5 and columns["figure.letters"] == 5 and columns["figure.ok"] == 1


def test_what_is_no_verdict_gives_no_reward(judged):
    columns, _ = judged("wrong")
    assert columns["reward"] is None


def test_what_a_test_leaves_in_a_session_of_its_own_holds_nothing_up(judged):
    columns, leaf = judged("leaves")
    assert columns["reward"] == 1.0 and leaf.calls[-1].result["why"] == ""


def test_a_test_that_takes_too_long_is_ended_with_what_it_started(judged, tmp_path, monkeypatch):
    monkeypatch.setenv("OF_THIS_TEST", str(tmp_path))
    columns, leaf = judged("hangs", test_seconds=1.0)
    assert columns["reward"] == 0.0
    assert leaf.calls[-1].result["why"] == "the test took more than 1 s"
    left = [p for p in Path("/proc").glob("[0-9]*/environ") if str(tmp_path).encode() in read(p)]
    assert left == []


def test_what_it_prints_is_bounded(judged):
    columns, leaf = judged("loud")
    assert columns["reward"] == 0.0 and len(leaf.calls[-1].result["why"]) < 400


def write(folder, reward, program='agent = "python agent.py {task}"\n'):
    (folder / "agent.py").write_text(AGENT)
    ran = "import pathlib\nopen(pathlib.Path(__file__).with_name('ran'), 'a').write('x')\n"
    (folder / "check.py").write_text(ran)
    text = RECIPE.replace("PROGRAM", program).replace('rule = "mine.py:vowels"', reward)
    (folder / "recipe.toml").write_text(text)
    return folder / "recipe.toml"


def test_a_job_is_rewarded_by_a_test_once_an_episode(tmp_path, hornbeam):
    program = 'agent = "python agent.py {task}"\ntest = "python check.py"\n'
    recipe, out = write(tmp_path, 'rule = "test"', program), tmp_path / "out"
    code, err, said = hornbeam("train", recipe, "--out", out, "--set", "run.eval_every=0")
    assert code == 0, err + said
    store = Store(out)
    keys = [key for stage in ("start", "train", "eval") for key in store.keys(stage)]
    trees = [store.read(key).tree for key in keys]
    store.close()
    leaves = [(tree, i) for tree in trees for i in tree.leaves()]
    assert [tree.columns["reward"][i] for tree, i in leaves] == [1.0] * len(leaves)
    assert (tmp_path / "ran").read_text() == "x" * len(leaves)
    code, err, said = hornbeam("train", recipe, "--out", out, "--set", "run.eval_every=0")
    assert code == 0 and (tmp_path / "ran").read_text() == "x" * len(leaves)
    (tmp_path / "check.py").write_text("raise SystemExit(1)")
    code, err, said = hornbeam("train", recipe, "--out", out, "--set", "run.eval_every=0")
    assert code == 2 and "code of the agent than check.py has now" in err + said


@pytest.mark.parametrize(
    ("reward", "program", "line"),
    [
        ('rule = "test"', 'agent = "python agent.py"', "program.test"),
        ('rule = "test"', 'name = "lookup"', "take a function of a file"),
        ('rule = "none"', 'agent = "python agent.py"\ntest = "python check.py"', "that"),
        ('rule = "test"', 'agent = "python agent.py"\ntest = "no-such x"', "no command 'no-such'"),
        ('rule = "test"', 'agent = "python agent.py"\ntest = "python \'"', "program.test = "),
    ],
)
def test_a_rule_without_its_test_is_told_at_once(tmp_path, hornbeam, reward, program, line):
    recipe = write(tmp_path, reward, program)
    code, err, _ = hornbeam("train", recipe, "--out", tmp_path / "out")
    assert code == 2 and line in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()
