"""The prompts of one path's asks: answers that they quote stand in them as they were sampled."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from hornbeam.chat import Answers, Chat, Message, has_calls
from hornbeam.episode.earlier_turns import EarlierTurns, turn_counts
from hornbeam.store.ledger import REWRITTEN


class Quotes:
    """What was sampled on a path, by policies with equal chats together."""

    def __init__(self) -> None:
        self._said: dict[int, Answers[array[int]]] = defaultdict(Answers)
        self._anew: set[int] = set()  # answers that a prompt held otherwise than sampled

    def begin(self) -> None:
        """Another episode goes on behind the path: what its prompts hold anew counts for it."""
        self._anew = set()

    def add(
        self, chat: Chat, messages: Sequence[Message], form: str | Message, tokens: array[int]
    ) -> None:
        """Keep an answer to these messages, by its text or by the message that quotes it."""
        self._said[id(chat)].add(messages, form, tokens)

    def prompt(
        self,
        chat: Chat,
        ask: tuple[Sequence[Message], Mapping[str, Any]],
        earlier: EarlierTurns | None = None,
    ) -> tuple[array[int], Mapping[str, int]]:
        """(the ids of the prompt of (messages, settings), what is counted of earlier answers).

        Answers that are not as sampled are counted once, tokens in each prompt. Raises
        `ModelError` where the chat template refuses it.
        """
        messages, settings = ask
        said, tools = self._said[id(chat)].find(messages), settings.get("tools", ())
        calls = has_calls(messages)
        if earlier is None and not calls:
            return chat.render(messages, said, tools), {}
        found = chat.rewritten(messages, said, tools) if calls else {}
        new = {n: why for n, why in found.items() if id(said[n]) not in self._anew}
        self._anew.update(id(said[n]) for n in new)
        prompt = chat.render(messages, said, tools)
        counts = turn_counts(chat, messages, said, found, earlier)
        counts.update(f"{REWRITTEN}{why}" for why in new.values())
        return prompt, counts
