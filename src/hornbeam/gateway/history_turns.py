"""The turns of a history that are an agent's own answers, as they were sampled.

Frameworks send earlier answers back altered: arguments written anew, white space taken off,
reasoning left out. A turn is found by the ids of its calls, which were made here, else by its text.
One that says the same (arguments equal as JSON, text up to outer white space, the same reasoning)
becomes the answer itself, so that its ids stand in the prompt. Any other is kept as it was given:
a text of the framework's, encoded as such, and never trained.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hornbeam.chat import Message
from hornbeam.chat.tool_calls import parsed
from hornbeam.episode.earlier_turns import EarlierTurns
from hornbeam.episode.reply import Reply
from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.asked import Asked

ASSISTANT = {"role": "assistant"}
SAME, SPELT = "same", "spelt otherwise"


@dataclass(frozen=True, slots=True)
class Sent:
    """An answer as it was sent, the message that it is in the conversation, its sampled tokens."""

    answer: HttpAnswer
    message: Message
    tokens: int


@dataclass(slots=True)
class Turns:
    """The answers that one session was sent; `counts` of turns that came back, by how."""

    counts: Counter[str] = field(default_factory=Counter)
    _known: set[tuple[int, str]] = field(default_factory=set)
    _by_call: dict[str, Sent] = field(default_factory=dict)
    _by_text: dict[str, list[Sent]] = field(default_factory=dict)

    def add(self, answer: HttpAnswer, reply: Reply) -> None:
        """A reply was sent as this answer."""
        message = reply.message if answer.calls else {**ASSISTANT, "content": reply.text}
        sent = Sent(answer, message, len(reply.tokens))
        for call in answer.calls:
            self._by_call[call.id] = sent
        self._by_text.setdefault(answer.text.strip(), []).append(sent)

    def restore(self, asked: Asked, client: str = "") -> tuple[list[Message], EarlierTurns]:
        """The messages, with answers that came back unchanged as they were sampled, and the rest.

        Why an answer came back as another is told once, its tokens each time.
        """
        out: list[Message] = []
        changed, altered = list[str](), dict[int, tuple[str, int]]()
        own: dict[str, str] = {}  # id that was sent -> id in the conversation
        for n, message in enumerate(asked.messages):
            if message["role"] == "tool":
                ident = str(message.get("tool_call_id", ""))
                out.append({**message, "tool_call_id": own.get(ident, ident)})
                continue
            if message["role"] != "assistant":
                out.append(message)
                continue
            sent = self._find(message)
            how = "not ours" if sent is None else _how(sent.answer, message)
            self.counts[how] += 1
            if sent is None or how not in (SAME, SPELT):
                if sent is not None:
                    altered[n] = how.replace(" ", "_"), sent.tokens
                    if (id(sent), how) not in self._known:
                        self._known.add((id(sent), how))
                        changed.append(altered[n][0])
                out.append(message)
                continue
            out.append(sent.message)
            for call, made in zip(sent.answer.calls, sent.message.get("tool_calls") or ()):
                own[call.id] = made["id"]
        return out, EarlierTurns(tuple(changed), altered, client, asked.ignored)

    def _find(self, message: Message) -> Sent | None:
        calls = message.get("tool_calls") or ()
        for call in calls:
            if (sent := self._by_call.get(call["id"])) is not None:
                return sent
        if calls:
            return None
        found = self._by_text.get(message["content"].strip(), [])
        return next((sent for sent in reversed(found) if not sent.answer.calls), None)


def _how(answer: HttpAnswer, message: Message) -> str:
    """How a turn came back: the same, spelt otherwise, or what of it is another."""
    calls = message.get("tool_calls") or ()
    if [call.id for call in answer.calls] != [call["id"] for call in calls]:
        return "other calls"
    spelt = answer.text != message["content"]
    if answer.text.strip() != message["content"].strip():
        return "other text" if message["content"].strip() else "text dropped"
    if answer.reasoning.strip() != str(message.get("reasoning_content", "")).strip():
        return "other reasoning" if message.get("reasoning_content") else "reasoning dropped"
    for call, given in zip(answer.calls, calls):
        written = given["function"]["arguments"]
        if given["function"]["name"] != call.name or not _equal(call.arguments, written):
            return "other arguments"
        spelt = spelt or written != call.arguments
    return SPELT if spelt else SAME


def _equal(sent: Any, given: Any) -> bool:
    """Whether arguments are equal as JSON."""
    return _sorted(parsed(sent)) == _sorted(parsed(given))


_sorted = json.JSONEncoder(sort_keys=True).encode
