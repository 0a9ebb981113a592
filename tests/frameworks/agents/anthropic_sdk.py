"""Anthropic's own client, in the loop of its docs."""

from anthropic import Anthropic
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told

TOOLS = {"calculator": calculator, "lookup": lookup}
EXPRESSION = {"expression": {"type": "string"}, "note": {"type": "string"}}
EXPRESSION["count"] = {"type": "integer"}
SCHEMAS = [
    {
        "name": "calculator",
        "description": "Work out an arithmetic expression.",
        "input_schema": {"type": "object", "properties": EXPRESSION, "required": ["expression"]},
    },
    {
        "name": "lookup",
        "description": "Look a word up in the dictionary.",
        "input_schema": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
]


def result(call):
    """The block of what a tool says, or why it failed."""
    block = {"type": "tool_result", "tool_use_id": call.id}
    try:
        return {**block, "content": TOOLS[call.name](**call.input)}
    except Exception as error:
        return {**block, "content": f"error: {error}", "is_error": True}


def messages(task, session, stream=False):
    client = Anthropic(base_url=session.root, api_key=session.api_key)
    said, answers = [], []
    for question in questions(task):
        said.append({"role": "user", "content": question})
        for _ in range(6):
            asked = {"model": session.model, "max_tokens": 400, "system": INSTRUCTIONS}
            asked |= {"messages": said, "tools": SCHEMAS}
            if stream:
                with client.messages.stream(**asked) as events:
                    for _ in events:
                        pass
                    message = events.get_final_message()
            else:
                message = client.messages.create(**asked)
            said.append({"role": "assistant", "content": message.content})
            calls = [block for block in message.content if block.type == "tool_use"]
            if not calls:
                break
            said.append({"role": "user", "content": [result(call) for call in calls]})
        answers.append("".join(b.text for b in message.content if b.type == "text"))
    return told(session, answers)


def messages_streamed(task, session):
    return messages(task, session, stream=True)
