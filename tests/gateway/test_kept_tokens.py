"""Tokens of earlier answers that came back: how many stand in prompts as they were sampled."""

import json

import pytest

from gateway.test_agent_jobs import HERE, MINE, RECIPE
from gateway.test_sessions import calls, copy, grow, tools
from grow.worlds import OneMore
from hornbeam.chat import assistant, user
from hornbeam.engine.scripted import Scripted
from hornbeam.gateway.session import client_of
from hornbeam.search import Branch, Independent
from hornbeam.store.database import Store
from hornbeam.store.ledger import Ledger

ONE = Independent(n=1)


def told(how, strategy=ONE, start=None, **more):
    """(the tree, what the ledger holds of earlier answers)."""
    ledger = Ledger()
    tree = grow(how, strategy, start, ledger=ledger, **more)
    names = ("turn_tokens", "client", "ignored", "refused", "rewritten")
    return tree, {k: n for k, n in ledger.totals.items() if k.startswith(names)}


def sizes(tree):
    return [len(node.tokens) for node in tree.nodes[1:]]


def test_each_prompt_counts_the_tokens_that_it_quotes():
    tree, counts = told("talk")
    first, second, _ = sizes(tree)
    kept = first + first + second  # the second prompt quotes one answer, the third two
    assert counts == {
        "turn_tokens_kept": kept,
        "client_tokens_python_urllib": kept,
        "client_kept_python_urllib": kept,
    }


def test_a_replay_counts_nothing_again():
    whole, _ = told("talk")
    first, second, _ = sizes(whole)
    again, counts = told("talk", OneMore(2, 9), copy(whole))
    assert len(again) == len(whole) + 1
    assert counts["turn_tokens_kept"] == first + second  # of the one new ask alone


def test_what_came_back_otherwise_counts_under_its_cause():
    strategy = Independent(n=4)
    tree, counts = told("meddles", strategy, engine=Scripted(calls))
    made = [tree.path(leaf) for leaf in tree.leaves()]
    sampled = [[len(tree.nodes[i].tokens) for i in path] for path in made]
    quoted = sum(size * (len(path) - n - 1) for path in sampled for n, size in enumerate(path))
    assert counts["turn_tokens_other_arguments"] == quoted > 0 and "turn_tokens_kept" not in counts
    assert counts["client_tokens_python_urllib"] == quoted
    assert counts["rewritten_other_arguments"] == sum(len(path) - 1 for path in sampled)


def test_own_programs_with_calls_have_the_same_figure():
    strategy = Branch(trunks=2, nodes=2, rounds=1)
    _, own = told(tools, strategy, engine=Scripted(calls))
    _, outside = told("tools", strategy, engine=Scripted(calls))
    assert own["turn_tokens_kept"] == outside["turn_tokens_kept"] > 0
    assert set(own) == {"turn_tokens_kept"}


def test_own_programs_of_texts_count_nothing():
    async def talk(task, ep):
        reply = await ep.ask("solver", [user("a")])
        return (await ep.ask("solver", [user("a"), assistant(reply.text), user("b")])).text

    assert told(talk)[1] == {}


def test_settings_that_are_ignored_are_counted_by_known_names():
    _, counts = told("stripped")
    assert counts["ignored_temperature"] == 3
    _, counts = told("strange")
    assert {k: n for k, n in counts.items() if k.startswith("ignored")} == {
        "ignored_logit_bias": 1,
        "ignored_other": 1,
    }


def test_requests_that_were_refused_count_with_the_next_ask():
    _, counts = told("broken")
    assert counts == {"refused_invalid_request": 7}
    tree, counts = told("refused_between")
    assert counts["refused_invalid_request"] == 3
    _, counts = told("refused_between", OneMore(1, 9), copy(tree))
    assert counts["refused_invalid_request"] == 2  # one stands before an ask of the record


def test_clients_by_their_names():
    named = {"AsyncOpenAI/Python 3.57.0": "openai", "OpenAI/Python 3.57.0": "openai"}
    named |= {"Agents/Python 0.24.0": "agents", "pydantic-ai/2.68.0": "pydantic_ai", "": ""}
    named |= {"<b>/1": "b", "x" * 99: "x" * 40}
    assert {ua: client_of({"user-agent": ua}) for ua in named} == named


def test_the_share_stands_in_metrics_on_the_page_and_in_replay(tmp_path, hornbeam):
    (tmp_path / "agents.py").write_text((HERE / "outside_agents.py").read_text("utf-8"))
    (tmp_path / "mine.py").write_text(MINE)
    recipe, out = tmp_path / "recipe.toml", tmp_path / "out"
    program = 'agent = "python agents.py talk {task}"'
    recipe.write_text(RECIPE.replace("PROGRAM", program))
    walk = ("--set", "run.steps=1", "--set", "reward.rule='none'")
    code, err, said = hornbeam("train", recipe, "--out", out, *walk)
    assert code == 0, err + said
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    store = Store(out)
    for row in rows:
        stages = {"train": "train", "eval": "start" if row.get("stage") == "start" else "eval"}
        costs = store.totals(stages[row["kind"]], row["step"]) if row["kind"] in stages else {}
        counted = {k: n for k, n in costs.items() if k.startswith("turn_tokens")}
        assert {k: n for k, n in row.items() if k.startswith("turn_tokens")} == counted
        assert ("kept_share" in row) == bool(counted)
    store.close()
    assert [row["kept_share"] for row in rows] == [1.0] * 3
    page = (out / "report.html").read_text("utf-8")
    assert "tokens of earlier answers in prompts" in page and "as they were sampled" in page
    code, _, said = hornbeam("replay", recipe, "--tasks", "1", *walk)
    assert code == 0 and "Tokens of earlier answers kept as sampled: 100.0 %" in said


@pytest.mark.parametrize(
    ("how", "lines"),
    [
        ("stripped", ["kept as sampled: 100.0 %", "requests that are ignored: temperature 9"]),
        ("meddles", ["kept as sampled: 0.0 % (other arguments 100.0 %)"]),
    ],
)
def test_gateway_check_says_what_is_kept_and_what_is_ignored(hornbeam, how, lines):
    agent = f"python {HERE / 'outside_agents.py'} {how} {{task}}"
    code, err, out = hornbeam("gateway", "check", "--agent", agent, "--runs", "2")
    assert code == 0, err + out
    assert [line for line in lines if line not in out] == []
