"""Sessions opened over HTTP: each is a tree of one episode, grown while its agent asks.

A session's token is its number and a digest of it under the run's secret, so that what was opened
is known again after a stop, and what has ended is told apart from what never was, with no list.
A request without a session is an episode of its own: one ask, whose answer is what was said.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hornbeam.assembly.task_order import tree_seed
from hornbeam.errors import BudgetSpent, HornbeamError
from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.asked import Asked, BadRequest
from hornbeam.gateway.opened_program import OpenedProgram
from hornbeam.gateway.server import Gateway
from hornbeam.gateway.session import AgentSession, Ended
from hornbeam.grow.grower import Grower
from hornbeam.jobs.gateway.kept_asks import KeptAsks, ask_again
from hornbeam.jobs.gateway.session_bodies import (
    END,
    OPEN,
    SessionScorers,
    ended_of,
    known,
    names_of,
    summary_of,
    task_of,
)
from hornbeam.protocols import Scorer
from hornbeam.search import Independent
from hornbeam.store.database import Store, Stored, TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

SESSION, REQUEST = "session", "request"  # stages of trees


STOPPED = "the gateway was stopped before it was answered"


@dataclass(eq=False)
class Opened:
    """A session that is open: its tree, its program, its requests so far, what grows it."""

    key: TreeKey
    session: AgentSession
    program: OpenedProgram
    asks: KeptAsks | None = None
    growing: asyncio.Task[Tree] | None = None


class OpenedSessions:
    """The door of a gateway: opens, ends and keeps sessions. `idle`: seconds without a request
    after which one is ended that nobody ended.
    """

    def __init__(
        self, grower: Grower, store: Store, agents: tuple[str, ...], seed: int, idle: float
    ) -> None:
        self.agents, self.counts = agents, Counter[str]()
        self._grower = replace(grower, strategy=Independent(n=1))
        self._store, self._seed, self._idle = store, seed, idle
        self._scorers = SessionScorers(grower.scorer)
        self._open: dict[int, Opened] = {}
        self._growing: set[asyncio.Task[Tree]] = set()
        self._stopped: dict[int, BadRequest] = {}  # why sessions do not go on in this process
        kept = store.get("gateway/secret")
        with store.reading("value of 'gateway/secret'"):
            self._secret = bytes.fromhex(kept or secrets.token_hex(16))
        store.set("gateway/secret", self._secret.hex())
        store.flush()
        self._next = {
            stage: 1 + max((key.number for key in store.keys(stage)), default=-1)
            for stage in (SESSION, REQUEST)
        }
        self.gateway: Gateway | None = None

    # --- names -----------------------------------------------------------------------------------

    def _token(self, number: int) -> str:
        said = hmac.new(self._secret, str(number).encode(), hashlib.sha256)
        return f"{number}-{said.hexdigest()[:32]}"

    def _number(self, token: str) -> int | None:
        """The number of a session that has been opened, by its token."""
        number = token.partition("-")[0]
        if not (number.isascii() and number.isdigit() and len(number) < 12):
            return None
        if not hmac.compare_digest(token.encode(), self._token(int(number)).encode()):
            return None
        return int(number) if int(number) < self._next[SESSION] else None

    def _new(self, stage: str, task: Task) -> tuple[TreeKey, Tree]:
        key = TreeKey(stage, 0, self._next[stage])
        self._next[stage] += 1
        return key, Tree(task.to_json(), seed=tree_seed(self._seed, key))

    # --- the door --------------------------------------------------------------------------------

    async def open(self, given: Mapping[str, Any]) -> tuple[AgentSession, dict[str, Any]]:
        """A session that was opened, and what is told of it. Raises `BadRequest`."""
        known(given, OPEN, "a session")
        names = names_of(given, self.agents)
        task = task_of(given, f"session-{self._next[SESSION]}")
        scorer = self._scorers.of(task)
        key, tree = self._new(SESSION, task)
        asks = KeptAsks(self._store, key.number)
        asks.begin(names[0])
        opened = self._opened(key, names, asks)
        self._store.begin(key, tree)
        self._store.flush()  # before anybody hears its token
        self._begin(opened, Stored(tree, False, []), scorer)
        self.counts["sessions"] += 1
        return opened.session, {"tree": str(key), "model": names[0], "idle_seconds": self._idle}

    async def end(self, token: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """What is told of a session that was ended so, said twice too. Raises `BadRequest`."""
        known(given, END, "the end of a session")
        ended = ended_of(given)
        number = self._number(token)
        if number is None:
            raise BadRequest("there is no such session", 404, "no_session")
        opened = self._open.get(number)
        if opened is None or opened.growing is None:
            key = TreeKey(SESSION, 0, number)
            stored = self._store.read(key)
            told = summary_of(stored.tree) if stored.done else {}
            if told and (told["answer"], told["error"]) == (ended.answer, ended.error):
                return {"tree": str(key), **told}
            raise self._over(number)
        opened.session.end(ended)
        return {"tree": str(opened.key), **summary_of(await asyncio.shield(opened.growing))}

    def gone(self, token: str) -> BadRequest | None:
        """Why a session that was here is served no longer; None where there was none."""
        number = self._number(token)
        return None if number is None else self._over(number)

    async def alone(self, agent: str, asked: Asked) -> Sequence[HttpAnswer]:
        """Answers to a request of no session, kept as an episode. Raises `BadRequest`."""
        users = [m["content"] for m in asked.messages if m["role"] == "user"]
        task = Task(f"request-{self._next[REQUEST]}", users[-1] if users else "")
        key, tree = self._new(REQUEST, task)
        opened = self._opened(key, (agent,))
        growing = self._begin(opened, tree, self._scorers.none)
        self.counts["requests without a session"] += 1
        try:
            answers = list((await opened.session.submit(agent, asked)).answer.result())
        except BaseException as error:
            opened.session.end(Ended(error=f"it was not answered: {error}"))
            raise
        opened.session.end(Ended(answer=answers[0].text))
        await asyncio.shield(growing)
        return answers

    # --- their life ------------------------------------------------------------------------------

    def _opened(self, key: TreeKey, names: tuple[str, ...], asks: KeptAsks | None = None) -> Opened:
        """A session under a key; one that is opened by a request alone keeps no requests."""
        token = self._token(key.number) if asks else secrets.token_urlsafe(16)
        session = AgentSession(names, token=token)
        program = OpenedProgram(session, asks.add if asks else None)
        return Opened(key, session, program, asks)

    def _begin(self, opened: Opened, start: Tree | Stored, scorer: Scorer) -> asyncio.Task[Tree]:
        assert self.gateway is not None
        opened.growing = asyncio.create_task(self._grown(opened, start, scorer))
        self._growing.add(opened.growing)
        opened.growing.add_done_callback(self._is_over)
        if opened.asks is not None:
            self.gateway.add(opened.session)
            self._open[opened.key.number] = opened
        return opened.growing

    def _is_over(self, growing: asyncio.Task[Tree]) -> None:
        self._growing.discard(growing)
        if not growing.cancelled():
            growing.exception()  # told to who asks

    async def _grown(self, opened: Opened, start: Tree | Stored, scorer: Scorer) -> Tree:
        """Grow a session's tree to its end; what stops it is told to who asks."""
        why: BadRequest | None = None
        grower = replace(self._grower, program=opened.program, scorer=scorer)
        try:
            tree = await grower.grow(opened.key, start)
            if opened.asks is not None:
                opened.asks.drop()
            errors = [tree.nodes[leaf].error for leaf in tree.leaves()]
            if errors[0]:
                why = BadRequest(f"this session is over: {errors[0]}", 410, "session_over")
            return tree
        except BudgetSpent as error:
            why = BadRequest(str(error), 429, "budget_spent")
            raise why from error
        except HornbeamError as error:
            why = BadRequest(str(error), 503, "engine_lost")
            raise why from error
        except asyncio.CancelledError:
            why = BadRequest("the gateway stops; it goes on where it was", 503, "stopped")
            raise
        finally:
            opened.session.close(why)
            if opened.asks is None:
                self.counts.update(opened.session.counts)
            else:
                assert self.gateway is not None
                self.gateway.remove(opened.session)
                del self._open[opened.key.number]
                if why is not None and why.status != 410:
                    self._stopped[opened.key.number] = why

    def _over(self, number: int) -> BadRequest:
        """What is told of a session that is served no longer."""
        if (why := self._stopped.get(number)) is not None:
            return BadRequest(str(why), why.status, why.code)
        stored = self._store.read(TreeKey(SESSION, 0, number))
        errors = [node.error for node in stored.tree.nodes if node.error]
        text = f": {errors[-1]}" if errors else ""
        return BadRequest(f"this session is over{text}", 410, "session_over")

    async def resume(self) -> int:
        """Go on with what a stop had left open; returns how many sessions that are."""
        for key in self._store.unfinished(REQUEST):
            opened = self._opened(key, self.agents)
            opened.session.end(Ended(error=STOPPED))
            await self._begin(opened, self._store.read(key), self._scorers.none)
        keys = self._store.unfinished(SESSION)
        for key in keys:
            await self._resume(key, self._store.read(key))
        return len(keys)

    async def _resume(self, key: TreeKey, stored: Stored) -> None:
        """A session as it was: what was answered is answered again from the record, unasked."""
        asks = KeptAsks(self._store, key.number)
        main, kept = asks.read()
        names = tuple(dict.fromkeys([name for name in (main, *self.agents) if name]))
        opened = self._opened(key, names, asks)
        scorer = self._scorers.of(Task.from_json(stored.tree.task))
        growing = self._begin(opened, stored, scorer)
        many = await ask_again(kept, stored, opened.session, opened.program.turns, growing)
        asks.cut(kept[:many])

    async def end_idle(self) -> None:
        """End the sessions that nobody ends, until cancelled."""
        while True:
            await asyncio.sleep(min(self._idle / 4, 10.0))
            for opened in list(self._open.values()):
                if opened.session.idle > self._idle:
                    line = f"nobody ended the session: no request for {self._idle:g} s"
                    opened.session.end(Ended(error=line))
                    self.counts["sessions that nobody ended"] += 1

    async def aclose(self) -> None:
        """Stop what grows: it goes on when it is opened again."""
        for growing in (tasks := list(self._growing)):
            growing.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._scorers.aclose()
