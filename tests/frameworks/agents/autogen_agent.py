"""AutoGen's assistant."""

from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told

INFO = {
    "vision": False,
    "function_calling": True,
    "json_output": False,
    "family": "unknown",
    "structured_output": False,
}


async def run(task, session):
    client = OpenAIChatCompletionClient(
        model=session.model,
        base_url=session.base_url,
        api_key=session.api_key,
        model_info=INFO,
    )
    agent = AssistantAgent(
        "assistant",
        model_client=client,
        tools=[calculator, lookup],
        system_message=INSTRUCTIONS,
        max_tool_iterations=6,
        reflect_on_tool_use=True,
    )
    answers = []
    for question in questions(task):
        result = await agent.run(task=question)
        answers.append(result.messages[-1].content)
    return told(session, answers)
