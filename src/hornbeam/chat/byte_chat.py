"""What growth and engines ask of a tokenizer, and the chat of bytes that scripted engines have."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from hornbeam.arguments import wrong
from hornbeam.chat.call_formats import read, written
from hornbeam.chat.tool_calls import Spoken
from hornbeam.chat.tool_schemas import schema_problem
from hornbeam.tree.nodes import ids

Message = Mapping[str, Any]
Said = Mapping[int, Sequence[int]]  # index of an assistant message -> the ids that were sampled


def system(text: str) -> Message:
    """A system message."""
    return {"role": "system", "content": _content(text)}


def user(text: str) -> Message:
    """A user message."""
    return {"role": "user", "content": _content(text)}


def assistant(text: Any) -> Message:
    """An assistant message; of a reply that calls tools, the one with its calls."""
    if type(text) is not str and isinstance(message := getattr(text, "message", None), Mapping):
        return message
    return {"role": "assistant", "content": _content(text)}


def _content(text: Any) -> str:
    """The text of a message; numbers and replies are written out, what would be noise is not."""
    if type(text) is str:
        return text
    parts = isinstance(text, list) and text and all(isinstance(p, Mapping) for p in text)
    if text is None or isinstance(text, bytes) or parts:
        raise wrong("a message", "a text", text)
    return str(text)


class Chat(Protocol):
    """What growth and engines ask of a tokenizer."""

    ends: frozenset[int]  # ids that end an answer
    closing: tuple[int, ...]  # what stands behind an answer that was not sampled, its end last

    def render(
        self, messages: Sequence[Message], said: Said = {}, tools: Sequence[Any] = ()
    ) -> array[int]:
        """Ids of the conversation up to where the assistant speaks.

        `tools` are JSON schemas as OpenAI's API has them. Raises `ModelError` where a template
        refuses them or the messages.
        """
        ...

    def read(self, tokens: Sequence[int], tools: Sequence[Any] = ()) -> Spoken:
        """What an answer's ids say, which was asked with these tools: text, reasoning, calls.

        What cannot be read is a call with a `problem`; nothing is raised.
        """
        ...

    def rewritten(
        self, messages: Sequence[Message], said: Said = {}, tools: Sequence[Any] = ()
    ) -> Mapping[int, str]:
        """Which messages of `said` a prompt of `render` holds as its template writes them and not
        as they were sampled (by their index), and why: "reasoning" where it takes it out.
        """
        ...

    def tool_problem(self, tools: Sequence[Any], messages: Sequence[Message] = ()) -> str:
        """Why these tools cannot be used with this chat, and what to do, in a line; "" if none.

        `messages` may tell of tools that a template leaves out.
        """
        ...

    def written(self, messages: Sequence[Message], said: Message, tools: Sequence[Any]) -> str:
        """A message with calls that was said behind these, as the text that `read` reads."""
        ...

    def encode(self, text: str) -> array[int]:
        """Ids of what an assistant says, tags as their tokens; no template around it."""
        ...

    def quote(self, text: str) -> array[int]:
        """The same of what others said: tags count, but nothing in it ends or begins a turn."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """Text of an answer's ids: all that was said but the token that ends it."""
        ...

    def spell(self, tokens: Sequence[int]) -> str:
        """Text of ids, special tokens written out: a prompt for who takes no ids."""
        ...

    def fingerprint(self) -> str:
        """A digest that differs when vocabulary or template differ."""
        ...

    def about(self) -> str:
        """What the chat template does, in one line; "" where there is none."""
        ...


def check_chat(value: Any, where: str) -> Chat:
    """The value, if it is a chat."""
    parts = "render", "encode", "decode", "text", "ends"
    if isinstance(value, type) or not all(hasattr(value, name) for name in parts):
        error = wrong(where, "a chat", value)
        raise error.hint("TemplateChat(tokenizer, name) makes one of a tokenizer")
    chat: Chat = value
    return chat


@lru_cache(maxsize=4096)  # a conversation that grows says the same messages again
def _bytes(text: str) -> array[int]:
    """A text's bytes as ids, not to be changed."""
    return ids(list(text.encode()))  # an array made of bytes would read them as machine words


@lru_cache(maxsize=4096)
def _line(role: str, text: str) -> array[int]:
    """The ids of a whole message, not to be changed."""
    return _bytes(f"{role}: {text}\0")


class ByteChat:
    """UTF-8 bytes as ids, for scripted engines: `role: content` lines, 0 ends an answer.

    Tools stand in a line of their own in front, calls between tags behind what is said with them.
    """

    ends = frozenset({0})
    closing: tuple[int, ...] = (0,)

    def render(
        self, messages: Sequence[Message], said: Said = {}, tools: Sequence[Any] = ()
    ) -> array[int]:
        """Ids of the conversation up to where the assistant speaks."""
        out = ids()
        if tools:
            out.extend(_line("tools", json.dumps(list(tools), ensure_ascii=False)))
        for number, message in enumerate(messages):
            tokens = said.get(number)
            if tokens is None:
                text = message["content"] if len(message) == 2 else written(message)
                out.extend(_line(message["role"], text))
                continue
            out.extend(_bytes(f"{message['role']}: "))
            out.extend(tokens)
            if not tokens or tokens[-1] != 0:
                out.append(0)
        out.extend(_bytes("assistant: "))
        return out

    def read(self, tokens: Sequence[int], tools: Sequence[Any] = ()) -> Spoken:
        """Text, a thought between tags in front of it, calls between tags."""
        return read(self.decode(tokens), tokens, tools)

    def rewritten(
        self, messages: Sequence[Message], said: Said = {}, tools: Sequence[Any] = ()
    ) -> Mapping[int, str]:
        """None: what was sampled stays."""
        return {}

    def written(self, messages: Sequence[Message], said: Message, tools: Sequence[Any]) -> str:
        """Calls between tags behind the text."""
        return written(said)

    def tool_problem(self, tools: Sequence[Any], messages: Sequence[Message] = ()) -> str:
        """What is wrong with the tools themselves."""
        return schema_problem(tools)

    def encode(self, text: str) -> array[int]:
        """The text's bytes."""
        return _bytes(text)[:]

    def quote(self, text: str) -> array[int]:
        """The text's bytes, zeros left out."""
        return self.encode(text.replace("\0", ""))

    def decode(self, tokens: Sequence[int]) -> str:
        """The bytes' text, zeros left out."""
        said = tokens.tolist() if isinstance(tokens, array) else list(tokens)
        return bytes(said).replace(b"\0", b"").decode("utf-8", errors="replace")

    def text(self, tokens: Sequence[int]) -> str:
        """The bytes' text, zeros left out."""
        return self.decode(tokens)

    def spell(self, tokens: Sequence[int]) -> str:
        """The bytes' text, zeros and all."""
        return bytes(list(tokens)).decode("utf-8", errors="replace")

    def fingerprint(self) -> str:
        """Always the same."""
        return "bytes"

    def about(self) -> str:
        """Nothing: there is no template."""
        return ""


def end_of_answer(chat: Chat) -> int:
    """The id that the chat puts behind an answer."""
    return chat.closing[-1]
