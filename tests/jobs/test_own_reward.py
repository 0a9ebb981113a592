"""A run whose reward is a function of a file: as by the rule, counted, held when it goes on."""

import json

OWN = """\
from pathlib import Path

def score(task, answer):
    return (answer or "").strip() == task.answer.strip()

async def broken(task, answer):
    raise KeyError(task.id)
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
    line = "reward own_reward.py:broken: KeyError: 'lookup-"
    assert (err + said).count(line) == 1 and "(own_reward.py:7): no reward" in err + said
    rows = [json.loads(r) for r in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert (rows[-1]["kind"], rows[-1]["no_verdict"], rows[-1]["failed"]) == ("eval", 4, 0)
