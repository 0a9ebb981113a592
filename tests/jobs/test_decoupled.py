"""Two policies trained by two processes that share only the store."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch

from hornbeam.assembly.loading import model_folders
from hornbeam.errors import RecipeError
from hornbeam.jobs.recipe_checks import check_decoupled
from hornbeam.store.database import TreeKey
from hornbeam.store.shared_database import SharedStore

from .test_policies import duet, go, metrics, same, weights  # noqa: F401

LEASE = 30
pytestmark = pytest.mark.timeout(600)  # processes of their own, each of which imports torch
EXACT = ("run.resume=exact", "engine={max_batch=1, cache_tokens=0}")


class Side:
    """`hornbeam train duet.toml --policy NAME` in a process of its own."""

    def __init__(self, folder, name, *sets, store=None, log="", ranks=1):
        self.log = folder / f"{log or name}.log"
        command = [sys.executable, "-m", "hornbeam.cli.main", "train", str(folder / "duet.toml")]
        command += ["--out", str(folder / "run"), "--policy", name]
        command += [word for each in (*sets, f"run.lease={LEASE}") for word in ("--set", each)]
        command += ["--store", store] if store else []
        command += ["--ranks", str(ranks)] if ranks > 1 else []
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def end(self):
        """Its exit code and what it said."""
        return self.process.wait(), self.log.read_text()


@pytest.fixture
def sides(tmp_path):
    """Starts sides; those that still run at the end are killed."""
    started = []

    def start(name, *sets, **more):
        started.append(Side(tmp_path, name, *sets, **more))
        return started[-1]

    yield start
    for side in started:
        side.process.kill()
        side.process.wait()


def flat(weights):
    return torch.cat([weights[name].flatten() for name in sorted(weights)])


def until(side, what):
    while not what():
        assert side.process.poll() is None, side.log.read_text()
        time.sleep(0.02)


def equal(tmp_path, whole):
    return all(
        same(whole[name], weights(tmp_path / "run" / "final" / name)) for name in ("even", "odd")
    )


def test_in_lockstep_two_processes_learn_what_a_joint_run_learns(duet, tmp_path, sides):  # noqa: F811
    made = duet(*EXACT)
    both = [sides(name, *EXACT) for name in ("even", "odd")]
    whole = go(made, tmp_path / "joint")
    for side in both:
        code, said = side.end()
        assert code == 0, said
    assert equal(tmp_path, whole)
    joint, difference = metrics(tmp_path / "joint"), metrics(tmp_path / "run" / "even")
    for kind in ("train", "eval"):
        kept = [
            {
                (row["stage"] if kind == "eval" else "", row["step"]): {
                    key: value
                    for key, value in row.items()
                    if not key.startswith("seconds") and "staleness" not in key
                }
                for row in rows
                if row["kind"] == kind
            }
            for rows in (joint, difference)
        ]
        assert kept[0] == kept[1] and kept[0]
    assert {row["even/staleness_most"] for row in difference if row["kind"] == "train"} == {0.0}
    assert (tmp_path / "run" / "even" / "report.html").stat().st_size > 5_000


def test_one_of_two_may_shard_its_policy_over_ranks(duet, tmp_path, sides):  # noqa: F811
    sets = (*EXACT, "sft.epochs=1", "sft.lr=1e-3", "loss.entropy=0.1")
    made = duet(*sets)
    both = [sides("even", *sets, ranks=2), sides("odd", *sets)]
    whole = go(made, tmp_path / "joint")
    for side in both:
        code, said = side.end()
        assert code == 0, said
    start = flat(weights(model_folders(made[0], tmp_path / "start", print)["even"]))
    for name in ("even", "odd"):
        ends, want = flat(weights(tmp_path / "run" / "final" / name)), flat(whole[name])
        # AdamW makes whole steps of gradients that are nothing but rounding
        assert (ends - want).norm() < 0.02 * (want - start).norm()
    rows = metrics(tmp_path / "run" / "even")
    assert [row["even/updates"] for row in rows if row["kind"] == "train"] == [1, 1]


def test_a_killed_process_goes_on_and_nothing_is_trained_twice(
    duet,  # noqa: F811
    tmp_path,
    sides,
    postgres,
    hornbeam,
):
    url = postgres.database()
    made = duet(*EXACT)
    even, odd = (sides(name, *EXACT, store=url) for name in ("even", "odd"))
    with SharedStore(url, print) as store:

        def growing():
            return any(store.read(key).tree.nodes[1:] for key in store.keys("train", 1))

        until(even, lambda: bool(store.keys("train", 1)) and growing())
        even.process.send_signal(signal.SIGKILL)
        even.process.wait()
        code, said = sides("odd", *EXACT, store=url, log="second").end()  # odd waits for even
        assert code == 2 and "policy 'odd' is trained by" in said.splitlines()[-1], said
        even = sides("even", *EXACT, store=url)
        for side in (even, odd):
            code, said = side.end()
            assert code == 0, said
        assert equal(tmp_path, go(made, tmp_path / "joint"))
        keys = [TreeKey("train", step, number) for step in range(2) for number in range(4)]
        assert store.keys("train") == keys and all(store.read(key).done for key in keys)
        assert [row["step"] for row in store.metrics() if row["kind"] == "train"] == [0, 1]
    seen = tmp_path / "seen"
    result = hornbeam("export", seen, "--store", url, "--stage", "train")
    assert result == (0, "", f"8 trees: {seen / 'trees.jsonl'}\n")
    assert hornbeam("view", seen, "--store", url)[0] == 0
    assert (seen / "report.html").stat().st_size > 5_000
    code, _, result = hornbeam("view", seen, "--store", url, "--tree", "train/1/0")
    assert code == 0 and "even" in result
    code, result, _ = hornbeam("view", seen)
    assert code == 2 and result.endswith(
        "no run here (run.db is missing); another database: --store"
    )


def test_behind_lets_older_weights_speak_and_says_so(duet, tmp_path, sides):  # noqa: F811
    sets = ("run.behind=1", "run.steps=3")
    both = [sides(name, *sets) for name in ("even", "odd")]
    for side in both:
        code, said = side.end()
        assert code == 0, said
        assert "set loss.old" in said
    rows = [row for row in metrics(tmp_path / "run" / "odd") if row["kind"] == "train"]
    assert [row["step"] for row in rows] == [0, 1, 2]
    ages = [row[f"{name}/staleness_most"] for row in rows for name in ("even", "odd")]
    assert all(0 <= age <= 1 for age in ages)
    assert json.dumps(rows)


@pytest.mark.parametrize(
    ("sets", "policy", "message"),
    [
        ([], "evn", "--policy evn: the recipe's policies are even, odd"),
        (["budget.tokens=9"], "even", "[budget] is kept by one process"),
        (["run.resume=exact"], "even", "set engine.max_batch = 1 and engine.cache_tokens = 0"),
    ],
)
def test_what_cannot_be_trained_apart_is_one_line(duet, sets, policy, message):  # noqa: F811
    with pytest.raises(RecipeError) as error:
        check_decoupled(duet(*sets)[0], policy)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_shared_store_needs_a_policy(duet, tmp_path, hornbeam):  # noqa: F811
    code, said, _ = hornbeam("train", tmp_path / "duet.toml", "--store", "postgresql://host/run")
    assert code == 2 and "name a --policy" in said
