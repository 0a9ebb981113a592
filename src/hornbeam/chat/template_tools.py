"""Tools through a chat template: told of, called, read out of an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hornbeam.chat.byte_chat import Message
from hornbeam.chat.call_formats import FORMATS
from hornbeam.chat.call_formats import read as read_text
from hornbeam.chat.template_frame import marked
from hornbeam.chat.tool_calls import Spoken
from hornbeam.chat.tool_schemas import schema_problem
from hornbeam.errors import ModelError

if TYPE_CHECKING:
    from hornbeam.chat.template import TemplateChat


def problem(chat: TemplateChat, tools: Sequence[Any], messages: Sequence[Message]) -> str:
    """Why these tools cannot be used with this template, and what to do; "" if they can."""
    try:
        refuse_unsound(tools)
        refuse_unshown(chat.with_tools(tools), messages)
    except ModelError as error:
        return str(error)
    if tools and chat.calls.how is None:
        wrote = f" ({chat.calls.example[:80]!r})" if chat.calls.written else ""
        return (
            f"{chat.name}: the form in which the chat template has tool calls{wrote} is not known:"
            f" name the one that the model was trained on, model.tool_format = one of"
            f" {', '.join(FORMATS)}"
        )
    return ""


def refuse_unsound(tools: Sequence[Any]) -> None:
    """Raise `ModelError` for definitions that are no JSON schemas; recorded ones may be others."""
    if wrong := schema_problem(tools):
        raise ModelError(wrong)


def tell(chat: TemplateChat, tools: Sequence[Any]) -> None:
    """Give a chat tools. `ModelError` for those that cannot be."""
    chat.tools = list(tools)
    named = chat.words.names.search(json.dumps(chat.tools, ensure_ascii=False))
    if named:
        raise ModelError(f"the definition of a tool names the control token {named[0]}")
    text = chat.shown(marked("user"), True)
    held = [tool.get("function", tool) if isinstance(tool, dict) else {} for tool in tools]
    names = [str(each.get("name", "")) for each in held]
    chat.untold = tuple(name for name in names if name not in text)


def left_out(chat: TemplateChat) -> str:
    """What to do where the template leaves tools out; "" where it tells of all."""
    if not chat.untold:
        return ""
    return (
        f"{chat.name}: the chat template leaves out the tools ({chat.untold[0]}), and the model"
        " would never see them: say in a system message what there is, give a template that has"
        " tools (model.chat_template), or take another model"
    )


def refuse_unshown(chat: TemplateChat, messages: Sequence[Message]) -> None:
    """Raise `ModelError` where tools are left out that no message of the prompt names either."""
    told = [message for message in messages if message["role"] not in ("tool", "assistant")]
    text = "\n".join(f"{message['content']}\n{message.get('tools', '')}" for message in told)
    if not all(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in chat.untold):
        raise ModelError(left_out(chat))


def read(chat: TemplateChat, tokens: Sequence[int], tools: Sequence[Any]) -> Spoken:
    """What an answer's ids say."""
    frame = chat.calls
    return read_text(chat.text(tokens), tokens, tools, frame.how, frame.tags, frame.begun)


def spoken(chat: TemplateChat, messages: Sequence[Message], message: Message) -> str:
    """What an assistant's message is as text behind its prompt; see `TemplateChat.spoken`."""
    said, frame = str(message["content"]), chat.frame
    if frame.opening.strip() and said.startswith(frame.opening):
        said = said.removeprefix(frame.opening)  # the prompt has that already
    if not message.get("tool_calls"):
        return said
    parts = chat.form([*messages, message]).parts
    text = chat.template_text([*messages, message], parts, False)
    asked, before = chat.template_text(messages, parts), chat.template_text(messages, parts, False)
    head = asked[len(before) :].removesuffix(frame.opening) + frame.heading
    if text.startswith(asked):
        body = text[len(asked) :]
    elif asked.startswith(before) and text.startswith(before + head):
        body = text[len(before + head) :]
    else:
        raise ModelError(
            f"{chat.name}: the chat template puts another text before an answer with tool calls"
            " than before a new one"
        )
    body, ends = body.rstrip(), [*frame.turns, *frame.closed, chat.calls.end]
    while end := next((end for end in ends if end and body.endswith(end)), ""):
        body = body.removesuffix(end)
    if said.strip() not in body:
        raise ModelError(f"{chat.name}: the chat template rewrites what was said with a call")
    return body
