"""Agent programs: plain async functions of a task and an episode.

All that is not deterministic goes through the episode. The results of its asks and calls, in the
order they were asked, are the path of nodes, so the function can be run again to any of them and
go on from there (driver). `asyncio.gather` works: effects run at once and are told in order.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import random
from array import array
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from pydantic import Field

from hornbeam.arguments import described, short
from hornbeam.chat import Message
from hornbeam.errors import ProgramError
from hornbeam.protocols import Program
from hornbeam.settings import Settings
from hornbeam.tree.task import Task

PLAIN = frozenset((str, int, bool, type(None)))  # read back as they are
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


def program(function: F) -> F:
    """Mark an async function of a task and an episode as an agent program; checked at once."""
    name = getattr(function, "__name__", "") or described(function)
    plain: Any = function
    if not callable(plain):
        raise ProgramError(f"{name} is no agent program: put @program above async def f(task, ep)")
    if not inspect.iscoroutinefunction(plain) or len(inspect.signature(plain).parameters) < 2:
        raise ProgramError(f"{name} is no agent program: write async def {name}(task, ep)")
    return function


class Limits(Settings):
    """What one episode may use. A program that passes a limit fails with `ProgramError`."""

    turns: int = Field(32, ge=1)  # asks of one episode, its whole path counted
    tokens: int = Field(16384, ge=1)  # sampled tokens of one episode, its whole path counted
    tool_seconds: float = Field(10.0, gt=0)  # one tool call


@dataclass(frozen=True, slots=True)
class Reply:
    """What an agent said. `str(reply)` is its text."""

    text: str
    tokens: array[int]
    finish: str  # "stop" or "length"
    agent: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        said = short(self.text)
        return f"<Reply of {self.agent}: {said}, {len(self.tokens)} tokens, {self.finish}>"


class Effects(Protocol):
    """What an episode asks of whoever drives it."""

    def issue(self, kind: str, name: str, scope: str, payload: Any) -> asyncio.Future[Any]:
        """Queue an effect; its future is told when all effects issued before it were."""
        ...

    def random(self, scope: str) -> random.Random:
        """The generator of this position of the path."""
        ...


class Episode:
    """What a program sees of its run: ask a model, call a tool, delegate, draw at random."""

    def __init__(self, effects: Effects, scope: str = "", agent: str = "") -> None:
        self._effects = effects
        self._agent = agent
        self._delegated: dict[str, int] = {}
        self._asked: list[Message] = []  # the messages of the last ask
        self.scope = scope

    def __repr__(self) -> str:
        return f"<Episode{f' of {self.scope}' if self.scope else ''}>"

    async def ask(self, agent: str, messages: Sequence[Message], **sampling: Any) -> Reply:
        """Let `agent` answer `messages`; keywords (max_tokens, stop ...) override its settings.

        Inside `delegate` the sub-agent speaks, whatever the name here. Raises `PromptTooLong`,
        `EngineError`, or `ProgramError` when a limit is passed.
        """
        _check(agent, str, "ep.ask", "an agent's name")
        if isinstance(messages, (str, Mapping)):
            _check(messages, list, "ep.ask", "a list of messages, [user(...)]")
        plain = self._asked = _plain(messages, self._asked)
        payload = (plain, _json(sampling, "settings of ep.ask"))
        reply: Reply = await self._effects.issue("ask", self._agent or agent, self.scope, payload)
        return reply

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        """Call a tool by name; its result comes back as JSON data. Raises `ToolError`."""
        _check(tool, str, "ep.call", "a tool's name")
        payload = _json(arguments, f"arguments of tool {tool!r}")
        return await self._effects.issue("call", tool, self.scope, payload)

    async def delegate(self, agent: str, program: Program, task: Task) -> Any:
        """Run `program` on `task` as a sub-agent: a scope of its own, in which `agent` speaks."""
        _check(agent, str, "ep.delegate", "an agent's name")
        _check(task, Task, "ep.delegate", 'a task: Task("name", "question")')
        count = self._delegated[agent] = self._delegated.get(agent, 0) + 1
        scope = f"{self.scope}/{agent}.{count}" if self.scope else f"{agent}.{count}"
        return await program(task, Episode(self._effects, scope, agent))

    @property
    def rng(self) -> random.Random:
        """Random numbers that replay draws again: they hang on the path so far and nothing else."""
        return self._effects.random(self.scope)


def _check(value: Any, kind: type, where: str, wants: str) -> None:
    """Raise `ProgramError` for another kind of thing, as a program that passes a function does."""
    if not isinstance(value, kind):
        raise ProgramError(f"{where} takes {wants}, not {described(value)}")


def _plain(messages: Sequence[Message], before: Sequence[Message]) -> list[Message]:
    """Messages as they were when they were asked; those of the ask before are not made again."""
    given = list(messages)
    plain = [b if len(b) == 2 and a == b else _message(a) for a, b in zip(given, before)]
    return plain + [_message(message) for message in given[len(plain) :]]


def _message(message: Message) -> Message:
    """A message as it was when it was asked, of text alone."""
    try:
        plain = {**message, "role": str(message["role"]), "content": str(message["content"])}
    except (KeyError, TypeError) as error:
        raise ProgramError(
            f"a message needs a role and a content, not {message!r}"[:300]
        ) from error
    return plain if len(plain) == 2 else cast(Message, _json(plain, "a message of ep.ask"))


def _json(value: Any, what: str) -> Any:
    """The value as it reads back from a record."""
    if type(value) is dict and all(type(k) is str and type(v) in PLAIN for k, v in value.items()):
        return dict(value)
    try:
        return json.loads(json.dumps(value)) if value else {}
    except (TypeError, ValueError, RecursionError) as error:
        raise ProgramError(f"{what} must be JSON data: {error}") from error
