"""Whatever the order in which answers come, equal seeds give equal trees, and nobody stays busy."""

import asyncio

import pytest

from grow.worlds import KEY, PROGRAMS, TOOLS, Late, chain, grow, grower, say, tree
from hornbeam.errors import BudgetSpent, StoreError
from hornbeam.search import Branch, Independent
from hornbeam.store.database import Store, TreeKey
from hornbeam.store.ledger import Budget, Ledger
from hornbeam.tree.jsonl import to_json

BRANCH = Branch(trunks=3, nodes=2, rounds=2, pick="mixed")


async def settled(engine):
    """Busy clients once what was cancelled has gone."""
    for _ in range(20):
        await asyncio.sleep(0)
    return engine.barrier.count


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
@pytest.mark.parametrize("kept", [False, True])
def test_late_answers_in_any_order_give_the_same_tree(program, kept, tmp_path):
    plain = to_json(grow(grower(program, BRANCH)))
    for seed in range(6):
        engine = Late(say, seed, most=1 + seed)

        async def run(engine=engine, seed=seed):
            store = Store(tmp_path / str(seed)) if kept else None
            grown = await grower(program, BRANCH, engine, keeper=store).grow(KEY, tree())
            assert await settled(engine) == 0
            if store is not None:
                assert to_json(store.read(KEY).tree) == to_json(grown)
                store.close()
            return grown

        assert to_json(asyncio.run(run())) == plain
        assert len(set(engine.seeds)) == len(engine.seeds)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
@pytest.mark.parametrize("calls", [1, 7, 18, 40])
def test_nobody_stays_busy_when_the_budget_ends_growth(program, calls):
    for seed in range(4):
        engine = Late(say, seed)
        ledger = Ledger(Budget(calls=calls))

        async def run(engine=engine, ledger=ledger):
            with pytest.raises(BudgetSpent):
                await grower(program, Independent(n=30), engine, ledger=ledger).grow_all(
                    [(TreeKey("train", 0, i), tree(i)) for i in range(3)], at_once=2
                )
            assert await settled(engine) == 0
            assert ledger.calls <= calls and not ledger._held_calls

        asyncio.run(run())


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_nobody_stays_busy_when_growth_is_cancelled(program):
    for ticks in range(0, 120, 7):
        engine = Late(say, ticks)

        async def run(engine=engine, ticks=ticks):
            how = grower(program, Independent(n=5), engine)
            growth = asyncio.create_task(how.grow_all([(KEY, tree())]))
            for _ in range(ticks):
                await asyncio.sleep(0)
            growth.cancel()
            await asyncio.wait([growth])
            assert await settled(engine) == 0

        asyncio.run(run())


def test_nobody_stays_busy_when_the_first_tree_cannot_be_begun(tmp_path):
    engine = Late(say)

    async def run():
        with Store(tmp_path) as store:
            how = grower(chain, Independent(n=2), engine, keeper=store)
            await how.grow(KEY, tree())
            with pytest.raises(StoreError, match="already"):
                await how.grow_all([(KEY, tree())])
            assert await settled(engine) == 0

    asyncio.run(run())


def test_tools_that_hang_or_fail_leave_nobody_busy():
    async def hangs(word):
        await asyncio.sleep(60)

    engine = Late(say)

    async def run():
        tools = {**TOOLS, "slow": hangs}
        how = grower(PROGRAMS[1], Independent(n=3), engine, tools=tools, seconds=0.5)
        grown = await how.grow(KEY, tree())
        assert await settled(engine) == 0
        return grown

    grown = asyncio.run(run())
    assert all("slow took longer" in grown.nodes[i].error for i in grown.leaves())
