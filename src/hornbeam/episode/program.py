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
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

from pydantic import Field

from hornbeam.arguments import described
from hornbeam.chat import Message, common
from hornbeam.episode.given_rewards import step_reward
from hornbeam.episode.reply import Reply as Reply
from hornbeam.episode.reply import recorded_arguments, refusal, result_message
from hornbeam.errors import ProgramError, ToolError
from hornbeam.protocols import Program
from hornbeam.settings import Settings
from hornbeam.tree.facts import StepReward
from hornbeam.tree.task import Task
from hornbeam.workers.outcomes import LARGEST

PLAIN = frozenset((str, int, bool, type(None)))  # read back as they are
T = TypeVar("T")
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
    program_seconds: float = Field(60.0, gt=0)  # its own code between two asks or calls
    rewards: int = Field(1000, ge=1)  # that one episode gives its steps, its whole path counted

    def check(self, asks: int, sampled: int) -> None:
        """Raise `ProgramError` where one more ask would pass a limit, after so many and tokens."""
        if asks >= self.turns:
            raise ProgramError(f"more than {self.turns} asks in one episode (limits.turns)")
        if sampled >= self.tokens:
            raise ProgramError(
                f"more than {self.tokens} sampled tokens in one episode (limits.tokens)"
            )


class Effects(Protocol):
    """What an episode asks of whoever drives it."""

    def issue(
        self, kind: str, name: str, scope: str, payload: Any, **how: Any
    ) -> asyncio.Future[Any]:
        """Queue an effect; its future is told when all effects issued before it were.

        A call that is `refused` fails of that, and no tool is run. `earlier` (`EarlierTurns`) says
        how earlier answers come back in an ask from outside. A call with `run` is no tool's: that
        is awaited, and what it gives recorded.
        """
        ...

    def expected(self) -> tuple[list[Message], dict[str, Any]] | None:
        """What the next ask says by the record, where that is known and of texts alone."""
        ...

    def recalled(self, name: str, scope: str, payload: Any) -> Reply | None:
        """The recorded answer of the next ask, where nothing can come before it is told."""
        ...

    def schemas(self, tools: Any) -> list[dict[str, Any]]:
        """The JSON schemas of the run's tools that are named; `ProgramError` for unknown ones."""
        ...

    def random(self, scope: str) -> random.Random:
        """The generator of this position of the path."""
        ...

    def reward(self, given: StepReward) -> None:
        """Record a reward of the last step."""
        ...

    def outside(self, event: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """An event of the world that is no fact: awaited on the real loop, on replay again."""
        ...

    def ahead(self) -> list[tuple[str, str, str]]:
        """(agent, digest, scope) of the recorded asks that were not asked yet, in order."""
        ...

    def branch(self, agent: str = "", payload: Any = None) -> str:
        """Go on as a new branch behind what was repeated: this ask is not the record's next one.

        Without an agent the program ends there. Returns what differs.
        """
        ...

    def names(self) -> tuple[str, ...]:
        """The agents that can be asked, the main one first."""
        ...


class Episode:
    """What a program sees of its run: ask a model, call a tool, delegate, draw at random."""

    def __init__(self, effects: Effects, scope: str = "", agent: str = "") -> None:
        self.effects = effects
        self._agent = agent
        self._delegated: dict[str, int] = {}
        self._asked = AskedMessages()
        self.scope = scope

    def __repr__(self) -> str:
        return f"<Episode{f' of {self.scope}' if self.scope else ''}>"

    async def ask(
        self,
        agent: str,
        messages: Sequence[Message],
        *,
        tools: str | Sequence[Any] = (),
        **sampling: Any,
    ) -> Reply:
        """Let `agent` answer `messages`; keywords (max_tokens, stop ...) override its settings.

        `tools` are offered to the model by its chat template: names of the run's tools, their
        functions, schemas of one's own, or "*" for all of the run; what it calls is in the reply.

        Inside `delegate` the sub-agent speaks, whatever the name here. Raises `PromptTooLong`,
        `EngineError`, or `ProgramError` when a limit is passed.
        """
        _check(agent, str, "ep.ask", "an agent's name")
        payload = self.payload(messages, tools, sampling)
        who, texts = self._agent or agent, self._asked.of_texts
        if (known := self.effects.recalled(who, self.scope, payload)) is not None:
            return known
        reply: Reply = await self.effects.issue("ask", who, self.scope, payload, texts=texts)
        return reply

    def payload(
        self, messages: Sequence[Message], tools: str | Sequence[Any], sampling: Mapping[str, Any]
    ) -> tuple[list[Message], dict[str, Any]]:
        """What is recorded of an ask: its messages, its settings with the schemas of its tools."""
        known = self.effects.expected()
        if known is not None and isinstance(messages, list) and messages == known[0]:
            self._asked.were(known[0])
            if not (tools or sampling or known[1]):
                return known
            settings = self.settings(tools, sampling)
            return known if repr(settings) == repr(known[1]) else (known[0], settings)
        return self.plain(messages), self.settings(tools, sampling)

    def plain(self, messages: Sequence[Message]) -> list[Message]:
        """The messages of the next ask as they are now."""
        if isinstance(messages, (str, Mapping)):
            _check(messages, list, "ep.ask", "a list of messages, [user(...)]")
        return self._asked.plain(messages)

    def settings(self, tools: str | Sequence[Any], sampling: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of an ask, with the schemas of its tools."""
        if not (tools or sampling):
            return {}
        schemas = self.effects.schemas(tools) if tools else []
        settings: dict[str, Any] = _json(
            {**sampling, "tools": schemas} if schemas else sampling, "settings of ep.ask"
        )
        return settings

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        """Call a tool by name; its result comes back as JSON data. Raises `ToolError`."""
        _check(tool, str, "ep.call", "a tool's name")
        payload = _json(arguments, f"arguments of tool {tool!r}")
        return await self.effects.issue("call", tool, self.scope, payload)

    async def run(self, reply: Reply) -> list[Message]:
        """Run the calls of a reply, all at once; the tools' messages for the model, in their order.

        What goes wrong is such a message too, behind "error:": a call that cannot be read, an
        unknown tool, arguments that do not fit its schema, what the tool raised. All are counted.
        """
        _check(reply, Reply, "ep.run", "a reply of ep.ask")

        async def one(call: Any) -> Message:
            arguments, refused = recorded_arguments(call), refusal(call, reply.tools)
            issued = self.effects.issue("call", call.name, self.scope, arguments, refused=refused)
            try:
                return result_message(call, await issued)
            except ToolError as error:
                return result_message(call, f"error: {error}")

        return list(await asyncio.gather(*map(one, reply.calls)))

    def reward(self, value: float, name: str = "") -> None:
        """Reward the last step, that of the last ask that was told; not awaited.

        `value` is a finite number; a `name` gives it a column too. Raises `ProgramError`.
        """
        self.effects.reward(step_reward(value, name, self.scope))

    async def delegate(self, agent: str, program: Program, task: Task) -> Any:
        """Run `program` on `task` as a sub-agent: a scope of its own, in which `agent` speaks."""
        _check(agent, str, "ep.delegate", "an agent's name")
        _check(task, Task, "ep.delegate", 'a task: Task("name", "question")')
        return await program(task, Episode(self.effects, self.opened(agent), agent))

    def opened(self, agent: str) -> str:
        """The scope of one more delegation to `agent`."""
        count = self._delegated[agent] = self._delegated.get(agent, 0) + 1
        return f"{self.scope}/{agent}.{count}" if self.scope else f"{agent}.{count}"

    @property
    def rng(self) -> random.Random:
        """Random numbers that replay draws again: they hang on the path so far and nothing else."""
        return self.effects.random(self.scope)


def _check(value: Any, kind: type, where: str, wants: str) -> None:
    """Raise `ProgramError` for another kind of thing, as a program that passes a function does."""
    if not isinstance(value, kind):
        raise ProgramError(f"{where} takes {wants}, not {described(value)}")


class AskedMessages:
    """The messages of an episode's last ask, as they were when they were asked."""

    def __init__(self) -> None:
        self._last: list[Message] = []
        self._loose: list[int] = []  # not of texts alone
        self._sizes = [0]  # characters before each, and of all

    @property
    def of_texts(self) -> bool:
        """Whether they hold nothing but texts."""
        return not self._loose

    def were(self, messages: list[Message]) -> None:
        """They are these, of texts alone, and were not too large."""
        self._last = messages
        self._loose.clear()
        del self._sizes[1:]

    def plain(self, messages: Sequence[Message]) -> list[Message]:
        """The messages of the next ask so; those of the ask before are not made again."""
        said = list(messages)
        same = common(self._last, said)
        self._loose = [n for n in self._loose if n < same]
        out = self._last[:same] + [_message(message) for message in said[same:]]
        for n in self._loose:
            out[n] = _message(said[n])
        new = range(same, len(out))
        self._loose += [n for n in new if len(out[n]) > 2 and not of_texts(out[n])]
        self._last = out
        del self._sizes[same + 1 :]
        for n in range(len(self._sizes) - 1, len(out)):
            self._sizes.append(self._sizes[-1] + len(out[n]["content"]))
        if (size := self._sizes[-1]) > LARGEST:
            raise ProgramError(f"ep.ask: messages of {size:,} characters, more than {LARGEST:,}")
        return list(out)


def of_texts(value: Any) -> bool:
    """Whether all that a JSON value holds are texts and nothing: equal ones are then the same.

    1, 1.0 and true are equal, and not the same.
    """
    if isinstance(value, dict):
        return all(map(of_texts, value.values()))
    if isinstance(value, list):
        return all(map(of_texts, value))
    return value is None or isinstance(value, str)


def _message(message: Message) -> Message:
    """A message as it was when it was asked, of text alone."""
    try:
        content = message["content"]
        if content is None and message.get("tool_calls"):  # as OpenAI's API has it
            content = ""
        plain = {**message, "role": str(message["role"]), "content": str(content)}
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
