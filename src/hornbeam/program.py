"""Agent programs and their replay.

A program is an async function of a task and an episode. All that is not deterministic goes through
the episode; the results of its asks and calls, in the order they were asked, are the path of nodes.
To branch at a node the function is run again with the recorded results of the path and goes live at
the end. `Driver` does both; `ReplayLoop` makes the order exact.

An ask's effect is told when all effects asked before it were told, so the order in which a program
hears results never hangs on which of them came first.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from hornbeam.chat import Chat, Message
from hornbeam.engine.base import Sampling
from hornbeam.errors import (
    BudgetSpent,
    Divergence,
    EngineError,
    HornbeamError,
    ProgramError,
    PromptTooLong,
    ToolError,
)
from hornbeam.replay import ReplayLoop
from hornbeam.settings import Settings
from hornbeam.tasks.base import Task
from hornbeam.tree import Call, Node, floats, ids

Program = Callable[[Task, "Episode"], Awaitable[Any]]


class Limits(Settings):
    """What one episode may use. A program that passes a limit fails with `ProgramError`."""

    turns: int = 32  # asks of one episode, its whole path counted
    tokens: int = 16384  # sampled tokens of one episode, its whole path counted
    tool_seconds: float = 10.0  # one tool call


@dataclass(frozen=True, slots=True)
class Reply:
    """What an agent said. `str(reply)` is its text."""

    text: str
    tokens: array[int]
    finish: str  # "stop" or "length"
    agent: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Piece:
    """Sampled ids of one node: a whole answer, or one chunk of it ("chunk": it goes on)."""

    tokens: array[int]
    logprobs: array[float]
    text: str
    finish: str
    version: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where an ask or a call stands: the ask's place in its path, the ids it has already."""

    episode: int
    turn: int
    scope: str
    used: int = 0
    pieces: int | None = None  # how many chunks are wanted; None: the whole answer


class Live(Protocol):
    """What a driver needs of the world where the record ends."""

    def chat(self, agent: str) -> Chat:
        """The chat of the policy that this agent speaks with."""
        ...

    def seed(self, place: Place) -> int:
        """The seed of the request at this place."""
        ...

    async def sample(
        self, agent: str, context: array[int], sampling: Mapping[str, Any], place: Place
    ) -> list[Piece]:
        """Sample an answer (or the rest of one) after `context`.

        Raises `EngineError`, `BudgetSpent`, and `ProgramError` for unknown agents or settings.
        """
        ...

    async def tool(self, name: str, arguments: Mapping[str, Any], place: Place) -> Any:
        """Run a tool. Raises `ToolError` and `BudgetSpent`."""
        ...


@dataclass(slots=True)
class _Effect:
    """One ask or call on its way: asked, perhaps running, not yet told."""

    kind: str  # "ask" or "call"
    name: str  # the agent or the tool
    scope: str
    payload: Any  # (messages, sampling) or the tool's arguments
    future: asyncio.Future[Any]
    number: int
    turn: int
    running: asyncio.Task[Any] | None = None


@dataclass(slots=True)
class _Recorded:
    """What the record holds of one effect: the nodes of an ask, or a call."""

    at: int = 0  # index in the path of the ask's first node
    nodes: list[Node] = field(default_factory=list)
    call: Call | None = None


class Episode:
    """What a program sees of its run: ask a model, call a tool, delegate, draw at random."""

    def __init__(self, driver: Driver, scope: str = "", agent: str = "") -> None:
        self._driver = driver
        self._agent = agent
        self._delegated: dict[str, int] = {}
        self.scope = scope

    async def ask(self, agent: str, messages: Sequence[Message], **sampling: Any) -> Reply:
        """Let `agent` answer `messages`; keyword settings (max_tokens, stop ...) override its own.

        Raises `PromptTooLong`, `EngineError`, or `ProgramError` when a limit is passed.
        """
        self._driver.check_limits()
        plain = [dict(message) for message in messages]
        payload = (plain, sampling)
        reply: Reply = await self._driver.issue("ask", self._agent or agent, self.scope, payload)
        return reply

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        """Call a tool by name; its result comes back as the tool gave it. Raises `ToolError`."""
        return await self._driver.issue("call", tool, self.scope, arguments)

    async def delegate(self, agent: str, program: Program, task: Task) -> Any:
        """Run `program` on `task` as a sub-agent: a scope of its own, in which `agent` speaks."""
        count = self._delegated[agent] = self._delegated.get(agent, 0) + 1
        scope = f"{self.scope}/{agent}.{count}" if self.scope else f"{agent}.{count}"
        return await program(task, Episode(self._driver, scope, agent))

    @property
    def rng(self) -> random.Random:
        """Random numbers that replay draws again: they hang on the path so far and nothing else."""
        return self._driver.random(self.scope)


