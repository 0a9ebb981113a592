"""smolagents: an agent that calls tools."""

import openai  # noqa: F401  (else each run pays its import, with the first model)
from smolagents import OpenAIServerModel, ToolCallingAgent, tool
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


def run(task, session):
    model = OpenAIServerModel(session.model, session.base_url, api_key=session.api_key)
    agent = ToolCallingAgent(
        tools=[tool(calculator), tool(lookup)],
        model=model,
        instructions=INSTRUCTIONS,
        max_steps=4,
        verbosity_level=0,
    )
    first, second = questions(task)
    return told(session, [agent.run(first), agent.run(second, reset=False)])
