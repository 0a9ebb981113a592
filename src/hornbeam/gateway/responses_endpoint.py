"""OpenAI's responses: reading a request, writing its answer, plain or streamed.

A request may name the response before it (`previous_response_id`) and hold what came since alone:
the session keeps the messages of each response that it sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from reprlib import repr as short
from typing import Any

from hornbeam.chat import Message
from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.asked import (
    CALLS,
    THOUGHT,
    THOUGHT_ENDS,
    TOOLS,
    Asked,
    BadRequest,
    call_of,
    choice_of,
    model_of,
    numbered,
    objects,
    sampling_of,
    text_of,
    tool_of,
)

QUIET = {"model", "input", "instructions", "tools", "stream", "max_output_tokens", "store", "user"}
QUIET |= {"previous_response_id", "include", "metadata", "parallel_tool_calls", "reasoning"}
QUIET |= {"text", "truncation", "prompt_cache_key", "safety_identifier", "service_tier"}
Kept = Mapping[str, tuple[Message, ...]]  # response id -> the conversation with it


def read(body: Mapping[str, Any], kept: Kept) -> Asked:
    """The ask of a request's body. Raises `BadRequest`."""
    messages: list[Message] = []
    if (previous := body.get("previous_response_id")) is not None:
        if not isinstance(previous, str) or previous not in kept:
            text = f"there is no response {short(previous)} in this session"
            raise BadRequest(text, 404, "not_found")
        messages += [{**m} for m in kept[previous]]  # a turn may go on
    if instructions := body.get("instructions"):
        messages.insert(0, {"role": "system", "content": str(instructions)})
    given = body.get("input")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise BadRequest("input: a text or a list of items is expected")
    for n, item in enumerate(given):
        _take(item, messages, f"input[{n}]")
    if not messages:
        raise BadRequest("input: there is nothing to answer")
    tools = [_tool(tool, f"tools[{n}]") for n, tool in enumerate(objects(body, "tools", TOOLS))]
    may_call, ignored = choice_of(body, QUIET)
    return Asked(
        model=model_of(body),
        messages=numbered(messages),
        tools=tuple(tools) if may_call else (),
        sampling=sampling_of(body, "max_output_tokens", None),
        instructed=bool(instructions),
        stream=bool(body.get("stream")),
        ignored=tuple(ignored),
    )


