"""The ledger: what every call cost, entered against its node, and the budget that growth keeps.

A call first *reserves* the most it can cost, so that many calls in flight cannot pass a budget
together, and is *settled* with what it did cost. The ledger tells what was paid: a call that a
crash made necessary a second time is paid, and counted, twice; a replayed one is not paid.

Kinds in use: sampled_tokens, prompt_tokens_computed, prompt_tokens_cached, model_calls, tool_calls,
tool_calls_replayed (among them stateful_calls_replayed: of tools that are not marked pure),
divergences (runs of an agent outside that left their path and went on as branches of their own),
rewritten_reasoning and rewritten_place (earlier answers that a chat template writes otherwise than
they were sampled), turn_tokens_kept and turn_tokens_WHY (their tokens in prompts, as sampled or
not), client_tokens_NAME and client_kept_NAME (the same by who asks), ignored_SETTING (of requests),
refused_WHY (requests of agents outside that were not answered), scorer_calls, scorer_tokens,
teacher_tokens (read by a teacher), tokens_flat, tokens_unique, fit_tokens (unique ones that a value
head learned from), seconds (wall, entered by the ledger itself), seconds_grow, seconds_train. Any
other name is counted too, but no budget looks at it.

Left out: where entries are kept (store). Not for several threads at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import Field

from hornbeam.errors import BudgetSpent
from hornbeam.settings import Settings
from hornbeam.workers.local_workers import is_pure, wants_world
from hornbeam.workers.tool_state import visible_state

REDONE = "redone_"  # before a kind, in sums: of what was paid and is in no result
LOST = "lost"  # the stage of what was paid and is in no result: "lost", or "lost STAGE"
TOKENS = (
    "sampled_tokens",
    "prompt_tokens_computed",
    "scorer_tokens",
    "teacher_tokens",
)  # cached: not paid
DIVERGENCES = "divergences"
STATEFUL = "stateful_calls_replayed"
REWRITTEN = "rewritten_"  # before the reason
TURN_TOKENS = "turn_tokens_"  # before "kept", or the reason
CLIENT_TOKENS, CLIENT_KEPT = "client_tokens_", "client_kept_"  # before a client's name
IGNORED = "ignored_"  # before a setting of requests
REFUSED = "refused_"  # before why a request from outside was not answered
TURNS = (TURN_TOKENS, CLIENT_TOKENS, CLIENT_KEPT)
CALLS = ("model_calls", "tool_calls", "scorer_calls")  # replayed tool calls are not paid


class Budget(Settings):
    """The most that may be spent; `None` is no limit.

    `tokens`: sampled, computed prompt, scorer and teacher tokens. `calls`: of models, tools and
    scorers. `seconds`: wall time of the run, earlier parts of a resumed one included.
    """

    tokens: int | None = Field(None, ge=0)
    calls: int | None = Field(None, ge=0)
    seconds: float | None = Field(None, ge=0)


class Entry(NamedTuple):
    """One cost: whose (tree "train/12/3", episode, turn; "" and -1 where it is nobody's), what."""

    tree: str
    episode: int
    turn: int
    kind: str
    amount: float


def lost(entry: Entry, sign: int = 1) -> Entry:
    """The entry as one of what was paid and is in no result."""
    tree, episode, turn, kind, amount = entry
    return Entry(f"{LOST} {tree}", episode, turn, kind, sign * amount)


NO_BUDGET = Budget()
Sink = Callable[[Sequence[Entry]], None]


class Ledger:
    """Running sums of all entries, and the budget's watch over them.

    `spent` are the sums of an earlier part of this run, `sink` keeps entries (`Store.enter`).
    `redoes` says whether what is in no result counts: not where the budget is that of a method.
    `lasts` says whether entries outlive the process: else none is told to be paid in vain.
    `timed` says whether wall seconds are entered: of several ledgers with one sink, one does.
    """

    def __init__(
        self,
        budget: Budget = NO_BUDGET,
        spent: Mapping[str, float] = {},
        clock: Callable[[], float] = time.monotonic,
        sink: Sink | None = None,
        redoes: bool = True,
        lasts: bool = True,
        timed: bool = True,
    ) -> None:
        self.budget, self._redoes, self.lasts = budget, redoes, lasts and sink is not None
        self._timed = timed
        self.totals: dict[str, float] = dict(spent)
        self._tokens = sum(spent.get(kind, 0) for kind in TOKENS)
        self._calls = sum(spent.get(kind, 0) for kind in CALLS)
        self._held_tokens = self._held_calls = 0
        self._taken = dict(spent)
        self._clock, self._sink = clock, sink
        self._stamp = clock()

    @property
    def tokens(self) -> float:
        """Tokens spent: sampled, prompt tokens that were computed, scorers' and teachers'."""
        return self._tokens

    @property
    def calls(self) -> float:
        """Calls spent: of models, tools and scorers."""
        return self._calls

    @property
    def seconds(self) -> float:
        """Wall seconds of this run so far, earlier parts included."""
        return self.totals.get("seconds", 0.0) + self._clock() - self._stamp

    def reserve(self, tokens: int = 0, calls: int = 0) -> Reservation:
        """Hold room for a call that costs at most this. Raises `BudgetSpent` where there is none.

        Held: spent + reserved <= budget, whatever is in flight.
        """
        budget = self.budget
        if budget.tokens is not None:
            _check("tokens", self._tokens, self._held_tokens, tokens, budget.tokens)
        if budget.calls is not None:
            _check("calls", self._calls, self._held_calls, calls, budget.calls)
        if budget.seconds is not None and self.seconds >= budget.seconds:
            raise BudgetSpent(
                f"budget.seconds: {self.seconds:.0f} of {budget.seconds:.0f} seconds are spent"
            )
        self._held_tokens += tokens
        self._held_calls += calls
        return Reservation(self, tokens, calls)

    def enter(self, entries: Sequence[Entry]) -> None:
        """Count entries and hand them to the sink; wall seconds go along once a second."""
        self._enter(entries, entries)

    def later(self, entries: Sequence[Entry]) -> None:
        """Count entries that are in no result yet: a process killed before `keep` paid in vain."""
        self._enter(entries, [lost(entry) for entry in entries] if self.lasts else entries)

    def keep(self, entries: Sequence[Entry]) -> None:
        """What was entered for later is in a result from now on: told to the sink alone."""
        if self.lasts and self._sink is not None and entries:
            self._sink([*(lost(entry, -1) for entry in entries), *entries])

    def _enter(self, entries: Sequence[Entry], kept: Sequence[Entry]) -> None:
        """Count entries; the sink hears of them as `kept`."""
        if self._timed and self._clock() - self._stamp >= 1.0:
            wall = self._wall()
            entries, kept = [*entries, wall], [*kept, wall]
        if not kept:
            return
        totals = self.totals
        for entry in entries:
            if not self._redoes and entry.tree.startswith(LOST):
                continue
            kind, amount = entry.kind, entry.amount
            totals[kind] = totals.get(kind, 0) + amount
            if kind in TOKENS:
                self._tokens += amount
            elif kind in CALLS:
                self._calls += amount
        if self._sink is not None:
            self._sink(kept)

    def wall_seconds(self) -> float:
        """Enter the wall seconds since the last entry; those of the run so far, to milliseconds."""
        self.enter([self._wall()])
        return round(self.totals["seconds"], 3)

    def take(self) -> dict[str, float]:
        """What was entered since the last take (or the start), by kind, wall seconds included."""
        self.enter([self._wall()] if self._timed else [])
        since = {kind: sum_ - self._taken.get(kind, 0) for kind, sum_ in self.totals.items()}
        self._taken = dict(self.totals)
        return {kind: amount for kind, amount in since.items() if amount}

    def _wall(self) -> Entry:
        before, self._stamp = self._stamp, self._clock()
        return Entry("", -1, -1, "seconds", self._stamp - before)

    def _let_go(self, tokens: int, calls: int) -> None:
        self._held_tokens -= tokens
        self._held_calls -= calls


class Reservation:
    """Room held for one call. Ends once: by `settle` or by `release`; what comes later is void.

    As a context manager it is released at the block's end unless it was settled in it.
    """

    __slots__ = ("_held", "_ledger", "calls", "tokens")

    def __init__(self, ledger: Ledger, tokens: int, calls: int) -> None:
        self._ledger, self.tokens, self.calls = ledger, tokens, calls
        self._held = True

    def settle(self, entries: Sequence[Entry], later: bool = False) -> None:
        """Give the room back and enter what the call did cost, be it more than was reserved.

        With `later` it is in no result until `Ledger.keep`.
        """
        self.release()
        if later:
            self._ledger.later(entries)
        else:
            self._ledger.enter(entries)

    def release(self) -> None:
        """Give the room back: the call failed before it cost anything."""
        if self._held:
            self._held = False
            self._ledger._let_go(self.tokens, self.calls)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._held:
            self.release()


def _check(what: str, spent: float, held: int, asked: int, limit: int) -> None:
    if spent + held + asked > limit:
        flight = f", {held} held by calls in flight" if held else ""
        raise BudgetSpent(
            f"budget.{what}: {spent:.0f} of {limit} {what} are spent{flight};"
            f" the next call may need {asked}"
        )


def warning_of_state(
    sink: Sink,
    tools: Mapping[str, Callable[..., Any]],
    warn: Callable[[str], None],
) -> Sink:
    """A sink that hands entries on; warns once of a fork behind calls of tools with state."""
    silent = {n: tool for n, tool in tools.items() if not (is_pure(tool) or wants_world(tool))}
    named = ", ".join(": ".join([n, *visible_state(tool)[:1]]) for n, tool in silent.items())
    warned = False

    def enter(entries: Sequence[Entry]) -> None:
        nonlocal warned
        sink(entries)
        trees = (entry.tree.removeprefix(f"{LOST} ") for entry in entries if entry.kind == STATEFUL)
        found = next(trees, None)
        if not warned and found is not None:
            warned = True
            warn(
                f"{found}: a branch continues after recorded calls, which are not made"
                f" again: what tools not marked pure ({named}) changed there is not undone or made"
                " anew for it; mark those that keep none with @hb.pure, and keep that of others"
                " in a world (docs/worlds.md)"
            )

    return enter
