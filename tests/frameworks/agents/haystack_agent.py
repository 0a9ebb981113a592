"""Haystack's agent."""

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import create_tool_from_function
from haystack.utils import Secret
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


def run(task, session):
    generator = OpenAIChatGenerator(
        model=session.model,
        api_base_url=session.base_url,
        api_key=Secret.from_token(session.api_key),
    )
    agent = Agent(
        chat_generator=generator,
        tools=[create_tool_from_function(calculator), create_tool_from_function(lookup)],
        system_prompt=INSTRUCTIONS,
        max_agent_steps=6,
    )
    messages, answers = [], []
    for question in questions(task):
        messages = agent.run(messages=[*messages, ChatMessage.from_user(question)])["messages"]
        answers.append(messages[-1].text)
    return told(session, answers)
