"""Anthropic's messages: reading a request, writing its answer, plain or streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from reprlib import repr as short
from typing import Any

from hornbeam.chat import Message
from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.asked import (
    TOOLS,
    Asked,
    BadRequest,
    call_of,
    ignored_of,
    model_of,
    numbered,
    objects,
    sampling_of,
    settings,
    text_of,
    tool_of,
)

QUIET = {"model", "messages", "system", "tools", "stream", "max_tokens", "stop_sequences"}
QUIET |= {"metadata", "service_tier", "anthropic_version", "betas"}
FINISH = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def read(body: Mapping[str, Any]) -> Asked:
    """The ask of a request's body. Raises `BadRequest`."""
    given = body.get("messages")
    if not isinstance(given, list) or not given:
        raise BadRequest("messages: a list of messages is expected")
    messages: list[Message] = []
    if system := body.get("system"):
        messages.append({"role": "system", "content": text_of(system, "system")})
    for n, message in enumerate(given):
        _take(message, messages, f"messages[{n}]")
    choice = settings(body, "tool_choice").get("type", "auto")
    tools = [_tool(tool, f"tools[{n}]") for n, tool in enumerate(objects(body, "tools", TOOLS))]
    ignored = ignored_of(body, QUIET, choice in ("auto", "none"))
    return Asked(
        model=model_of(body),
        messages=numbered(messages),
        tools=() if choice == "none" else tuple(tools),
        sampling=sampling_of(body, "max_tokens", body.get("stop_sequences")),
        stream=bool(body.get("stream")),
        ignored=tuple(ignored),
    )


def _tool(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict) or tool.get("type", "custom") != "custom":
        kind = tool.get("type") if isinstance(tool, dict) else tool
        raise BadRequest(f"{where}: a tool of type {short(kind)} is not served here")
    return tool_of(tool.get("name"), tool.get("description"), tool.get("input_schema"), where)


def _take(message: Any, messages: list[Message], where: str) -> None:
    """Add a message: results of calls are messages of their own, before what the user says."""
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant", "system"):
        role = message.get("role") if isinstance(message, dict) else message
        raise BadRequest(f"{where}: there is no role {short(role)}")
    content = message.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise BadRequest(f"{where}: a content is a text or a list of blocks")
    texts, thoughts, calls = [], [], []
    for block in blocks:
        kind = block.get("type")
        if kind == "text":
            texts.append(text_of([block], where))
        elif kind == "thinking":
            thoughts.append(str(block.get("thinking", "")))
        elif kind == "redacted_thinking":
            continue
        elif kind == "tool_use":
            written = json.dumps(block.get("input") or {}, ensure_ascii=False)
            calls.append(call_of(block.get("id"), block.get("name"), written, where))
        elif kind == "tool_result":
            text = text_of(block.get("content"), where)
            ident = str(block.get("tool_use_id") or "")
            messages.append({"role": "tool", "content": text, "tool_call_id": ident})
        else:
            raise BadRequest(f"{where}: a block of type {short(kind)} cannot be read: texts only")
    out: dict[str, Any] = {"role": message["role"], "content": "".join(texts)}
    if thoughts:
        out["reasoning_content"] = "".join(thoughts)
    if calls:
        out["tool_calls"] = calls
    if message["role"] != "user" or texts or not blocks:
        messages.append(out)


# --- answers --------------------------------------------------------------------------------------


def _blocks(answer: HttpAnswer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.reasoning:
        blocks.append({"type": "thinking", "thinking": answer.reasoning, "signature": answer.id})
    if answer.text or not answer.calls:
        blocks.append({"type": "text", "text": answer.text})
    for call in answer.calls:
        told = {"type": "tool_use", "id": call.id, "name": call.name}
        blocks.append({**told, "input": json.loads(call.arguments)})
    return blocks


def write(asked: Asked, answers: list[HttpAnswer]) -> dict[str, Any]:
    """The body of an answer that is sent whole."""
    (answer,) = answers
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": _blocks(answer),
        "stop_reason": FINISH[answer.finish],
        "stop_sequence": None,
        "usage": {
            "input_tokens": answer.prompt_tokens - answer.cached_tokens,
            "cache_read_input_tokens": answer.cached_tokens,
            "cache_creation_input_tokens": 0,
            "output_tokens": answer.sampled_tokens,
        },
        **answer.more,
    }


def events(asked: Asked, answers: list[HttpAnswer]) -> Iterator[str]:
    """The events of an answer that is streamed."""
    whole = write(asked, answers)
    begun = {**whole, "content": [], "stop_reason": None}
    begun["usage"] = {**whole["usage"], "output_tokens": 0}
    yield _event("message_start", message=begun)
    for n, block in enumerate(whole["content"]):
        kind = block["type"]
        if kind == "text":
            empty, deltas = {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
        elif kind == "thinking":
            empty = {**block, "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        else:
            empty = {**block, "input": {}}
            written = json.dumps(block["input"], ensure_ascii=False)
            deltas = [{"type": "input_json_delta", "partial_json": written}]
        yield _event("content_block_start", index=n, content_block=empty)
        for delta in deltas:
            yield _event("content_block_delta", index=n, delta=delta)
        yield _event("content_block_stop", index=n)
    ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", delta=ended, usage=whole["usage"])
    yield _event("message_stop")


def _event(kind: str, **more: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more}, ensure_ascii=False)}\n\n"


def error(text: str, code: str, status: int) -> dict[str, Any]:
    """The body of an error."""
    kind = "api_error" if status >= 500 else "invalid_request_error"
    return {"type": "error", "error": {"type": kind, "message": text}}
