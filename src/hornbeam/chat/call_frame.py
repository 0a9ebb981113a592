"""What a chat template writes for tool calls and reasoning, read off conversations of marks.

The family is found by what the template itself writes for a call: the reader that reads it back is
the one for what the model samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hornbeam.chat.byte_chat import Message
from hornbeam.chat.call_formats import FORMATS, THOUGHTS
from hornbeam.chat.call_scan import CallFormat, schemas_of
from hornbeam.chat.control_tokens import Words
from hornbeam.chat.template_frame import Frame, alike, mark
from hornbeam.chat.tool_calls import written_out
from hornbeam.errors import ModelError

Show = Callable[[Sequence[Message], bool, Sequence[Any]], str]  # (messages, prompt for more, tools)
NAME, VALUE, NUMBER = "probe_tool", "probe value", 2.5
PROBE = {
    "type": "function",
    "function": {
        "name": NAME,
        "description": "Probes.",
        "parameters": {
            "type": "object",
            "properties": {
                "key": {"type": "string", "description": "A text."},
                "number": {"type": "number", "description": "A number."},
            },
            "required": ["key"],
        },
    },
}
IDS = ("abcdefghi", f"functions.{NAME}:0")  # some want nine letters, some read the name there
ID = "\ue004"  # stands for the id of the last call in what is behind it
REASONING = ("reasoning_content", "reasoning", "thinking")  # keys of templates
SIGNS = {  # what the source of a template names -> the family
    ("<｜tool▁call▁begin｜>", "```json"): "deepseek_fenced",
    ("<｜tool▁call▁begin｜>",): "deepseek",
    ("[TOOL_CALLS]", "[ARGS]"): "mistral",
    ("[TOOL_CALLS]",): "mistral_list",
    ("<|tool_call_start|>",): "lfm2",
    ("<|tool_call|>",): "phi4",
    ("<tool_call>", "<arg_key>"): "glm",
    ("<tool_call>", "<function="): "qwen_xml",
    ("<tool_call>",): "hermes",
    ("<|python_tag|>",): "llama3",
}
INLINE = "content"  # reasoning that is taken out of the text


@dataclass(frozen=True, slots=True)
class CallFrame:
    """How a template has calls and reasoning."""

    how: CallFormat | None  # the reader of its calls; None where no call is written or none reads
    written: bool  # whether the template writes calls at all
    example: str  # what it writes for one
    many: bool  # whether it takes several calls in one answer
    as_text: bool  # arguments are given as JSON text, for it writes objects as Python does
    tails: tuple[str, ...]  # what may stand behind the last argument, up to the end of the answer
    end: str  # the control token that ends an answer with calls; "" where none is known
    reasoning: str  # the key that it shows reasoning of; INLINE: taken out of texts; "": neither
    tags: tuple[str, str] | None  # what stands around reasoning in an answer
    begun: bool  # whether a prompt opens the reasoning


def calling(value: Any, count: int = 1, own: str = IDS[0]) -> Message:
    """An assistant's message that calls the probing tool, its last argument this value."""
    arguments = {"number": NUMBER, "key": value} if value == VALUE else {"key": value}
    calls = [
        {"id": each, "type": "function", "function": {"name": NAME, "arguments": arguments}}
        for each in _ids(own, count)
    ]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _ids(own: str, count: int) -> list[str]:
    return [own, *(own[:-1] + str(n) for n in range(1, count))]


def as_texts(show: Show, how: bool) -> Show:
    """The same with arguments as JSON text, where that is asked for."""
    if not how:
        return show
    return lambda messages, answer, tools: show([written_out(m) for m in messages], answer, tools)


