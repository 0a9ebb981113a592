"""Runs a program once: replays the recorded path, goes live behind it, hands out finished nodes.

An effect is told when all effects asked before it were told, so the order in which a program hears
results never depends on which of them came first. What it did not reproduce of its own path is a
`Divergence` that names the first difference.

A call belongs to the last ask told before it (calls before the first ask to node 0), and a node is
committed when the next ask's turn has come or the episode ends.
"""

from __future__ import annotations

import asyncio
import random
from array import array
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from hornbeam.episode.draws import Draws
from hornbeam.episode.failures import failure
from hornbeam.episode.known_asks import PathAsks
from hornbeam.episode.program import Episode, Limits
from hornbeam.episode.quotes import Quotes
from hornbeam.episode.record import (
    Digests,
    Effect,
    answer_of,
    ask_error,
    diverged,
    effects_of,
    ended_early,
    outcome,
    own,
    record_answer,
    record_call,
    reply_of,
    within,
)
from hornbeam.episode.recorded_path import RecordedPath
from hornbeam.episode.replay import ReplayLoop
from hornbeam.episode.seams import Live, Piece, Place
from hornbeam.episode.waits import Waits
from hornbeam.errors import (
    EngineError,
    EngineLost,
    HornbeamError,
    ModelError,
    ProgramError,
    PromptTooLong,
)
from hornbeam.protocols import Program
from hornbeam.tools.schema import offered
from hornbeam.tree.nodes import Node, Origin, StepReward, floats, ids
from hornbeam.tree.task import Task
from hornbeam.workers.time_slices import Overrun, TimeSlice, is_interrupt

LIMITS = Limits()
T = TypeVar("T")


