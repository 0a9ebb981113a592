"""openai-agents, as its docs have it: agent, tools, runner; memory by the last run."""

import asyncio

from agents import (
    Agent,
    AsyncOpenAI,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told

set_tracing_disabled(True)  # traces go to OpenAI's own server


async def talk(task, session, model, streamed=False, by_id=False):
    client = AsyncOpenAI(base_url=session.base_url, api_key=session.api_key)
    tools = [function_tool(calculator), function_tool(lookup)]
    speaks = model(session.model, client)
    agent = Agent(name="solver", instructions=INSTRUCTIONS, model=speaks, tools=tools)
    items, answers, last = [], [], None
    for question in questions(task):
        items.append({"role": "user", "content": question})
        if streamed:
            run = Runner.run_streamed(agent, items)
            async for _ in run.stream_events():
                pass
        elif by_id:
            more = {"previous_response_id": last, "auto_previous_response_id": True}
            run = await Runner.run(agent, items, **more)
        else:
            run = await Runner.run(agent, items)
        answers.append(run.final_output)
        items, last = [] if by_id else run.to_input_list(), run.last_response_id
    return told(session, answers)


def chat(task, session):
    return asyncio.run(talk(task, session, OpenAIChatCompletionsModel))


def chat_streamed(task, session):
    return asyncio.run(talk(task, session, OpenAIChatCompletionsModel, True))


def responses(task, session):
    return asyncio.run(talk(task, session, OpenAIResponsesModel))


def responses_streamed(task, session):
    return asyncio.run(talk(task, session, OpenAIResponsesModel, True))


def responses_by_id(task, session):
    return asyncio.run(talk(task, session, OpenAIResponsesModel, by_id=True))


def subagents(task, session):
    """Tools that are agents; calls of one turn run at once."""

    def told_by(name, tool):
        agent = Agent(name=name, instructions=INSTRUCTIONS, model=model)

        async def ask(**given):
            run = await Runner.run(agent, f"[text] What is {given}?")
            return f"{tool(**given)}: {run.final_output}"

        async def calculator_agent(expression: str) -> str:
            return await ask(expression=expression)

        async def lookup_agent(word: str) -> str:
            return await ask(word=word)

        chosen = calculator_agent if name == "calculator" else lookup_agent
        return function_tool(chosen, name_override=name)

    model = OpenAIChatCompletionsModel(
        session.model, AsyncOpenAI(base_url=session.base_url, api_key=session.api_key)
    )
    tools = [told_by("calculator", calculator), told_by("lookup", lookup)]
    agent = Agent(name="solver", instructions=INSTRUCTIONS, model=model, tools=tools)
    answers = [Runner.run_sync(agent, question).final_output for question in questions(task)]
    return told(session, answers)
