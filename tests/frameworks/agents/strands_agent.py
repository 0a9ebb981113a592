"""Strands' agent."""

from strands import Agent, tool
from strands.models.openai import OpenAIModel
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


def run(task, session):
    model = OpenAIModel(
        client_args={"base_url": session.base_url, "api_key": session.api_key},
        model_id=session.model,
    )
    agent = Agent(
        model=model,
        tools=[tool(calculator), tool(lookup)],
        system_prompt=INSTRUCTIONS,
        callback_handler=None,
    )
    return told(session, [agent(question) for question in questions(task)])