def read_call_frame(show: Show, words: Words, frame: Frame, source: str) -> CallFrame:
    """The frame of calls of a template; `source` is its text."""
    question = {"role": "user", "content": mark(0)}
    asked = _or_none(show, [question], True) or ""
    tags = next(((THOUGHTS[end], end) for end in THOUGHTS if end in source), None)
    begun = tags is not None and asked.rstrip().endswith(tags[0])
    best: CallFrame | None = None
    for as_text, own in [(as_text, own) for as_text in (False, True) for own in IDS]:
        given = as_texts(show, as_text)
        text = _or_none(given, [question, calling(VALUE, 1, own)], False)
        if text is None or NAME not in (body := text[_begins(text, asked) :]):
            continue
        how = _reader(body)
        if how is None and best is not None:
            continue
        tails, end, many = _tails(given, question, own, words, frame)
        reasoning = _reasoning(given, question, tags)
        best = CallFrame(how, True, body, many, as_text, tails, end, reasoning, tags, begun)
        if how is not None:
            return best
    hint = _hinted(source)
    if best is not None:
        return replace(best, how=hint)
    reasoning = _reasoning(show, question, tags)
    return CallFrame(hint, False, "", False, False, (), "", reasoning, tags, begun)


def _hinted(source: str) -> CallFormat | None:
    """The family whose marks a template names that writes no call itself, to tell of them."""
    names = (name for sign, name in SIGNS.items() if all(part in source for part in sign))
    return next((FORMATS[name] for name in names), None)


def _begins(text: str, asked: str) -> int:
    """Where an answer begins in a conversation: behind its prompt, and in no tag."""
    start = alike(text, asked)
    tag = max(text.rfind("<", 0, start), text.rfind("[", 0, start))
    return start if tag < 0 or {*text[tag:start]} & {*">]"} else tag


def _or_none(
    show: Show, messages: Sequence[Message], answer: bool, tools: Sequence[Any] = (PROBE,)
) -> str | None:
    for given in (tools, ()):
        try:
            return show(messages, answer, given)
        except ModelError:
            continue
    return None


def _reader(body: str) -> CallFormat | None:
    """The family whose reader finds the probing call in what the template writes for it."""
    schemas = schemas_of([PROBE])
    for how in FORMATS.values():
        found = how.find(body, schemas)
        read = [(each.name, each.arguments, each.problem) for each in found]
        if read == [(NAME, {"number": NUMBER, "key": VALUE}, "")]:
            return how
    return None


def _tails(
    show: Show, question: Message, own: str, words: Words, frame: Frame
) -> tuple[tuple[str, ...], str, bool]:
    """What stands behind the last argument of an answer, the control token that ends it, and
    whether several calls in one are taken.
    """
    ends = {*frame.turns, *frame.closed}
    last, between = dict[int, str](), ""
    for count in (1, 2):
        text = _or_none(show, [question, calling(mark(1), count, own)], False)
        parts = text.split(mark(1)) if text else []
        if len(parts) == count + 1:
            last[count] = parts[-1]
            between = parts[1] if count == 2 else ""
    tails, end = set[str](), ""
    for count, tail in last.items():
        called = alike(tail, between) if between else 0
        marks = list(words.names.finditer(tail))
        found = next((m for m in marks if m[0] in ends), None)
        found = found or next((m for m in reversed(marks) if m.end() > called), None)
        cut = tail[: found.start()] if found else tail.rstrip()
        tails.add(cut.replace(_ids(own, count)[-1], ID))
        end = found[0] if found else end
    if not end and 1 in last:
        result = {"role": "tool", "content": mark(2), "tool_call_id": own, "name": NAME}
        text = _or_none(show, [question, calling(mark(1), 1, own), result], True) or ""
        behind = text.partition(mark(1))[2]
        if behind.startswith(last[1].rstrip()):
            opened = words.names.search(behind.partition(mark(2))[0], len(last[1].rstrip()))
            end = opened[0] if opened else ""
    return tuple(sorted(tails, key=len, reverse=True)), end, 2 in last


def _reasoning(show: Show, question: Message, tags: tuple[str, str] | None) -> str:
    """How a template has reasoning; see `CallFrame`."""
    said = {"role": "assistant", "content": mark(1)}
    for key in REASONING:
        for message in (calling(VALUE), said):
            text = _or_none(show, [question, {**message, key: mark(2)}], False)
            if text is not None and mark(2) in text:
                return key
    if tags is None:
        return ""
    inline = {**said, "content": f"{tags[0]}\n{mark(2)}\n{tags[1]}\n\n{mark(1)}"}
    text = _or_none(show, [question, inline, question], True)
    return INLINE if text is not None and mark(1) in text and mark(2) not in text else ""
