"""What a path records of a program's effects: writing it, and holding a replay against it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from array import array
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from reprlib import repr as short
from typing import Any

from hornbeam.chat import Chat, Message, Spoken, common
from hornbeam.episode.earlier_turns import EarlierTurns
from hornbeam.episode.failures import failure
from hornbeam.episode.reply import Reply
from hornbeam.episode.seams import Piece
from hornbeam.errors import Divergence, EngineError, PromptTooLong, ToolError
from hornbeam.tree.facts import Result
from hornbeam.tree.nodes import Call, Node, Origin, ids
from hornbeam.workers.outcomes import LARGEST
from hornbeam.workers.time_slices import Overrun, TimeSlice

NO_IDS = ids()  # not to be changed


@dataclass(slots=True)
class Effect:
    """One ask or call on its way: asked, perhaps running, not yet told."""

    kind: str  # "ask" or "call"
    name: str  # the agent or the tool
    scope: str
    payload: Any  # (messages, sampling) or the tool's arguments
    future: asyncio.Future[Any]
    number: int
    turn: int
    running: asyncio.Task[Any] | None = None
    earlier: EarlierTurns | None = None  # of a request from outside
    counted: Mapping[str, int] | None = None  # of its prompt, for the ledger
    prompt: int = -1  # how many ids its prompt has, where it was rendered
    context: array[int] | None = None  # the prompt, of an ask from outside
    digest: str = ""  # of what an ask from outside says, where parts of it are masked
    refused: str = ""  # why a call fails before any tool runs
    run: Callable[[], Awaitable[Any]] | None = None  # what a call does that is of no tool
    texts: bool = False  # the messages of an ask hold nothing but texts


@dataclass(slots=True)
class RecordedEffect:
    """What the record holds of one effect: the nodes of an ask, or a call."""

    at: int = 0  # index in the path of the ask's first node
    nodes: list[Node] = field(default_factory=list)
    call: Call | None = None


_sorted = json.JSONEncoder(sort_keys=True).encode
_quoted = json.encoder.encode_basestring_ascii  # what `_sorted` makes of a text


def digest(payload: Any) -> str:
    """A short digest of messages and settings, equal on every machine."""
    return hashlib.blake2b(_sorted(payload).encode(), digest_size=8).hexdigest()


class Digests:
    """`digest` of the asks of one run; what an ask shares with the one before is not read again.

    `head` is what stands before the messages, as `digest` writes it.
    """

    def __init__(self, head: str = "[[") -> None:
        self._last: list[Message] = []
        self._states = [hashlib.blake2b(head.encode(), digest_size=8)]  # before each, and behind
        self._settings: Mapping[str, Any] | None = None  # of the last ask
        self._tail = ""

    def of(self, payload: tuple[Sequence[Message], Mapping[str, Any]]) -> str:
        """The digest of (messages, settings)."""
        messages, settings = payload
        if settings is not self._settings:  # the same ones are not written again
            self._settings = settings
            self._tail = f"], {_sorted(settings)}]" if settings else "], {}]"
        return self.with_tail(messages, self._tail)

    def with_tail(self, messages: Sequence[Message], tail: str) -> str:
        """The digest of messages with `tail` behind them, as `digest` writes it."""
        self._grow(messages)
        whole = self._states[-1].copy()
        whole.update(tail.encode())
        return whole.hexdigest()

    def places(self, messages: Sequence[Message]) -> list[bytes]:
        """A name for the place before each message, and behind them, by what stands before."""
        self._grow(messages)
        return [state.digest() for state in self._states]

    def _grow(self, messages: Sequence[Message]) -> None:
        same = common(self._last, messages)
        del self._states[same + 1 :]
        for n in range(same, len(messages)):
            state = self._states[n].copy()
            state.update((", " + _one(messages[n]) if n else _one(messages[n])).encode())
            self._states.append(state)
        self._last = list(messages)


def _one(message: Message) -> str:
    """A message as `_sorted` writes it."""
    if len(message) == 2:
        return f'{{"content": {_quoted(message["content"])}, "role": {_quoted(message["role"])}}}'
    return _sorted(message)


def ask_error(node: Node) -> EngineError:
    """What the program is told of an ask that failed, live and on replay alike."""
    return PromptTooLong(node.error) if node.finish == "too long" else EngineError(node.error)


def difference(was: str, now: str) -> str:
    """Where two prompts part, for a message."""
    if was == now:
        return "the same messages with other sampling settings"
    ends = min(len(was), len(now))
    at = next((i for i, (a, b) in enumerate(zip(was, now)) if a != b), ends)
    show = slice(max(0, at - 20), at + 20)
    return f"{was[show]!r} where it now says {now[show]!r}"


def diverged(effect: Effect, held: str) -> Divergence:
    """The error of an effect where the record holds something else."""
    ask = effect.kind == "ask"
    what = f"an ask of agent {effect.name!r}" if ask else f"a call of tool {effect.name!r}"
    return Divergence(
        f"the program did not reproduce its own path: effect {effect.number + 1} is {what}"
        f" in scope {effect.scope!r}, the record has {held}; let all that is not"
        " deterministic go through ep"
    )


def recalled(effect: Effect, call: Call) -> Any:
    """The recorded result of a call; `Divergence` where the effect is another one."""
    if effect.kind != "call" or (call.tool, call.scope) != (effect.name, effect.scope):
        raise diverged(effect, f"a call of tool {call.tool!r}")
    if call.arguments != effect.payload:
        raise diverged(effect, f"{call.tool} with {dict(call.arguments)}")
    return ToolError(call.error) if call.error else call.result


def asks_of(record: Iterable[RecordedEffect]) -> list[tuple[str, str, str]]:
    """(agent, digest, scope) of the asks of a record."""
    firsts = [effect.nodes[0] for effect in record if effect.nodes]
    return [(node.agent, node.origin.ask, node.scope) for node in firsts]


def last_of(record: Sequence[RecordedEffect]) -> int:
    """The index in the path of the last node that a record holds, 0 where it holds no ask."""
    return max((each.at + len(each.nodes) - 1 for each in record if each.nodes), default=0)


def unlike(recorded: RecordedEffect, chat: Chat, was: array[int], now: array[int]) -> str:
    """What a run did in place of a recorded ask, whose prompt was `was`: `now`, none is its end."""
    agent = recorded.nodes[0].agent if recorded.nodes else ""
    if not now:
        return f"it ended where the record has an ask of {agent!r}"
    return difference(chat.decode(was), chat.decode(now))


def ended_early(answer_of: int, recorded: RecordedEffect, error: str) -> Divergence:
    """The error of a program that ends where its record goes on."""
    call = recorded.call
    held = f"a call of tool {call.tool!r}" if call else f"an ask of {recorded.nodes[0].agent!r}"
    how = f"it raised {error}" if error else "it ended"
    return Divergence(
        f"the program did not reproduce its own path: after {answer_of} effects {how}, the record"
        f" has {held}; let all that is not deterministic go through ep"
    )


def record_answer(effect: Effect, piece: Piece, origin: Origin) -> Node:
    """The node of a sampled answer, or of one chunk of it; its parent is known when it is kept."""
    return Node(
        -1,
        agent=effect.name,
        scope=effect.scope,
        prompt=NO_IDS,
        tokens=piece.tokens,
        logprobs=piece.logprobs,
        text=piece.text,
        finish=piece.finish,
        origin=origin,
        state=piece.state,
    )


def record_call(node: Node, effect: Effect, got: Any) -> tuple[Node, Any]:
    """The node with a tool call and its result recorded, and what the program is given of it."""
    failed = str(got) or "ToolError" if isinstance(got, ToolError) else ""
    got, reward = (got.value, got.reward) if isinstance(got, Result) else (got, None)
    came = None if failed else got
    call = Call(effect.name, effect.payload, came, failed, effect.scope, reward)
    return node.heard(call), ToolError(failed) if failed else got


def effects_of(path: Sequence[Node]) -> list[RecordedEffect]:
    """The effects that a path stands for, in the order they were told."""
    record = [RecordedEffect(call=call) for call in path[0].calls]
    goes_on = False
    for at, node in enumerate(path[1:], 1):
        if goes_on:
            record[-1].nodes.append(node)
        else:
            record.append(RecordedEffect(at, [node]))
        goes_on = node.finish == "chunk"
        record.extend(RecordedEffect(call=call) for call in node.calls)
    return record


def answer_of(said: Sequence[Node | Piece], chat: Chat) -> tuple[str, array[int]]:
    """(text, ids) of an answer of these pieces, as its program is told it.

    Without tags where the pieces' own texts have none: the agent's setting, or an older record.
    """
    if len(said) == 1:
        (piece,) = said
        return piece.text or chat.decode(piece.tokens), piece.tokens[:]
    tokens = ids()
    for piece in said:
        tokens = tokens + piece.tokens
    if any(piece.text != chat.text(piece.tokens) for piece in said):
        return chat.decode(tokens), tokens
    return chat.text(tokens), tokens


class AnswerSource:
    """What else there is to an answer: what a chat reads in it, read once, and its prompt."""

    __slots__ = ("_chat", "_context", "_ids", "_prompt", "_spoken")

    def __init__(
        self,
        chat: Chat,
        ids: tuple[array[int], Sequence[Any]],
        prompt: int,
        context: Callable[[], array[int]],
    ) -> None:
        self._chat, self._ids, self._prompt, self._context = chat, ids, prompt, context
        self._spoken: Spoken | None = None

    def spoken(self) -> Spoken:
        """What the chat reads in its ids, with the tools that were offered."""
        if self._spoken is None:
            self._spoken = self._chat.read(*self._ids)
        return self._spoken

    def prompt(self) -> int:
        """How many ids it was sampled after."""
        return self._prompt if self._prompt >= 0 else len(self._context())

    def context(self) -> array[int]:
        """The ids that it was sampled after."""
        return self._context()


def reply_of(
    chat: Chat,
    text: str,
    tokens: array[int],
    said: Sequence[Node | Piece],
    effect: Effect,
    context: Callable[[], array[int]],
) -> Reply:
    """What the program is told of an answer, whose pieces these are."""
    tools = effect.payload[1].get("tools", ())
    source = AnswerSource(chat, (tokens, tools), effect.prompt, context)
    if tools:
        source.spoken()
    return Reply(text, tokens, said[-1].finish, effect.name, tools, source, said)


def own(value: Any) -> Any:
    """A tool's result for the program to change as it likes; the record keeps its own."""
    return json.loads(json.dumps(value)) if isinstance(value, (list, dict)) else value


def outcome(main: asyncio.Task[Any], seconds: float = 60.0) -> tuple[Any, str]:
    """(answer, error) of a program that ended; its answer may run code of its own for so long."""
    if main.cancelled():
        return None, "ProgramError: the program cancelled itself"
    error = main.exception()
    if error is not None:
        return None, failure(error)
    try:
        with TimeSlice(seconds):
            text = json.dumps(main.result(), allow_nan=False)
    except (Exception, Overrun):  # of a class of its own, any
        return None, f"ProgramError: the answer is no JSON value: {short(main.result())}"[:500]
    if len(text) > LARGEST:
        return None, f"ProgramError: the answer has {len(text):,} characters, more than {LARGEST:,}"
    return json.loads(text), ""


def within(queue: Iterable[Effect], draft: Node | None, steps: int | None) -> list[Effect]:
    """The effects that can be told before the steps are used up; an open draft takes one."""
    effects = list(queue)
    if steps is None:
        return effects
    left = steps - (draft is not None and bool(draft.finish))
    asks = [at for at, effect in enumerate(effects) if effect.kind == "ask"]
    return effects[: asks[left]] if left < len(asks) else effects
