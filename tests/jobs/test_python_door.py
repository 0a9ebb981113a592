"""Jobs called from Python: the very jobs of their recipes, equal to the bit."""

import json

import hornbeam as hb
from hornbeam.tasks.task_sources import TaskSettings, load_tasks

OWN = """\
import hornbeam as hb

@hb.program
async def walker(task, ep, most=4):
    note, talk = task.question, []
    for _ in range(most):
        talk.append(hb.user(note))
        reply = await ep.ask("seeker", talk)
        talk.append(hb.assistant(reply.text))
        key = dict(pair.split(":") for pair in note.split() if ":" in pair).get(reply.text, "")
        note = await ep.call("look", key=key)
        if not note or ":" not in note:
            return note
    return note
"""
SOURCE = {"source": "lookup", "options": {"depth": 3, "signs": 4, "known": 0.75}}


def sections(world):
    """Arguments of a short run on the weights of the tiny world."""
    return {
        "model": world.policy,
        "agents": {"seeker": {"max_tokens": 4}},
        "tools": {"lookup": None},
        "reward": "exact",
        "strategy": hb.Branch(trunks=2, nodes=2),
        "credit": "tree_grpo",
        "run": {"tasks": 4, "eval_start": False},
        "optim": {"lr": 1e-2},
        "seed": 5,
    }


def tasks(count=12, split="train"):
    source = TaskSettings(**SOURCE, split=split, count=count)
    return load_tasks([source]).tasks


def left(folder):
    """What a run left: its weights, and its rows of metrics but for seconds."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    kept = [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]
    return (folder / "final" / "model.safetensors").read_bytes(), kept


def test_a_run_by_train_and_by_its_recipe_ends_in_equal_weights(world, hornbeam, tmp_path):
    given = ("lookup", tasks())
    more = {**sections(world), "eval_tasks": tasks(4, "test"), "steps": 2}
    done = hb.train(*given, **more, out=tmp_path / "python", progress=False)
    text = hb.recipe_of(*given, **more, path=tmp_path / "mine" / "same.toml")
    assert (tmp_path / "mine" / "same.toml").read_text() == text
    code, err, _ = hornbeam("train", tmp_path / "mine" / "same.toml", "--out", tmp_path / "recipe")
    assert code == 0, err
    assert left(tmp_path / "python") == left(tmp_path / "recipe")
    weights = (world.policy / "model.safetensors").read_bytes()
    assert left(tmp_path / "python")[0] != weights  # it learned
    assert done.model == tmp_path / "python" / "final" and done.page.is_file()
    assert [row["step"] for row in done.metrics if row["kind"] == "train"] == [0, 1]
    assert done.eval.count == 4 and done.eval.interval[0] <= done.eval.value
    assert len(done.trees(step=1)) == 4 and len(done.trees()) == 8
    assert done.cost["sampled_tokens"] > 0
