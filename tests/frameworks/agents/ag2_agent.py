"""AG2's agent."""

from ag2 import Agent
from ag2.config import OpenAIConfig
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


async def run(task, session):
    config = OpenAIConfig(model=session.model, base_url=session.base_url, api_key=session.api_key)
    agent = Agent("assistant", INSTRUCTIONS, config=config, tools=[calculator, lookup])
    first, second = questions(task)
    reply = await agent.ask(first)
    more = await reply.ask(second)
    return told(session, [reply.body, more.body])
