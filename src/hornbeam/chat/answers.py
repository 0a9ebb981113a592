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

    A message quotes an answer if it says its text. Of several with that text it quotes the one that
    came behind the very same messages; else one that came behind the same last message; else,
    counted from the end, the latest that no later message quotes.
    """

    def __init__(self) -> None:
        self._said: dict[str, list[Answer[T]]] = {}

    def add(self, messages: Sequence[Message], text: str, kept: T) -> None:
        """Keep an answer to these messages."""
        places = _places(messages)
        before = _digest(messages[-1]) if messages else b""
        self._said.setdefault(text, []).append(Answer(places[-1], before, kept))

    def find(self, messages: Sequence[Message]) -> dict[int, T]:
        """What is kept of the answers that these messages quote, by the message's index."""
        quotes = [
            n
            for n, message in enumerate(messages)
            if message["role"] == "assistant" and message["content"] in self._said
        ]
        if not quotes:
            return {}
        places = _places(messages)
        found: dict[int, Answer[T]] = {}
        for n in reversed(quotes):
            here = [a for a in self._said[messages[n]["content"]] if a.place == places[n]]
            if here:
                found[n] = here[-1]
        for alike in (True, False):
            for n in reversed(quotes):
                if n not in found:
                    answer = self._nearest(messages, n, found, alike)
                    if answer is not None:
                        found[n] = answer
        return {n: found[n].kept for n in quotes}

    def _nearest(
        self, messages: Sequence[Message], n: int, found: dict[int, Answer[T]], alike: bool
    ) -> Answer[T] | None:
        """The latest answer that message n may quote; `alike`: behind the same last message."""
        said = self._said[messages[n]["content"]]
        taken = {id(answer) for answer in found.values()}
        left = [answer for answer in said if id(answer) not in taken]
        if alike:
            before = _digest(messages[n - 1]) if n else b""
            left = [answer for answer in left if answer.before == before]
            return left[-1] if left else None
        return (left or said)[-1]


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
