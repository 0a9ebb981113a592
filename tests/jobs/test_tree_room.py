"""Which trees may grow at once, and how many requests engines had meanwhile."""

import asyncio
from types import SimpleNamespace

import pytest

from hornbeam.engine.request import Completion
from hornbeam.errors import EngineError
from hornbeam.jobs.train.row_meter import MeteredEngine, RowMeter
from hornbeam.jobs.train.tree_room import TreeRoom
from hornbeam.store.database import TreeKey


class Growths:
    """Trees that grow until they are ended by name; `now` are those that grow, as they began."""

    def __init__(self, room):
        self.room, self.now, self.gates, self.tasks = room, [], {}, {}

    async def start(self, *names):
        for name in names:
            stage, step, number = name.split("/")
            key = TreeKey(stage, int(step), int(number))
            self.gates[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._grow(name, key))
        await self._settled()

    async def _grow(self, name, key):
        async with self.room.tree(key):
            self.now.append(name)
            try:
                await self.gates[name].wait()
            finally:
                self.now.remove(name)

    async def end(self, *names):
        for name in names:
            self.gates[name].set()
        await self._settled()

    async def stop(self, *names):
        for name in names:
            self.tasks[name].cancel()
        await self._settled()

    async def _settled(self):
        for _ in range(8):
            await asyncio.sleep(0)


def test_trees_of_the_next_step_begin_where_rows_run_empty():
    async def scene():
        growths = Growths(room := TreeRoom(at_once=8, tasks=3))
        first, then = [f"train/0/{n}" for n in range(3)], [f"train/1/{n}" for n in range(3)]
        await growths.start(*first)
        await growths.start(*then)
        assert growths.now == first
        await growths.end(first[1])
        assert growths.now == [first[0], first[2], then[0]]
        await growths.end(first[0], first[2])
        assert growths.now == then  # the first step is trained on meanwhile
        await growths.start("train/2/0")
        room.begin(1)
        assert growths.now == then
        await growths.end(then[2])
        assert growths.now == [*then[:2], "train/2/0"]

    asyncio.run(scene())


def test_a_step_that_is_due_has_all_the_room_there_is():
    async def scene():
        growths = Growths(room := TreeRoom(at_once=4, tasks=2))
        await growths.start("train/0/0", "train/0/1", "train/1/0", "train/1/1")
        assert growths.now == ["train/0/0", "train/0/1"]
        room.begin(1)
        await growths._settled()
        assert growths.now == ["train/0/0", "train/0/1", "train/1/0", "train/1/1"]

    asyncio.run(scene())


def test_an_evaluation_fills_what_a_step_leaves():
    async def scene():
        growths = Growths(TreeRoom(at_once=3, tasks=2))
        await growths.start("train/0/0", "eval/0/0", "eval/0/1", "train/1/0", "train/0/1")
        assert growths.now == ["train/0/0", "eval/0/0", "eval/0/1"]
        await growths.end("eval/0/1")
        assert growths.now == ["train/0/0", "eval/0/0", "train/0/1"]
        await growths.end("train/0/0")
        assert growths.now == ["eval/0/0", "train/0/1"]  # a step to come is no evaluation's match
        await growths.end("train/0/1")
        assert growths.now == ["eval/0/0", "train/1/0"]

    asyncio.run(scene())


def test_what_is_given_up_leaves_its_room():
    async def scene():
        growths = Growths(room := TreeRoom(at_once=1, tasks=1))
        await growths.start("train/0/0", "train/0/1", "train/0/2")
        await growths.stop("train/0/1", "train/0/0")  # one that waits, one that grows
        assert growths.now == ["train/0/2"] and room.growing == 1
        await growths.end("train/0/2")
        assert room.growing == 0

    asyncio.run(scene())


def test_rows_stand_empty_for_what_they_lack_of_the_most_at_once():
    seconds = iter([0.0, 1.0, 2.0, 4.0, 10.0, 12.0, 15.0])
    meter = RowMeter(lambda: next(seconds))  # begins at 0
    meter.add(1)  # at 1
    meter.add(1)  # at 2
    meter.add(-1)  # at 4
    # At 10: 1 s without a row, 1 s and 6 s with one of two, 2 s with both.
    assert meter.empty() == 1 + 0.5 + 3 + 0
    meter.begin()  # at 12, with one
    assert meter.empty() == 0


def test_a_metered_engine_is_the_engine_with_a_count():
    ticks = iter(range(100))
    meter = RowMeter(lambda: float(next(ticks)))  # a second at every look
    meter.begin()
    seen = []

    async def generate(request):
        seen.append(meter.empty())
        if request is None:
            raise EngineError("no")
        return Completion(text=request)

    engine = MeteredEngine(SimpleNamespace(generate=generate, version=3, keeps=True), meter)
    assert (engine.version, engine.keeps) == (3, True) and not hasattr(engine, "context")

    async def scene():
        assert (await engine.generate("a")).text == "a"
        with pytest.raises(EngineError):
            await engine.generate(None)

    asyncio.run(scene())
    assert seen == [1, 2]  # a second before each
    assert meter.empty() == 3  # that which failed has gone, too
