"""The turns of a history that are an agent's own answers, as they were sampled.

Frameworks send earlier answers back altered: arguments written anew, white space taken off,
reasoning left out. A turn is found by the ids of its calls, which were made here, be they in its
text, else by its text, of equal ones the one that was said there; else it is what was said there,
behind the same messages. One that says the same (arguments equal as JSON, text up to outer white
space, the same reasoning, be it in a place of its own or in the text) becomes the answer itself, so
that its ids stand in the prompt. Any other is kept as it was given: a text of the framework's,
encoded as such, and never trained.

Turns are kept whole or not at all. What an altered turn begins with is shared by its ids, as far as
they are those that were sampled (`tree.Node.keep`); ids of half an answer are nothing more.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hornbeam.chat import Message
from hornbeam.chat.tool_calls import parsed
from hornbeam.episode.earlier_turns import EarlierTurns
from hornbeam.episode.record import Digests
from hornbeam.episode.reply import Reply
from hornbeam.gateway.answered import CALL_ID, HttpAnswer
from hornbeam.gateway.asked import THOUGHT, THOUGHT_ENDS, Asked

ASSISTANT = {"role": "assistant"}
SAME, SPELT = "same", "spelt otherwise"


@dataclass(frozen=True, slots=True)
class Sent:
    """An answer as it was sent, the message that it is in the conversation, its sampled tokens.

    `number`: how many answers had been sent before it.
    """

    answer: HttpAnswer
    message: Message
    tokens: int
    number: int


@dataclass(slots=True)
class Turns:
    """The answers that one session was sent; `counts` of turns that came back, by how."""

    counts: Counter[str] = field(default_factory=Counter)
    _known: set[tuple[int, str]] = field(default_factory=set)
    _by_call: dict[str, Sent] = field(default_factory=dict)
    _by_text: dict[str, list[Sent]] = field(default_factory=dict)
    _by_place: dict[bytes, list[Sent]] = field(default_factory=dict)  # by what stands before it
    _places: Digests = field(default_factory=Digests)  # what stands before a turn
    _sent: int = 0

    def __len__(self) -> int:
        return self._sent

    def add(self, asked: Asked, answer: HttpAnswer, reply: Reply) -> None:
        """A reply was sent as this answer to what was asked."""
        message = reply.message if answer.calls else {**ASSISTANT, "content": reply.text}
        sent = Sent(answer, message, len(reply.tokens), self._sent)
        self._sent += 1
        for call in answer.calls:
            self._by_call[call.id] = sent
        self._by_text.setdefault(_heard(answer.text)[1], []).append(sent)
        self._by_place.setdefault(self._places.places(asked.messages)[-1], []).append(sent)

    def restore(
        self, asked: Asked, client: str = "", told: int | None = None
    ) -> tuple[list[Message], EarlierTurns]:
        """The messages, with answers that came back unchanged as they were sampled, and the rest.

        Why an answer came back as another is told once, its tokens each time. With `told`, as it
        was when so many answers had been sent.
        """
        told = self._sent if told is None else told
        out: list[Message] = []
        changed, altered = list[str](), dict[int, tuple[str, int]]()
        own: dict[str, str] = {}  # id that was sent -> id in the conversation
        places = self._places.places(asked.messages)
        for n, message in enumerate(asked.messages):
            if message["role"] == "assistant":
                here = [s for s in self._by_place.get(places[n], []) if s.number < told]
            if message["role"] == "tool":
                ident = str(message.get("tool_call_id", ""))
                out.append({**message, "tool_call_id": own.get(ident, ident)})
                continue
            if message["role"] != "assistant":
                out.append(message)
                continue
            sent = self._find(message, told, here)
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
            given = message.get("tool_calls") or ()
            for call, made in zip(given, sent.message.get("tool_calls") or ()):
                own[call["id"]] = made["id"]
        return out, EarlierTurns(tuple(changed), altered, client, asked.ignored)

    def _find(self, message: Message, told: int, here: Sequence[Sent]) -> Sent | None:
        """The answer that a turn is, of those `told`; `here` are what was said in its place."""
        calls = message.get("tool_calls") or ()
        for call in calls:
            sent = self._by_call.get(call["id"])
            if sent is not None and sent.number < told:
                return sent
        if calls:
            return here[-1] if here else None
        text = _heard(message["content"])[1]
        found = [sent for sent in self._by_text.get(text, []) if sent.number < told]
        found = [sent for sent in found if sent in here] or found
        if sent := next((sent for sent in reversed(found) if not sent.answer.calls), None):
            return sent
        named = (self._by_call.get(ident) for ident in CALL_ID.findall(text))
        if sent := next((s for s in named if s is not None and s.number < told), None):
            return sent
        begins = [
            t for t in self._by_text if t and text.startswith(t) and text[len(t) :][:1].isspace()
        ]
        for longest in sorted(begins, key=len, reverse=True):
            if known := [sent for sent in self._by_text[longest] if sent.number < told]:
                return known[-1]
        return here[-1] if here else None


def _how(answer: HttpAnswer, message: Message) -> str:
    """How a turn came back: the same, spelt otherwise, or what of it is another."""
    calls = message.get("tool_calls") or ()
    if answer.calls and not calls and CALL_ID.search(message["content"]):
        return "calls as text"
    given = [call["id"] for call in calls]
    renamed = len(given) == len(answer.calls) and not any(map(CALL_ID.fullmatch, given))
    if not renamed and [call.id for call in answer.calls] != given:
        return "other calls"
    spelt = answer.text != message["content"]
    thought, said = _heard(answer.text, answer.reasoning)
    given_thought, text = _heard(message["content"], str(message.get("reasoning_content") or ""))
    if text != said:
        added = said and text.startswith(said)
        return "text added" if added else "other text" if text else "text dropped"
    if thought != given_thought:
        return "other reasoning" if given_thought else "reasoning dropped"
    for call, given in zip(answer.calls, calls):
        written = given["function"]["arguments"]
        same = written == call.arguments
        if given["function"]["name"] != call.name or not (same or _equal(call.arguments, written)):
            return "other arguments"
        spelt = spelt or not same
    return SPELT if spelt else SAME


def _heard(text: str, reasoning: str = "") -> tuple[str, str]:
    """(reasoning, text) of what was said, wherever the reasoning stands; no outer white space."""
    thought, closed, rest = text.partition(THOUGHT_ENDS)
    if closed and (not reasoning or not thought.strip()):
        thought = thought.lstrip().removeprefix(THOUGHT)
        return (reasoning or thought).strip(), rest.strip()
    return reasoning.strip(), text.strip()


def _equal(sent: Any, given: Any) -> bool:
    """Whether arguments are equal as JSON."""
    return _sorted(parsed(sent)) == _sorted(parsed(given))


_sorted = json.JSONEncoder(sort_keys=True).encode
