"""litellm, in the loop of its docs."""

import json

import litellm
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told

TOOLS = {"calculator": calculator, "lookup": lookup}
EXPRESSION = {"expression": {"type": "string"}, "note": {"type": "string"}}
EXPRESSION["count"] = {"type": "integer"}
SCHEMAS = [
    {
        "name": "calculator",
        "description": "Work out an arithmetic expression.",
        "parameters": {"type": "object", "properties": EXPRESSION, "required": ["expression"]},
    },
    {
        "name": "lookup",
        "description": "Look a word up in the dictionary.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
]


def result(call):
    """What a tool says, or why it failed."""
    try:
        return TOOLS[call.function.name](**json.loads(call.function.arguments))
    except Exception as error:
        return f"error: {error}"


def talk(task, session, model, base, stream=False):
    tools = [{"type": "function", "function": schema} for schema in SCHEMAS]
    messages, answers = [{"role": "system", "content": INSTRUCTIONS}], []
    for question in questions(task):
        messages.append({"role": "user", "content": question})
        for _ in range(6):
            given = {"model": model, "api_base": base, "api_key": session.api_key}
            answer = litellm.completion(messages=messages, tools=tools, stream=stream, **given)
            if stream:
                answer = litellm.stream_chunk_builder(list(answer), messages=messages)
            message = answer.choices[0].message
            messages.append(message)
            for call in message.tool_calls or []:
                said = {"role": "tool", "tool_call_id": call.id, "content": result(call)}
                messages.append(said)
            if not message.tool_calls:
                break
        answers.append(message.content)
    return told(session, answers)


def chat(task, session):
    return talk(task, session, f"openai/{session.model}", session.base_url)


def chat_streamed(task, session):
    return talk(task, session, f"openai/{session.model}", session.base_url, True)


def messages(task, session):
    return talk(task, session, f"anthropic/{session.model}", session.root)
