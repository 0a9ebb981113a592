"""The request queue: what the trainers of several policies leave for each other in the shared
store.

*Claims* say who grows which tree, *asks* carry what an episode grown here asks of a policy that is
trained elsewhere, and the answer back, *trained* says which policy learned from which step. All are
rows: no weights, no gradients, no tensors pass. A claim holds as long as the session of whoever
made it (see members). An answer stays as first given, and is used by whoever asks the same again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from hornbeam.store.cells import TextCell, WholeCell
from hornbeam.store.keys import TreeKey
from hornbeam.store.shared_database import LEASES, SharedStore
from hornbeam.store.tables import METRICS, SCHEMA, TREES, at, inserter, keyed

_text, _int = TextCell, WholeCell
_TREE = ("stage", "step", "number")


def _key() -> list[sa.Column[Any]]:
    return [*keyed(_text, _TREE[0]), *keyed(_int, *_TREE[1:])]


CLAIMS = sa.Table(
    "claims",
    SCHEMA,
    *_key(),
    sa.Column("policy", _text, nullable=False),
    sa.Column("session", _int, nullable=False),
)
ASKS = sa.Table(
    "asks",
    SCHEMA,
    *_key(),
    *keyed(_int, "episode", "turn", "used"),
    sa.Column("policy", _text, nullable=False),  # that is asked
    sa.Column("asker", _text, nullable=False),
    sa.Column("need", _int, nullable=False),  # steps that it must have learned from
    sa.Column("data", _text, nullable=False),
    sa.Column("answer", _text),
)
TRAINED = sa.Table(
    "trained",
    SCHEMA,
    *keyed(_text, "policy"),
    *keyed(_int, "step"),
    sa.Column("version", _int, nullable=False),  # of the weights after it
    sa.Column("data", _text, nullable=False),  # the row of metrics
)


class RequestKey(NamedTuple):
    """Which request of which episode an ask is."""

    stage: str
    step: int
    number: int
    episode: int
    turn: int
    used: int


class Trained(NamedTuple):
    """That a policy learned from a step: its version after it, and its row of metrics."""

    version: int
    row: dict[str, Any]


_WHICH = [ASKS.c[name] for name in RequestKey._fields]


class RequestQueue:
    """The requests of all policies as the trainer of `policy` sees them, in their store."""

    def __init__(self, store: SharedStore, policy: str) -> None:
        self.store, self.policy = store, policy
        self._insert = inserter(store.dialect)

    # --- trees -------------------------------------------------------------------------------

    def undone(self, keys: Sequence[TreeKey]) -> list[TreeKey]:
        """Those of some trees that are not grown yet."""
        steps = {(key.stage, key.step) for key in keys}
        done: set[TreeKey] = set()
        for stage, step in steps:
            query = sa.select(*(TREES.c[n] for n in _TREE)).where(
                at(TREES, stage, step), TREES.c.done
            )
            done |= {TreeKey(*row) for row in self.store.ask(query)}
        return [key for key in keys if key not in done]

    def claim(self, keys: Iterable[TreeKey], most: int) -> list[TreeKey]:
        """At most so many of these trees, from now on to be grown here and nowhere else."""
        mine = {"policy": self.policy, "session": self.store.session.number}
        held = (
            sa.exists()
            .where(LEASES.c.policy == CLAIMS.c.policy, LEASES.c.session == CLAIMS.c.session)
            .where(LEASES.c.owner != "", LEASES.c.policy != self.policy)
            .correlate(CLAIMS)
        )
        columns = [CLAIMS.c[name] for name in _TREE]
        taken = {TreeKey(*row) for row in self.store.ask(sa.select(*columns).where(held))}
        wanted = [key for key in keys if key not in taken]

        def take(db: sa.Connection) -> list[TreeKey]:
            got: list[TreeKey] = []
            for key in wanted:
                if len(got) == most:
                    break
                insert = self._insert(CLAIMS).values({**key._asdict(), **mine})
                new = db.execute(insert.on_conflict_do_nothing())
                again = sa.update(CLAIMS).where(at(CLAIMS, *key), ~held).values(mine)
                if new.rowcount == 1 or db.execute(again).rowcount == 1:
                    done = db.execute(sa.select(TREES.c.done).where(at(TREES, *key))).scalar()
                    got += [] if done else [key]
            return got

        return self.store.write_once(take) if wanted else []

    def clear(self, keys: Sequence[TreeKey]) -> None:
        """The asks of grown trees go."""
        for key in keys:
            self.store.later(sa.delete(ASKS).where(at(ASKS, *key)))
        self.store.flush()

    # --- asks --------------------------------------------------------------------------------

    def ask(self, which: RequestKey, policy: str, need: int, data: dict[str, Any]) -> None:
        """Ask a policy; an answer that stands there to the very same is kept."""
        row = {"policy": policy, "asker": self.policy, "need": need, "data": json.dumps(data)}
        insert = self._insert(ASKS).values({**which._asdict(), **row, "answer": None})
        same = ASKS.c.data == insert.excluded.data
        kept = sa.case((same, ASKS.c.answer), else_=sa.null())
        new = {name: insert.excluded[name] for name in row}
        self.store.later(
            insert.on_conflict_do_update(
                index_elements=list(ASKS.primary_key), set_={**new, "answer": kept}
            )
        )

    def answered(self) -> list[RequestKey]:
        """Which of this policy's asks have their answers."""
        mine = (ASKS.c.asker == self.policy) & ASKS.c.answer.is_not(None)
        return [RequestKey(*row) for row in self.store.ask(sa.select(*_WHICH).where(mine))]

    def wanted(self, learned: int) -> list[RequestKey]:
        """What is asked of this policy and may be answered after so many steps."""
        open_ = (ASKS.c.policy == self.policy) & ASKS.c.answer.is_(None)
        query = sa.select(*_WHICH).where(open_, ASKS.c.need <= learned).order_by(*_WHICH)
        return [RequestKey(*row) for row in self.store.ask(query)]

    def data(self, which: RequestKey) -> tuple[str, str | None] | None:
        """What is asked, and its answer, as JSON; None where the ask has gone."""
        rows = self.store.ask(sa.select(ASKS.c.data, ASKS.c.answer).where(_is(which)))
        return (rows[0].data, rows[0].answer) if rows else None

    def answer(self, which: RequestKey, data: str, answer: dict[str, Any]) -> None:
        """Answer what was asked so, unless it is answered."""
        here = _is(which) & (ASKS.c.data == data) & ASKS.c.answer.is_(None)
        self.store.later(sa.update(ASKS).where(here).values(answer=json.dumps(answer)))

    # --- steps -------------------------------------------------------------------------------

    def train(self, step: int, version: int, row: dict[str, Any]) -> None:
        """Keep that this policy learned from a step, with what is written before it."""
        data = self.store.as_json(row, "a row of metrics")
        values = {"policy": self.policy, "step": step, "version": version, "data": data}
        self.store.later(sa.insert(TRAINED).values(values))
        self.store.flush()

    def versions(self) -> list[int]:
        """The versions of this policy's weights after each step, in order."""
        query = sa.select(TRAINED.c.version).where(TRAINED.c.policy == self.policy)
        return [row.version for row in self.store.ask(query.order_by(TRAINED.c.step))]

    def reported(self, since: int) -> set[int]:
        """Steps of which a row of metrics is there."""
        query = sa.select(METRICS.c.step).where(METRICS.c.kind == "train", METRICS.c.step >= since)
        return {row.step for row in self.store.ask(query)}

    def trained(self, policy: str | None = None, since: int = 0) -> dict[int, Trained]:
        """What a policy (this one) learned from, by step."""
        query = sa.select(TRAINED).where(TRAINED.c.policy == (policy or self.policy))
        rows = self.store.ask(query.where(TRAINED.c.step >= since).order_by(TRAINED.c.step))
        with self.store.reading("what a policy learned"):
            return {row.step: Trained(row.version, {**json.loads(row.data)}) for row in rows}


def _is(which: RequestKey) -> sa.ColumnElement[bool]:
    return sa.and_(*(column == value for column, value in zip(_WHICH, which)))