class Driver(RecordedPath):
    """One run of a program along `path`, the nodes from the task (node 0) down to where it goes on.

    `contexts(k)` gives the ids that path[k] was sampled after. `is_open` says that the last node
    of the path still waits for its calls. `commit(node, context)` gets each finished node in order,
    parent left at -1; node 0 comes with finish "ready" when no more calls can come before the
    first ask. `note` gets a node as soon as it is sampled and again after each call, for the store.
    `branched(k)` hears that a program which does not repeat its path goes on from path[k].
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
        branched: Callable[[int], None] | None = None,
        known: PathAsks | None = None,
        limits: Limits = LIMITS,
        seed: int = 0,
    ) -> None:
        self._program, self._task, self._live, self._limits = program, task, live, limits
        self._path, self._contexts, self._commit, self._note = path, contexts, commit, note
        self._branched, self._stopped, self._known = branched, False, known
        self._episode, self._step, self._steps = episode, step, steps
        self._loop = ReplayLoop()
        self._queue: deque[Effect] = deque()
        self._record = effects_of(path)
        self._issued = self._asks = self._delivered = self._sampled = 0
        self._quotes, self._unread = Quotes(), []
        self._digests = Digests()
        self._seed = seed  # of the last ask told; the tree's before the first
        self._draws = Draws()
        self._draft: Node | None = None  # the node whose calls are still coming
        self._context = ids()  # of the draft
        self._waits = Waits(self._loop, live)
        self._main: asyncio.Task[Any] | None = None
        self.paused = False  # in front of an ask, from where it can go on
        self._hold_rewards(path, is_open or not path[-1].finish)
        if is_open:
            self._draft, self._context = path[-1], contexts(len(path) - 1)
        elif not path[0].finish:
            self._draft = path[0]

    # --- what episodes use -------------------------------------------------------------------

    def issue(
        self, kind: str, name: str, scope: str, payload: Any, **how: Any
    ) -> asyncio.Future[Any]:
        """Queue an effect; its future is told when all effects issued before it were."""
        if kind == "ask":
            self._limits.check(self._asks, self._sampled)
            self._asks += 1
        future = self._loop.create_future()
        effect = Effect(kind, name, scope, payload, future, self._issued, self._asks - 1, **how)
        self._issued += 1
        if not self._at_once(effect):
            self._queue.append(effect)
        return future

    def schemas(self, tools: Any) -> list[dict[str, Any]]:
        """The JSON schemas of the run's tools that are named."""
        return offered(tools, self._live.functions())

    def random(self, scope: str) -> random.Random:
        """The generator of this position of the path."""
        return self._draws.at(self._seed, self._delivered, scope)

    def reward(self, given: StepReward) -> None:
        """Enter a reward of the last step, unless the record has it."""
        self._draft = self._rewards.enter(self._draft, self._delivered, given)

    def outside(self, event: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """An event of the world that is no fact: awaited on the real loop, on replay again."""
        return self._waits.add(event)

    def names(self) -> tuple[str, ...]:
        """The agents that can be asked."""
        return self._live.names()

    # --- the run -----------------------------------------------------------------------------

    async def run(self) -> bool:
        """Run to the end, or until `steps` nodes were committed. Returns whether it ended.

        A failure of the program, a divergence too, ends the episode with the error kept at its
        last node. Raises `BudgetSpent`, `EngineLost` and cancellation; what was committed stays.
        The caller has entered (`Live.enter`) for the driver, and leaves for it when this returns.
        Where it is `paused` then, `go_on` and another run lead on, else `drop` ends it.
        """
        if self._main is None:
            with TimeSlice(self._limits.program_seconds):
                coroutine: Any = self._program(self._task, Episode(self))
            self._main = self._loop.create_task(coroutine)
        main, self.paused = self._main, False
        try:
            self._spin()
            while not main.done():
                if not self._queue:
                    await self._waits.event()
                    self._spin()
                    if self._stopped:
                        return False
                    continue
                if self._queue[0].kind == "ask" and self._queue[0].number >= len(self._record):
                    self._close()
                    if self._enough():
                        alone = len(self._queue) == 1 and self._queue[0].running is None
                        self.paused = alone and not self._waits.heard
                        return False
                await self._report(self._queue[0])
                if self._enough() and self._draft is None:
                    return False  # in the middle of an answer
                self._spin()
            if self._delivered < len(self._record):
                raise ended_early(self._delivered, self._record[self._delivered], outcome(main)[1])
            self._finish(*outcome(main, self._limits.program_seconds))
        except (ProgramError, SystemExit, KeyboardInterrupt, Overrun) as error:
            if is_interrupt(error):
                raise
            self._finish(None, failure(error, main))
        finally:
            if not self.paused:
                self.drop()
        return True

    def go_on(
        self,
        *,
        contexts: Callable[[int], array[int]],
        commit: Callable[[Node, array[int]], None],
        note: Callable[[Node, array[int]], None] | None,
        branched: Callable[[int], None],
        known: PathAsks,
        episode: int,
        steps: int | None,
    ) -> None:
        """Lead on from where it is paused, as an episode of its own that begins there."""
        self._contexts, self._commit, self._note = contexts, commit, note
        self._branched, self._known = branched, known
        self._episode, self._step, self._steps = episode, 0, steps
        self._quotes.begin()

    def _spin(self) -> None:
        with TimeSlice(self._limits.program_seconds):
            self._loop.spin()
        self._rewards.check(self._delivered)

    async def _report(self, effect: Effect) -> None:
        if len(self._queue) > 1 or self._waits.outside():  # effects of a gather run at once
            self._start()
        if not self._is_live(effect):
            value = self._recall(effect)
        elif effect.running is None:  # the driver's own entry serves
            value = self._take(effect, await self._perform(effect, self._prepare(effect)))
        else:
            await self._wait(effect, effect.running)
            value = self._take(effect, effect.running.result())
        self._queue.popleft()
        self._tell(effect, value)

    def _tell(self, effect: Effect, value: Any) -> None:
        """Give the program the result of an effect."""
        self._delivered += 1
        if effect.future.cancelled():
            return
        if isinstance(value, HornbeamError):
            effect.future.set_exception(value)
        else:
            effect.future.set_result(own(value))

    def _start(self) -> None:
        """Run the effects that wait in the queue, all at once."""
        for waiting in within(self._queue, self._draft, self._steps):
            if waiting.running is None and self._is_live(waiting):
                self._waits.run(waiting, self._perform(waiting, self._prepare(waiting)))

    async def _wait(self, effect: Effect, running: asyncio.Task[Any]) -> None:
        """Wait for an effect; what events outside bring meanwhile is begun."""
        while not running.done():
            if await self._waits.effect(effect, running):
                self._spin()
                self._start()

    # --- live --------------------------------------------------------------------------------

    def _prepare(self, effect: Effect) -> Any:
        """(context, ids so far) of an ask, from what was told by now; or why there is none."""
        used = ids()
        if effect.kind == "call":
            return used, used
        try:
            if effect.number >= len(self._record):
                return self._render(effect), used
            recorded = self._record[effect.number]  # an answer that breaks off at a chunk
            self._check_ask(effect, recorded)
            for node in recorded.nodes:
                used = used + node.tokens
            return self._contexts(recorded.at) + used, used
        except HornbeamError as error:
            return error
        except (TypeError, ValueError) as error:  # half a surrogate pair, say
            return ProgramError(f"what ep.ask was given has no token ids: {error}")

    async def _perform(self, effect: Effect, prepared: Any) -> Any:
        """Run an effect: a tool's result, or (context, ids so far, pieces); or the error it met."""
        if isinstance(prepared, (EngineError, ModelError)):
            return ids(), ids(), prepared
        if isinstance(prepared, HornbeamError):
            raise prepared
        if effect.kind == "call":
            place = Place(self._episode, effect.turn, effect.scope)
            return await self._waits.call(effect, place)
        (context, used), (messages, settings) = prepared, effect.payload
        at = self._episode, effect.turn, effect.scope, len(used), self._steps
        tools = tuple(settings.get("tools", ()))
        place = Place(*at, tuple(messages), tools, effect.counted or {})
        sampling = {n: value for n, value in settings.items() if n != "tools"} if settings else {}
        try:
            got = await self._live.sample(effect.name, context, sampling, place)
            return context, used, got
        except EngineLost:
            raise
        except (EngineError, ModelError) as error:
            return context, used, error

    def _take(self, effect: Effect, got: Any) -> Any:
        """Enter a live result into the path and return what the program is told."""
        if effect.kind == "call":
            return self._take_call(effect, got)
        context, used, got = got
        self._close()
        self._seed = self._live.seed(Place(self._episode, effect.turn, effect.scope, len(used)))
        if isinstance(got, HornbeamError):
            finish = "too long" if isinstance(got, PromptTooLong) else "error"
            failed = self._node(effect, Piece(ids(), floats(), "", finish, 0))
            failed = failed.changed(error=str(got).split("\n", 1)[0])
            self._hold(failed, context)
            return ask_error(failed)
        if self._known is not None and effect.texts and effect.number >= len(self._record):
            self._known.answered(effect.payload)
        for piece in got:
            self._close()
            if self._enough():
                return None
            self._hold(self._node(effect, piece), context)
            context = context + piece.tokens
        if got[-1].finish == "chunk":
            self._close()
            return None
        known = self._record[effect.number].nodes if effect.number < len(self._record) else []
        return self._reply(effect, [*known, *got])

    def _take_call(self, effect: Effect, got: Any) -> Any:
        if self._draft is None:
            raise diverged(effect, "an ask here, or the end")
        node, result = record_call(self._draft, effect, got)
        self._hold(node, self._context)
        return result

    def _node(self, effect: Effect, piece: Piece) -> Node:
        place = self._episode, self._step, effect.turn
        ask = effect.digest or self._digests.of(effect.payload)
        return record_answer(effect, piece, Origin(*place, self._seed, piece.version, ask))

    def _hold(self, node: Node, context: array[int]) -> None:
        """Keep a node that still waits for its calls."""
        self._draft, self._context = node, context
        if self._note is not None:
            self._note(node, context)

    def _close(self) -> None:
        """Commit the draft, if there is one."""
        node, self._draft = self._draft, None
        if node is None:
            return
        if not node.finish:  # the task itself
            self._commit(node.changed(finish="ready"), self._context)
            return
        self._commit(node, self._context)
        self._step += 1
        if self._steps is not None:
            self._steps -= 1

    def _finish(self, answer: Any, error: str) -> None:
        """Commit the node at which the episode ended; one of its own where no answer ends it."""
        draft = self._draft
        if draft is None or draft.finish in ("", "too long", "error"):
            self._close()
            origin = Origin(self._episode, self._step)
            draft, self._context = Node(-1, finish="end", origin=origin), ids()
        self._draft = draft.changed(done=True, answer=answer, error=error)
        self._close()

    def _reply(self, effect: Effect, said: Sequence[Node | Piece]) -> Any:
        """What the program is told of an answer, live or recorded, whose pieces these are."""
        chat, (messages, settings) = self._live.chat(effect.name), effect.payload
        text, tokens = answer_of(said, chat)
        reply = reply_of(chat, text, tokens, said, effect, self._context_of(effect))
        if self._is_known(effect):
            self._unread.append(effect.number)
        else:
            self._unread.append((chat, messages, text, tokens))
            if settings.get("tools"):
                self._unread.append((chat, messages, reply.message, tokens))
        self._sampled += len(tokens)
        return reply

    def _render(self, effect: Effect) -> array[int]:
        """The prompt of an ask; answers that it quotes stand in it as they were sampled."""
        coming = self._coming(effect) if self._known is not None else None
        if coming is not None:
            context, effect.digest = coming.context, coming.digest
        else:
            chat = self._live.chat(effect.name)
            context, effect.counted = self._quoted().prompt(chat, effect.payload, effect.earlier)
            effect.context = context if effect.earlier is not None else None
            self._comes(effect, context)
        effect.prompt = len(context)
        return context

    def drop(self) -> None:
        """Cancel what still runs, here and outside, and swallow what nobody will read."""
        main, self._main = self._main, None  # it refers back to this: nothing is left for gc
        assert main is not None
        self._waits.drop()
        for effect in self._queue:
            running = effect.running
            if running is not None and not running.cancel() and not running.cancelled():
                running.exception()
        self._loop.cancel(main, self._limits.program_seconds)
