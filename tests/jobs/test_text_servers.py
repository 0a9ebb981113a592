"""Every command that talks to an engine, on servers that tell text and nothing else.

What needs log-probs or ids is left out and marked, or refused in a line before anything is paid.
"""

import json
from itertools import chain

import pytest

from hornbeam.assembly.judges import judge_engine
from hornbeam.engine.scripted import Scripted
from hornbeam.models import tiny_model
from hornbeam.tree.jsonl import read_trees
from little_server import LittleServer, Manners

TEXT = {
    "http": {"takes_ids": False, "gives_ids": False, "logprobs": False, "extras": False},
    "chat": {"chat_only": True, "usage": False},
}
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
[label]
strategy = "rollouts"
trunks = 2
[chunks]
samples = 16
[anchor]
store = "STORE"
rollouts = 2
[engine]
kind = "KIND"
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
LACKS = "it reads log-probs, which the engine does not give"


def doors(prompt, rng):
    """One door of three, of which one is right; a judge would say that a step is right."""
    return "\\boxed{Positive}" if "Next step" in prompt else rng.choice(["left", "middle", "right"])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("text") / "model", seed=3, width=32)


@pytest.fixture(params=TEXT)
def kind(request):
    return request.param


@pytest.fixture
def server(model, kind):
    engine = Scripted(doors, judge_engine(model).chat)
    with LittleServer(engine, manners=Manners(**TEXT[kind])) as little:
        yield little


@pytest.fixture
def recipe(model, server, kind, tmp_path):
    """Writes the recipe with more text."""

    def write(more="", row=RECIPE):
        names = {"KIND": kind, "URL": server.url, "STORE": str(tmp_path / "store")}
        # what only chats needs no model here
        names["MODEL"] = str(model) if kind == "http" else "not/here"
        for name, value in names.items():
            row = row.replace(name, value)
        (tmp_path / "text.toml").write_text(row + more)
        return tmp_path / "text.toml"

    return write


def paid(server):
    """Requests of agents: those of a probe are at other temperatures, or ask another question."""
    free = [body for body in server.seen if body["temperature"] == 1]
    return [body for body in free if "strange" not in json.dumps(body)]


def test_a_search_reads_what_text_tells_and_marks_the_rest(hornbeam, recipe, server, tmp_path):
    out = tmp_path / "run"
    code, err, results = hornbeam("search", recipe(LIKELY), "--out", out)
    assert code == 0, err
    result = json.loads((out / "search.json").read_text())
    assert [m["name"] for m in result["methods"]] == ["single", "vote"]
    assert {row["method"] for row in result["left_out"]} == {"likely", "beam"}
    assert all(row["why"].startswith(LACKS) for row in result["left_out"])
    for method in result["methods"]:
        (point,) = method["points"]
        assert set(point["free"]) == {"first", "majority"} and point["failed"] == 0
        assert point["left_out"] == {"likelihood": "log-probs are missing"}
    assert "likelihood left out (log-probs are missing)" in results and LACKS in results
    assert "likely: it reads log-probs" in (out / "search.html").read_text()
    trees = list(read_trees(out / "pool.jsonl"))
    assert {len(tree.leaves()) for tree in trees} == {3}  # not the six of what was left out
    asked = len(server.seen)
    bill = result["servers"][server.url]
    assert bill["requests"] - asked in (1, 2)  # /models, and /tokenize
    assert bill["uncounted"] == sum("messages" in body for body in server.seen)
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
    result = RECIPE[: RECIPE.index("[[search.methods]]")]
    code, err, _ = hornbeam("search", recipe(LIKELY, result), "--out", tmp_path / "search")
    line = err.splitlines()[-1]
    assert code == 2 and line.startswith("hornbeam: none of the recipe's methods can be searched")
    assert LACKS in line
    branch = ("--set", 'label={strategy="branch",pick="entropy"}', "--out", tmp_path / "label")
    code, err, _ = hornbeam("label", recipe(), *branch)
    assert code == 2 and "take another pick" in err.splitlines()[-1]
    assert not paid(server)


def test_held_out_tasks_are_answered(hornbeam, recipe, tmp_path):
    code, err, said = hornbeam("eval", recipe(), "--json", "--out", tmp_path / "eval.jsonl")
    assert code == 0, err
    result = json.loads(said)
    assert result["count"] == 3 and result["failed"] == 0 and result["costs"]["sampled_tokens"] > 0
    nodes = [node for tree in read_trees(tmp_path / "eval.jsonl") for node in tree.nodes[1:]]
    assert {node.text for node in nodes if node.tokens} <= {"left", "middle", "right"}


