"""Microsoft's agent framework, on both of its clients."""

from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


async def chat(task, session, kind=OpenAIChatCompletionClient):
    client = kind(model=session.model, base_url=session.base_url, api_key=session.api_key)
    agent = Agent(client, instructions=INSTRUCTIONS, tools=[calculator, lookup])
    talk = agent.create_session()
    return told(session, [(await agent.run(q, session=talk)).text for q in questions(task)])


async def responses(task, session):
    return await chat(task, session, OpenAIChatClient)
