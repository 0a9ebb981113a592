"""Sessions opened over HTTP: each is a tree of one episode, grown while its agent asks.

A session's token is its number and a digest of it under the run's secret, so that what was opened
is known again after a stop, and what has ended is told apart from what never was, with no list.
A request without a session is an episode of its own: one ask, whose answer is what was said.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hornbeam.assembly.task_order import tree_seed
from hornbeam.episode.record import asks_of, effects_of
from hornbeam.errors import BudgetSpent, HornbeamError, ScoreError
from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.asked import Asked, BadRequest
from hornbeam.gateway.endpoint_formats import remember
from hornbeam.gateway.opened_program import OpenedProgram
from hornbeam.gateway.server import Gateway
from hornbeam.gateway.session import AgentSession, Ended
from hornbeam.grow.grower import Grower
from hornbeam.jobs.gateway.kept_asks import KeptAsks
from hornbeam.score.reward_settings import RewardSettings
from hornbeam.score.rules import RuleScorer, check_task, make_scorer
from hornbeam.search import Independent
from hornbeam.settings import nearest
from hornbeam.store.database import Store, Stored, TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

SESSION, REQUEST = "session", "request"  # stages of trees
TASK = ("id", "question", "answer", "data")
OPEN = ("task", "agent", *TASK)
END = ("answer", "reward", "error")


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
        self._none = make_scorer(RewardSettings(rule="none"))
        self._open: dict[int, Opened] = {}
        self._growing: set[asyncio.Task[Tree]] = set()
        kept = store.get("gateway/secret")
        self._secret = bytes.fromhex(kept or secrets.token_hex(16))
        store.set("gateway/secret", self._secret.hex())
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
        _known(given, OPEN, "a session")
        main = given.get("agent") or self.agents[0]
        if main not in self.agents:
            raise BadRequest(f"agent = {main!r}: {nearest(str(main), self.agents)}")
        names = (main, *[name for name in self.agents if name != main])
        task = _task(given, f"session-{self._next[SESSION]}")
        scorer = self._scorer(task)
        key, tree = self._new(SESSION, task)
        asks = KeptAsks(self._store, key.number)
        asks.begin(main)
        opened = self._opened(key, names, asks)
        self._begin(opened, tree, scorer)
        self.counts["sessions"] += 1
        return opened.session, {"tree": str(key), "model": main, "idle_seconds": self._idle}

    async def end(self, token: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """What is told of a session that was ended so, said twice too. Raises `BadRequest`."""
        _known(given, END, "the end of a session")
        ended = _ended(given)
        number = self._number(token)
        if number is None:
            raise BadRequest("there is no such session", 404, "no_session")
        opened = self._open.get(number)
        if opened is None or opened.growing is None:
            key = TreeKey(SESSION, 0, number)
            stored = self._store.read(key)
            told = _told(stored.tree) if stored.done else {}
            if told and (told["answer"], told["error"]) == (ended.answer, ended.error):
                return {"tree": str(key), **told}
            raise self._over(number)
        opened.session.end(ended)
        return {"tree": str(opened.key), **_told(await asyncio.shield(opened.growing))}

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
        growing = self._begin(opened, tree, self._none)
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

    def _scorer(self, task: Task) -> RuleScorer:
        """Who judges: the recipe's rule, where the task has an answer. Raises `BadRequest`."""
        scorer = self._grower.scorer
        assert isinstance(scorer, RuleScorer)
        if task.answer is None:
            return self._none
        try:
            for judged in scorer.settings.judged.values():
                check_task(judged.rule, task)
        except ScoreError as error:
            raise BadRequest(str(error)) from error
        return scorer

    def _opened(self, key: TreeKey, names: tuple[str, ...], asks: KeptAsks | None = None) -> Opened:
        """A session under a key; one that is opened by a request alone keeps no requests."""
        token = self._token(key.number) if asks else secrets.token_urlsafe(16)
        session = AgentSession(names, token)
        program = OpenedProgram(session, asks.add if asks else None)
        return Opened(key, session, program, asks)

    def _begin(
        self, opened: Opened, start: Tree | Stored, scorer: RuleScorer
    ) -> asyncio.Task[Tree]:
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

    async def _grown(self, opened: Opened, start: Tree | Stored, scorer: RuleScorer) -> Tree:
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
            self.counts.update(opened.session.counts)
            if opened.asks is not None:
                assert self.gateway is not None
                self.gateway.remove(opened.session)
                del self._open[opened.key.number]

    def _over(self, number: int) -> BadRequest:
        """What is told of a session that is open no longer."""
        stored = self._store.read(TreeKey(SESSION, 0, number))
        errors = [node.error for node in stored.tree.nodes if node.error]
        why = f": {errors[-1]}" if errors else ""
        return BadRequest(f"this session is over{why}", 410, "session_over")

    async def resume(self) -> int:
        """Go on with what a stop had left open; returns how many sessions that are."""
        for key in self._store.unfinished(REQUEST):
            opened = self._opened(key, self.agents)
            opened.session.end(Ended(error=STOPPED))
            await self._begin(opened, self._store.read(key), self._none)
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
        recorded = len(asks_of(effects_of([*stored.tree.nodes, *stored.open])))
        growing = self._begin(opened, stored, self._scorer(Task.from_json(stored.tree.task)))
        session, turns = opened.session, opened.program.turns
        arrivals = []
        for ask in kept:
            if recorded <= 0:
                break  # nobody was told of it: its sender asks again
            while len(turns) < ask.told and not growing.done():
                await asyncio.sleep(0)  # nothing but the record is read meanwhile
            arrivals.append(session.again(ask.agent, ask.asked, ask.told))
            recorded -= ask.asked.n
        whole = arrivals if recorded >= 0 else arrivals[:-1]
        if whole:
            await asyncio.wait([arrival.answer for arrival in whole])
        for arrival in whole:
            if not arrival.answer.cancelled() and arrival.answer.exception() is None:
                remember("responses", session, arrival.asked, arrival.answer.result()[0])

    async def watch(self) -> None:
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
        await self._none.aclose()


