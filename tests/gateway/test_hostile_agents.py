"""Agents that mean harm: bounded, counted, and the run goes on for everybody else."""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from hornbeam.engine.scripted import Scripted
from hornbeam.gateway.agent_program import AgentCommand, AgentProgram
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.search import Independent
from hornbeam.store.database import TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

AGENTS = Path(__file__).with_name("hostile_agents.py")
WORDS = ("one", "two", "three", "four")


def run(how, context=None, **settings):
    """(the answer of a hostile agent, its error, counts), grown beside an honest agent."""

    async def grow():
        program = AgentProgram(AgentCommand(command=f"python {AGENTS} {{task}}", **settings))
        engine = Scripted(lambda prompt, rng: rng.choice(WORDS), context=context)
        grower = Grower(program, {"solver": Speaker(engine)}, Independent(n=1))
        starts = [
            (TreeKey("train", 0, n), Tree(Task(f"t{n}", question).to_json(), seed=n))
            for n, question in enumerate([how, "honest"])
        ]
        try:
            return await grower.grow_all(starts), Counter(program.gateway.counts)
        finally:
            await program.aclose()

    (bad, good), counts = asyncio.run(grow())
    assert good.nodes[-1].error == "" and len(good) == 4
    assert read(good.nodes[-1].answer) in WORDS
    leaf = bad.nodes[-1]
    return read(leaf.answer), leaf.error, counts


def read(answer):
    """An answer as JSON, where it is."""
    try:
        return json.loads(answer)
    except (TypeError, ValueError):
        return answer


def test_bodies_that_are_wrong_are_a_short_line_each():
    told, error, counts = run("odd_bodies")
    assert error == ""
    assert [code for code, _ in told] == [400] * (len(told) - 1) + [200]
    assert all(len(line) <= 300 and "\n" not in line for _, line in told)
    lines = iter([line for _, line in told])
    for expected in (
        "the body is no JSON: ",
        "the body is no JSON: ",
        "the body is no JSON: NaN is no number",
        "the body is no JSON: too many levels",
        "the body is nested more than 100 levels deep",
        "the body is nested more than 100 levels deep",
        "messages[0]: arguments are nested more than 100 levels deep",
        "messages[0]: there is no role 'www",
        "messages[0]: a part of type 'image_url' cannot be read: texts only",
        "messages[0]: a part of type 'text' has no text",
        "the body is no JSON: 'utf-8' codec",
        "messages: a list of messages is expected",
        "tools: a request has at most 512, not 10000",
        "tools: a list is expected",
        "model: a name of 1048576 characters, 200 are the most",
        "n = 1000000000: a request has at most 128 answers",
        "max_tokens = -5: a whole number of at least 1 is expected",
        "max_tokens = True: a whole number",
        "stop: texts are expected, none of them empty",
        "stop: texts are expected, none of them empty",
        "stop: a request has at most 64 texts, not 10000",
        "stream_options = [1]: an object is expected",
        "tool_choice = ['auto']: auto, none, required or a tool is expected",
        "ep.ask: tools: 'f' is there twice",
    ):
        line = next(lines)
        assert line.startswith(expected), line
    assert next(lines) in WORDS
    assert counts["refused/invalid_request"] == len(told) - 1


def test_a_body_of_50_mb_is_refused_and_its_sender_hears_why():
    (refused, good), error, counts = run("too_large")
    assert refused == [413, "a request of more than 8388608 bytes"]
    assert good[0] == 200 and error == "" and counts["refused/too_large"] == 1


def test_what_is_no_http_is_refused_and_counted():
    told, error, counts = run("no_http")
    assert told[:-1] == [400] * 4 and told[-1] in WORDS and error == ""
    assert counts["refused/no_http"] == 4


def test_nobody_reaches_another_session():
    told, error, counts = run("elsewhere")
    assert [code for code, _ in told] == [401, 401, 401, 404, 404, 404, 200] and error == ""
    assert counts["refused/no_session"] == 3 and counts["refused/no_endpoint"] == 2
    assert counts["refused/model_not_found"] == 1


def test_what_has_a_meaning_is_bounded_by_the_context():
    told, error, _ = run("generous", context=400)
    assert [code for code, _ in told] == [200, 200] and error == ""


def test_names_of_unknown_settings_are_counted_within_bounds():
    _, error, counts = run("unknown_settings")
    ignored = {name: n for name, n in counts.items() if name.startswith("ignored/")}
    assert error == "" and ignored == {"ignored/other": 1}


def test_hanging_up_ends_nothing():
    told, error, counts = run("hangs_up")
    assert told in WORDS and error == ""
    assert counts["refused/hung_up"] in (1, 2)  # of a wait only if it lasts until that is seen


@pytest.mark.parametrize("how", ["flood", "asks_without_end"])
def test_requests_without_end_end_the_episode(how):
    _, error, counts = run(how)
    if how == "flood":
        assert "1000 requests of the agent were refused, the last one: the body is no JSON" in error
        assert counts["refused/invalid_request"] >= 1000
    else:
        assert "more than 32 asks in one episode" in error


def test_what_an_agent_writes_is_bounded():
    told, error, _ = run("talks_without_end")
    assert told in WORDS and error == ""


def test_an_agent_that_closes_its_output_and_goes_on_is_ended():
    _, error, _ = run("says_nothing_more", seconds=2.0)
    assert "the agent took more than 2 s" in error


def alive(number):
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # ended; whoever it belongs to has not heard of it


@pytest.mark.skipif(sys.platform != "linux", reason="found by what Linux tells of processes")
@pytest.mark.parametrize("start", ["fork", "process"])
def test_what_an_agent_leaves_behind_is_ended_with_it(start):
    left, error, _ = run("leaves_children", start=start)
    assert error == "" and len(left) == 3
    assert [number for number in left if alive(number)] == []


@pytest.mark.parametrize("start", ["fork", "process"])
def test_an_agent_that_is_killed_is_a_failed_leaf(start):
    _, error, counts = run("dies", start=start)
    assert error.endswith("the agent was ended by SIGKILL: its last words")
    assert counts["requests"] == 4


def test_a_reward_that_is_no_number_is_told():
    _, error, _ = run("odd_reward")
    assert "the agent's reward is no number: 1000" in error


def test_an_answer_that_is_no_file_is_told():
    _, error, _ = run("pipe_as_answer", answer="file:answer.txt")
    assert error.endswith("the agent left no answer: answer.txt is no plain file")


def test_a_large_answer_is_cut():
    told, error, _ = run("large_answer", answer="file:answer.txt")
    assert error == "" and told.startswith("the answer")
