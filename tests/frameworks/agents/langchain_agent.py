"""LangChain's agent on LangGraph, as its docs have it; memory by a checkpointer."""

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


def chat(task, session, streamed=False, **more):
    model = ChatOpenAI(
        model=session.model, base_url=session.base_url, api_key=session.api_key, **more
    )
    agent = create_agent(
        model,
        tools=[calculator, lookup],
        system_prompt=INSTRUCTIONS,
        checkpointer=InMemorySaver(),
    )
    thread, answers = {"configurable": {"thread_id": "1"}}, []
    for question in questions(task):
        asked = {"messages": [{"role": "user", "content": question}]}
        if streamed:
            for _ in agent.stream(asked, thread, stream_mode="messages"):
                pass
            said = agent.get_state(thread).values
        else:
            said = agent.invoke(asked, thread)
        answers.append(said["messages"][-1].text)
    return told(session, answers)


def chat_streamed(task, session):
    return chat(task, session, streamed=True)


def responses(task, session):
    return chat(task, session, use_responses_api=True)


def responses_streamed(task, session):
    return chat(task, session, streamed=True, use_responses_api=True)