def _known(given: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    for name in given:
        if name not in names:
            raise BadRequest(f"{name!r} is nothing that {what} has: {nearest(name, names)}")


def _task(given: Mapping[str, Any], ident: str) -> Task:
    """The task of a session: under "task", or beside it. Raises `BadRequest`."""
    told = given.get("task")
    told = {"question": told} if isinstance(told, str) else told
    if told is None:
        told = {name: given[name] for name in TASK if name in given}
    if not isinstance(told, Mapping):
        raise BadRequest("task: a text, or an object with a question, is expected")
    _known(told, TASK, "a task")
    question, data = told.get("question", ""), told.get("data", {})
    if not isinstance(question, str):
        raise BadRequest("task.question: a text is expected")
    if not isinstance(data, Mapping):
        raise BadRequest("task.data: an object is expected")
    return Task(str(told.get("id", ident)), question, told.get("answer"), data)


def _ended(given: Mapping[str, Any]) -> Ended:
    """How a session ended. Raises `BadRequest`."""
    reward, error = given.get("reward"), given.get("error") or ""
    if reward is not None:
        number = isinstance(reward, (int, float)) and not isinstance(reward, bool)
        if not number or not math.isfinite(reward):
            raise BadRequest(f"reward = {reward!r}: a number is expected")
    if not isinstance(error, str):
        raise BadRequest("error: a text is expected")
    return Ended(given.get("answer"), error, None if reward is None else float(reward))


def _told(tree: Tree) -> dict[str, Any]:
    """What is told of a grown session."""
    (leaf,) = tree.leaves()
    node = tree.nodes[leaf]
    steps = [tree.nodes[i] for i in tree.path(leaf) if tree.nodes[i].tokens]
    rewards = {
        name: column[leaf] for name, column in tree.columns.items() if column[leaf] is not None
    }
    return {
        "answer": node.answer,
        "error": node.error,
        "steps": len(steps),
        "sampled_tokens": sum(len(step.tokens) for step in steps),
        "rewards": rewards,
    }
