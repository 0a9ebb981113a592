"""Functions and classes given to jobs from Python: by their files, by a script, by a notebook."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

import hornbeam as hb
from hornbeam.api.loop_thread import outside_loop
from hornbeam.api.python_recipe import RUN, Sections
from hornbeam.credit.methods import GRPO
from hornbeam.errors import ArgumentError, ProgramError, RecipeError, StoreError
from hornbeam.jobs.event_loop import run_loop
from hornbeam.own.object_names import name_of
from hornbeam.recipe.recipe import Recipe
from hornbeam.search.branch import Branch

TASKS = [{"question": f"{n} + 1", "answer": str(n + 1)} for n in range(4)]
AGENTS = {"solver": {"max_tokens": 3}}
OWN = """\
import hornbeam as hb

@hb.program
async def walker(task, ep, often=1):
    for _ in range(often):
        reply = await ep.ask("solver", [hb.user(task.question)])
    return await ep.call("size", text=reply.text)

def size(text):
    return len(text)

def score(task, answer):
    return answer / 10

async def hangs(task, answer):
    while True:
        pass
"""
SCRIPT = (
    OWN
    + """
if __name__ == "__main__":
    tasks = [{"question": f"{n} + 1", "answer": n + 1} for n in range(4)]
    run = hb.train(walker, tasks, reward=score, tools=[size], model="tiny", steps=1,
                   agents={"solver": {"max_tokens": 3}}, run={"tasks": 2}, out="run")
    print(run, [row["reward"] for row in run.metrics if row["kind"] == "train"])
"""
)


def short(**more):
    """Arguments of a run of one step."""
    given = {"model": "tiny", "agents": AGENTS, "steps": 1, "progress": False}
    return {**given, "run": {"tasks": 2}, "strategy": hb.Independent(n=2), **more}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of one's own, imported from the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_agents.py").write_text(OWN)
    yield __import__("own_agents")
    del sys.modules["own_agents"]


def test_what_stands_in_a_file_is_named_by_it_and_held_on_resume(own, tmp_path):
    more = short(tools={"size": own.size}, reward=own.score)
    done = hb.train(own.walker, TASKS, **more, out="run")
    recipe = (tmp_path / "run" / "recipe.toml").read_text()
    for named in ('name = "own_agents.py:walker"', '"own_agents.py:size"', '"own_agents.py:score"'):
        assert named in recipe
    assert hb.train(own.walker, TASKS, **more, out="run").metrics == done.metrics
    with pytest.raises(StoreError, match=r"began with other tasks .given/train\.jsonl."):
        hb.train(own.walker, TASKS[:3], **more, out="run")
    with pytest.raises(StoreError, match=r"began with another recipe \(optim.lr differ"):
        hb.train(own.walker, TASKS, **more, out="run", optim={"lr": 1e-3})
    (tmp_path / "own_agents.py").write_text(OWN + "\n")
    with pytest.raises(StoreError, match=r"code of .* put the file back"):
        hb.train(own.walker, TASKS, **more, out="run")


def test_settings_of_a_program_are_those_of_a_partial(own, tmp_path):
    import functools

    text = hb.recipe_of(functools.partial(own.walker, often=2), tools=[own.size])
    assert 'name = "own_agents.py:walker"\noften = 2' in text
    with pytest.raises(ArgumentError, match=r"give settings by name: partial\(f, turns=3\)"):
        hb.recipe_of(functools.partial(own.walker, TASKS[0]))


class Wider(Branch):
    """A strategy of one's own."""


class Halved(GRPO):
    """A credit method of one's own."""

    by: float = 0.5

    def advantages(self, groups):
        return [[self.by * value for value in group] for group in super().advantages(groups)]


def test_what_stands_in_no_file_is_given_as_it_is(tmp_path):
    lengths = []

    async def walker(task, ep):
        return (await ep.ask("solver", [hb.user(task.question)])).text

    def score(task, answer):
        lengths.append(len(answer))
        return len(answer) / 10

    class Here(Wider):
        pass

    more = short(reward=score, strategy=Here(trunks=2, nodes=1), credit=Halved(by=0.25))
    done = hb.train(walker, TASKS, **more, out=tmp_path / "run")
    assert len(done.trees(0)) == 2 and len(lengths) >= 4  # called in this very process
    assert "python>:Here_" in (tmp_path / "run" / "recipe.toml").read_text()
    assert hb.train(walker, TASKS, **more, out=tmp_path / "run").metrics == done.metrics
    with pytest.raises(RecipeError, match="walker is made inside of something else"):
        hb.recipe_of(walker)
    with pytest.raises(StoreError, match=r"began with another recipe \(reward"):
        hb.train(
            walker, TASKS, **{**more, "reward": lambda task, answer: 1.0}, out=tmp_path / "run"
        )
    with pytest.raises(ArgumentError, match="other processes cannot load what stands in no file"):
        hb.train(walker, TASKS, **more, out=tmp_path / "ray", workers={"kind": "ray"})


