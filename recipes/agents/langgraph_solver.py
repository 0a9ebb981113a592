"""An agent of LangGraph (pip install langchain langchain-openai)."""

from arithmetic import INSTRUCTIONS, calculate
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.errors import GraphRecursionError


def run(task, session):
    """The answer to the task's question."""
    agent = create_agent(ChatOpenAI(model="solver"), [calculate], system_prompt=INSTRUCTIONS)
    try:
        said = agent.invoke({"messages": [("user", task.question)]}, {"recursion_limit": 8})
        return said["messages"][-1].content
    except GraphRecursionError:
        return None
