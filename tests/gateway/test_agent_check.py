"""`hornbeam gateway check`: whether an agent replays, what varies, what to set."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from gateway import outside_agents
from hornbeam.gateway.agent_settings import AgentCommand
from hornbeam.jobs.replay.agent_check import check_agent
from hornbeam.jobs.replay.probe_engine import example_of
from hornbeam.tree.task import Task

AGENT = Path(__file__).with_name("wandering_agent.py")


def command(kind):
    return f"python {AGENT} {kind} {{task}}"


def check(kind, question="What is 2+2?", **settings):
    how = AgentCommand(command=command(kind), patience=0.05, **settings)
    return asyncio.run(check_agent(how, Task("t", question), runs=2))


def test_an_agent_that_replays(hornbeam):
    code, _, out = hornbeam("gateway", "check", "--agent", command("steady"), "--runs", "2")
    first, kept, last = out.splitlines()
    assert code == 0 and last == "It replays."
    assert kept == "  Tokens of earlier answers kept as sampled: 100.0 %"
    assert first.startswith("3 runs of 2 requests") and first.endswith("2 forks, 0 diverged")


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("clock", ["a clock"]),
        ("epoch", ["a clock"]),
        ("id", ["an id"]),
        ("folder", ["a passing folder"]),
        ("number", ["a number"]),
        ("object", ["an address in memory"]),
        ("both", ["an id", "a passing folder"]),
    ],
)
def test_what_varies_is_named_and_what_masks_it_mends_it(kind, named):
    found = check(kind)
    assert not found.replays and found.figures.diverged == 1
    assert [each.kind for each in found.found] == named
    assert {(v.request, v.where, v.when) for v in found.found} == {(1, "message 1 (system)", "")}
    assert found.masked.diverged == 0 and found.masked.forks == 2
    mended = check(kind, volatile=found.volatile)
    assert mended.replays and mended.found == () and mended.requests == 2


def test_an_order_that_hangs_on_the_seed_of_hashes():
    found = check("order")
    (order,) = found.found
    assert found.replays and order.kind == "the order of a set or of keys"
    assert order.when == "another PYTHONHASHSEED" and not found.volatile


def test_a_text_that_varies_has_no_pattern(hornbeam):
    code, _, out = hornbeam("gateway", "check", "--agent", command("text"), "--runs", "2")
    assert code == 1 and "request 1, message 1 (system): " in out and "Divergence" in out
    assert out.splitlines()[-1].endswith('mend it, or set on_divergence = "branch".')


def test_another_course_is_told(tmp_path):
    found = check("course", str(tmp_path / "runs")).found
    assert [(v.kind, v.one, v.other) for v in found] == [
        ("another course", "2 requests", "4 requests")
    ]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("mute", "Run 1 failed after 0 requests: it asked nothing: does it read OPENAI_BASE_URL"),
        ("fails", "exit code 1: a word of its own"),
    ],
)
def test_an_agent_that_does_nothing_of_use_is_told(hornbeam, kind, line):
    code, _, out = hornbeam("gateway", "check", "--agent", command(kind), "--runs", "2")
    assert code == 1 and line in out


def test_the_agent_of_a_recipe_with_its_first_task(tmp_path, hornbeam):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f"""
[model]
name = "tiny"
[program]
agent = "python {AGENT} id {{task}}"
patience = 0.05
volatile = ['[0-9a-f-]{{36}}']
[reward]
rule = "exact"
[[tasks.train]]
source = "lookup"
count = 1
"""
    )
    code, err, out = hornbeam("gateway", "check", recipe, "--runs", "2", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["replays"] and told["found"] == [] and told["figures"]["forks"] == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], 'give a RECIPE or --agent "COMMAND", one of the two'),
        (["--agent", "no-such-thing x"], "there is no command 'no-such-thing'"),
        (["--agent", "none.py:run"], "none.py"),
        (["tiny"], "is no agent outside: `hornbeam replay` checks it"),
    ],
)
def test_wrong_words_are_a_line(hornbeam, words, line):
    code, err, _ = hornbeam("gateway", "check", *words)
    assert code == 2 and line in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("pattern", "line"),
    [("(", "program.volatile[0] = '(' is no regular expression"), ("a*", "matches the empty text")],
)
def test_wrong_patterns_are_a_line(pattern, line):
    with pytest.raises(Exception, match=re.escape(line)):
        AgentCommand(command="python", volatile=(pattern,)).beside(Path())


def test_arguments_fit_the_schema():
    assert example_of(outside_agents.ADD["function"]["parameters"]).keys() == {"a", "b"}
    made = example_of(
        {
            "type": "object",
            "required": ["kind", "many", "deep", "either"],
            "properties": {
                "kind": {"enum": ["x", "y"]},
                "many": {"type": "array", "items": {"type": "number"}},
                "deep": {"type": "object", "properties": {"flag": {"type": "boolean"}}},
                "either": {"anyOf": [{"type": "null"}, {"type": "string"}]},
                "left out": {"type": "string"},
            },
        }
    )
    assert made == {"kind": "x", "many": [2.0], "deep": {"flag": True}, "either": None}