@pytest.mark.parametrize("method", ["mcts", "rollouts"])
def test_steps_are_labelled(hornbeam, recipe, method, tmp_path):
    how = () if method == "rollouts" else ("--set", 'label={strategy="mcts",simulations=4,most=1}')
    said = hornbeam("label", recipe(), "--method", method, *how, "--out", tmp_path / "labels")
    assert said[0] == 0, said[1]
    trees = list(read_trees(tmp_path / "labels" / "trees.jsonl"))
    values = list(chain(*(tree.columns["q"] for tree in trees)))
    assert len(trees) == 4 and any(value is not None for value in values)
    assert not any(node.error for tree in trees for node in tree.nodes)


def test_answers_are_cut_into_chunks(hornbeam, recipe, tmp_path):
    out = tmp_path / "set.jsonl"
    code, err, _ = hornbeam("chunks", recipe(), "--out", out, "--run", tmp_path / "chunks")
    assert code == 0, err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows and all("<chunk>" in json.dumps(row) for row in rows)


def test_anchors_are_of_weights_that_are_trained(hornbeam, recipe, kind, server):
    code, err, _ = hornbeam("anchor", recipe())
    if kind == "chat":
        assert code == 2 and "anchors are of the policy that is trained" in err
        assert not server.seen
    else:
        assert code == 0, err


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_training_is_refused_before_anything_is_asked(
    hornbeam, recipe, server, kind, more, tmp_path
):
    code, err, _ = hornbeam("train", recipe(), "--out", tmp_path / "run", *more)
    assert code == 2 and "\n" not in err and not server.seen and not (tmp_path / "run").exists()
    assert f'engine.kind = "{kind}"' in err and 'Train with "local"' in err


def test_segments_are_refused_where_an_answer_cannot_be_gone_on_with(
    hornbeam, recipe, kind, server, tmp_path
):
    segment = ("--set", 'agents.seeker.segment={by="tokens",tokens=2}')
    said = hornbeam("search", recipe(), *segment, "--out", tmp_path / "run")
    if kind == "http":
        assert said[0] == 0, said[1]
    else:
        assert said[0] == 2 and "\n" not in said[1] and not server.seen
        assert "agents.seeker.segment" in said[1] and "leave segment out" in said[1]


JUDGED = """
[guides.judge]
kind = "judge"
model = "URL"
endpoint = {END}
[[search.methods]]
name = "judged"
choose = "best"
n = 2
guides = ["judge"]
[guides.value]
kind = "sum"
parts = {judge = 1.0}
"""


@pytest.fixture
def judged(recipe, server, kind, model):
    """The recipe with a judge behind the same server."""

    def write(more=""):
        ends = {"http": f'tokenizer = "{model}"', "chat": 'kind = "chat", model = "tiny"'}
        result = JUDGED.replace("END", ends[kind]).replace("URL", server.url)
        return recipe(result.replace('kind = "judge"\n', f'kind = "judge"\n{more}'))

    return write


def test_a_judge_behind_a_server_guides_a_search_and_is_on_its_bill(
    hornbeam, judged, server, tmp_path
):
    out = tmp_path / "run"
    code, err, _ = hornbeam("search", judged(), "--out", out)
    assert code == 0, err
    result = json.loads((out / "search.json").read_text())
    (point,) = result["methods"][-1]["points"]
    assert result["methods"][-1]["name"] == "judged" and point["scorer_tokens"] > 0
    asked = sum("Next step" in json.dumps(body) for body in server.seen)
    assert asked and result["servers"][server.url]["requests"] > len(paid(server)) >= asked


def test_soft_verdicts_are_refused_before_anything_is_paid(hornbeam, judged, server, tmp_path):
    code, err, _ = hornbeam("search", judged("soft = true\n"), "--out", tmp_path / "run")
    assert code == 2 and "soft verdicts need log-probs" in err.splitlines()[-1]
    assert not paid(server)


def test_answers_that_a_server_gave_are_selected_in_its_own_chat(hornbeam, recipe, kind, tmp_path):
    hornbeam("label", recipe(), "--out", tmp_path / "labels")
    trees, out = tmp_path / "labels" / "trees.jsonl", tmp_path / "set.jsonl"
    code, err, _ = hornbeam("select", trees, "--by", "all", "--where", "reward>=0", "--out", out)
    assert code == 0, err
    said = {row["text"] for row in map(json.loads, out.read_text().splitlines())}
    assert said and said <= {"left", "middle", "right"}


FITTED = """
[fit]
epochs = 1
[[search.methods]]
name = "best"
choose = "best"
n = 2
[guides.value]
kind = "prm"
model = "PRM"
"""


