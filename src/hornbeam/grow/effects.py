"""What one live episode does outside: it samples, calls tools, pays, and says when it is busy."""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hornbeam.answers.brackets import goes_on
from hornbeam.chat import Chat
from hornbeam.engine.request import SETTINGS, Barrier, Completion, Request, Sampling, fits
from hornbeam.episode.seams import Piece, Place
from hornbeam.episode.segmenters import Segmenter
from hornbeam.errors import ProgramError, PromptTooLong, ToolError
from hornbeam.grow.episode_worlds import EpisodeWorlds
from hornbeam.grow.resumed import Before
from hornbeam.grow.speakers import Speaker as Speaker
from hornbeam.grow.step_states import StepStates, keyed
from hornbeam.protocols import Engine
from hornbeam.settings import nearest
from hornbeam.store.ledger import DIVERGENCES, STATEFUL, Entry, Ledger, lost
from hornbeam.tree.nodes import Call, Node, floats
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers

REPLAYED = -2  # the turn under which replayed calls wait for their episode's first node


def request_seed(tree: int, place: Place) -> int:
    """The seed of a request: 63 bits of a digest of the tree's seed and the place in its path."""
    packed = struct.pack("<Qqqq", tree % 2**64, place.episode, place.turn, place.used)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


@dataclass(slots=True)
class EpisodeEffects:
    """The `Live` of one episode of one tree. `tree` names it in the ledger and orders requests."""

    tree: str
    order: tuple[Any, ...]
    seed_: int
    task: Task
    agents: Mapping[str, Speaker]
    tools: LocalWorkers
    ledger: Ledger
    barriers: tuple[Barrier, ...]
    before: Before | None = None  # what was run before a stop
    worlds: EpisodeWorlds | None = None  # what its tools act on
    states: StepStates | None = None  # in which state each step is taken
    # Paid for, and not in the tree yet: of calls of models, and of tools in the order begun.
    _asked: dict[tuple[int, int], list[Entry]] = field(default_factory=dict)
    _called: dict[tuple[int, int], list[Entry]] = field(default_factory=dict)
    _replayed: dict[int, list[Call]] = field(default_factory=dict)  # by episode

    def kept(self, episode: int, turn: int, tool: bool) -> None:
        """The tree holds an answer of this turn, or the result of its next tool."""
        self.ledger.keep(self._asked.pop((episode, REPLAYED), ()))
        if not tool:
            self.ledger.keep(self._asked.pop((episode, turn), ()))
        elif waiting := self._called.get((episode, turn)):
            self.ledger.keep([waiting.pop(0)])

    def over(self, episode: int | None = None) -> None:
        """An episode has ended, or all have: what they paid is paid for good."""
        for waiting in (self._asked, self._called):
            for place in [p for p in waiting if episode in (None, p[0])]:
                self.ledger.keep(waiting.pop(place))

    def chat(self, agent: str) -> Chat:
        """The chat of this agent's engine."""
        return self._speaker(agent).engine.chat

    def names(self) -> tuple[str, ...]:
        """The agents that can be asked, the main one first."""
        return tuple(self.agents)

    def seed(self, place: Place) -> int:
        """The seed of the request at this place."""
        return request_seed(self.seed_, place)

    def enter(self) -> None:
        """One more activity is busy outside the engines."""
        for barrier in self.barriers:
            barrier.enter()

    def leave(self) -> None:
        """One activity less is busy."""
        for barrier in self.barriers:
            barrier.leave()

    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """The run's tools by name."""
        return self.tools.functions

    async def tool(
        self, name: str, arguments: Mapping[str, Any], place: Place, refused: str = ""
    ) -> Any:
        """Run a tool and pay for it, whether it fails or not; a refused call is not run."""
        with self.ledger.reserve(calls=1) as room:
            paid = self._entry(place, "tool_calls", 1)
            room.settle([paid], later=True)
            self._called.setdefault((place.episode, place.turn), []).append(paid)
            if refused:
                raise ToolError(refused)
            if self.worlds is not None and self.worlds.acts(name):
                return await self.worlds.call(name, arguments, place)
            session = id(self), place.episode
            before = self._replayed.get(place.episode, ())
            return await self.tools.call(name, arguments, self.task, session, before)

    def ended(self, episode: int) -> None:
        """An episode runs no more: what servers hold for it can go."""
        self._replayed.pop(episode, None)
        if self.worlds is not None:
            self.worlds.end(episode)
        self.tools.end((id(self), episode))

    def replayed(self, episode: int, path: Sequence[Node], resumed: bool = False) -> None:
        """Enter how many recorded tool calls a fork replays; they are not made and paid again.

        What an episode replays only because it was stopped is in no result.
        """
        called = self._replayed[episode] = [call for node in path for call in node.calls]
        stateful = sum(call.tool in self.tools.stateful for call in called)
        counts = {"tool_calls_replayed": len(called), STATEFUL: stateful}
        entries = [Entry(self.tree, episode, -1, kind, n) for kind, n in counts.items() if n]
        if resumed:
            self.ledger.enter([lost(entry) for entry in entries])
        elif entries:
            self.ledger.later(entries)
            self._asked.setdefault((episode, REPLAYED), []).extend(entries)

    def diverged(self, episode: int) -> None:
        """Enter that an episode left its path and goes on as a branch of its own."""
        entries = [Entry(self.tree, episode, -1, DIVERGENCES, 1)]
        self.ledger.later(entries)
        self._asked.setdefault((episode, REPLAYED), []).extend(entries)

    async def sample(
        self, agent: str, context: array[int], sampling: Mapping[str, Any], place: Place
    ) -> list[Piece]:
        """Sample an answer or the rest of one, as at most `place.pieces` chunks."""
        speaker = self._speaker(agent)
        how = _override(speaker, sampling)
        key = await self.states.of(agent, self.task, place, self.worlds) if self.states else ""
        pieces = await self._sample(speaker, context, how, place)
        if not speaker.tags:
            chat = speaker.engine.chat
            pieces = [piece._replace(text=chat.decode(piece.tokens)) for piece in pieces]
        if not key:
            return pieces
        return keyed(key, context[len(context) - place.used :], pieces)

    async def _sample(
        self, speaker: Speaker, context: array[int], how: Sampling, place: Place
    ) -> list[Piece]:
        segment = speaker.segment
        if segment is None:
            done = await self._generate(speaker.engine, context, how, place)
            return [_piece(done)]
        if place.pieces is None or segment.whole:
            left = replace(how, max_tokens=max(1, how.max_tokens - place.used))
            done = await self._generate(speaker.engine, context, left, place)
            return _cut(done, segment, speaker.engine.chat)[: place.pieces]
        return await self._chunks(speaker, segment, context, how, place)

    async def _chunks(
        self, speaker: Speaker, segment: Segmenter, context: array[int], how: Sampling, place: Place
    ) -> list[Piece]:
        """At most `place.pieces` chunks, sampled one by one so that no more is paid than wanted."""
        pieces: list[Piece] = []
        used = place.used
        assert place.pieces is not None
        while len(pieces) < place.pieces:
            room = max(1, how.max_tokens - used)
            most = min(room, segment.tokens) if segment.by == "tokens" else room
            chunk = replace(how, max_tokens=most, stop=(*how.stop, *segment.stops()))
            at = place._replace(used=used)
            done = await self._generate(speaker.engine, context, chunk, at)
            used += len(done.tokens)
            context = context + done.tokens
            more = used < how.max_tokens and not _ended(done, context, used, how, speaker)
            pieces.append(_piece(done)._replace(finish="chunk" if more else done.finish))
            if not more:
                break
        return pieces

    async def _generate(
        self, engine: Engine, context: array[int], how: Sampling, place: Place
    ) -> Completion:
        """A sample; one that a stop string ended inside a bracket goes on, as the rest of it."""
        done = await self._request(engine, context, how, place)
        before = engine.chat.decode(context[len(context) - place.used :]) if how.stop else ""
        while (
            done.finish == "stop"
            and done.tokens
            and done.tokens[-1] not in engine.chat.ends
            and goes_on(done.text, how.stop, before)
        ):
            used = len(done.tokens)
            if used >= how.max_tokens:
                return replace(done, finish="length")
            left = replace(how, max_tokens=how.max_tokens - used)
            at = place._replace(used=place.used + used)
            try:
                rest = await self._request(engine, context + done.tokens, left, at)
            except PromptTooLong:  # the window is full
                return replace(done, finish="length")
            done = _joined(done, rest, engine.chat)
            if not rest.tokens:
                break
        return done

    async def _request(
        self, engine: Engine, context: array[int], how: Sampling, place: Place
    ) -> Completion:
        """One request: room reserved, the episode not busy while it waits, then settled."""
        order = (*self.order, place.episode, place.turn, place.used)
        asked = ((), ()) if place.used else (place.messages, place.tools)
        request = Request(context, how, self.seed(place), order, *asked)
        most = len(context) + _longest(engine, len(context), how.max_tokens)
        before = self.before if getattr(engine, "keeps", False) else None
        if self.ledger.budget.tokens is not None:
            most -= max(engine.cached(context), before.known(context) if before else 0)
        with self.ledger.reserve(tokens=most, calls=1) as room:
            self.leave()
            try:
                done = await engine.generate(request)
            finally:
                self.enter()
            again = before.again(context, done.computed) if before else 0
            where = self.tree, place.episode, place.turn
            paid = [
                Entry(*where, "model_calls", 1),
                Entry(*where, "sampled_tokens", done.paid),
                Entry(*where, "prompt_tokens_computed", done.computed - again),
                Entry(*where, "prompt_tokens_cached", done.cached + again),
            ]
            if place.counted and not place.used:
                paid += [Entry(*where, kind, n) for kind, n in place.counted.items() if n]
            room.settle(paid, later=True)
            if self.ledger.lasts:
                self._asked.setdefault((place.episode, place.turn), []).extend(paid)
            if again:
                self.ledger.enter([lost(self._entry(place, "prompt_tokens_computed", again))])
        return done

    def _entry(self, place: Place, kind: str, amount: float) -> Entry:
        return Entry(self.tree, place.episode, place.turn, kind, amount)

    def _speaker(self, agent: str) -> Speaker:
        if agent not in self.agents:
            raise ProgramError(f"no agent {agent!r} in agents: {nearest(agent, self.agents)}")
        return self.agents[agent]


