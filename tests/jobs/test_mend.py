"""Episodes that all fail for one cause stop a job; mended, the same command goes on."""

import json

import pytest

from hornbeam.assembly.progress import train_line
from hornbeam.episode.failures import cause, causes, one_cause
from hornbeam.store.database import Store
from hornbeam.tree.nodes import Node, Origin, Tree

RECIPE = """
[run]
steps = 1
tasks = 2
eval_every = 0
[model]
name = "tiny"
options = {width = 16, layers = 1}
[agents.seeker]
max_tokens = 2
[program]
name = "mine.py:walk"
[[tasks.train]]
source = "lookup"
split = "train"
count = 4
[[tasks.eval]]
source = "lookup"
split = "test"
count = 3
[reward]
rule = "exact"
[grow]
strategy = "independent"
n = 2
[label]
strategy = "rollouts"
trunks = 1
rollouts = 1
[[search.methods]]
name = "single"
n = 1
"""
# the error stands in line 6
PROGRAM = """
from hornbeam import user

async def walk(task, ep):
    reply = await ep.ask("seeker", [user(task.question)])
    {line}
    return {answer}
"""
BROKEN = "share = 1 / (len(reply.text) * 0)"
UNTRAINED = 'warning: model.name = "tiny" is untrained'
CAUSE = "ZeroDivisionError: division by zero (mine.py:6)"


@pytest.fixture
def job(tmp_path, hornbeam):
    """Runs a command on the recipe in a run folder, by a program with this line in it."""

    def run(command, line, *words, answer="reply.text"):
        (tmp_path / "mine.py").write_text(PROGRAM.format(line=line, answer=answer))
        (tmp_path / "mine.toml").write_text(RECIPE)
        code, said, out = hornbeam(
            command, tmp_path / "mine.toml", "--out", tmp_path / "run", *words
        )
        lines = [line for line in said.splitlines() if not line.startswith(UNTRAINED)]
        assert len(lines) < 2, said
        return code, "".join(lines), out

    return run


def keys(folder):
    with Store(folder / "run", read_only=True) as store:
        return store.keys(), store.totals("lost start") | store.totals("lost train")


def test_the_first_evaluation_stops_the_run_and_the_same_command_goes_on(job, tmp_path):
    code, said, _ = job("train", BROKEN)
    assert code == 2
    assert f"the first evaluation: all 3 episodes failed: {CAUSE}" in said
    left, lost = keys(tmp_path)
    assert left == [] and lost["model_calls"] == 3  # paid all the same
    # other settings too: a run that has nothing yet has not begun
    code, said, out = job("train", "", "--set", "run.tasks=3", answer="'x'")
    assert (code, said) == (0, "")
    assert "Held-out accuracy before training: 0.0 % [0.0, 56.1] of 3\n" in out


def test_the_first_step_stops_the_run_and_the_same_command_goes_on(job, tmp_path):
    words = ["--set", "run.eval_start=false"]
    code, said, _ = job("train", BROKEN, *words)
    assert code == 2 and f"step 1: all 4 episodes failed: {CAUSE}" in said
    left, lost = keys(tmp_path)
    assert left == [] and lost["model_calls"] == 4
    assert job("train", "", *words, answer="'x'")[:2] == (0, "")


def test_a_step_without_a_reward_is_grown_again_too(job, tmp_path):
    words = ["--set", "run.eval_start=false"]
    line = "{}[task.id if ep.random().random() < 2 else 0]"  # another cause a task
    code, said, _ = job("train", line, *words)
    assert code == 2 and ("whole step" in said or "step 1: all" in said) and "mine.py:6" in said
    assert keys(tmp_path)[0] == []
    assert job("train", "", *words, answer="'x'")[:2] == (0, "")


@pytest.mark.parametrize(("command", "count"), [("label", 4), ("search", 3)])
def test_the_first_tasks_stop_label_and_search(job, tmp_path, command, count):
    code, said, _ = job(command, BROKEN)
    assert code == 2 and f"no run of {count} tasks has a reward: all " in said and CAUSE in said
    assert keys(tmp_path)[0] == []
    answer = "next(iter(task.answer), 'x') if isinstance(task.answer, list) else task.answer"
    assert job(command, "", answer=answer)[:2] == (0, "")


