"""What was sampled in a conversation, found again by its place there and not by its text alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from hornbeam.chat.base import Message

T = TypeVar("T")
_sorted = json.JSONEncoder(sort_keys=True).encode


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """One answer: where it stood (all messages before it, the last of them) and what is kept."""

    place: bytes
    before: bytes
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
        self._told: set[bytes] = set()  # places behind assistant messages that quoted none

    def add(self, messages: Sequence[Message], text: str, kept: T) -> None:
        """Keep an answer to these messages."""
        places = _places(messages)
        found = self._find(messages, places)
        for n, message in enumerate(messages):
            if message["role"] == "assistant" and n not in found:
                self._told.add(places[n + 1])
        before = _digest(messages[-1]) if messages else b""
        self._said.setdefault(text, []).append(Answer(places[-1], before, kept))

    def find(self, messages: Sequence[Message]) -> dict[int, T]:
        """What is kept of the answers that these messages quote, by the message's index."""
        said = any(m["role"] == "assistant" and m["content"] in self._said for m in messages)
        return self._find(messages, _places(messages)) if said else {}

    def _find(self, messages: Sequence[Message], places: Sequence[bytes]) -> dict[int, T]:
        quotes = [
            n
            for n, message in reversed(list(enumerate(messages)))
            if message["role"] == "assistant"
            and message["content"] in self._said
            and places[n + 1] not in self._told
        ]
        found: dict[int, Answer[T]] = {}
        taken: set[int] = set()
        for fits in (
            lambda answer, n: answer.place == places[n],
            lambda answer, n: n > 0 and answer.before == _digest(messages[n - 1]),
            lambda answer, n: True,
        ):
            for n in quotes:
                said = self._said[messages[n]["content"]] if n not in found else []
                for answer in reversed(said):
                    if id(answer) not in taken and fits(answer, n):
                        found[n] = answer
                        taken.add(id(answer))
                        break
        return {n: found[n].kept for n in sorted(found)}


def _digest(message: Message) -> bytes:
    plain = len(message) == 2
    text = f"{message['role']}\0{message['content']}" if plain else _sorted(dict(message))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _places(messages: Sequence[Message]) -> list[bytes]:
    """A digest of the messages before each place, the one behind the last included."""
    out = [b""]
    for message in messages:
        out.append(hashlib.blake2b(out[-1] + _digest(message), digest_size=16).digest())
    return out
