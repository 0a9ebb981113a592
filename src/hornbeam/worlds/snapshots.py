"""Snapshots of all trees of a process under one bound in bytes; the least used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from typing import Any

from hornbeam.worlds.world_kind import Snapshot, WorldKind


class Snapshots:
    """What is kept of the worlds of one kind, by place. `size` is that of all, in bytes."""

    def __init__(self, kind: WorldKind) -> None:
        self.kind, self.size = kind, 0
        self._held: OrderedDict[Hashable, Snapshot] = OrderedDict()
        self._used: dict[int, int] = {}  # how many read a snapshot now, by its id
        self._gone: dict[int, Snapshot] = {}  # dropped while somebody reads it

    def put(self, place: Hashable, found: Snapshot) -> None:
        """Keep one; others go until all fit, and it goes itself where it never fits."""
        self.drop(place)
        self._held[place] = found
        self.size += found.size
        while self.size > self.kind.keep and self._held:
            self.drop(next(iter(self._held)))

    def __contains__(self, place: Hashable) -> bool:
        return place in self._held

    def __len__(self) -> int:
        return len(self._held)

    def take(self, place: Hashable) -> Snapshot:
        """One that is kept, which stays as it is until it is given `back`."""
        self._held.move_to_end(place)
        found = self._held[place]
        self._used[id(found)] = self._used.get(id(found), 0) + 1
        return found

    def back(self, found: Snapshot) -> None:
        """Nobody reads this one any more, whom `take` gave it."""
        self._used[id(found)] -= 1
        if not self._used[id(found)]:
            del self._used[id(found)]
            if self._gone.pop(id(found), None) is not None:
                self._end(found)

    def drop(self, place: Hashable) -> None:
        """Keep this one no longer, if it is kept."""
        found: Any = self._held.pop(place, None)
        if found is None:
            return
        self.size -= found.size
        if id(found) in self._used:
            self._gone[id(found)] = found
        else:
            self._end(found)

    def _end(self, found: Snapshot) -> None:
        with suppress(Exception):  # one's own `close` raises what it likes; nobody misses it
            self.kind.drop(found.data)
