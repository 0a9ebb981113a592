"""CAMEL's agent."""

from camel.agents import ChatAgent
from camel.models import ModelFactory
from camel.toolkits import FunctionTool
from camel.types import ModelPlatformType
from camel.utils import BaseTokenCounter
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


class Bytes(BaseTokenCounter):
    """Counts without the vocabulary that it would fetch otherwise."""

    def count_tokens_from_messages(self, messages):
        return sum(len(str(message)) for message in messages)

    def encode(self, text):
        return list(text.encode())

    def decode(self, token_ids):
        return bytes(token_ids).decode()


def run(task, session):
    model = ModelFactory.create(
        ModelPlatformType.OPENAI_COMPATIBLE_MODEL,
        session.model,
        token_counter=Bytes(),
        url=session.base_url,
        api_key=session.api_key,
    )
    tools = [FunctionTool(calculator), FunctionTool(lookup)]
    agent = ChatAgent(INSTRUCTIONS, model=model, tools=tools)
    return told(session, [agent.step(q).msgs[0].content for q in questions(task)])
