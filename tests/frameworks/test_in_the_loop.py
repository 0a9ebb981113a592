"""Async frameworks inside the replaying loop, on `hb.openai_client`: no process, no socket.

Their tools are plain functions and pure. What is held is the same as of agents outside: no fork
diverges, and the tree equals that of an equal native program.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

import hornbeam as hb
from frameworks import grown
from frameworks.agents.two_tools import INSTRUCTIONS, calculator, lookup, questions
from frameworks.test_frameworks import QUESTION
from frameworks.variations import VARIATIONS
from hornbeam.gateway.history_turns import Turns

agents = pytest.importorskip("agents", reason="run by .ci/agents")
pydantic_ai = pytest.importorskip("pydantic_ai", reason="run by .ci/agents")

from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel  # noqa: E402
from pydantic_ai.providers.openai import OpenAIProvider  # noqa: E402

TRIES_ONCE = "engine_error"  # pauses between tries are on the clock
# What frameworks do not bear: the run fails, as it does outside.
FAILS = {
    "openai_agents chat": {TRIES_ONCE},
    "openai_agents responses": {TRIES_ONCE, "cut_text", "cut_call"},
    "pydantic_ai_agent chat": {TRIES_ONCE, "tool_raises", "empty"},
    "pydantic_ai_agent responses": {TRIES_ONCE, "tool_raises", "empty"},
}


async def openai_agents(task, client, endpoint, streamed):
    """openai-agents: as in agents/openai_agents.py."""
    agents.set_tracing_disabled(True)
    kinds = {"chat": agents.OpenAIChatCompletionsModel, "responses": agents.OpenAIResponsesModel}
    model, tools = kinds[endpoint]("solver", client), [calculator, lookup]
    tools = [agents.function_tool(tool) for tool in tools]
    agent = agents.Agent(name="solver", instructions=INSTRUCTIONS, model=model, tools=tools)
    items, answers = [], []
    for question in questions(task):
        items.append({"role": "user", "content": question})
        if streamed:
            run = agents.Runner.run_streamed(agent, items)
            async for _ in run.stream_events():
                pass
        else:
            run = await agents.Runner.run(agent, items)
        answers.append(run.final_output)
        items = run.to_input_list()
    return answers


async def pydantic_ai_agent(task, client, endpoint, streamed):
    """pydantic-ai: as in agents/pydantic_ai_agent.py, with its plain tools in this thread."""
    kinds = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}
    model = kinds[endpoint]("solver", provider=OpenAIProvider(openai_client=client))
    agent = pydantic_ai.Agent(model, instructions=INSTRUCTIONS, tools=[calculator, lookup])
    history, answers = None, []
    with pydantic_ai.Agent.using_thread_executor(ThreadPoolExecutor()):
        for question in questions(task):
            if streamed:
                async with agent.run_stream(question, message_history=history) as run:
                    answers.append(await run.get_output())
            else:
                run = await agent.run(question, message_history=history)
                answers.append(run.output)
            history = run.all_messages()
    return answers


class KeptTurns(Turns):
    """Turns of a client whose requests are kept."""

    def restore(self, asked, client):
        """As below."""
        self.asked.append(("solver", asked))
        return super().restore(asked, client)


def in_the_loop(framework, endpoint, streamed, asked):
    """The program; `asked[episode]` gets the requests of its client."""

    async def program(task, ep):
        client = hb.openai_client(ep)
        turns = client._client._transport._turns = KeptTurns()
        turns.asked = asked.setdefault(ep.effects._episode, [])
        answers = await framework(task, client, endpoint, streamed)
        ep.reward(sum("42" in answer for answer in answers) / 2)
        return answers

    return program


@pytest.mark.parametrize("variation", VARIATIONS)
@pytest.mark.parametrize("way", [("chat", False), ("chat", True), ("responses", False)], ids=str)
@pytest.mark.parametrize("framework", [openai_agents, pydantic_ai_agent], ids=lambda f: f.__name__)
def test_a_framework_in_the_loop_forks_at_every_step(framework, way, variation):
    question, asked = QUESTION.format(variation), {}
    program = in_the_loop(framework, *way, asked)
    tree = asyncio.run(grown.grow(program, variation, question, "hermes"))
    errors = {tree.nodes[i].error for i in tree.leaves()} - {""}
    assert not [error for error in errors if error.startswith("Divergence")]
    fails = FAILS[f"{framework.__name__} {way[0]}"]
    assert bool(errors) == (variation in fails), errors
    prompts = [grown.CHAT.decode(tree.context(i)) for i in range(len(tree))]
    assert not any("cannot be replayed" in prompt for prompt in prompts)  # as a tool's error
    known = grown.behaviour(tree, asked)
    assert not known.conflicts
    same = asyncio.run(grown.grow(grown.native(known), variation, question, "hermes"))
    assert grown.facts(tree) == grown.facts(same)