@pytest.mark.parametrize("named", [True, False])
def test_value_models_guide_where_ids_of_their_model_are_kept(
    hornbeam, recipe, model, kind, named, tmp_path
):
    ids = ("--set", f"engine.tokenizer={model}") if named else ()
    more = FITTED.replace("PRM", str(tmp_path / "prm"))
    _, _, said = hornbeam("label", recipe(), *ids, "--out", tmp_path / "labels")
    results = said.find("to fit on these labels name its folder as engine.tokenizer")
    assert (results > 0) == (kind == "chat" and not named) and results < said.index(
        "tasks searched"
    )
    trees = tmp_path / "labels" / "trees.jsonl"
    how = (recipe(), "--model", model, "--trees", trees, "--out", tmp_path / "prm")
    code, err, _ = hornbeam("fit", *how)
    kept = named or kind == "http"
    assert (code == 0) == kept, err
    if not kept:
        line = err.splitlines()[-1]
        assert code == 2 and "ids of another tokenizer" in line and "engine.tokenizer" in line
        hornbeam("label", recipe(), "--set", f"engine.tokenizer={model}", "--out", tmp_path / "ids")
        code, err, _ = hornbeam("fit", *how[:4], tmp_path / "ids" / "trees.jsonl", *how[5:])
        assert code == 0, err
    out = tmp_path / "run"
    code, err, _ = hornbeam("search", recipe(more), *ids, "--out", out)
    assert code == 0, err
    result = json.loads((out / "search.json").read_text())
    left = {row["method"]: row["why"] for row in result.get("left_out", ())}
    assert ("best" in [m["name"] for m in result["methods"]]) == kept == ("best" not in left)
    if not kept:
        assert "name its folder as engine.tokenizer" in left["best"]
        pool = hornbeam(
            "search", recipe(more), "--pool", out / "pool.jsonl", "--json", "--out", out
        )
        assert pool[0] == 0 and "guides.value reads token ids of its own model" in pool[2]


def test_a_search_that_was_stopped_goes_on(hornbeam, recipe, server, kind, tmp_path):
    server.failures += ["pass"] * 16 + [(200, {}, {"error": {"code": 500}})] * 999
    out, patience = tmp_path / "run", ("--set", "engine.patience=0.2")
    code, err, _ = hornbeam("search", recipe(), *patience, "--out", out)
    assert code == 2 and "patience = 0.2 s" in err.splitlines()[-1]
    server.failures.clear()
    code, err, _ = hornbeam("search", recipe(), *patience, "--out", out)
    assert code == 0, err
    again = json.loads((out / "search.json").read_text())
    hornbeam("search", recipe(), "--out", tmp_path / "whole")
    whole = json.loads((tmp_path / "whole" / "search.json").read_text())
    for one, other in zip(again["methods"], whole["methods"], strict=True):
        (a,), (b,) = one["points"], other["points"]
        assert a["right"] == b["right"] and a["failed"] == 0
        assert a["policy_tokens"] == b["policy_tokens"]


def test_trees_are_scored_by_a_judge_behind_a_server(
    hornbeam, recipe, judged, kind, server, model, tmp_path
):
    hornbeam("label", recipe(), "--out", tmp_path / "labels")
    trees, out = tmp_path / "labels" / "trees.jsonl", tmp_path / "scored.jsonl"
    ends = {"http": f'{{tokenizer="{model}"}}', "chat": '{kind="chat",model="tiny"}'}
    how = ("--judge", server.url, "--set", f"endpoint={ends[kind]}")
    for words in (how, ("--judge", judged(), "--column", "judge")):
        code, err, _ = hornbeam("score", trees, *words, "--out", out)
        assert code == 0, err
        values = [v for tree in read_trees(out) for v in tree.columns["judge"]]
        assert set(values) == {None, 1.0}


def test_a_judge_behind_a_server_is_measured(hornbeam, server, kind, model, tmp_path):
    row = {"id": "a", "problem": "2 + 2?", "steps": ["2 + 2 is 4", "So 4"], "label": -1}
    data = tmp_path / "gsm8k.jsonl"
    data.write_text(json.dumps({**row, "final_answer_correct": True}) + "\n")
    end = f"endpoint.tokenizer={model}" if kind == "http" else "endpoint.kind=chat"
    how = ("--judge", server.url, "--set", end, "--data", data, "--out", tmp_path / "said.jsonl")
    code, err, said = hornbeam("eval", "processbench", *how, "--json")
    assert code == 0, err
    assert json.loads(said)["judge_tokens"] > 0 and len(paid(server)) == 0
    (line,) = map(json.loads, (tmp_path / "said.jsonl").read_text().splitlines())
    assert line["prediction"] == -1
    how = ("--judge", tmp_path, "--set", "endpoint.model=x", "--data", data)
    code, err, _ = hornbeam("eval", "processbench", *how)
    assert code == 2 and "is not its address" in err
