import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.errors import BudgetSpent
from hornbeam.store.ledger import Budget, Entry, Ledger


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def cost(kind: str, amount: float, turn: int = 0) -> Entry:
    return Entry("train/1/0", 0, turn, kind, amount)


def test_sums_by_hand() -> None:
    ledger = Ledger(clock=Clock())
    held = ledger.reserve(tokens=30, calls=1)
    held.settle(
        [
            cost("sampled_tokens", 7),
            cost("prompt_tokens_computed", 5),
            cost("prompt_tokens_cached", 11),
            cost("model_calls", 1),
        ]
    )
    ledger.enter([cost("tool_calls", 2), cost("tool_calls_replayed", 3), cost("scorer_calls", 1)])
    assert ledger.tokens == 12  # cached tokens are not paid
    assert ledger.calls == 4  # replayed calls are not paid
    assert ledger.totals["prompt_tokens_cached"] == 11


def test_budget_of_tokens_counts_what_is_in_flight() -> None:
    ledger = Ledger(Budget(tokens=100), clock=Clock())
    first, second = ledger.reserve(tokens=60), ledger.reserve(tokens=40)
    with pytest.raises(BudgetSpent) as result:
        ledger.reserve(tokens=1)
    assert str(result.value) == (
        "budget.tokens: 0 of 100 tokens are spent, 100 held by calls in flight;"
        " the next call may need 1"
    )
    first.settle([cost("sampled_tokens", 10)])
    second.release()
    ledger.reserve(tokens=90)
    with pytest.raises(BudgetSpent):
        ledger.reserve(tokens=1)


def test_a_refused_call_holds_nothing() -> None:
    ledger = Ledger(Budget(tokens=10, calls=1), clock=Clock())
    ledger.reserve(calls=1)
    with pytest.raises(BudgetSpent, match=r"budget\.calls: 0 of 1 calls"):
        ledger.reserve(tokens=10, calls=1)
    ledger.reserve(tokens=10)


def test_more_than_reserved_is_counted_all_the_same() -> None:
    ledger = Ledger(Budget(tokens=10), clock=Clock())
    ledger.reserve(tokens=4).settle([cost("sampled_tokens", 12)])
    assert ledger.tokens == 12
    with pytest.raises(BudgetSpent, match="12 of 10 tokens are spent; the next call may need 1"):
        ledger.reserve(tokens=1)


def test_a_reservation_ends_once() -> None:
    ledger = Ledger(Budget(calls=2), clock=Clock())
    held = ledger.reserve(calls=2)
    held.release()
    held.release()
    with ledger.reserve(calls=2) as other:
        other.settle([cost("model_calls", 1)])
    with pytest.raises(ValueError), ledger.reserve(calls=1):
        raise ValueError
    ledger.reserve(calls=1)
    with pytest.raises(BudgetSpent):
        ledger.reserve(calls=1)


def test_budget_of_seconds_goes_on_after_a_resume() -> None:
    clock = Clock()
    ledger = Ledger(Budget(seconds=10), spent={"seconds": 7.0}, clock=clock)
    clock.now += 2.5
    ledger.reserve(tokens=1)
    assert ledger.seconds == 9.5
    clock.now += 0.5
    with pytest.raises(BudgetSpent, match=r"budget\.seconds: 10 of 10 seconds"):
        ledger.reserve(tokens=1)


def test_a_resumed_ledger_has_spent_before() -> None:
    ledger = Ledger(Budget(tokens=100), spent={"sampled_tokens": 60, "tool_calls": 4})
    assert (ledger.tokens, ledger.calls) == (60, 4)
    with pytest.raises(BudgetSpent):
        ledger.reserve(tokens=41)
    ledger.enter([cost("sampled_tokens", 2)])
    assert ledger.take()["sampled_tokens"] == 2  # not what was spent before


def test_take_gives_what_came_since() -> None:
    clock = Clock()
    ledger = Ledger(clock=clock)
    ledger.enter([cost("sampled_tokens", 3)])
    clock.now += 0.5
    assert ledger.take() == {"sampled_tokens": 3, "seconds": 0.5}
    ledger.enter([cost("tool_calls", 1)])
    assert ledger.take() == {"tool_calls": 1}
    assert ledger.totals == {"sampled_tokens": 3, "seconds": 0.5, "tool_calls": 1}


def test_the_sink_gets_all_of_it_wall_seconds_too() -> None:
    kept: list[Entry] = []
    clock = Clock()
    ledger = Ledger(clock=clock, sink=kept.extend)
    for turn in range(5):
        clock.now += 0.75
        ledger.enter([cost("sampled_tokens", 2, turn)])
    ledger.take()
    sums: dict[str, float] = {}
    for entry in kept:
        sums[entry.kind] = sums.get(entry.kind, 0) + entry.amount
    assert sums == ledger.totals == {"sampled_tokens": 10, "seconds": 3.75}


def test_of_ledgers_with_one_sink_one_tells_the_wall_clock() -> None:
    kept: list[Entry] = []
    clock = Clock()
    run = Ledger(clock=clock, sink=kept.extend)
    beside = Ledger(Budget(seconds=9), clock=clock, sink=kept.extend, timed=False)
    for turn in range(4):
        clock.now += 2.0
        beside.enter([cost("sampled_tokens", 1, turn)])
        run.enter(())
    assert run.wall_seconds() == 8.0 == sum(e.amount for e in kept if e.kind == "seconds")
    assert beside.take() == {"sampled_tokens": 4} and beside.seconds == 8.0
    clock.now += 1.0
    with pytest.raises(BudgetSpent, match=r"budget\.seconds"):
        beside.reserve(tokens=1)


@given(st.integers(0, 200), st.integers(0, 2**32))
@settings(max_examples=50)
def test_no_budget_is_passed_with_many_calls_in_flight(limit: int, seed: int) -> None:
    ledger = Ledger(Budget(tokens=limit))

    async def call(number: int) -> None:
        rng = random.Random(seed + number)
        for turn in range(4):
            most = rng.randint(1, 30)
            held = ledger.reserve(tokens=most)
            await asyncio.sleep(0)
            used = rng.randint(0, most)
            if used == 0:
                held.release()
            else:
                assert used <= held.tokens
                held.settle([cost("sampled_tokens", used, turn)])
            assert ledger.tokens <= limit

    async def main() -> None:
        ended = await asyncio.gather(*(call(i) for i in range(8)), return_exceptions=True)
        assert all(error is None or isinstance(error, BudgetSpent) for error in ended)

    asyncio.run(main())
    assert ledger.tokens <= limit
    if limit >= 1:
        ledger.reserve(tokens=int(limit - ledger.tokens))  # nothing stays held
