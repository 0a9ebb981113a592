"""Runs whose steps are rewarded: counted, credited, on the page, in actors; delegations too."""

import json

import pytest

from hornbeam.store.database import Store

OWN = """
import hornbeam as hb
from hornbeam.workers.local_workers import inline, pure

@pure
@inline
def look(word):
    return hb.Result(word, reward=0.25)

async def walk(task, ep):
    said = []
    for _ in range(2):
        reply = await ep.ask("walker", [hb.user(task.question)])
        ep.reward(len(reply.text) / 8, name="length")
        said.append(await ep.call("look", word=reply.text))
    return " ".join(said)

async def lead(task, ep):
    async def helper(task, ep):
        return (await ep.ask("walker", [hb.user(task.question)])).text
    found = await ep.delegate("walker", helper, hb.Task("s", task.question))
    await ep.ask("walker", [hb.user(found)])
    return found

def score(task, answer):
    return {"reward": len(answer) % 2, "words": len(answer.split())}

def fails(task, answer):
    raise KeyError(task.id)

def found(answer, calls, least: int = 1):
    return float(len(answer) >= least)

def never(answer):
    raise ValueError("no")
"""
RECIPE = """
[run]
steps = 2
tasks = 2
eval_every = 2
[model]
name = "tiny"
options = {width = 16, heads = 2, layers = 1}
[agents.walker]
max_tokens = 4
[program]
name = "mine.py:walk"
[tools.look]
use = "mine.py:look"
[reward]
rule = "mine.py:score"
[grow]
strategy = "branch"
trunks = 2
nodes = 1
[credit]
method = "value_backup"
[engine]
max_batch = 1
cache_tokens = 0
[[tasks.train]]
source = "jsonl"
path = "tasks.jsonl"
[[tasks.eval]]
source = "jsonl"
path = "held.jsonl"
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "walk.toml").write_text(RECIPE)
    for name, count in (("tasks", 4), ("held", 2)):
        rows = [{"question": f"{name} {i}"} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path / "walk.toml"


def rows_of(folder, kind="train"):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def trees_of(folder, stage="train"):
    with Store(folder, read_only=True) as store:
        return [store.read(key).tree for key in store.keys(stage)]


def test_a_run_counts_and_credits_rewards_of_steps(recipe, hornbeam):
    out = recipe.with_name("run")
    assert hornbeam("train", recipe, "--out", out)[0] == 0
    row, first = rows_of(out)[0], trees_of(out)[:2]
    given = [r.value for tree in first for node in tree.nodes for r in node.rewards]
    calls = [c.reward for tree in first for node in tree.nodes for c in node.calls]
    assert row["step_rewards"] == len(given) + len(calls) and set(calls) == {0.25}
    assert row["step_reward.look"] == 0.5 and row["step_reward"] > 0.5
    assert row["step_reward"] == pytest.approx(0.5 + row["step_reward.length"])
    assert row["figure.words"] >= 0 and rows_of(out, "eval")[0]["step_reward.look"] == 0.5
    for tree in first:  # what is credited to the steps of a path adds up to its return
        advantage, reward = tree.columns["advantage"], tree.columns["reward"]
        ends = []
        for leaf in tree.leaves():
            path = tree.path(leaf)
            returned = reward[leaf] + sum(tree.columns["step_reward"][i] or 0.0 for i in path)
            ends.append(returned - sum(advantage[i] for i in path))
        assert max(ends) - min(ends) < 1e-5  # V(root); small differences count as none
    page = (out / "report.html").read_text("utf-8")
    assert '"step_reward.length":[' in page and '"step_reward.look":[' in page


def test_a_run_goes_on_with_the_same_rewards(recipe, hornbeam):
    whole, parts = recipe.with_name("whole"), recipe.with_name("parts")
    assert hornbeam("train", recipe, "--out", whole)[0] == 0
    for calls in (5, 12, 19):  # of models and tools: trees are left half-grown
        hornbeam("train", recipe, "--out", parts, "--set", f"budget.calls={calls}")
    assert hornbeam("train", recipe, "--out", parts)[0] == 0
    assert [t.nodes for t in trees_of(parts)] == [t.nodes for t in trees_of(whole)]


def test_how_they_count_is_a_setting(recipe, hornbeam, tmp_path):
    weights = {}
    for how in ("", "returns='sum'", "returns='outcome'", "returns='discounted',discount=0.5"):
        credit = f"credit={{method='rloo',{how}}}" if how else "credit={method='rloo'}"
        out = tmp_path / (how or "default")
        assert hornbeam("train", recipe, "--set", credit, "--out", out)[0] == 0
        weights[how] = (out / "final" / "model.safetensors").read_bytes()
    assert weights[""] == weights["returns='sum'"] and len({*weights.values()}) == 3


@pytest.mark.parametrize(
    ("credit", "line"),
    [
        ("{method='pvpo',returns='sum'}", "credit method 'pvpo': returns = 'sum': pvpo does not"),
        ("{method='grpo',returns='discounted'}", "returns = 'discounted' and discount go together"),
        ("{method='grpo',returns='total'}", "returns = 'total': expected 'sum', 'discounted' or"),
        ("{method='gdpo',weights={'reward'=1.0},returns='sum'}", "name 'step_reward' among credit"),
    ],
)
def test_a_recipe_without_a_meaning_is_refused(recipe, hornbeam, tmp_path, credit, line):
    out = tmp_path / "run"
    code, err, _ = hornbeam("train", recipe, "--set", f"credit={credit}", "--out", out)
    assert code == 2 and line in err and len(err.splitlines()) == 1 and not out.exists()


def test_gdpo_reads_them_as_columns(recipe, hornbeam, tmp_path):
    credit = "credit={method='gdpo',weights={'reward'=1.0,'step_reward.length'=0.5}}"
    assert hornbeam("train", recipe, "--set", credit, "--out", tmp_path / "run")[0] == 0


def test_actors_reward_as_one_process_does(recipe, hornbeam, tmp_path):
    pytest.importorskip("ray")
    ray = ["--set", "workers.kind=ray", "--set", "workers.growers=1", "--set", "run.steps=1"]
    for name, more in (("alone", ray[4:]), ("crew", ray)):
        code, err, _ = hornbeam("train", recipe, "--out", tmp_path / name, *more)
        assert code == 0, err
    alone, crew = (trees_of(tmp_path / name) for name in ("alone", "crew"))
    assert [t.nodes for t in crew] == [t.nodes for t in alone]
    assert [t.columns for t in crew] == [t.columns for t in alone]
    code, err, said = hornbeam(
        "train", recipe, "--out", tmp_path / "bad", *ray, "--set", "reward.rule=mine.py:fails"
    )
    assert code != 0 and "the first: reward mine.py:fails: KeyError: '" in err
    assert (err + said).count("warning: reward mine.py:fails: KeyError") == 1


DELEGATED = ["--set", "program.name=mine.py:lead", "--set", "credit={method='m_grpo'}"]
DELEGATED += ["--set", "agents.walker.max_tokens=64"]  # so that some replies end by themselves


def test_a_function_rewards_delegations(recipe, hornbeam, tmp_path):
    delegation = (
        "reward.delegation={rule='mine.py:found',least=2,format=0.0,correct=0.0,expert=1.0}"
    )
    out = tmp_path / "run"
    code, err, _ = hornbeam("train", recipe, *DELEGATED, "--set", delegation, "--out", out)
    assert code == 0, err
    rewards = set()
    for tree in trees_of(out):
        for i, node in enumerate(tree.nodes):
            if node.scope and node.finish == "stop":
                reward = tree.columns["reward"][i]
                assert reward == float(len(node.text) >= 2)
                rewards.add(reward)
    assert rewards and all(row["no_verdict.delegation"] == 0 for row in rows_of(out))


def test_a_function_that_fails_of_delegations_is_counted(recipe, hornbeam, tmp_path):
    out, rule = tmp_path / "run", "reward.delegation={rule='mine.py:never'}"
    code, err, said = hornbeam("train", recipe, *DELEGATED, "--set", rule, "--out", out)
    assert code == 0, err
    assert (err + said).count("warning: reward mine.py:never: ValueError: no (mine.py:") == 1
    assert rows_of(out)[0]["no_verdict.delegation"] > 0
    code, err, _ = hornbeam(
        "train", recipe, *DELEGATED, "--set", rule.replace("never", "nevr"), "--out", tmp_path / "b"
    )
    assert code == 2 and "reward.delegation.rule: mine.py has no function 'nevr'" in err
