"""The prompts of one path's asks: answers that they quote stand in them as they were sampled."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from hornbeam.chat import Answers, Chat, Message, has_calls


class Quotes:
    """What was sampled on a path, by policies with equal chats together."""

    def __init__(self) -> None:
        self._said: dict[int, Answers[array[int]]] = defaultdict(Answers)
        self._anew: set[int] = set()  # answers that a prompt held otherwise than sampled

    def add(
        self, chat: Chat, messages: Sequence[Message], form: str | Message, tokens: array[int]
    ) -> None:
        """Keep an answer to these messages, by its text or by the message that quotes it."""
        self._said[id(chat)].add(messages, form, tokens)

    def prompt(
        self, chat: Chat, messages: Sequence[Message], settings: Mapping[str, Any]
    ) -> tuple[array[int], tuple[str, ...]]:
        """(the ids of a prompt, why answers that it quotes are not as sampled: of each once).

        Raises `ModelError` where the chat template refuses it.
        """
        said, tools = self._said[id(chat)].find(messages), settings.get("tools", ())
        found = chat.rewritten(messages, said, tools) if has_calls(messages) else {}
        new = {n: why for n, why in found.items() if id(said[n]) not in self._anew}
        self._anew.update(id(said[n]) for n in new)
        return chat.render(messages, said, tools), tuple(new.values())
