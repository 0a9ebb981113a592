"""LlamaIndex: an agent that reasons and acts in text."""

from llama_index.core.agent.workflow import ReActAgent
from llama_index.core.workflow import Context
from llama_index.llms.openai_like import OpenAILike
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


async def run(task, session):
    llm = OpenAILike(
        model=session.model,
        api_base=session.base_url,
        api_key=session.api_key,
        is_chat_model=True,
    )
    agent = ReActAgent(tools=[calculator, lookup], llm=llm, system_prompt=INSTRUCTIONS)
    context = Context(agent)
    answers = [
        await agent.run(question, ctx=context, max_iterations=6) for question in questions(task)
    ]
    return told(session, answers)
