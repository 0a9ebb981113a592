"""The search over any forker: an async function that begins new runs at a position of one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from hornbeam.blame.result import Blame, blame_of
from hornbeam.blame.search import BlameSettings, DropSearch, ForkOutcome, Step
from hornbeam.errors import DataError

Forker = Callable[[int, int], Awaitable[Sequence[ForkOutcome]]]
DEFAULT = BlameSettings()


async def find_drop(
    steps: int | Sequence[Step],
    fork: Forker,
    settings: BlameSettings = DEFAULT,
    *,
    outcome: float = 0.0,
    guide: Sequence[float | None] = (),
    seed: int = 0,
) -> Blame:
    """The step of a run at which its chance of success fell most.

    `await fork(position, count)` makes `count` new runs that keep the first `position` steps, and
    gives what came of each; those of a batch are awaited together. `outcome` in [0, 1] is that of
    the run; `guide` [T] values of its positions. Raises `DataError` for a run without a step and
    for a forker that gives more or fewer runs, and what the forker raises.
    """
    known = [Step()] * steps if isinstance(steps, int) else list(steps)
    if not known:
        raise DataError("a run without a step has none that lost it")
    search = DropSearch(known, settings, outcome, guide, seed)
    while positions := search.ask():
        wanted = sorted(Counter(positions).items())
        found = await asyncio.gather(*(fork(at, count) for at, count in wanted))
        for (at, count), forks in zip(wanted, found):
            if len(forks) != count:
                raise DataError(f"{count} forks were asked for at {at}, {len(forks)} came")
            for each in forks:
                search.tell(at, each)
    return blame_of(search)
