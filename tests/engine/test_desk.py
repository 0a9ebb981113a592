"""Asks and answers of two processes, here two clerks on two stores of one database."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from hornbeam.chat import ByteChat, user
from hornbeam.engine.remote.queued_engine import QueuedEngine, QueueWorker
from hornbeam.engine.request import Request, Sampling
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import EngineError, EngineLost, PromptTooLong
from hornbeam.store.request_queue import RequestQueue
from hornbeam.store.shared_database import SharedStore

CHAT = ByteChat()


def request(text="hello", turn=0, step=0, **sampling):
    prompt = CHAT.render([user(text)])
    return Request(prompt, Sampling(**sampling), 2**62, ("train", step, 0, 0, turn, 0))


@pytest.fixture
def sides(tmp_path):
    """Makes the clerks of "main" and "sub", at work for the length of a block."""

    @asynccontextmanager
    async def make():
        stores = [SharedStore(f"sqlite:///{tmp_path}/run.db", print) for _ in range(2)]
        workers = [
            QueueWorker(RequestQueue(store, name), lambda stage, step: step)
            for store, name in zip(stores, ("main", "sub"))
        ]
        work = [asyncio.create_task(worker.work()) for worker in workers]
        try:
            yield workers
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            for store in stores:
                store.close()

    return make


def test_an_ask_comes_back_as_the_other_engine_answers_it(sides):
    async def go():
        async with sides() as (main, sub):
            engine = Scripted({"": "four"})
            there = QueuedEngine("sub", CHAT, main)
            async with sub.serving(engine, 0):
                asks = [request("hello", turn, stop=("x",)) for turn in range(5)]
                got = await asyncio.gather(*(there.generate(ask) for ask in asks))
            return got, await engine.generate(asks[0])

    got, here = asyncio.run(go())
    assert got == [here] * 5
    assert (here.text, list(here.logprobs)) == ("four", [-1.0] * 5)


def test_both_ask_and_serve_at_once(sides):
    async def go():
        async with sides() as (main, sub):
            to_sub, to_main = QueuedEngine("sub", CHAT, main), QueuedEngine("main", CHAT, sub)
            async with (
                sub.serving(Scripted({"": "sub"}), 0),
                main.serving(Scripted({"": "main"}), 0),
            ):
                return await asyncio.gather(
                    to_sub.generate(request(turn=0)), to_main.generate(request(turn=1))
                )

    assert [done.text for done in asyncio.run(go())] == ["sub", "main"]


def test_an_ask_waits_until_its_policy_has_learned_enough(sides):
    async def go():
        async with sides() as (main, sub):
            asked = asyncio.create_task(QueuedEngine("sub", CHAT, main).generate(request(step=1)))
            async with sub.serving(Scripted({"": "old"}), 0):
                done, _ = await asyncio.wait([asked], timeout=0.5)
                assert not done and main.waits == 1
            async with sub.serving(Scripted({"": "new"}), 1):
                return await asked

    assert asyncio.run(go()).text == "new"


@pytest.mark.parametrize("kind", [PromptTooLong, EngineError])
def test_errors_of_the_other_engine_are_raised_here(sides, kind):
    class Failing(Scripted):
        async def generate(self, request):
            raise kind("no room for 9 tokens")

    async def go():
        async with sides() as (main, sub), sub.serving(Failing("x"), 0):
            await QueuedEngine("sub", CHAT, main).generate(request())

    with pytest.raises(kind, match="no room for 9 tokens") as error:
        asyncio.run(go())
    assert type(error.value) is kind


def test_an_engine_that_is_lost_ends_its_own_clerk_and_fails_nobody(sides):
    class Lost(Scripted):
        asked = 0

        async def generate(self, request):
            self.asked += 1
            raise EngineLost("vLLM's process has died")

    async def go():
        async with sides() as (main, sub):
            asked = asyncio.create_task(QueuedEngine("sub", CHAT, main).generate(request()))
            engine = Lost("x")
            async with sub.serving(engine, 0):
                while not engine.asked:
                    await asyncio.sleep(0.01)
            with pytest.raises(EngineLost, match="has died"):
                await sub.work()
            assert main.waits == 1 and not asked.done()
            asked.cancel()

    asyncio.run(go())


def test_at_the_end_of_serving_nothing_is_in_flight(sides):
    class Slow(Scripted):
        flying = 0

        async def generate(self, request):
            self.flying += 1
            await asyncio.sleep(0.2)
            self.flying -= 1
            return await super().generate(request)

    async def go():
        async with sides() as (main, sub):
            slow = Slow({"": "four"})
            asked = asyncio.create_task(QueuedEngine("sub", CHAT, main).generate(request()))
            async with sub.serving(slow, 0):
                while not slow.flying:
                    await asyncio.sleep(0.01)
            assert not slow.flying
            return await asked

    assert asyncio.run(go()).text == "four"