class Driver:
    """Runs a program once: replays `path`, goes live behind it, and hands out finished nodes.

    `path` are the nodes from the task (node 0) down to where the episode goes on, and `contexts(k)`
    gives the ids that path[k] was sampled after. `is_open` says that the last of them still waits
    for its calls. `commit(node, context)` gets each finished node in order, parent left at -1;
    `note` gets a node as soon as it is sampled and again after each call (for the store).
    """

    def __init__(
        self,
        program: Program,
        task: Task,
        path: Sequence[Node],
        live: Live,
        *,
        contexts: Callable[[int], array[int]],
        commit: Callable[[Node, array[int]], None],
        note: Callable[[Node, array[int]], None] | None = None,
        episode: int = 0,
        step: int = 0,
        steps: int | None = None,
        is_open: bool = False,
        limits: Limits = Limits(),
    ) -> None:
        self._program, self._task, self._live, self._limits = program, task, live, limits
        self._path, self._contexts, self._commit, self._note = path, contexts, commit, note
        self._episode, self._step, self._steps = episode, step, steps
        self._loop = ReplayLoop()
        self._queue: deque[_Effect] = deque()
        self._record = _recorded(path)
        self._issued = self._asks = self._told = self._sampled = 0
        self._said: dict[int, dict[str, array[int]]] = {}
        self._seed = 0  # of the last ask told
        self._random: tuple[tuple[int, str], random.Random] | None = None
        self._draft: Node | None = None  # the node whose calls are still coming
        self._context = ids()  # of the draft
        if is_open:
            self._draft, self._context = path[-1], contexts(len(path) - 1)
        elif not path[0].finish:
            self._draft = path[0]

    # --- what episodes use -------------------------------------------------------------------

    def check_limits(self) -> None:
        """Raise `ProgramError` when another ask would pass a limit."""
        if self._asks >= self._limits.turns:
            raise ProgramError(f"more than {self._limits.turns} asks in one episode (limits.turns)")
        if self._sampled >= self._limits.tokens:
            raise ProgramError(
                f"more than {self._limits.tokens} sampled tokens in one episode (limits.tokens)"
            )

    def issue(self, kind: str, name: str, scope: str, payload: Any) -> asyncio.Future[Any]:
        """Queue an effect; its future is told when all effects before it were."""
        future = self._loop.create_future()
        if kind == "ask":
            self._asks += 1
        turn = self._asks - 1
        self._queue.append(_Effect(kind, name, scope, payload, future, self._issued, turn))
        self._issued += 1
        return future

    def random(self, scope: str) -> random.Random:
        """The generator of this position of the path."""
        key = (self._told, scope)
        if self._random is None or self._random[0] != key:
            self._random = (key, random.Random(f"{self._seed}:{self._told}:{scope}"))
        return self._random[1]

    # --- the run -----------------------------------------------------------------------------

    async def run(self) -> bool:
        """Run to the end, or until `steps` nodes were committed. Returns whether it ended.

        A failure of the program, a divergence too, ends the episode with the error kept at its last
        node. Raises `BudgetSpent` and cancellation; what was committed stays.
        """
        main = self._loop.create_task(self._program(self._task, Episode(self)))  # type: ignore[arg-type]
        try:
            self._loop.spin()
            while not main.done():
                if not self._queue:
                    raise ProgramError("it waits for something that is neither ep.ask nor ep.call")
                if self._at_live_ask() and self._spent():
                    return False
                await self._tell(self._queue[0])
                if self._steps is not None and self._steps <= 0 and self._draft is None:
                    return False
                self._loop.spin()
            self._finish(*_outcome(main))
            return True
        except ProgramError as error:
            self._finish(None, _line(error))
            return True
        finally:
            self._drop(main)

    def _at_live_ask(self) -> bool:
        return self._queue[0].kind == "ask" and self._queue[0].number >= len(self._record)

    def _spent(self) -> bool:
        """Commit the draft, whose calls are complete now; whether no further node is wanted."""
        self._close()
        return self._steps is not None and self._steps <= 0

    async def _tell(self, effect: _Effect) -> None:
        if len(self._queue) > 1:  # asks of a gather run at once
            for waiting in self._queue:
                if waiting.running is None and self._is_live(waiting):
                    waiting.running = asyncio.ensure_future(self._perform(waiting))
        if not self._is_live(effect):
            value = self._recall(effect)
        else:
            work = effect.running or self._perform(effect)
            value = self._take(effect, await work)
        self._queue.popleft()
        self._told += 1
        if effect.future.cancelled():
            return
        if isinstance(value, HornbeamError):
            effect.future.set_exception(value)
        else:
            effect.future.set_result(value)

    def _is_live(self, effect: _Effect) -> bool:
        if effect.number >= len(self._record):
            return True
        nodes = self._record[effect.number].nodes
        return bool(nodes) and nodes[-1].finish == "chunk"

    # --- replay ------------------------------------------------------------------------------

    def _recall(self, effect: _Effect) -> Any:
        """The recorded result of an effect; `Divergence` where the record holds another one."""
        recorded = self._record[effect.number]
        if recorded.call is not None:
            call = recorded.call
            if effect.kind != "call" or (call.tool, call.scope) != (effect.name, effect.scope):
                raise self._diverged(effect, f"a call of tool {call.tool!r}")
            if dict(call.arguments) != effect.payload:
                raise self._diverged(effect, f"{call.tool} with {dict(call.arguments)}")
            return ToolError(call.error) if call.error else call.result
        self._check_ask(effect, recorded)
        last = recorded.nodes[-1]
        self._seed = last.seed
        if last.finish == "too long":
            return PromptTooLong(last.error)
        if last.finish == "error":
            return EngineError(last.error)
        tokens = ids()
        for node in recorded.nodes:
            tokens.extend(node.tokens)
        return self._reply(effect.name, tokens, last.finish)

    def _check_ask(self, effect: _Effect, recorded: _Recorded) -> None:
        first = recorded.nodes[0]
        if effect.kind != "ask" or (first.agent, first.scope) != (effect.name, effect.scope):
            raise self._diverged(effect, f"an ask of agent {first.agent!r}")
        if first.ask and first.ask != _digest(effect.payload):
            chat = self._live.chat(effect.name)
            was = chat.decode(self._contexts(recorded.at))
            now = chat.decode(chat.render(effect.payload[0], self._said_by(effect.name)))
            at = next(
                (i for i, (a, b) in enumerate(zip(was, now)) if a != b), min(map(len, (was, now)))
            )
            if was == now:
                raise self._diverged(effect, "the same messages with other sampling settings")
            show = slice(max(0, at - 20), at + 20)
            raise self._diverged(effect, f"{was[show]!r} where it now says {now[show]!r}")

    def _diverged(self, effect: _Effect, recorded: str) -> Divergence:
        what = (
            f"an ask of agent {effect.name!r}"
            if effect.kind == "ask"
            else f"a call of {effect.name!r}"
        )
        return Divergence(
            f"the program did not reproduce its own path: effect {effect.number + 1} is {what}"
            f" in scope {effect.scope!r}, the record has {recorded}; let all that is not"
            " deterministic go through ep"
        )

    # --- live --------------------------------------------------------------------------------

    async def _perform(self, effect: _Effect) -> Any:
        """Run an effect: a tool's result, an ask's (context, pieces), or the error it met."""
        if effect.kind == "call":
            place = Place(self._episode, effect.turn, effect.scope)
            try:
                return await self._live.tool(effect.name, effect.payload, place)
            except ToolError as error:
                return error
        messages, sampling = effect.payload
        context, used = ids(), ids()
        try:
            if effect.number < len(self._record):  # an answer that breaks off at a chunk
                recorded = self._record[effect.number]
                self._check_ask(effect, recorded)
                for node in recorded.nodes:
                    used.extend(node.tokens)
                context = self._contexts(recorded.at) + used
            else:
                chat = self._live.chat(effect.name)
                context = chat.render(messages, self._said_by(effect.name))
            place = Place(self._episode, effect.turn, effect.scope, len(used), self._steps)
            pieces = await self._live.sample(effect.name, context, sampling, place)
        except (EngineError, HornbeamError) as error:
            if isinstance(error, (BudgetSpent, Divergence)):
                raise
            return context, used, error
        return context, used, pieces

    def _take(self, effect: _Effect, outcome: Any) -> Any:
        """Enter a live result into the path and return what the program is told."""
        if effect.kind == "call":
            if self._draft is None:
                raise self._diverged(effect, "an ask")
            failed = str(outcome) if isinstance(outcome, ToolError) else ""
            result = None if failed else outcome
            call = Call(effect.name, effect.payload, result, failed, effect.scope)
            self._hold(replace(self._draft, calls=(*self._draft.calls, call)), self._context)
            return outcome
        context, used, got = outcome
        self._close()
        place = Place(self._episode, effect.turn, effect.scope, len(used))
        self._seed = self._live.seed(place)
        if isinstance(got, HornbeamError):
            finish = "too long" if isinstance(got, PromptTooLong) else "error"
            piece = Piece(ids(), floats(), "", finish, 0)
            self._hold(replace(self._node(effect, piece), error=_line(got)), context)
            return got
        for piece in got:
            self._close()
            self._hold(self._node(effect, piece), context)
            context = context + piece.tokens
            used = used + piece.tokens
        if got[-1].finish == "chunk":
            self._close()
            return None
        return self._reply(effect.name, used, got[-1].finish)

    def _node(self, effect: _Effect, piece: Piece) -> Node:
        return Node(
            -1,
            agent=effect.name,
            scope=effect.scope,
            tokens=piece.tokens,
            logprobs=piece.logprobs,
            text=piece.text,
            version=piece.version,
            finish=piece.finish,
            episode=self._episode,
            step=self._step,
            turn=effect.turn,
            seed=self._seed,
            ask=_digest(effect.payload),
        )

    def _hold(self, node: Node, context: array[int]) -> None:
        """Keep a node that still waits for its calls."""
        self._draft, self._context = node, context
        if self._note is not None and node.tokens:
            self._note(node, context)

    def _close(self) -> None:
        """Commit the draft."""
        node, self._draft = self._draft, None
        if node is None:
            return
        if node.parent < 0 and node is self._path[0] or (node.turn, node.tokens) == (0, None):
            pass
        self._commit(node, self._context)
        self._step += 1
        if self._steps is not None:
            self._steps -= 1

    def _finish(self, answer: Any, error: str) -> None:
        """Commit the node at which the episode ended."""

    def _reply(self, agent: str, tokens: array[int], finish: str) -> Reply:
        text = self._live.chat(agent).decode(tokens)
        self._said_by(agent)[text] = tokens
        self._sampled += len(tokens)
        return Reply(text, tokens, finish, agent)

    def _said_by(self, agent: str) -> dict[str, array[int]]:
        """Texts sampled on this path by policies with this agent's chat."""
        return self._said.setdefault(id(self._live.chat(agent)), {})

    def _drop(self, main: asyncio.Task[Any]) -> None:
        """Cancel what still runs, here and outside, and swallow what nobody will read."""
        for effect in self._queue:
            if effect.running is not None and not effect.running.cancel():
                effect.running.exception()
        if not main.done():
            main.cancel()
            self._loop.spin()


def _digest(payload: Any) -> str:
    """A short digest of messages and settings, equal on every machine."""
    text = json.dumps(payload, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _line(error: BaseException) -> str:
    """One line for a failed episode: the error's name and text."""
    return f"{type(error).__name__}: {error}".split("\n", 1)[0][:500]


def _outcome(main: asyncio.Task[Any]) -> tuple[Any, str]:
    """(answer, error) of a program that ended."""
    if main.cancelled():
        return None, "ProgramError: the program cancelled itself"
    error = main.exception()
    if error is not None:
        return None, _line(error)
    try:
        return json.loads(json.dumps(main.result())), ""
    except (TypeError, ValueError):
        return None, f"ProgramError: the answer is no JSON value: {main.result()!r}"[:500]


def _recorded(path: Sequence[Node]) -> list[_Recorded]:
    """The effects that a path stands for, in the order they were told."""
    record = [_Recorded(call=call) for call in path[0].calls]
    goes_on = False
    for at, node in enumerate(path[1:], 1):
        if goes_on:
            record[-1].nodes.append(node)
        else:
            record.append(_Recorded(at, [node]))
        goes_on = node.finish == "chunk"
        record.extend(_Recorded(call=call) for call in node.calls)
    return record
