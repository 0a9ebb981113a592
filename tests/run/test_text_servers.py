"""Every command that talks to an engine, on servers that tell text and nothing else.

What needs log-probs or ids is left out and marked, or refused in a line before anything is paid.
"""

import json

import pytest

from hornbeam import tiny
from hornbeam.run.judges import judge_engine
from hornbeam.treefile import read_trees
from little_server import LittleServer, Manners

TEXT = {"takes_ids": False, "gives_ids": False, "logprobs": False, "extras": False}
RECIPE = """
[run]
threads = 1
[model]
name = "MODEL"
[agents.seeker]
max_tokens = 4
[program]
name = "lookup"
[tools.lookup]
[reward]
rule = "exact"
[[tasks.train]]
source = "lookup"
count = 4
options = {depth = 2}
[[tasks.eval]]
source = "lookup"
split = "test"
count = 3
options = {depth = 2}
[guides.likelihood]
kind = "likelihood"
[engine]
kind = "http"
url = "URL"
[[search.methods]]
name = "single"
n = 1
[[search.methods]]
name = "vote"
choose = "majority"
n = 3
"""
LIKELY = """
[[search.methods]]
name = "likely"
choose = "likelihood"
n = 6
[[search.methods]]
name = "beam"
strategy = "beam"
column = "likelihood"
choose = "first"
"""
LACKS = "it reads log-probs, which the engine does not tell"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("text") / "model", seed=3, width=32)


@pytest.fixture
def server(model):
    with LittleServer(judge_engine(model), manners=Manners(**TEXT)) as little:
        yield little


@pytest.fixture
def recipe(model, server, tmp_path):
    """Writes the recipe with more text."""

    def write(more="", told=RECIPE):
        text = told.replace("MODEL", str(model)).replace("URL", server.url)
        (tmp_path / "text.toml").write_text(text + more)
        return tmp_path / "text.toml"

    return write


def paid(server):
    """Requests of agents: those of a probe are at other temperatures."""
    return [body for body in server.seen if body["temperature"] == 1]


def test_a_search_reads_what_text_tells_and_marks_the_rest(hornbeam, recipe, server, tmp_path):
    out = tmp_path / "run"
    code, err, told = hornbeam("search", recipe(LIKELY), "--out", out)
    assert code == 0, err
    result = json.loads((out / "search.json").read_text())
    assert [m["name"] for m in result["methods"]] == ["single", "vote"]
    assert {row["method"] for row in result["left_out"]} == {"likely", "beam"}
    assert all(row["why"].startswith(LACKS) for row in result["left_out"])
    for method in result["methods"]:
        (point,) = method["points"]
        assert set(point["free"]) == {"first", "majority"} and point["failed"] == 0
        assert point["left_out"] == {"likelihood": "log-probs are missing"}
    assert "likelihood left out (log-probs are missing)" in told and LACKS in told
    assert "likely: it reads log-probs" in (out / "search.html").read_text()
    trees = list(read_trees(out / "pool.jsonl"))
    assert {len(tree.leaves()) for tree in trees} == {3}  # not the six of what was left out
    asked = len(server.seen)
    code, err, _ = hornbeam("search", recipe(LIKELY), "--pool", out / "pool.jsonl", "--out", out)
    assert code == 0, err
    assert len(server.seen) == asked


def test_a_pool_without_log_probs_is_read_by_what_it_holds(hornbeam, recipe, tmp_path):
    hornbeam("search", recipe(), "--out", tmp_path / "run")
    more = LIKELY.replace("n = 6", "n = 2")
    more += '[[search.methods]]\nname = "best"\nchoose = "best"\nn = 2\n'
    pool = tmp_path / "run" / "pool.jsonl"
    code, err, said = hornbeam("search", recipe(more), "--pool", pool, "--json", "--out", tmp_path)
    assert code == 0, err
    result = json.loads(said)
    left = {row["method"]: row["why"] for row in result["left_out"]}
    assert left == {
        "likely": "log-probs are missing",
        "beam": "it would have to grow trees",
        "best": "it reads column 'value', which neither the pool holds nor a guide writes:"
        " add a table [guides.value]",
    }
    assert [method["name"] for method in result["methods"]] == ["single", "vote"]


def test_what_only_log_probs_tell_is_refused_before_anything_is_paid(
    hornbeam, recipe, server, tmp_path
):
    told = RECIPE[: RECIPE.index("[[search.methods]]")]
    code, err, _ = hornbeam("search", recipe(LIKELY, told), "--out", tmp_path / "search")
    line = err.splitlines()[-1]
    assert code == 2 and line.startswith("hornbeam: none of the recipe's methods can be searched")
    assert LACKS in line
    branch = ("--set", 'label={strategy="branch",pick="entropy"}', "--out", tmp_path / "label")
    code, err, _ = hornbeam("label", recipe(), *branch)
    assert code == 2 and "take another pick" in err.splitlines()[-1]
    assert not paid(server)
