"""OpenAI's own client, in the loop of its docs."""

import json

from openai import OpenAI
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


def result(name, arguments):
    """What a tool says, or why it failed."""
    try:
        return TOOLS[name](**json.loads(arguments))
    except Exception as error:
        return f"error: {error}"


def chat(task, session, stream=False):
    client = OpenAI(base_url=session.base_url, api_key=session.api_key)
    tools = [{"type": "function", "function": schema} for schema in SCHEMAS]
    messages = [{"role": "system", "content": INSTRUCTIONS}]
    answers = []
    for question in questions(task):
        messages.append({"role": "user", "content": question})
        for _ in range(6):
            asked = {"model": session.model, "messages": messages, "tools": tools}
            if stream:
                with client.chat.completions.stream(**asked) as events:
                    for _ in events:
                        pass
                message = events.get_final_completion().choices[0].message
            else:
                message = client.chat.completions.create(**asked).choices[0].message
            messages.append(message.model_dump(exclude_none=True) if stream else message)
            for call in message.tool_calls or []:
                said = result(call.function.name, call.function.arguments)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": said})
            if not message.tool_calls:
                break
        answers.append(message.content)
    return told(session, answers)


def chat_streamed(task, session):
    return chat(task, session, stream=True)


def responses(task, session, stream=False, by_id=False):
    client = OpenAI(base_url=session.base_url, api_key=session.api_key)
    tools = [{"type": "function", "strict": False, **schema} for schema in SCHEMAS]
    items, answers, last = [], [], None
    for question in questions(task):
        items.append({"role": "user", "content": question})
        for _ in range(6):
            asked = {"model": session.model, "instructions": INSTRUCTIONS, "tools": tools}
            if last is not None and by_id:
                asked["previous_response_id"] = last.id
            if stream:
                with client.responses.stream(input=items, **asked) as events:
                    for _ in events:
                        pass
                    last = events.get_final_response()
            else:
                last = client.responses.create(input=items, **asked)
            items = [] if by_id else items + last.output
            calls = [item for item in last.output if item.type == "function_call"]
            for call in calls:
                output = result(call.name, call.arguments)
                told_of = {"type": "function_call_output", "call_id": call.call_id}
                items.append({**told_of, "output": output})
            if not calls:
                break
        answers.append(last.output_text)
    return told(session, answers)


def responses_streamed(task, session):
    return responses(task, session, stream=True)


def responses_by_id(task, session):
    return responses(task, session, by_id=True)
