"""What a request over HTTP asks for, whatever its format: messages, tools, settings.

Formats differ in how they say the same thing. Here a message's text is a text (parts joined, null
and missing are empty), `developer` is `system`, and what no model is told (names, seeds, how the
answer is to be sent) is left out, so that equal asks are equal values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from reprlib import repr as short
from typing import Any

from hornbeam.chat import Message
from hornbeam.chat.history import call_id
from hornbeam.chat.tool_calls import parsed
from hornbeam.episode.program import of_texts
from hornbeam.errors import HornbeamError
from hornbeam.gateway.answered import CALL_ID

ROLES = ("system", "user", "assistant", "tool")
# Settings of the three APIs that may be asked for and are not done: counted by name.
SETTINGS = {"audio", "background", "context_management", "conversation", "frequency_penalty"}
SETTINGS |= {"function_call", "functions", "logit_bias", "modalities", "output_config", "text"}
SETTINGS |= {"prediction", "presence_penalty", "prompt", "reasoning_effort", "response_format"}
SETTINGS |= {"temperature", "thinking", "tool_choice", "top_k", "top_logprobs", "top_p"}
SETTINGS |= {"verbosity", "web_search_options"}
SAMPLED = {"temperature", "top_p"}  # of which 0 says something, too
LINE = 500  # characters of what a sender is told
NAME = 200  # characters of a model's name, which is told again in each answer
ANSWERS = 128  # that one request may want, as at OpenAI
TOOLS = 512  # that one request may offer
CALLS = 512  # that one message may have
DEPTH = 100  # of lists and objects in each other
STOPS = 64  # texts that end an answer
LONG = 2**31 - 1  # tokens: no context is as long
THOUGHT, THOUGHT_ENDS = "<think>", "</think>"  # around reasoning in a text
CHOICES = (None, "auto", "none", "required")  # of tools, beside one by name


class BadRequest(HornbeamError):
    """A request that cannot be answered: what its sender is told, with a status and a code.

    With `close` its connection is ended too: the rest of the request would go on coming.
    """

    def __init__(
        self, text: str, status: int = 400, code: str = "invalid_request", close: bool = False
    ) -> None:
        super().__init__(text[:LINE])
        self.status, self.code, self.close = status, code, close


@dataclass(frozen=True, slots=True)
class Asked:
    """One ask. `sampling` are settings of `ep.ask`; `ignored` names of settings that are not."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    instructed: bool = False  # its first message are instructions, which a later ask does not keep
    stream: bool = False
    usage: bool = False  # a stream ends with the tokens that were used
    n: int = 1
    logprobs: bool = False
    ignored: tuple[str, ...] = ()


def deep(written: str | bytes, value: Any = None) -> bool:
    """Whether lists and objects of a JSON text lie in each other more than `DEPTH` levels deep.

    `value` is what it says, where that is known.
    """
    text = written if isinstance(written, bytes) else written.encode("utf-8", "replace")
    if text.count(b"[") + text.count(b"{") <= DEPTH:
        return False
    layer = [parsed(written) if value is None else value]
    for _ in range(DEPTH):
        inner = [held.values() if isinstance(held, dict) else held for held in layer]
        layer = [each for held in inner for each in held if isinstance(each, (dict, list))]
        if not layer:
            return False
    return True


class ReadRequest:
    """The messages and tools of a session's last request, and what each was read as.

    A conversation comes again with each request: what did not change is not read again, and is the
    same object, once in memory.
    """

    def __init__(self) -> None:
        self._written = ""  # the tools
        self._tools: tuple[Mapping[str, Any], ...] = ()
        self._before: list[tuple[Any, Message, bool]] = []  # given, read, whether of texts alone

    def tools(
        self, body: Mapping[str, Any], read: Callable[[Any, str], dict[str, Any]]
    ) -> tuple[Mapping[str, Any], ...]:
        """The tools of a body as `read` reads them. Raises `BadRequest`."""
        given = objects(body, "tools", TOOLS)
        written = json.dumps(given) if given else ""
        if written != self._written:
            self._tools = tuple(read(tool, f"tools[{n}]") for n, tool in enumerate(given))
            self._written = written
        return self._tools

    def messages(
        self, given: Sequence[Any], read: Callable[[Any, str], Message]
    ) -> tuple[Message, ...]:
        """The messages of a body as `read` reads them. Raises `BadRequest`."""
        out: list[tuple[Any, Message, bool]] = []
        for n, message in enumerate(given):
            if n < len(self._before):
                was, _, sure = self._before[n]
                if sure and was == message:
                    out.append(self._before[n])
                    continue
            out.append((message, read(message, f"messages[{n}]"), of_texts(message)))
        self._before = out
        return tuple(known for _, known, _ in out)


