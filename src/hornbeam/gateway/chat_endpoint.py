"""OpenAI's chat completions: reading a request, writing its answer, plain or streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from reprlib import repr as short
from typing import Any

from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.asked import (
    CALLS,
    ROLES,
    Asked,
    BadRequest,
    ReadRequest,
    answers_of,
    call_of,
    choice_of,
    model_of,
    numbered,
    objects,
    sampling_of,
    settings,
    text_of,
    tool_of,
)

# Settings that say nothing of what is sampled here, or that an agent's own table says.
QUIET = {"model", "messages", "tools", "stream", "stream_options", "n", "stop", "max_tokens"}
QUIET |= {"max_completion_tokens", "logprobs", "seed", "user", "metadata", "store"}
QUIET |= {"parallel_tool_calls", "service_tier", "safety_identifier", "prompt_cache_key"}


def read(body: Mapping[str, Any], before: ReadRequest | None = None) -> Asked:
    """The ask of a request's body; `before` holds the messages of the request before it.

    Raises `BadRequest`.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages: a list of messages is expected")
    most = "max_completion_tokens" if body.get("max_completion_tokens") else "max_tokens"
    before = before or ReadRequest()
    tools = before.tools(body, _tool)
    may_call, ignored = choice_of(body, QUIET)
    options = settings(body, "stream_options")
    return Asked(
        model=model_of(body),
        messages=numbered(before.messages(messages, _message)),
        tools=tools if may_call else (),
        sampling=sampling_of(body, most, body.get("stop")),
        stream=bool(body.get("stream")),
        usage=bool(options.get("include_usage")),
        n=answers_of(body),
        logprobs=bool(body.get("logprobs")),
        ignored=tuple(ignored),
    )


def _tool(tool: Any, where: str) -> dict[str, Any]:
    held = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(held, dict):
        raise BadRequest(f"{where}: a tool of type function is expected")
    return tool_of(held.get("name"), held.get("description"), held.get("parameters"), where)


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise BadRequest(f"{where}: a message is an object")
    role = message.get("role")
    role = "system" if role == "developer" else role
    if role == "function":
        role = "tool"
    if role not in ROLES:
        raise BadRequest(f"{where}: there is no role {short(role)}")
    out: dict[str, Any] = {"role": role, "content": text_of(message.get("content"), where)}
    if role == "assistant":
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        if isinstance(reasoning, str) and reasoning:
            out["reasoning_content"] = reasoning
        if calls := objects(message, "tool_calls", CALLS):
            out["tool_calls"] = [_call(call, where) for call in calls]
    if role == "tool":
        out["tool_call_id"] = str(message.get("tool_call_id") or "")
    return out


def _call(call: Any, where: str) -> dict[str, Any]:
    held = call.get("function") if isinstance(call, dict) else None
    if not isinstance(held, dict):
        raise BadRequest(f"{where}: a tool call of type function is expected")
    return call_of(call.get("id"), held.get("name"), held.get("arguments"), where)


# --- answers --------------------------------------------------------------------------------------


def _calls(answer: HttpAnswer) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in answer.calls
    ]


def _usage(answers: list[HttpAnswer]) -> dict[str, Any]:
    prompt, sampled = answers[0].prompt_tokens, sum(a.sampled_tokens for a in answers)
    cached = {"cached_tokens": answers[0].cached_tokens}
    total = {"total_tokens": prompt + sampled, "prompt_tokens_details": cached}
    return {"prompt_tokens": prompt, "completion_tokens": sampled, **total}


def _head(answers: list[HttpAnswer], kind: str) -> dict[str, Any]:
    first = answers[0]
    return {"id": f"chatcmpl-{first.id}", "object": kind, "created": 0, "model": first.model}


def _message_of(answer: HttpAnswer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.reasoning:
        message["reasoning"] = answer.reasoning
    if answer.calls:
        message["content"] = answer.text or None
        message["tool_calls"] = _calls(answer)
    return message


def _logprobs(answer: HttpAnswer) -> dict[str, Any]:
    return {
        "content": [
            {"token": text, "logprob": value, "bytes": list(text.encode()), "top_logprobs": []}
            for text, value in answer.logprobs
        ],
        "refusal": None,
    }


def write(asked: Asked, answers: list[HttpAnswer]) -> dict[str, Any]:
    """The body of an answer that is sent whole."""
    choices = []
    for n, answer in enumerate(answers):
        choice = {"index": n, "message": _message_of(answer), "finish_reason": answer.finish}
        choices.append({**choice, "logprobs": _logprobs(answer) if asked.logprobs else None})
    whole = {**_head(answers, "chat.completion"), "choices": choices, "usage": _usage(answers)}
    return {**whole, **answers[0].more}


def events(asked: Asked, answers: list[HttpAnswer]) -> Iterator[str]:
    """The events of an answer that is streamed."""
    head = _head(answers, "chat.completion.chunk")

    def event(n: int, delta: Mapping[str, Any], finish: str | None = None, logs: Any = None) -> str:
        choice = {"index": n, "delta": delta, "finish_reason": finish, "logprobs": logs}
        more = {} if finish is None else answers[n].more
        return _data({**head, "choices": [choice], **more})

    for n, answer in enumerate(answers):
        message = _message_of(answer)
        yield event(n, {"role": "assistant", "content": ""})
        if answer.reasoning:
            yield event(n, {"reasoning": answer.reasoning})
        if answer.text:
            yield event(n, {"content": answer.text})
        for k, call in enumerate(message.get("tool_calls") or ()):
            yield event(n, {"tool_calls": [{"index": k, **call}]})
        yield event(n, {}, answer.finish, _logprobs(answer) if asked.logprobs else None)
    if asked.usage:
        yield _data({**head, "choices": [], "usage": _usage(answers)})
    yield "data: [DONE]\n\n"


def _data(value: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def error(text: str, code: str, status: int) -> dict[str, Any]:
    """The body of an error."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": text, "type": kind, "param": None, "code": code}}
