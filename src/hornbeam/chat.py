"""Messages <-> token ids: the only place that knows a chat template.

Token in, token out: an assistant message whose text was sampled in this episode goes into the next
prompt as the very ids that were sampled, never as its text encoded again. The template is rendered
with a mark where such a text stands, the pieces between marks are encoded, the ids put in between.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from hornbeam.errors import ModelError
from hornbeam.tree import ids

Message = Mapping[str, Any]
Said = Mapping[str, Sequence[int]]  # text that was sampled -> its ids

PIECES = 4096  # texts whose ids are remembered: turns and branches render the same ones again


def system(text: str) -> Message:
    """A system message."""
    return {"role": "system", "content": str(text)}


def user(text: str) -> Message:
    """A user message."""
    return {"role": "user", "content": str(text)}


def assistant(text: str) -> Message:
    """An assistant message."""
    return {"role": "assistant", "content": str(text)}


class Chat(Protocol):
    """What growth and engines ask of a tokenizer."""

    ends: frozenset[int]  # ids that end an answer

    def render(self, messages: Sequence[Message], said: Said = {}) -> array[int]:
        """Ids of the conversation up to where the assistant speaks."""
        ...

    def encode(self, text: str) -> array[int]:
        """Ids of plain text, no template, no special tokens added."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        ...

    def spell(self, tokens: Sequence[int]) -> str:
        """Text of ids, special tokens written out: a prompt for who takes no ids."""
        ...

    def fingerprint(self) -> str:
        """A digest that differs when vocabulary or template differ."""
        ...


class TemplateChat:
    """The chat of a Hugging Face tokenizer and its own chat template."""

    def __init__(self, tokenizer: Any, name: str = "") -> None:
        self.tokenizer = tokenizer
        self._encoded = lru_cache(PIECES)(self._encode)
        self.name = name or getattr(tokenizer, "name_or_path", "") or "the model"
        if not getattr(tokenizer, "chat_template", None):
            raise ModelError(
                f"{self.name} has no chat template: use an instruction-tuned model, or save one as"
                " chat_template.jinja beside its tokenizer"
            )
        self.ends = frozenset(self._end_ids())

    def _end_ids(self) -> set[int]:
        ends = {self.tokenizer.eos_token_id} - {None}
        probe = self._text([user("a"), assistant("\ue000")], answer=False)
        tail = self.encode(probe.split("\ue000")[-1].lstrip())
        special = set(self.tokenizer.all_special_ids)
        if tail and tail[0] in special:  # the token that the template puts behind an answer
            ends.add(tail[0])
        return ends

    def _text(self, messages: Sequence[Message], answer: bool = True) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                [dict(m) for m in messages], tokenize=False, add_generation_prompt=answer
            )
        except Exception as error:  # jinja raises what the template's author chose
            raise ModelError(f"{self.name}: the chat template refuses: {error}") from error
        return str(text)

    def render(self, messages: Sequence[Message], said: Said = {}) -> array[int]:
        """Ids of the conversation up to where the assistant speaks; see the head of this file."""
        known: list[Sequence[int]] = []
        marked: list[Message] = []
        for message in messages:
            tokens = said.get(message["content"]) if message["role"] == "assistant" else None
            if tokens is not None:
                message = {**message, "content": f"\ue000{len(known)}\ue001"}
                known.append(tokens)
            marked.append(message)
        text = self._text(marked)
        out = ids()
        for number, tokens in enumerate(known):
            mark = f"\ue000{number}\ue001"
            if text.count(mark) != 1:
                raise ModelError(f"{self.name}: the chat template rewrites what the assistant said")
            before, text = text.split(mark)
            self._add(out, before)
            out.extend(tokens)
        self._add(out, text)
        return out

    def _add(self, out: array[int], text: str) -> None:
        piece = self.encode(text)
        if out and piece and piece[0] == out[-1] and piece[0] in self.ends:
            piece = piece[1:]  # the end of an answer that was sampled already
        out.extend(piece)

    def encode(self, text: str) -> array[int]:
        """Ids of plain text, no template, no special tokens added."""
        return ids(self._encoded(text))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def spell(self, tokens: Sequence[int]) -> str:
        """Text of ids, special tokens written out: a prompt for who takes no ids."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False))

    def fingerprint(self) -> str:
        """A digest that differs when vocabulary or template differ."""
        vocabulary = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        text = repr((vocabulary, self.tokenizer.chat_template))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class ByteChat:
    """UTF-8 bytes as ids, for scripted engines: `role: content` lines, 0 ends an answer."""

    ends = frozenset({0})

    def render(self, messages: Sequence[Message], said: Said = {}) -> array[int]:
        """Ids of the conversation up to where the assistant speaks."""
        out = ids()
        for message in messages:
            content = message["content"]
            tokens = said.get(content) if message["role"] == "assistant" else None
            out.extend(f"{message['role']}: ".encode())
            out.extend(content.encode() if tokens is None else tokens)
            if tokens is None or not tokens or tokens[-1] != 0:
                out.append(0)
        out.extend(b"assistant: ")
        return out

    def encode(self, text: str) -> array[int]:
        """The text's bytes."""
        return ids(list(text.encode()))  # an array made of bytes would read them as machine words

    def decode(self, tokens: Sequence[int]) -> str:
        """The bytes' text, zeros left out."""
        return bytes(list(tokens)).replace(b"\0", b"").decode("utf-8", errors="replace")

    def spell(self, tokens: Sequence[int]) -> str:
        """The bytes' text, zeros and all."""
        return bytes(list(tokens)).decode("utf-8", errors="replace")

    def fingerprint(self) -> str:
        """Always the same."""
        return "bytes"


def end_of_answer(chat: Chat) -> int:
    """The id that the chat puts behind an answer."""
    asked = chat.render([user("a")])
    told = chat.render([user("a"), assistant("b")])[len(asked) :]
    return next((token for token in told if token in chat.ends), min(chat.ends))