def test_eval_tells_the_cause_and_keeps_the_trees(tmp_path, hornbeam, job):
    code, said, _ = job("eval", BROKEN)  # --out is the file of trees here
    assert code == 2 and f"the evaluation: all 3 episodes failed: {CAUSE}" in said
    lines = (tmp_path / "run").read_text().splitlines()
    assert [json.loads(line)["nodes"][-1]["error"] for line in lines] == [CAUSE] * 3


SOME = "1 / (task.answer != 'comb')"  # of three held-out tasks one


def test_lines_and_metrics_of_evaluations_tell_the_failed(job, tmp_path):
    code, said, out = job("train", SOME)
    assert (code, said) == (0, "")
    text = "1 of 3 failed: ZeroDivisionError at mine.py:6"
    assert f"before training: 0.0 % [0.0, 56.1] of 3; {text}\n" in out
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    looks = [row for row in rows if row["kind"] == "eval"]
    assert [(row["failed"], row["failure"]) for row in looks] == [
        (1, "ZeroDivisionError at mine.py:6")
    ] * len(looks)
    assert all("failure" not in row for row in rows if not row.get("failed"))


def test_a_misnamed_agent_of_an_own_program_is_told_where_it_is_asked(job):
    code, said, _ = job("train", 'await ep.ask("sekr", [user("a")])')
    assert code == 2 and "no agent 'sekr' in agents: did you mean 'seeker'? (mine.py:6)" in said


def test_a_misnamed_agent_of_a_program_that_ships_is_told_before_anything_is_loaded(job, tmp_path):
    words = ["--set", "program={name='single', agent='solvr'}"]
    for more in ([], ["--dry-run"]):
        code, said, _ = job("train", "", *words, *more)
        assert code == 2 and "asks agent 'solvr', and [agents] has 'seeker'" in said
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_that_nobody_knows_whom_a_file_asks(job, tmp_path):
    text = "# agents and tools that mine.py:walk names are not checked before it runs\n"
    code, _, out = job("train", "", "--dry-run")
    assert code == 0 and text in out
    ready = ["--set", "program={name='single', agent='seeker'}"]
    code, _, out = job("train", "", "--dry-run", *ready)
    assert code == 0 and "not checked" not in out
    assert not (tmp_path / "run").exists()


# --- causes --------------------------------------------------------------------------------------


def grown(*errors):
    """A tree with a leaf for each; "" did not fail."""
    tree = Tree({"id": "t", "question": "q"})
    for n, error in enumerate(errors):
        tree.append(Node(0, "seeker", finish="end", origin=Origin(n), done=True, error=error))
    return tree


def test_a_cause_is_an_error_at_a_place_else_its_line():
    assert cause("KeyError: 'a (b)' (mine.py:12)") == "KeyError at mine.py:12"
    assert cause("EngineError: no answer in 3 s") == "EngineError: no answer in 3 s"
    two = ["A: x (m.py:1)", "B: y (m.py:2)", "B: z (m.py:2)"]
    assert causes(two) == "B at m.py:2 and 1 other cause"
    assert causes([]) == ""


def test_one_cause_is_that_of_all_leaves():
    first = "KeyError: 1 (m.py:1)"
    assert one_cause([grown(first), grown("KeyError: 2 (m.py:1)", "KeyError: 3 (m.py:1)")]) == first
    assert one_cause([grown(first, ""), grown(first)]) == ""
    assert one_cause([grown(first), grown("KeyError: 1 (m.py:2)")]) == ""
    assert one_cause([grown("PromptTooLong: 77 of 64"), grown("PromptTooLong: 78 of 64")])
    assert one_cause([grown("PromptTooLong: 77 of 64"), grown("EngineError: 78 of 64")]) == ""
    assert one_cause([]) == ""


def test_a_step_line_tells_of_what_some_episodes_failed():
    row = dict.fromkeys(("seconds_grow", "seconds_train", "sampled_tokens", "reward", "loss"), 1.0)
    row |= {"step": 0, "mixed_groups": 1, "unmixed_groups": 0, "cut_off": 0.0, "failed": 2}
    assert train_line(row | {"failure": "KeyError at mine.py:3"}, 4)[1].endswith(
        "; 2 failed: KeyError at mine.py:3"
    )
