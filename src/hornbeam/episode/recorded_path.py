"""What a driver does with the record of the path that it replays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hornbeam.chat import has_calls
from hornbeam.episode.given_rewards import RewardRecord
from hornbeam.episode.known_asks import NextAsk, PathAsks, Payload
from hornbeam.episode.program import Limits
from hornbeam.episode.quotes import Quotes
from hornbeam.episode.record import (
    Digests,
    Effect,
    RecordedEffect,
    ask_error,
    asks_of,
    difference,
    diverged,
    last_of,
    recalled,
    unlike,
)
from hornbeam.episode.seams import Live
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
    _digests: Digests
    _known: PathAsks | None
    _queue: deque[Effect]
    _rewards: RewardRecord
    _branched: Callable[[int], None] | None
    _draft: Node | None
    _issued: int
    _delivered: int
    _episode: int
    _step: int
    _seed: int
    _stopped: bool  # it has all its steps, though its program did not come to their end

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _enough(self) -> bool: ...

    @abstractmethod
    def _hold(self, node: Node, context: array[int]) -> None: ...

    @abstractmethod
    def _render(self, effect: Effect) -> array[int]: ...

    @abstractmethod
    def _reply(self, effect: Effect, said: Sequence[Any]) -> Any: ...

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

    def branch(self, agent: str = "", payload: Any = None) -> str:
        """Go on from the last recorded ask that was asked, since `payload` is not the next one.

        Without an agent the program has ended. Returns what differs.
        """
        cut = self._issued if agent else self._delivered
        chat = self._live.chat(agent or self._path[-1].agent)
        now = self._quotes.prompt(chat, payload)[0] if agent else ids()
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

    def _is_live(self, effect: Effect) -> bool:
        """Behind the record, or an answer that the record breaks off at a chunk."""
        if effect.number >= len(self._record):
            return True
        nodes = self._record[effect.number].nodes
        return bool(nodes) and nodes[-1].finish == "chunk"

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
        return self._reply(effect, recorded.nodes)

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
            digest = self._digests.of(effect.payload)
            ask = NextAsk(effect.name, effect.scope, effect.payload, context, digest)
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
