"""A run whose reward is a function of a file: as by the rule, counted, held when it goes on."""

import json

import pytest

OWN = """\
from pathlib import Path

def score(task, answer):
    return (answer or "").strip() == task.answer.strip()

async def broken(task, answer):
    raise KeyError(task.id)

def brief(answer, most: int = 10):
    length = len(answer or "")
    return {"reward": length <= most, "length": length}
"""


def test_a_run_by_an_own_reward(world, hornbeam, tmp_path):
    file = world.recipe.with_name("own_reward.py")
    file.write_text(OWN, "utf-8")
    how = ["--set", "run.steps=1", "--set", "run.eval_start=false"]
    weights = []
    for name, rule in (("rule", "exact"), ("own", "own_reward.py:score")):
        words = [*how, "--set", f"reward.rule={rule}", "--out", tmp_path / name]
        code, err, _ = hornbeam("train", world.recipe, *words)
        assert code == 0 and "reward own" not in err
        weights.append((tmp_path / name / "final" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]

    file.write_text(OWN.replace(".strip()", ""), "utf-8")
    code, err, _ = hornbeam("train", world.recipe, *words)
    assert code == 2 and "code of reward.rule than own_reward.py:score has now: put the file" in err
    file.write_text(OWN, "utf-8")
    assert hornbeam("train", world.recipe, *words)[0] == 0


def test_a_reward_that_always_raises_ends_the_run_as_no_reward(world, hornbeam, tmp_path):
    world.recipe.with_name("own_reward.py").write_text(OWN, "utf-8")
    rule = ["--set", "reward.rule=own_reward.py:broken", "--set", "run.steps=1"]
    code, err, said = hornbeam("train", world.recipe, *rule, "--out", tmp_path / "run")
    assert code != 0 and "no run of a whole step was scored (64 runs)" in err
    assert "the first: reward own_reward.py:broken: KeyError: 'lookup-" in err
    line = "reward own_reward.py:broken: KeyError: 'lookup-"
    assert (err + said).count(f"warning: {line}") == 1
    assert "(own_reward.py:7): no reward" in err + said
    rows = [json.loads(r) for r in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert (rows[-1]["kind"], rows[-1]["no_verdict"], rows[-1]["failed"]) == ("eval", 4, 0)


def test_several_rewards_are_columns_metrics_and_on_the_page(world, hornbeam, tmp_path):
    world.recipe.with_name("own_reward.py").write_text(OWN, "utf-8")
    parts = (
        'reward={parts={right={rule="exact"},brief={rule="own_reward.py:brief",weight=0.5,most=3}}}'
    )
    how = ["--set", parts, "--set", "run.steps=1", "--out", tmp_path / "run"]
    credit = 'credit={method="gdpo",weights={"reward.right"=1.0,"reward.brief"=0.5}}'
    assert hornbeam("train", world.recipe, *how, "--set", credit)[0] == 0
    rows = [json.loads(r) for r in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    row = next(r for r in rows if r["kind"] == "train")
    sum_of_parts = row["reward.right"] + 0.5 * row["reward.brief"]
    assert row["reward"] == pytest.approx(sum_of_parts) and row["no_verdict.brief"] == 0
    assert row["figure.brief.length"] > 0 and row["figure.brief.length.count"] == row["leaves"]
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert '"reward.brief":[' in page and '"figure.brief.length":[' in page
    code, err, _ = hornbeam("train", world.recipe, *how, "--set", "reward.parts.brief.most=4")
    assert code == 2 and "reward.parts" in err


@pytest.mark.parametrize(
    ("sets", "line"),
    [
        ("reward={rule='own_reward.py:brief',msot=3}", "no setting 'msot': did you mean 'most'?"),
        ("reward={rule='own_reward.py:brief',formt='x'}", "did you mean 'format'?"),
        ("reward={parts={a={rule='own_reward.py:gone'}}}", "reward.parts.a.rule: own_reward.py"),
    ],
)
def test_a_wrong_reward_is_told_before_anything(world, hornbeam, tmp_path, sets, line):
    world.recipe.with_name("own_reward.py").write_text(OWN, "utf-8")
    code, err, _ = hornbeam("train", world.recipe, "--set", sets, "--out", tmp_path / "run")
    assert code == 2 and line in err and not (tmp_path / "run" / "run.db").exists()
