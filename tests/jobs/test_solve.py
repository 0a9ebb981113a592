"""`hornbeam solve`: one question, its answer alone on standard output."""

import io
import json
import shutil
import sys
from pathlib import Path

import pytest

import hornbeam as hb
from hornbeam.errors import ArgumentError, HornbeamError
from hornbeam.store.database import Store
from hornbeam.tree.jsonl import read_trees

HERE = Path(__file__).parent
QUESTION = "door one?"


@pytest.fixture
def solve(hornbeam, world, monkeypatch, tmp_path):
    """Runs the command on the world's policy, in an empty folder; (exit code, stderr, stdout)."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(HERE / "asking_agent.py", tmp_path)
    sets = ["agents.solver.max_tokens=4", "engine.max_batch=1"]
    words = [word for each in sets for word in ("--set", each)]
    return lambda *more: hornbeam("solve", *more, "--model", world.policy, *words)


def test_an_unchanged_agent_is_searched_with(solve, world, tmp_path):
    words = ["--agent", "python asking_agent.py {task}", "--search", "mcts-3"]
    words += ["--guide", world.prm, "--out", tmp_path / "kept", QUESTION]
    code, said, answer = solve(*words)
    assert code == 0 and answer.strip() and len(answer.splitlines()) == 1, said
    with Store(tmp_path / "kept", read_only=True) as store:
        (key,) = store.keys(None)
        tree = store.read(key).tree
        paid = store.totals()
    depths = [len(tree.path(leaf)) for leaf in tree.leaves()]
    assert max(depths) == 2 and len(tree.children(0)) == 3  # forks of whole processes
    assert answer.strip() in [tree.nodes[leaf].answer for leaf in tree.leaves()]
    assert not [node.error for node in tree.nodes if node.error]
    # the same once more: from the store, nothing is sampled
    code, _, out = solve(*words, "--json")
    told = json.loads(out)
    assert code == 0 and told["answer"] == answer.strip()
    with Store(tmp_path / "kept", read_only=True) as store:
        assert store.totals() == paid
    assert told["usage"]["completion_tokens"] == paid["sampled_tokens"]
    (kept,) = read_trees(tmp_path / "kept" / f"{told['tree']}.jsonl")
    assert len(kept) == len(tree)
    assert "<html" in (tmp_path / "kept" / f"{told['tree']}.html").read_text("utf-8")


def test_a_bare_model_answers_what_comes_on_standard_input(solve, monkeypatch, tmp_path):
    answers = []
    for words, text in (((QUESTION,), ""), ((), f"{QUESTION}\n")):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        code, said, answer = solve(*words, "--search", "majority-3")
        assert code == 0, said
        answers.append(answer)
    assert answers[0] == answers[1] != ""
    assert [path.name for path in tmp_path.iterdir()] == ["asking_agent.py"]  # nothing is kept


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--search", "best-of-x", QUESTION], "no search 'best-of-x'"),
        (["--search", "mcts", QUESTION], "'value'"),
        (["--search", "majority-999", QUESTION], "more than 256"),
        (["nix.toml"], "nix.toml"),
        (["tiny", QUESTION, "more"], "quotes"),
        (["--agent", "python nix.py {task}", QUESTION], "ended with exit code 2"),
        (["--agent", "no-such-command", QUESTION], "no-such-command"),
        (["--guide", "nix", "--search", "best-of-2", QUESTION], "nix"),
        ([""], "no question"),
    ],
)
def test_what_cannot_be_solved_is_one_line(solve, tmp_path, words, told):
    code, said, answer = solve(*words)
    line = said.splitlines()[-1]
    assert code == 2 and told in line and not answer, said
    assert "Traceback" not in said


def test_from_python(world, tmp_path):
    more = {"model": str(world.policy), "agents": {"solver": {"max_tokens": 4}}, "progress": False}
    guides = {"value": {"kind": "prm", "model": str(world.prm)}}

    async def twice(task, ep):
        first = await ep.ask("solver", [hb.user(task.question)])
        again = [hb.user(task.question), first.message, hb.user("Again?")]
        return (await ep.ask("solver", again)).text

    found = hb.solve(QUESTION, twice, by="mcts-3", guides=guides, **more)
    leaves = found.tree.leaves()
    assert found.answer in [found.tree.nodes[leaf].answer for leaf in leaves]
    assert max(len(found.tree.path(leaf)) for leaf in leaves) == 2 and str(found) == found.answer
    assert {"value", "q", "visits"} <= found.tree.columns.keys()
    serve = {"wide": {"choose": "majority", "n": 3}}
    out = tmp_path / "a"
    kept = [hb.solve(QUESTION, by="wide", serve=serve, out=out, **more) for _ in "ab"]
    assert kept[0].outcome.episodes == 3 and kept[0].outcome == kept[1].outcome
    assert "answer" in found._repr_html_()
    with pytest.raises(ArgumentError, match=r"hornbeam\.solve: question takes a text"):
        hb.solve(["a"], **more)
    with pytest.raises(HornbeamError, match="no search 'best-of-x'"):
        hb.solve(QUESTION, by="best-of-x", **more)