def _tool(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        kind = tool.get("type") if isinstance(tool, dict) else tool
        raise BadRequest(
            f"{where}: a tool of type {short(kind)} is not served here: functions only"
        )
    return tool_of(tool.get("name"), tool.get("description"), tool.get("parameters"), where)


def _take(item: Any, messages: list[Message], where: str) -> None:
    """Add an item to the messages: calls and reasoning go to the turn that they belong to."""
    if not isinstance(item, dict):
        raise BadRequest(f"{where}: an item is an object")
    kind = item.get("type") or "message"
    if kind == "message":
        role = {"developer": "system"}.get(str(item.get("role")), item.get("role"))
        if role not in ("system", "user", "assistant"):
            raise BadRequest(f"{where}: there is no role {short(item.get('role'))}")
        text = text_of(item.get("content"), where)
        if role == "assistant":
            turn = _turn(messages, "content")
            turn["content"] = f"{turn['content']}\n{text}" if turn["content"] else text
        else:
            messages.append({"role": role, "content": text})
    elif kind == "function_call":
        turn = _turn(messages)
        call = call_of(item.get("call_id"), item.get("name"), item.get("arguments"), where)
        turn["tool_calls"] = calls = [*turn.get("tool_calls", ()), call]
        if len(calls) > CALLS:
            raise BadRequest(f"{where}: a turn has at most {CALLS} calls")
    elif kind == "function_call_output":
        text = text_of(item.get("output"), where)
        ident = str(item.get("call_id") or "")
        messages.append({"role": "tool", "content": text, "tool_call_id": ident})
    elif kind == "reasoning":
        parts = [*objects(item, "summary", CALLS), *objects(item, "content", CALLS)]
        said = "".join(str(p.get("text", "")) for p in parts if isinstance(p, dict))
        if said:
            turn = {"role": "assistant", "content": "", "reasoning_content": said}
            messages.append(turn)
    else:
        raise BadRequest(f"{where}: an item of type {short(kind)} cannot be read")


def _turn(messages: list[Message], new: str = "") -> dict[str, Any]:
    """The assistant's turn that an item belongs to; a new one behind others' words.

    With `new`, one that says nothing of that name yet: reasoning, a text, then calls are one turn.
    Some write reasoning as a text of its own.
    """
    last: Any = messages[-1] if messages else None
    if last is None or last["role"] != "assistant" or (new and not _open(last, new)):
        last = {"role": "assistant", "content": ""}
        messages.append(last)
    return last if isinstance(last, dict) else dict(last)


def _open(turn: Message, new: str) -> bool:
    """Whether a turn says nothing of that name yet, or nothing but what it thought."""
    said = str(turn[new]).strip()
    thought = said.startswith(THOUGHT) and said.endswith(THOUGHT_ENDS)
    return "tool_calls" not in turn and (not said or thought)


# --- answers --------------------------------------------------------------------------------------


def message_of(answer: HttpAnswer) -> Message:
    """An answer as the next request has it."""
    out: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.reasoning:
        out["reasoning_content"] = answer.reasoning
    if answer.calls:
        out["tool_calls"] = [call_of(c.id, c.name, c.arguments, "") for c in answer.calls]
    return out


def identity(answer: HttpAnswer) -> str:
    """The id of the response that an answer is."""
    return f"resp_{answer.id}"


def _items(answer: HttpAnswer) -> list[dict[str, Any]]:
    done, items = {"status": "completed"}, []
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": answer.reasoning}]
        items.append({"id": f"rs_{answer.id}", "type": "reasoning", "summary": summary})
    if answer.text or not answer.calls:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        told = {"type": "message", "role": "assistant", "content": [part]}
        items.append({"id": f"msg_{answer.id}", **told, **done})
    for n, call in enumerate(answer.calls):
        told = {"type": "function_call", "call_id": call.id, "name": call.name}
        items.append({"id": f"fc_{answer.id}{n}", **told, "arguments": call.arguments, **done})
    return items


def write(asked: Asked, answers: list[HttpAnswer]) -> dict[str, Any]:
    """The body of an answer that is sent whole."""
    (answer,) = answers
    cut = answer.finish == "length"
    usage = {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens},
        "output_tokens": answer.sampled_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.prompt_tokens + answer.sampled_tokens,
    }
    return {
        "id": identity(answer),
        "object": "response",
        "created_at": 0,
        "model": answer.model,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "error": None,
        "instructions": None,
        "metadata": {},
        "output": _items(answer),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [tool["function"] | {"type": "function"} for tool in asked.tools],
        "temperature": None,
        "top_p": None,
        "usage": usage,
        **answer.more,
    }


def events(asked: Asked, answers: list[HttpAnswer]) -> Iterator[str]:
    """The events of an answer that is streamed."""
    whole = write(asked, answers)
    number = -1

    def event(kind: str, **more: Any) -> str:
        nonlocal number
        number += 1
        data = {"type": kind, "sequence_number": number, **more}
        return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"

    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for n, item in enumerate(whole["output"]):
        at = {"output_index": n, "item_id": item["id"]}
        opened = {**item, "status": "in_progress"}
        if item["type"] == "message":
            (part,) = item["content"]
            text, at = part["text"], {**at, "content_index": 0}
            yield event(
                "response.output_item.added", output_index=n, item={**opened, "content": []}
            )
            yield event("response.content_part.added", **at, part={**part, "text": ""})
            yield event("response.output_text.delta", **at, delta=text, logprobs=[])
            yield event("response.output_text.done", **at, text=text, logprobs=[])
            yield event("response.content_part.done", **at, part=part)
        elif item["type"] == "function_call":
            written = item["arguments"]
            yield event(
                "response.output_item.added", output_index=n, item={**opened, "arguments": ""}
            )
            yield event("response.function_call_arguments.delta", **at, delta=written)
            yield event(
                "response.function_call_arguments.done",
                **at,
                arguments=written,
                name=item["name"],
            )
        else:
            yield event("response.output_item.added", output_index=n, item=item)
        yield event("response.output_item.done", output_index=n, item=item)
    kind = "response.completed" if whole["status"] == "completed" else "response.incomplete"
    yield event(kind, response=whole)
