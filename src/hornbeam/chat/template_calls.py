"""Conversations with tool calls or reasoning, through a chat template.

An answer that was sampled is given to the template as a call of the same tools with a mark for its
last argument (as a mark alone, where it called none). What stands before is the prompt it was
sampled in; what stands behind begins where the template ends the answer. So what follows is as the
template writes it behind calls, and the ids are those that were sampled.

Where the template takes reasoning out of an earlier turn, it has its way: the message is written
as the template does, encoded anew. The same where an answer stands in another place than it was
sampled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hornbeam.chat.byte_chat import Message, Said
from hornbeam.chat.call_frame import ID, INLINE, REASONING
from hornbeam.chat.call_scan import schemas_of
from hornbeam.chat.json_calls import json_arguments
from hornbeam.chat.template_frame import alike, mark
from hornbeam.chat.tool_calls import written_out
from hornbeam.errors import ModelError

if TYPE_CHECKING:
    from hornbeam.chat.template import TemplateChat

THOUGHT, PLACE = "reasoning", "place"  # why a message is written anew


class Moved(Exception):
    """An answer does not stand where it was sampled."""

    def __init__(self, n: int) -> None:
        self.n = n


@dataclass(slots=True)
class Prepared:
    """A conversation cut where sampled answers stand: one text more than there are answers."""

    pieces: list[str]
    kept: list[int]  # the answers, by their messages' index
    names: dict[str, str]  # marks of control tokens that are text
    rewritten: dict[int, str] = field(default_factory=dict)  # the other ones, and why


def prepare(chat: TemplateChat, messages: Sequence[Message], said: Said, nonce: str) -> Prepared:
    """The conversation as the template writes it. `ModelError` where it refuses it."""
    names = dict[str, str]()
    given = [chat.guarded(_given(chat, message), names, nonce) for message in messages]
    wanted = dict.fromkeys(_dropped(chat, messages, given, said, nonce), THOUGHT)
    texts = {n: why for n, why in wanted.items() if not given[n].get("tool_calls")}
    tried = [wanted, texts, {}]
    for first in [each for at, each in enumerate(tried) if each not in tried[:at]]:
        rewritten = dict(first)
        while True:
            kept = [n for n in sorted(said) if n not in rewritten]
            now = [
                {k: v for k, v in m.items() if k not in REASONING} if n in rewritten else m
                for n, m in enumerate(given)
            ]
            try:
                return Prepared(_pieces(chat, now, kept, nonce), kept, names, rewritten)
            except Moved as moved:
                rewritten[moved.n] = PLACE
            except ModelError:
                if not first:
                    raise
                break  # the template refuses to write it anew: it stays as it was sampled
    raise AssertionError("a conversation without rewritten messages is given or refused")


def _given(chat: TemplateChat, message: Message) -> dict[str, Any]:
    """A message as the template wants it: arguments as objects, reasoning under its key."""
    out = {**message, "content": message.get("content") or ""}
    calls = out.get("tool_calls")
    if calls:
        out["tool_calls"] = [_call(chat, call) for call in calls]
    reasoning = out.get("reasoning_content")
    if reasoning and chat.calls.reasoning in REASONING:
        out[chat.calls.reasoning] = reasoning
    return written_out(out) if calls and chat.calls.as_text else out


def _call(chat: TemplateChat, call: Mapping[str, Any]) -> dict[str, Any]:
    held = dict(call.get("function", call))
    raw = held.get("arguments")
    if isinstance(raw, str):
        read = [json_arguments, *([chat.calls.how.arguments] if chat.calls.how else [])]
        schema = schemas_of(chat.tools).get(held.get("name", ""), {})
        for arguments in read:
            try:
                held["arguments"] = arguments(raw, schema)
                break
            except ValueError:
                continue
    return {**call, "function": held}


def _dropped(
    chat: TemplateChat,
    messages: Sequence[Message],
    given: Sequence[Message],
    said: Said,
    nonce: str,
) -> list[int]:
    """The answers whose reasoning the template takes out where they stand."""
    key = chat.calls.reasoning
    thoughts = [
        n
        for n in said
        if messages[n].get("reasoning_content")
        and (chat.calls.written or not messages[n].get("tool_calls"))
    ]
    if not thoughts or not key:
        return []
    marked = _stood_in(chat, given, sorted(said), nonce)
    signs = {n: mark(len(messages) + n, nonce) for n in thoughts}
    for n, sign in signs.items():
        if key != INLINE:
            marked[n] = {**marked[n], key: sign}
        elif chat.calls.tags and not marked[n].get("tool_calls"):
            opens, closes = chat.calls.tags
            marked[n] = {**marked[n], "content": f"{opens}\n{sign}\n{closes}\n\n{mark(n, nonce)}"}
    try:
        text = chat.cached_text(marked, chat.form(marked).parts)
    except ModelError:
        return []
    return [n for n, sign in signs.items() if sign not in text]


def _stood_in(
    chat: TemplateChat, given: Sequence[Message], kept: Sequence[int], nonce: str
) -> list[Message]:
    """The messages with marks for answers that were sampled."""
    out: list[Message] = list(given)
    for n in kept:
        calls = given[n].get("tool_calls") or []
        if not calls or not chat.calls.tails:
            out[n] = {"role": given[n]["role"], "content": mark(n, nonce)}
            continue
        calls = calls if chat.calls.many else calls[-1:]
        marked = []
        for call in calls:
            last = call is calls[-1]
            named = {
                "name": call["function"].get("name", ""),
                "arguments": {"key": mark(n, nonce) if last else "x"},
            }
            marked.append({**call, "function": named})
        message = {"role": given[n]["role"], "content": "", "tool_calls": marked}
        out[n] = written_out(message) if chat.calls.as_text else message
    return out


def _pieces(
    chat: TemplateChat, given: Sequence[Message], kept: Sequence[int], nonce: str
) -> list[str]:
    """The texts between answers. `Moved` where one does not stand where it was sampled."""
    marked = _stood_in(chat, given, kept, nonce)
    parts = chat.form(marked).parts
    left, pieces = chat.cached_text(marked, parts), list[str]()
    for at, n in enumerate(kept):
        start = kept[at - 1] if at else None
        if left.count(mark(n, nonce)) != 1:
            raise Moved(n)
        before, left = _cut(chat, left, marked[n], n, nonce)
        try:
            asked = chat.cached_text(marked[:n], parts)
            if start is not None:
                asked = _cut(chat, asked, marked[start], start, nonce)[1]
        except ModelError as error:
            raise Moved(n) from error
        held = marked[0 if start is None else start + 1 : n]
        if _holds(before, asked, held):
            pieces.append(asked)
        else:
            pieces.append(_moved_on(chat, before, marked[: n + 1], parts, nonce))
    return [*pieces, left]


def _cut(chat: TemplateChat, text: str, message: Message, n: int, nonce: str) -> tuple[str, str]:
    """The text before an answer's mark, and what stands behind the answer."""
    before, found, behind = text.partition(mark(n, nonce))
    if not found:
        raise Moved(n)
    calls = message.get("tool_calls")
    if not calls:
        return before, behind
    for tail in chat.calls.tails:
        tail = tail.replace(ID, str(calls[-1].get("id", "")))
        if behind.startswith(tail):
            return before, behind[len(tail) :]
    raise Moved(n)


def _holds(before: str, asked: str, messages: Sequence[Message]) -> bool:
    """Whether two texts before an answer begin with the same messages."""
    shared, place = alike(before, asked), 0
    for message in messages:
        text = str(message["content"]).strip()
        found = asked.find(text, place)
        place = found + len(text) if found >= 0 else place
    return bool(asked) and place <= shared


def _moved_on(
    chat: TemplateChat, before: str, upto: Sequence[Message], parts: frozenset[str], nonce: str
) -> str:
    """What a template that has moved a text (the tools, say) writes before its last answer.

    The answer's own beginning is cut off: what it wrote there behind the prompt, at that time.
    """
    n = len(upto) - 1
    try:
        asked = chat.cached_text(upto[:-1], parts)
        written = _cut(chat, chat.template_text(upto, parts, False), upto[-1], n, nonce)[0]
    except ModelError as error:
        raise Moved(n) from error
    head = alike(written, asked)
    begun = written[head:]
    if not before.endswith(begun):
        raise Moved(n)
    return before.removesuffix(begun) + asked[head:]
