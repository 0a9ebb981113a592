"""Agno's agent, on chat completions and on responses."""

from agno.agent import Agent
from agno.db.in_memory import InMemoryDb
from agno.models.openai import OpenAIChat, OpenAIResponses
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


def chat(task, session, kind=OpenAIChat):
    model = kind(id=session.model, base_url=session.base_url, api_key=session.api_key)
    agent = Agent(
        model=model,
        tools=[calculator, lookup],
        instructions=INSTRUCTIONS,
        db=InMemoryDb(),
        add_history_to_context=True,
        telemetry=False,
    )
    return told(session, [agent.run(q, session_id="s").content for q in questions(task)])


def responses(task, session):
    return chat(task, session, OpenAIResponses)