def numbered(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with ids of calls that were not made here numbered along the conversation.

    Frameworks that read calls from a text draw their ids: runs that differ by those alone are one.
    """
    out: list[Message] = []
    numbers: dict[str, str] = {}
    count = 0
    for message in messages:
        calls, ident = message.get("tool_calls") or (), message.get("tool_call_id")
        for n, call in enumerate(calls):
            if not CALL_ID.fullmatch(call["id"]):
                numbers[call["id"]] = call_id(count + n)
        count += len(calls)
        if any(call["id"] in numbers for call in calls):
            named = [{**call, "id": numbers.get(call["id"], call["id"])} for call in calls]
            message = {**message, "tool_calls": named}
        elif ident in numbers:
            message = {**message, "tool_call_id": numbers[ident]}
        out.append(message)
    return tuple(out)


def text_of(content: Any, where: str) -> str:
    """The text of a content: a text, nothing, or a list of texts. Raises `BadRequest`."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise BadRequest(f"{where}: a content is a text or a list of parts")
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in ("text", "input_text", "output_text"):
            raise BadRequest(f"{where}: a part of type {short(kind)} cannot be read: texts only")
        if not isinstance(part.get("text"), str):
            raise BadRequest(f"{where}: a part of type {kind!r} has no text")
        texts.append(part["text"])
    return "".join(texts)


def call_of(ident: Any, name: Any, arguments: Any, where: str) -> dict[str, Any]:
    """A tool call in a message. Raises `BadRequest` where it has no name."""
    if not isinstance(name, str) or not name:
        raise BadRequest(f"{where}: a tool call has no name")
    written = arguments if isinstance(arguments, str) else "{}" if arguments is None else arguments
    if isinstance(written, str) and deep(written):
        raise BadRequest(f"{where}: arguments are nested more than {DEPTH} levels deep")
    function = {"name": name, "arguments": written}
    return {"id": str(ident or ""), "type": "function", "function": function}


def tool_of(name: Any, description: Any, parameters: Any, where: str) -> dict[str, Any]:
    """A tool in the form of chat completions. Raises `BadRequest`."""
    if not isinstance(name, str) or not name:
        raise BadRequest(f"{where}: a tool has no name")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise BadRequest(f"{where}: the parameters of {short(name)} are no JSON schema")
    function = {
        "name": name,
        "description": str(description or ""),
        "parameters": dict(parameters or {"type": "object", "properties": {}}),
    }
    return {"type": "function", "function": function}


def objects(body: Mapping[str, Any], name: str, most: int) -> list[Any]:
    """A list of the body, empty where it has none. Raises `BadRequest`, of too many too."""
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRequest(f"{name}: a list is expected")
    if len(value) > most:
        raise BadRequest(f"{name}: a request has at most {most}, not {len(value)}")
    return value


def settings(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object of the body, empty where it has none. Raises `BadRequest`."""
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise BadRequest(f"{name} = {short(value)}: an object is expected")
    return value or {}


def model_of(body: Mapping[str, Any]) -> str:
    """The name of the model. Raises `BadRequest`."""
    name = body.get("model")
    if name is not None and not isinstance(name, str):
        raise BadRequest(f"model = {short(name)}: a name is expected")
    if name and len(name) > NAME:
        raise BadRequest(f"model: a name of {len(name)} characters, {NAME} are the most")
    return name or ""


def number(body: Mapping[str, Any], name: str, least: float, whole: bool) -> Any:
    """A number of the body, None where it has none. Raises `BadRequest`."""
    value = body.get(name)
    if value is None:
        return None
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not fits or value < least:
        kind = "a whole number" if whole else "a number"
        raise BadRequest(f"{name} = {short(value)}: {kind} of at least {least} is expected")
    return value


def answers_of(body: Mapping[str, Any]) -> int:
    """How many answers are wanted. Raises `BadRequest`."""
    wanted: int = number(body, "n", 1, True) or 1
    if wanted > ANSWERS:
        raise BadRequest(f"n = {short(wanted)}: a request has at most {ANSWERS} answers")
    return wanted


def sampling_of(body: Mapping[str, Any], most: str, stop: Any) -> dict[str, Any]:
    """Settings of an ask: `most` names the body's limit of tokens."""
    out: dict[str, Any] = {}
    if (tokens := number(body, most, 1, True)) is not None:
        out["max_tokens"] = min(tokens, LONG)
    if stop:
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or not all(isinstance(s, str) and s for s in stops):
            raise BadRequest("stop: texts are expected, none of them empty")
        if len(stops) > STOPS:
            raise BadRequest(f"stop: a request has at most {STOPS} texts, not {len(stops)}")
        out["stop"] = stops
    return out


def choice_of(body: Mapping[str, Any], quiet: Collection[str]) -> tuple[bool, list[str]]:
    """(whether tools may be called, the body's settings that are ignored) in OpenAI's formats.

    `quiet` are settings that are read, or say nothing of what is sampled. Raises `BadRequest`.
    """
    choice = body.get("tool_choice")
    if not isinstance(choice, dict) and choice not in CHOICES:
        raise BadRequest(
            f"tool_choice = {short(choice)}: auto, none, required or a tool is expected"
        )
    return choice != "none", ignored_of(body, quiet, choice in (None, "auto", "none"))


def ignored_of(body: Mapping[str, Any], quiet: Collection[str], any_tool: bool) -> list[str]:
    """The settings of a body that are not done, each once; names that no API has are "other"."""
    said = {
        name for name, value in body.items() if value or (name in SAMPLED and value is not None)
    }
    held = said - {*quiet, "response_format", "text"}
    form = settings(body, "response_format") or settings(settings(body, "text"), "format")
    if form.get("type", "text") != "text":
        held.add("response_format")
    if any_tool:
        held.discard("tool_choice")
    return sorted({name if name in SETTINGS else "other" for name in held})
