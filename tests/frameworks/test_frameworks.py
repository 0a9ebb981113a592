"""Real frameworks through the gateway, run by `.ci/agents` alone: it has their environments.

Each agent of agents.toml meets each variation: it runs once, is replayed to every step and forked
there. It must hold that
- no fork diverges: the agent asked the same where it heard the same;
- the tree equals the one that an equal native program grows (grown.py says what is equal);
- answers that come back keep the ids that were sampled.
What does not is a row of `expected` in agents.toml with its reason, and fails where it holds again:
"fails" (the agent's run ends in an error of its own), "lost" (ids are not kept), "draws" (requests
differ by what it draws, which its `volatile` masks: no fork diverges, and no program is equal).

A framework is added by a file in agents/ with functions of (task, session) (two_tools.py helps to
write them), a table in agents.toml, and its packages in pins/ENVIRONMENT.txt. A model that is to
write otherwise than in native calls is a function in variations.WRITERS. `.ci/agents -k NAME` runs
one; without arguments all, and writes the table of docs/frameworks.md.
"""

import asyncio
import json
import os

import pytest

from frameworks import grown
from frameworks.agents_table import AGENTS, AT_ONCE, ENVIRONMENTS
from frameworks.variations import VARIATIONS

# What frameworks would tell or ask the net, some in a thread that their import starts.
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OTEL_SDK_DISABLED": "true",
}
if ENVIRONMENTS:  # other tests of this process have spans of their own
    os.environ |= QUIET
pytestmark = pytest.mark.skipif(not ENVIRONMENTS, reason="run by .ci/agents")
QUESTION = "[{0}] What is 6*7? // [{0}] And what is 5*8+2?"


@pytest.fixture(scope="module")
def runner():
    """One event loop for all, as servers and hosts live on."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def program(request, runner):
    """An agent's program: its framework is imported once for all variations."""
    agent = request.param
    if not agent.interpreter().is_file():
        pytest.skip(f"no environment {agent.environment}")
    program = grown.RecordedProgram(agent.settings(seconds=100, patience=2))
    yield agent, program
    runner.run(program.aclose())


def wrote(agent, variation, tree, counts, found):
    """A line for the table of docs/frameworks.md."""
    if out := os.environ.get("HORNBEAM_AGENTS_ROWS"):
        stand, total = grown.kept(tree)
        row = {"agent": str(agent), "variation": variation, "kept": stand, "of": total}
        turns = {name: n for name, n in counts.items() if name.startswith("turns/")}
        row |= {"leaves": len(tree.leaves()), "turns": turns, "found": found}
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


@pytest.mark.parametrize("variation", VARIATIONS)
@pytest.mark.parametrize("program", AGENTS, ids=str, indirect=True, scope="module")
def test_an_agent_forks_at_every_step(program, runner, variation):
    agent, program = program
    question = QUESTION.format(variation)
    program.forget()
    tree = runner.run(grown.grow(program, variation, question, agent.writer))
    counts = program.gateway.counts
    errors = {tree.nodes[i].error for i in tree.leaves()} - {""}
    assert not [error for error in errors if error.startswith("Divergence")]
    stand, total = grown.kept(tree)
    found = ({"fails"} if errors else set()) | ({"lost"} if stand < total else set())
    known = grown.behaviour(tree, program.asked)
    found |= {"draws"} if known.conflicts else set()
    wrote(agent, variation, tree, counts, sorted(found))
    assert found == set(agent.expected(variation)), (errors, counts, stand, total)
    if known.conflicts:
        return
    same = runner.run(grown.grow(grown.native(known), variation, question, agent.writer))
    assert grown.facts(tree) == grown.facts(same)


ONE_OF_EACH = {agent.environment: agent for agent in reversed(AGENTS)}.values()


@pytest.mark.parametrize("program", ONE_OF_EACH, ids=str, indirect=True, scope="module")
def test_processes_of_their_own_grow_the_tree_of_forks(program, runner):
    agent, program = program
    program.forget()
    question = QUESTION.format("two_calls")
    forked = runner.run(grown.grow(program, "two_calls", question, agent.writer))
    anew = grown.RecordedProgram(agent.settings(seconds=200, patience=2, start="process"))
    tree = runner.run(grown.grow(anew, "two_calls", question, agent.writer))
    runner.run(anew.aclose())
    assert grown.facts(tree) == grown.facts(forked)


@pytest.mark.parametrize(
    ("program", "variation"),
    AT_ONCE,
    ids=[f"{agent}-{variation}" for agent, variation in AT_ONCE],
    indirect=["program"],
    scope="module",
)
def test_an_agent_that_asks_at_once_forks_at_every_step(program, runner, variation):
    agent, program = program
    program.forget()
    question = QUESTION.format(variation)
    tree = runner.run(grown.grow(program, variation, question, agent.writer))
    trunk = [node for node in tree.nodes if node.origin.episode == 0]
    assert len(trunk) >= 5 and len(tree.leaves()) == len(trunk)
    errors = {tree.nodes[i].error for i in tree.leaves()} - {""}
    assert not [error for error in errors if error.startswith("Divergence")]
    assert not errors or variation == "engine_error"  # three times in a row, in some fork
