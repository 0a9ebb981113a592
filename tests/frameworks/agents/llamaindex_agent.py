"""LlamaIndex: an agent that calls tools."""

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.workflow import Context
from llama_index.llms.openai_like import OpenAILike
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


async def run(task, session):
    llm = OpenAILike(
        model=session.model,
        api_base=session.base_url,
        api_key=session.api_key,
        is_chat_model=True,
        is_function_calling_model=True,
    )
    agent = FunctionAgent(tools=[calculator, lookup], llm=llm, system_prompt=INSTRUCTIONS)
    context = Context(agent)
    answers = [
        await agent.run(question, ctx=context, max_iterations=6) for question in questions(task)
    ]
    return told(session, answers)