def test_a_reward_in_a_thread_that_hangs_or_raises_is_no_reward(tmp_path, capsys):
    free = threading.Event()

    async def walker(task, ep):
        return (await ep.ask("solver", [hb.user(task.question)])).text

    def late(task, answer):
        if task.id.endswith("1"):
            free.wait()
        if task.id.endswith("2"):
            raise ValueError("no such number")
        return len(answer) / 10

    reward = {"rule": late, "seconds": 0.3}
    more = {"model": "tiny", "agents": AGENTS, "reward": reward}
    try:
        found = hb.evaluate(walker, TASKS, **more)
    finally:
        free.set()
    assert found.metrics[0]["no_verdict"] == 2 and found.eval.count == 4
    said = capsys.readouterr()
    assert "Reward late stands in no file that can be loaded: it runs in a thread" in said.out
    assert "ValueError: no such number (test_python_objects.py:" in said.out + said.err


def test_in_a_running_loop_a_job_runs_beside_it(own, tmp_path):
    async def cell():
        return hb.train(own.walker, TASKS, **short(tools=[own.size], reward=own.score), out="run")

    done = asyncio.run(cell())
    assert [row["step"] for row in done.metrics if row["kind"] == "train"] == [0]


def test_a_script_trains_what_it_defines_and_its_reward_runs_in_a_process(tmp_path):
    (tmp_path / "mine.py").write_text(SCRIPT)
    src = str(hb.__path__[0].rpartition("/")[0])
    env = {**os.environ, "PYTHONPATH": src}
    command = [sys.executable, "mine.py"]
    for _ in range(2):  # the second goes on, and finds all done
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "trained 1 steps" in done.stdout and "in a thread" not in done.stdout
    code = SCRIPT.replace('if __name__ == "__main__":', "if True:")
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(
        ProgramError, match=r"is called as mine\.py is loaded: put it under if __na"
    ):
        hb.evaluate(f"{tmp_path}/mine.py:walker", TASKS, model="tiny", agents=AGENTS)
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "in a thread" in done.stdout, done.stderr


def test_an_interrupt_in_a_running_loop_stops_the_job_in_its_thread():
    """A job that waits for what never comes, and another thread that sends Ctrl-C."""
    waits, stopped, main = threading.Event(), threading.Event(), threading.main_thread().ident
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background: ignored

    async def never():
        waits.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def cell():
        return outside_loop(lambda: run_loop(never()))

    def press():
        waits.wait()
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=press).start()
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(cell())
    finally:
        signal.signal(signal.SIGINT, before)
    loop.close()
    assert stopped.is_set()


STOPPED = (
    OWN
    + """
import os, signal, sys
from hornbeam.assembly.progress import Progress

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    say = Progress.say

    def stopping(self, text, style=""):
        say(self, text, style)
        if text.startswith("step 2/"):
            os.kill(os.getpid(), signal.SIGINT)

    if sys.argv[2] == "stop":
        Progress.say = stopping
    tasks = [{"question": f"{n} + 1", "answer": n + 1} for n in range(4)]
    hb.train(walker, tasks, reward=score, tools=[size], model="tiny", steps=4, out=sys.argv[1],
             agents={"solver": {"max_tokens": 3}}, run={"tasks": 2, "resume": "exact"})
"""
)


def test_ctrl_c_and_the_same_call_end_where_a_run_without_it_does(tmp_path):
    (tmp_path / "mine.py").write_text(STOPPED)
    env = {**os.environ, "PYTHONPATH": str(hb.__path__[0].rpartition("/")[0])}

    def call(*words):
        command = [sys.executable, "mine.py", *words]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    stopped = call("one", "stop")
    assert stopped.stderr.endswith("KeyboardInterrupt\n") and "step 3/" not in stopped.stdout
    assert "Stopped. What was grown is kept: the same call goes on" in stopped.stdout
    assert call("one", "go").returncode == 0 and call("two", "go").returncode == 0
    final = [(tmp_path / name / "final" / "model.safetensors") for name in ("one", "two")]
    assert final[0].read_bytes() == final[1].read_bytes()


def test_sections_that_calls_take_are_those_of_recipes():
    named = {"program", "tasks", "model", "tools", "reward", "grow", "credit"}
    assert set(Recipe.model_fields) - named == set(Sections.__annotations__) - set(RUN)


def test_names_tell_code_apart():
    def one(task, answer):
        return 1.0

    def other(task, answer):
        return 2.0

    other.__name__ = other.__qualname__ = "one"
    first, second = name_of(one), name_of(other)
    assert first.startswith("<python>:one_") and second.startswith("<python>:one_")
    assert first != second and name_of(one) == first
    made = {}
    exec("def score(task, answer):\n    return 1", made)  # without a source: by its byte code
    name = name_of(made["score"])
    exec("def score(task, answer):\n    return 3", made)
    assert name != name_of(made["score"])


def test_several_rewards_and_settings_of_one(own):
    import functools

    def strict(task, answer, most=3):
        return answer <= most

    found = hb.evaluate(
        own.walker,
        TASKS,
        model="tiny",
        agents=AGENTS,
        tools=[own.size],
        reward=[functools.partial(strict, most=999), own.score],
        progress=False,
    )
    (tree, *_) = found.trees()
    (leaf,) = tree.leaves()
    rewards = [tree.columns[name][leaf] for name in ("reward.strict", "reward.score")]
    assert rewards == [1.0, tree.nodes[leaf].answer / 10]
    assert tree.columns["reward"][leaf] == pytest.approx(sum(rewards))
    with pytest.raises(ArgumentError, match="give each reward a name of its own"):
        hb.evaluate(own.walker, TASKS, reward=[strict, strict])
