"""What an agent said, the tools that it calls, and what it is told of their results."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hornbeam.arguments import short
from hornbeam.chat import Message, Spoken, ToolCall, result_of
from hornbeam.chat.history import UNREAD
from hornbeam.episode.seams import Piece
from hornbeam.settings import nearest
from hornbeam.tools.argument_check import wrong_arguments
from hornbeam.tools.schema import name_of
from hornbeam.tree.nodes import Node, floats
from hornbeam.workers.local_workers import NO_TOOL

# How the errors of calls begin that were refused before a tool ran (and `NO_TOOL`).
BAD_JSON = "the call cannot be read: "
BAD_ARGUMENTS = "the arguments do not fit: "
REFUSED = (BAD_JSON, BAD_ARGUMENTS, NO_TOOL)


class ReplySource(Protocol):
    """What else there is to an answer."""

    def spoken(self) -> Spoken:
        """What the chat reads in its ids, with the tools that were offered."""
        ...

    def prompt(self) -> int:
        """How many ids it was sampled after."""
        ...

    def context(self) -> array[int]:
        """The ids that it was sampled after, for those who asked from outside."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What an agent said. `str(reply)` is its text, reasoning and calls as they were written.

    `tools` are the schemas that it was asked with.
    """

    text: str
    tokens: array[int]
    finish: str  # "stop" or "length"
    agent: str
    tools: Sequence[Mapping[str, Any]] = field(default=(), compare=False)
    source: ReplySource | None = field(default=None, compare=False)
    pieces: Sequence[Node | Piece] = field(default=(), compare=False)  # the chunks of the answer

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tools it calls, those that cannot be read too; none where it was offered none."""
        return self._spoken().calls if self.tools else ()

    @property
    def reasoning(self) -> str:
        """What it thought before it answered, where the chat template has a place for that."""
        return self._spoken().reasoning

    @property
    def content(self) -> str:
        """What it said beside reasoning and calls."""
        return self._spoken().text

    @property
    def message(self) -> Message:
        """The message to append to a conversation; the sampled ids will stand in its place."""
        if not self.tools:
            return {"role": "assistant", "content": self.text}
        return self._spoken().message()

    @property
    def prompt_tokens(self) -> int:
        """How many ids it was sampled after."""
        return 0 if self.source is None else self.source.prompt()

    @property
    def logprobs(self) -> array[float]:
        """The log-prob of each sampled id; empty where the engine tells none."""
        out = floats()
        for piece in self.pieces:
            out.extend(piece.logprobs)
        return out

    def again(self) -> Reply:
        """The same for another run of the program, whose ids are its own."""
        ids = self.tokens[:]
        return Reply(self.text, ids, self.finish, self.agent, self.tools, self.source, self.pieces)

    def _spoken(self) -> Spoken:
        return Spoken(self.text) if self.source is None else self.source.spoken()

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        said = short(self.text)
        return f"<Reply of {self.agent}: {said}, {len(self.tokens)} tokens, {self.finish}>"


def recorded_arguments(call: ToolCall) -> dict[str, Any]:
    """The arguments of a call as a tree records them; what cannot be read, as it was written."""
    return {UNREAD: call.raw} if call.problem else call.arguments


def refusal(call: ToolCall, tools: Sequence[Mapping[str, Any]]) -> str:
    """Why a call is not run, for the model; "" where it is."""
    if call.problem:
        return f"{BAD_JSON}{call.problem}"
    known = {name_of(schema): schema for schema in tools}
    if call.name not in known:
        return f"{NO_TOOL}{call.name!r}: {nearest(call.name, known)}"
    wrong = wrong_arguments(known[call.name], call.arguments)
    return f"{BAD_ARGUMENTS}{wrong}" if wrong else ""


def result_message(call: ToolCall, result: Any) -> Message:
    """The tool's message of a result, which is text or JSON."""
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    return result_of(call, text)