def _override(speaker: Speaker, given: Mapping[str, Any]) -> Sampling:
    """An agent's sampling with what the program said at the ask."""
    sampling = speaker.sampling
    if not given:
        return sampling
    if speaker.trained and given.get("temperature", sampling.temperature) != sampling.temperature:
        raise ProgramError(
            f"ep.ask: temperature = {given['temperature']!r}, but the loss is taken at the agent's"
            f" {sampling.temperature}: set it there, in the recipe or its Speaker"
        )
    for name in given:
        if name not in SETTINGS:
            raise ProgramError(f"ep.ask has no setting {name!r}: {nearest(name, SETTINGS)}")
        texts = isinstance(given[name], str) and name == "stop"
        if not fits(name, [given[name]] if texts else given[name]):
            raise ProgramError(f"ep.ask: {name} = {given[name]!r} cannot be: {SETTINGS[name]}")
    return replace(sampling, **given)


def _longest(engine: Engine, prompt: int, most: int) -> int:
    """How many tokens an answer has at most, by its limit and the room of the engine's context."""
    context: int | None = getattr(engine, "context", None)
    return most if context is None else min(most, max(0, context - prompt))


def _piece(done: Completion) -> Piece:
    return Piece(done.tokens, done.logprobs, done.text, done.finish, done.version)


