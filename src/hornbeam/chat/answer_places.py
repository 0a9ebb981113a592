"""What was sampled in a conversation, found again by its place there and not by its text alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from hornbeam.chat.byte_chat import Message
from hornbeam.chat.tool_calls import quoted_as

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

    A message quotes an answer if it says its text, reasoning and calls (arguments as they were
    sampled, else as JSON reads them) and was no text of the program's own (a worked example) in an
    earlier prompt. Of several with that text it quotes the one that came behind the
    very same messages; else one that came behind the same last message; else, counted from the end,
    the latest that no other message quotes.
    """

    def __init__(self) -> None:
        self._said: dict[str, list[Answer[T]]] = {}
        self._at: dict[tuple[int, str], Answer[T]] = {}  # the latest of a text at a place
        self._unquoted: set[int] = set()  # places behind assistant messages that quoted none
        self._chain: dict[Key, int] = {}  # a place for each message behind each place
        self._last: list[Message] = []  # the conversation looked at last, and its places
        self._places = [0]
        self._settled = 0  # how many of its first messages quote what they will always quote
        self._quoted: dict[int, T] = {}  # what those quote, of answers given at their place

    def add(self, messages: Sequence[Message], text: str | Message, kept: T) -> None:
        """Keep an answer to these messages: its text, or the message that quotes it."""
        found, places = self._find(messages), self._places
        for n in range(self._settled, len(messages)):
            if messages[n]["role"] == "assistant" and n not in found:
                self._unquoted.add(places[n + 1])
        before = _key(0, messages[-1]) if messages else None
        answer = Answer(places[-1], before, kept)
        for key in {text} if isinstance(text, str) else {*quoted_as(text)}:
            self._said.setdefault(key, []).append(answer)
            self._at[places[-1], key] = answer

    def find(self, messages: Sequence[Message]) -> dict[int, T]:
        """What is kept of the answers that these messages quote, by the message's index."""
        return dict(self._find(messages))

    def _find(self, messages: Sequence[Message]) -> dict[int, T]:
        """The same, not to be changed. What was settled the last time is not looked for again."""
        same, size = common(self._last, messages), len(messages)
        settled, places, chain = self._settled, self._places, self._chain
        if same < len(self._last):
            del places[same + 1 :]
        if same < settled:
            settled = same
            self._quoted = {n: kept for n, kept in self._quoted.items() if n < same}
        for n in range(same, size):
            places.append(chain.setdefault(_key(places[-1], messages[n]), len(chain) + 1))
        self._last = list(messages)
        while settled < size:
            message = messages[settled]
            if message["role"] == "assistant" and places[settled + 1] not in self._unquoted:
                answer = self._here(places[settled], message)
                if answer is None:
                    break
                self._quoted[settled] = answer.kept
            settled += 1
        self._settled = settled
        return self._quoted if settled == size else self._find_all(messages)

    def _here(self, place: int, message: Message) -> Answer[T] | None:
        """The answer of a place that the message quotes: as it was sampled, else as it reads."""
        exact, alike = quoted_as(message)
        return self._at.get((place, exact)) or self._at.get((place, alike))

    def _find_all(self, messages: Sequence[Message]) -> dict[int, T]:
        """The same where some quote an answer of another place, or none."""
        found: dict[int, Answer[T]] = {}
        quotes = [
            n
            for n in range(len(messages) - 1, -1, -1)
            if messages[n]["role"] == "assistant"
            and any(key in self._said for key in quoted_as(messages[n]))
            and self._places[n + 1] not in self._unquoted
        ]
        for n in quotes:
            answer = self._here(self._places[n], messages[n])
            if answer is not None:
                found[n] = answer
        self._find_elsewhere(messages, quotes, found)
        return {n: found[n].kept for n in sorted(found)}

    def _find_elsewhere(
        self, messages: Sequence[Message], quotes: Sequence[int], found: dict[int, Answer[T]]
    ) -> None:
        """Find the answers of quotes that stand at another place than they were given at."""
        taken = {id(answer) for answer in found.values()}
        for near in (True, False):
            for n in quotes:
                exact, alike = quoted_as(messages[n]) if n not in found else ("", "")
                said = self._said.get(exact) or self._said.get(alike, [])
                before = _key(0, messages[n - 1]) if n else None
                for answer in reversed(said if n not in found else []):
                    fits = not near or (n > 0 and answer.before == before)
                    if fits and id(answer) not in taken:
                        found[n] = answer
                        taken.add(id(answer))
                        break


def common(before: list[Message], now: Sequence[Message]) -> int:
    """How many first messages two conversations share; one that grows shares all it had."""
    size = len(before)
    if list(now[:size]) == before:
        return size
    return next((n for n, (a, b) in enumerate(zip(before, now)) if a != b), len(now))


def _key(at: int, message: Message) -> Key:
    text = message["content"]
    if len(message) != 2 or not isinstance(text, str):
        text = _sorted(dict(message))
    return at, message["role"], text
