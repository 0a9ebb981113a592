"""What was sampled in a conversation, found again by its place there and not by its text alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from hornbeam.chat.base import Message

T = TypeVar("T")
Key = tuple[int, str, str]  # the place before a message (or 0), its role, its text
_sorted = json.JSONEncoder(sort_keys=True).encode


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """One answer: where it stood (all messages before it, the last of them) and what is kept."""

    place: int
    before: Key | None
    kept: T


class Answers(Generic[T]):
    """The answers of a conversation, each with what is kept of it (its ids, say).

    A message quotes an answer if it says its text and was no text of the program's own (a worked
    example) in an earlier prompt. Of several with that text it quotes the one that came behind the
    very same messages; else one that came behind the same last message; else, counted from the end,
    the latest that no other message quotes.
    """

    def __init__(self) -> None:
        self._said: dict[str, list[Answer[T]]] = {}
        self._at: dict[tuple[int, str], Answer[T]] = {}  # the latest of a text at a place
        self._told: set[int] = set()  # places behind assistant messages that quoted none
        self._chain: dict[Key, int] = {}  # a place for each message behind each place
        self._last: list[Message] = []  # the conversation looked at last, and its places
        self._found = [0]
        self._asked: tuple[int, dict[int, T]] = -1, {}  # what was found since the last answer

    def add(self, messages: Sequence[Message], text: str, kept: T) -> None:
        """Keep an answer to these messages."""
        places = self._places(messages)
        asked, found = self._asked
        if asked != places[-1]:
            found = self._find(messages, places)
        for n, message in enumerate(messages):
            if message["role"] == "assistant" and n not in found:
                self._told.add(places[n + 1])
        before = _key(0, messages[-1]) if messages else None
        answer = Answer(places[-1], before, kept)
        self._said.setdefault(text, []).append(answer)
        self._at[places[-1], text] = answer
        self._asked = -1, {}

    def find(self, messages: Sequence[Message]) -> dict[int, T]:
        """What is kept of the answers that these messages quote, by the message's index."""
        said = any(m["role"] == "assistant" and m["content"] in self._said for m in messages)
        places = self._places(messages)
        self._asked = places[-1], self._find(messages, places) if said else {}
        return self._asked[1]

    def _find(self, messages: Sequence[Message], places: Sequence[int]) -> dict[int, T]:
        quotes = [
            n
            for n in range(len(messages) - 1, -1, -1)
            if messages[n]["role"] == "assistant"
            and messages[n]["content"] in self._said
            and places[n + 1] not in self._told
        ]
        found: dict[int, Answer[T]] = {}
        for n in quotes:
            answer = self._at.get((places[n], messages[n]["content"]))
            if answer is not None:
                found[n] = answer
        if len(found) < len(quotes):
            self._find_elsewhere(messages, quotes, found)
        return {n: found[n].kept for n in sorted(found)}

    def _find_elsewhere(
        self, messages: Sequence[Message], quotes: Sequence[int], found: dict[int, Answer[T]]
    ) -> None:
        """Find the answers of quotes that stand at another place than they were given at."""
        taken = {id(answer) for answer in found.values()}
        for near in (True, False):
            for n in quotes:
                said = self._said[messages[n]["content"]] if n not in found else []
                before = _key(0, messages[n - 1]) if n else None
                for answer in reversed(said):
                    fits = not near or (n > 0 and answer.before == before)
                    if fits and id(answer) not in taken:
                        found[n] = answer
                        taken.add(id(answer))
                        break

    def _places(self, messages: Sequence[Message]) -> list[int]:
        """A number for what stands before each place, the one behind the last included.

        A conversation grows: what it shares with the one before is not looked up again.
        """
        same = len(self._last)
        if list(messages[:same]) != self._last:
            pairs = zip(messages, self._last)
            same = next((n for n, (now, then) in enumerate(pairs) if now != then), len(messages))
        out, chain = self._found[: same + 1], self._chain
        at = out[-1]
        for n in range(same, len(messages)):
            at = chain.setdefault(_key(at, messages[n]), len(chain) + 1)
            out.append(at)
        self._last, self._found = list(messages), out
        return out


def _key(at: int, message: Message) -> Key:
    text = message["content"]
    if len(message) != 2 or not isinstance(text, str):
        text = _sorted(dict(message))
    return at, message["role"], text
