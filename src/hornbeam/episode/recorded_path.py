"""What a driver does with the record of the path that it replays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from hornbeam.chat import Chat, Message, has_calls
from hornbeam.episode.given_rewards import RewardRecord
from hornbeam.episode.known_asks import NextAsk, PathAsks, Payload
from hornbeam.episode.program import Limits
from hornbeam.episode.quotes import Quotes
from hornbeam.episode.record import (
    Digests,
    Effect,
    RecordedEffect,
    answer_of,
    ask_error,
    asks_of,
    difference,
    diverged,
    last_of,
    recalled,
    unlike,
)
from hornbeam.episode.replay import ReplayLoop
from hornbeam.episode.reply import Reply
from hornbeam.episode.seams import Live
from hornbeam.episode.waits import Waits
from hornbeam.errors import HornbeamError
from hornbeam.tree.nodes import Node, Origin, ids


class RecordedPath(ABC):
    """The part of a driver that answers effects from the record, and leaves it where it must.

    `_issued` effects were asked and `_delivered` told so far, in the order of the record.
    """

    _record: list[RecordedEffect]
    _path: Sequence[Node]
    _contexts: Callable[[int], array[int]]
    _live: Live
    _limits: Limits
    _quotes: Quotes
    _unread: list[int | tuple[Chat, list[Message], str | Message, array[int]]]  # by quotes, yet
    _digests: Digests
    _known: PathAsks | None
    _queue: deque[Effect]
    _loop: ReplayLoop
    _waits: Waits
    _rewards: RewardRecord
    _branched: Callable[[int], None] | None
    _draft: Node | None
    _issued: int
    _asks: int
    _sampled: int  # ids
    _delivered: int
    _episode: int
    _step: int
    _steps: int | None  # that are left
    _seed: int
    _stopped: bool  # it has all its steps, though its program did not come to their end

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _hold(self, node: Node, context: array[int]) -> None: ...

    @abstractmethod
    def _tell(self, effect: Effect, value: Any) -> None: ...

    @abstractmethod
    def _render(self, effect: Effect) -> array[int]: ...

    @abstractmethod
    def _reply(self, effect: Effect, said: Sequence[Any]) -> Reply: ...

    def _hold_rewards(self, path: Sequence[Node], is_open: bool) -> None:
        self._rewards = RewardRecord(path, is_open, self._limits.rewards)

    def ahead(self) -> list[tuple[str, str, str]]:
        """(agent, digest, scope) of the recorded asks that were not asked yet, in order."""
        return asks_of(self._record[self._issued :])

    def expected(self) -> Payload | None:
        """What the next ask says by the record, where that is known and of texts alone."""
        if self._known is None or self._queue:
            return None
        if self._issued < len(self._record):
            recorded = self._record[self._issued]
            return self._known.said(recorded.at) if recorded.nodes else None
        coming = self._known.coming() if self._issued == len(self._record) else None
        return None if coming is None else coming.payload

    def recalled(self, name: str, scope: str, payload: Any) -> Reply | None:
        """The recorded answer of the next ask, as another run of this path was told it.

        Only where it is known to be that ask, and nothing else can run before it is told.
        """
        if self._known is None or self._queue or self._issued >= len(self._record):
            return None
        recorded = self._record[self._issued]
        if not recorded.nodes or self._known.said(recorded.at) is not payload:
            return None
        told, (first, *_) = self._known.reply(recorded.at), recorded.nodes
        if told is None or (first.agent, first.scope) != (name, scope):
            return None
        if self._loop.ready() or self._waits.outside() or not self._rewards.agrees(self._delivered):
            return None
        self._limits.check(self._asks, self._sampled)
        self._unread.append(self._issued)
        self._asks += 1
        self._issued += 1
        self._delivered += 1
        self._sampled += len(told.tokens)
        self._seed = recorded.nodes[-1].origin.seed
        return told.again()

    def branch(self, agent: str = "", payload: Any = None) -> str:
        """Go on from the last recorded ask that was asked, since `payload` is not the next one.

        Without an agent the program has ended. Returns what differs.
        """
        cut = self._issued if agent else self._delivered
        chat = self._live.chat(agent or self._path[-1].agent)
        now = self._quoted().prompt(chat, payload)[0] if agent else ids()
        rest = self._record[cut]
        text = unlike(rest, chat, self._contexts(rest.at), now)
        if self._draft is not None:  # the open node of a run that was stopped: it stays where it is
            self._close()
            self._stopped = self._enough()
        if not self._stopped and self._branched is not None:
            self._record = self._record[:cut]
            self._branched(last_of(self._record))
            self._hold_rewards(self._path[:1], True)
            if not agent:
                self._hold(Node(-1, finish="end", origin=Origin(self._episode, self._step)), ids())
        return text

    def _enough(self) -> bool:
        return self._steps is not None and self._steps <= 0

    def _is_live(self, effect: Effect) -> bool:
        """Behind the record, or an answer that the record breaks off at a chunk."""
        if effect.number >= len(self._record):
            return True
        nodes = self._record[effect.number].nodes
        return bool(nodes) and nodes[-1].finish == "chunk"

    def _at_once(self, effect: Effect) -> bool:
        """Answer an effect from the record where nothing else can run before that would be told.

        What does not agree with the record waits in the queue, and `run` says so.
        """
        if self._queue or self._loop.ready() or self._is_live(effect) or self._waits.outside():
            return False
        if not self._rewards.agrees(self._delivered):
            return False
        try:
            value = self._recall(effect)
        except HornbeamError:
            return False
        self._tell(effect, value)
        return True

    def _recall(self, effect: Effect) -> Any:
        """The recorded result of an effect; `Divergence` where the record holds another one."""
        recorded = self._record[effect.number]
        if (call := recorded.call) is not None:
            return recalled(effect, call)
        self._check_ask(effect, recorded)
        last = recorded.nodes[-1]
        self._seed = last.origin.seed
        if last.finish in ("too long", "error"):
            return ask_error(last)
        reply = self._reply(effect, recorded.nodes)
        if self._known is not None and self._is_known(effect):
            self._known.learn_reply(recorded.at, reply)
            return reply.again()
        return reply

    def _context_of(self, effect: Effect) -> Callable[[], array[int]]:
        """What gives the ids that an ask was answered after; it refers back to no effect."""
        if effect.context is not None:
            return partial(array, effect.context.typecode, effect.context)
        if effect.number < len(self._record):
            return partial(self._contexts, self._record[effect.number].at)
        return ids

    def _is_known(self, effect: Effect) -> bool:
        """Whether the record has all of an ask and its answer, which calls no tools."""
        if self._known is None or self._is_live(effect) or effect.payload[1].get("tools"):
            return False
        return self._known.said(self._record[effect.number].at) is effect.payload

    def _quoted(self) -> Quotes:
        """What was sampled on the path so far."""
        for each in self._unread:
            if isinstance(each, int):
                recorded = self._record[each]
                asked = self._known.said(recorded.at) if self._known else None
                assert asked is not None
                chat = self._live.chat(recorded.nodes[0].agent)
                each = (chat, asked[0], *answer_of(recorded.nodes, chat))
            self._quotes.add(*each)
        self._unread.clear()
        return self._quotes

    def _coming(self, effect: Effect) -> NextAsk | None:
        """What is known of the ask behind the path, where this is that ask."""
        if self._known is None or self._draft is not None or effect.number < len(self._record):
            return None
        coming = self._known.coming()
        if coming is None or coming.payload is not effect.payload:
            return None
        return coming if (coming.name, coming.scope) == (effect.name, effect.scope) else None

    def _comes(self, effect: Effect, context: array[int]) -> None:
        """Keep what an ask behind the path comes to, for other forks."""
        if self._known is None or self._draft is not None or not effect.texts or effect.counted:
            return
        if effect.number >= len(self._record) and not has_calls(effect.payload[0]):
            effect.digest = self._digests.of(effect.payload)
            ask = NextAsk(effect.name, effect.scope, effect.payload, context, effect.digest)
            self._known.comes(ask)

    def _check_ask(self, effect: Effect, recorded: RecordedEffect) -> None:
        if not recorded.nodes:
            assert recorded.call is not None
            raise diverged(effect, f"a call of tool {recorded.call.tool!r}")
        first = recorded.nodes[0]
        if effect.kind != "ask" or (first.agent, first.scope) != (effect.name, effect.scope):
            raise diverged(effect, f"an ask of agent {first.agent!r}")
        known = None if self._known is None else self._known.said(recorded.at)
        if known is not None and known is effect.payload:
            return
        asked = effect.digest or self._digests.of(effect.payload)
        if first.origin.ask and first.origin.ask != asked:
            chat = self._live.chat(effect.name)
            was = chat.decode(self._contexts(recorded.at))
            now = chat.decode(self._render(effect))
            raise diverged(effect, difference(was, now))
        if self._known is not None and first.origin.ask and effect.texts:
            self._known.learn(recorded.at, effect.payload)
