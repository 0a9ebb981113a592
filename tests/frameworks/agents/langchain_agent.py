"""LangChain's agent on LangGraph, as its docs have it; memory by a checkpointer."""

from typing import TypedDict

from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


class Outcome(BaseModel):
    """The outcome as a number."""

    value: int


class Both(TypedDict, total=False):
    question: str
    left: str
    right: str


def model_of(session, **more):
    return ChatOpenAI(
        model=session.model, base_url=session.base_url, api_key=session.api_key, **more
    )


def chat(task, session, streamed=False, **more):
    model = model_of(session, **more)
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


def structured(task, session):
    agent = create_agent(
        model_of(session),
        tools=[calculator, lookup],
        system_prompt=INSTRUCTIONS,
        response_format=ToolStrategy(Outcome),
    )
    messages, answers = [], []
    for question in questions(task):
        messages.append({"role": "user", "content": question})
        said = agent.invoke({"messages": messages})
        messages, outcome = said["messages"], said.get("structured_response")
        answers.append(outcome.value if outcome else None)
    return told(session, answers)


def graph(task, session):
    """Two nodes of a graph ask at once, twice each."""
    model = model_of(session)

    def side(name):
        def node(state):
            messages = [{"role": "user", "content": f"{name}: {state['question']}"}]
            for question in questions(task):
                messages.append(model.invoke(messages))
                messages.append({"role": "user", "content": question})
            return {name: messages[-2].text}

        return node

    built = StateGraph(Both)
    for name in ("left", "right"):
        built.add_node(f"{name}_side", side(name))
        built.add_edge(START, f"{name}_side")
        built.add_edge(f"{name}_side", END)
    state = built.compile().invoke({"question": task.question})
    return told(session, [state["left"], state["right"]])
