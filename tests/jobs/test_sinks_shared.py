"""Which process tells sinks where several train or grow: rows one of them, trees who grew them."""

import json
from types import SimpleNamespace

import pytest

from hornbeam.jobs.train.decoupled.shared_metrics import SharedMetrics
from hornbeam.store.database import Store

from .test_decoupled import Side, sides  # noqa: F401
from .test_policies import duet, metrics  # noqa: F401

pytestmark = pytest.mark.timeout(600)  # processes of their own, each of which imports torch
SINK = """
import json
import os

class Lines:
    def __init__(self, path):
        self.path = path

    def start(self, run):
        self.policy = run.policy
        self.write(kind="start", id=run.id, title=run.title)

    def row(self, kind, step, figures):
        self.write(kind=kind, step=step, reward=figures.get("reward"))

    def tree(self, key, tree, calls):
        self.write(kind="tree", key=str(key), leaves=len(tree.leaves()), calls=len(calls))

    def write(self, **data):
        with open(f"{self.path}.{self.policy}", "a") as stream:
            stream.write(json.dumps(data) + "\\n")
"""


def heard(path, *kinds):
    found = map(json.loads, path.read_text().splitlines())
    return [each for each in found if each["kind"] in kinds]


def test_the_trainer_of_the_first_policy_tells_rows_and_each_its_trees(duet, tmp_path, sides):  # noqa: F811
    duet()
    (tmp_path / "mine.py").write_text(SINK)
    path = tmp_path / "heard"
    sets = ["sinks.mine.use=mine.py:Lines", f'sinks.mine.path="{path}"', "run.eval_every=1"]
    both = [sides(name, *sets) for name in ("even", "odd")]
    for side in both:
        code, said = side.end()
        assert code == 0 and "sink mine" not in said, said
    even, odd = path.with_suffix(".even"), path.with_suffix(".odd")
    with Store(tmp_path / "run", read_only=True) as store:
        rows = [(row["kind"], row["step"]) for row in store.metrics() if "step" in row]
        keys = [str(key) for key in store.keys(None)]
    told = [(each["kind"], each["step"]) for each in heard(even, "train", "eval", "sft")]
    assert sorted(told) == sorted(rows) and ("train", 1) in told
    assert not heard(odd, "train", "eval", "sft")
    trees = [*heard(even, "tree"), *heard(odd, "tree")]
    assert sorted(each["key"] for each in trees) == sorted(keys)
    assert all(each["calls"] >= each["leaves"] for each in trees)
    starts = heard(even, "start") + heard(odd, "start")
    assert len({each["id"] for each in starts}) == 1
    assert {each["title"] for each in starts} == {"run"}


def test_rows_are_heard_in_the_order_of_steps_whoever_joined_them(monkeypatch):
    kept = [{"kind": "train", "step": 0}]  # by another trainer
    folder = SimpleNamespace(
        recipe=SimpleNamespace(names=("one", "two")),
        store=SimpleNamespace(metrics=lambda: list(kept)),
        metric=lambda row, again: kept.append(row),
    )
    trained = {0: SimpleNamespace(row={}), 1: SimpleNamespace(row={})}
    queue = SimpleNamespace(trained=lambda *which: trained, reported=lambda since: {0})
    steps: list[int] = []
    monkeypatch.setattr(SharedMetrics, "_joined", lambda self, rows: {"kind": "train", "step": 1})
    log = SharedMetrics(folder, lambda row: steps.append(row["step"]), queue, None)
    log._join()
    assert steps == [0, 1]