def _joined(done: Completion, rest: Completion, chat: Chat) -> Completion:
    """Two samples as the one that they are; log-probs only where both have them."""
    tokens = done.tokens + rest.tokens
    complete = len(done.logprobs) == len(done.tokens) and len(rest.logprobs) == len(rest.tokens)
    return Completion(
        tokens=tokens,
        logprobs=done.logprobs + rest.logprobs if complete else floats(),
        text=chat.decode(tokens),
        finish=rest.finish,
        version=min(done.version, rest.version),
        computed=done.computed + rest.computed,
        cached=done.cached + rest.cached,
        sampled=done.paid + rest.paid,
    )


def _ended(
    done: Completion, context: array[int], used: int, how: Sampling, speaker: Speaker
) -> bool:
    """Whether the answer ended with this chunk, and not the chunk at its delimiter or size.

    `context` holds the chunk, and `used` counts the ids of the answer with it.
    """
    segment, chat = speaker.segment, speaker.engine.chat
    assert segment is not None
    if segment.by == "tokens":
        return done.finish != "length" or len(done.tokens) != segment.tokens
    if done.finish != "stop" or not done.tokens or done.tokens[-1] in chat.ends:
        return True
    before = chat.decode(context[len(context) - used : len(context) - len(done.tokens)])
    return any(s in done.text for s in how.stop) and not goes_on(done.text, how.stop, before)


def _cut(done: Completion, segment: Segmenter, chat: Chat) -> list[Piece]:
    """A whole answer as chunks."""
    ends = [*segment.cuts(done.tokens, chat), len(done.tokens)]
    pieces, start = [], 0
    for end in ends:
        tokens = done.tokens[start:end]
        finish = done.finish if end == len(done.tokens) else "chunk"
        piece = Piece(tokens, done.logprobs[start:end], chat.text(tokens), finish, done.version)
        pieces.append(piece)
        start = end
    return pieces
