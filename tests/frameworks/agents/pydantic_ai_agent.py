"""pydantic-ai, as its docs have it; memory by the messages of the last run."""

import asyncio

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


class Outcome(BaseModel):
    """The outcome as a number."""

    value: int


async def talk(task, session, model, streamed=False, **more):
    agent = Agent(model, instructions=INSTRUCTIONS, tools=[calculator, lookup], **more)
    history, answers = None, []
    for question in questions(task):
        if streamed:
            async with agent.run_stream(question, message_history=history) as run:
                answers.append(await run.get_output())
                history = run.all_messages()
        else:
            run = await agent.run(question, message_history=history)
            answers.append(run.output)
            history = run.all_messages()
    return told(session, answers)


def openai(session):
    return OpenAIProvider(base_url=session.base_url, api_key=session.api_key)


def chat(task, session):
    model = OpenAIChatModel(session.model, provider=openai(session))
    return asyncio.run(talk(task, session, model))


def chat_streamed(task, session):
    model = OpenAIChatModel(session.model, provider=openai(session))
    return asyncio.run(talk(task, session, model, True))


def responses(task, session):
    model = OpenAIResponsesModel(session.model, provider=openai(session))
    return asyncio.run(talk(task, session, model))


def messages(task, session):
    provider = AnthropicProvider(base_url=session.root, api_key=session.api_key)
    return asyncio.run(talk(task, session, AnthropicModel(session.model, provider=provider)))


def structured(task, session):
    model = OpenAIChatModel(session.model, provider=openai(session))
    return asyncio.run(talk(task, session, model, output_type=Outcome))
