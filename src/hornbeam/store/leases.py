"""Who trains which policy of a run: leases that no clock of the day decides.

Whoever holds a lease lets its *beat* count up from a thread of its own. Others hold one for dead
when its beat stood still for a whole lease of their own monotonic time, while their own beats got
through: a clock that is set, a machine that sleeps and a database that is away kill nobody. Who is
dead loses the lease (its session ends), and with it all that it held; should it wake, the fence of
its store (see shared_database) refuses what it writes.

A process that runs but does nothing holds its lease for ever.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from hornbeam.errors import StoreError
from hornbeam.store.shared_database import LEASES, Session, SharedStore, connect

BEATS = 8  # in a lease
_M = LEASES.c


def host() -> str:
    """Where process ids of this process mean something: the machine, and the space of its ids."""
    with suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


class Lease:
    """The lease of one policy, held from `take` to `release`. `lease` in seconds."""

    def __init__(
        self, store: SharedStore, policy: str, lease: float, say: Callable[[str], None]
    ) -> None:
        self.store, self.policy, self.lease, self._say = store, policy, lease, say
        self.owners: dict[str, str] = {}  # of all leases, as last seen
        self.fallen: list[str] = []  # what is to be said of those given up
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> None:
        """Take the lease, or wait until it expires. `StoreError` where another process holds it."""
        while not self._try_take():
            continue  # it changed hands meanwhile: look again, and wait or refuse as it stands
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _try_take(self) -> bool:
        found = self._look()
        if found is not None and found.owner:
            self._wait(found)
            found = self._look()
        number = 1 if found is None else found.session + 1
        owner, since = f"{socket.gethostname()}:{os.getpid()}", time.strftime("%Y-%m-%d %H:%M:%S")
        row = {"session": number, "owner": owner, "host": host(), "since": since, "writes": 0}

        def claim(db: sa.Connection) -> bool:
            now = db.execute(sa.select(LEASES).where(_M.policy == self.policy)).one_or_none()
            if now is None:
                db.execute(sa.insert(LEASES).values(policy=self.policy, beat=0, **row))
                return True
            if (now.session, now.owner) == (number, owner):  # written by a try before this one
                return True
            here = (_M.policy == self.policy) & (_M.session == number - 1)
            return bool(db.execute(sa.update(LEASES).where(here).values(**row)).rowcount)

        if not self.store.write_once(claim):
            return False
        self.store.session = Session(self.policy, number)
        return True

    def release(self) -> None:
        """Release the lease."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            engine = connect(self.store.address)
            with (
                suppress(SQLAlchemyError, sqlite3.Error),
                engine.begin() as db,
            ):  # else its lease runs out
                db.execute(sa.update(LEASES).where(self._here()).values(owner=""))
            engine.dispose()

    def _here(self) -> sa.ColumnElement[bool]:
        return (_M.policy == self.policy) & (_M.session == self.store.session.number)

    def _look(self) -> Any:
        rows = self.store.ask(sa.select(LEASES).where(_M.policy == self.policy))
        return rows[0] if rows else None

    def _taken(self, row: Any) -> StoreError:
        return StoreError(
            f"policy {self.policy!r} is trained by {row.owner} since {row.since}: stop it first,"
            f" or wait until its lease of {self.lease:g} s has run out"
        )

    def _wait(self, row: Any) -> None:
        """Until whoever sits there is dead; `StoreError` where it is not."""
        if surely_dead(row):
            return
        end, warned = time.monotonic() + self.lease, False
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, self.lease / BEATS))
            now = self._look()
            if not now.owner:
                return
            if (now.session, now.beat) != (row.session, row.beat):
                raise self._taken(now)
            if not warned and left < self.lease * (1 - 2 / BEATS):
                self._say(
                    f"Policy {self.policy!r} was trained by {row.owner}, which is silent:"
                    f" waiting {left:.0f} s for its lease to run out"
                )
                warned = True

    # --- the thread --------------------------------------------------------------------------

    def _beat(self) -> None:
        """Count up, and look at the others, until the lease is released or lost."""
        engine = connect(self.store.address)
        pause, seen = self.lease / BEATS, dict[str, tuple[int, int, float]]()
        last = time.monotonic()
        while not self._stop.wait(pause):
            with suppress(SQLAlchemyError, sqlite3.Error), engine.begin() as db:
                beat = sa.update(LEASES).where(self._here()).values(beat=_M.beat + 1)
                if not db.execute(beat).rowcount:
                    break  # given up; the next write says so
                now = time.monotonic()
                if now - last > 3 * pause:
                    seen.clear()  # the database, or this process, was away
                last = now
                rows = db.execute(sa.select(LEASES)).all()
                self.owners = {row.policy: row.owner for row in rows}
                for row in rows:
                    before = seen.get(row.policy, (-1, -1, now))
                    if not row.owner or before[:2] != (row.session, row.beat):
                        seen[row.policy] = (row.session, row.beat, now)
                    elif row.policy != self.policy and now - before[2] > self.lease:
                        self._give_up(db, row)
        engine.dispose()

    def _give_up(self, db: sa.Connection, row: Any) -> None:
        """End the session of a lease whose beat stood still."""
        here = (_M.policy == row.policy) & (_M.session == row.session) & (_M.beat == row.beat)
        ended = sa.update(LEASES).where(here).values(session=row.session + 1, owner="")
        if db.execute(ended).rowcount:
            self.fallen.append(
                f"Policy {row.policy!r}: {row.owner} was silent for {self.lease:g} s and is given"
                " up; what it was growing is taken up"
            )


def surely_dead(row: Any) -> bool:
    """Whether the holder of a lease is a process of this machine that is gone."""
    if row.host != host():
        return False
    pid = int(row.owner.rpartition(":")[2])
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"  # its parent has not looked yet
    except ProcessLookupError:
        return True
    except OSError:
        return False


def leases(store: SharedStore) -> list[Any]:
    """The rows of all leases."""
    return store.ask(sa.select(LEASES).order_by(_M.policy))
