"""Clients that hang up at a time-out and ask again: nothing is asked twice, nothing is lost."""

import asyncio
import json

from gateway.test_connections import BODY, ask, connect, head
from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.server import Gateway
from hornbeam.gateway.session import AgentSession

STREAMED = json.dumps({"stream": True, **json.loads(BODY)}).encode()


def served(test):
    """Runs `test(gateway, session, text)`, `text` being a request of that session."""

    async def run():
        gateway, session = Gateway(), AgentSession(("solver",))
        await gateway.start()
        gateway.add(session)
        try:
            text = head("", session.token) + BODY
            return await asyncio.wait_for(test(gateway, session, text), 60)
        finally:
            await gateway.aclose()

    return asyncio.run(run())


async def until(seen):
    while not seen():
        await asyncio.sleep(0.005)


def answer(arrival, text):
    arrival.answer.set_result([HttpAnswer("x", "m", text, "stop")])


def said(heard):
    return heard[1]["choices"][0]["message"]["content"]


async def hang_up(gateway, text):
    _, writer = await connect(gateway)
    writer.write(text)
    return writer


def test_who_hung_up_and_asks_again_joins_the_ask_that_is_open():
    async def test(gateway, session, text):
        writer = await hang_up(gateway, text)
        arrival = await session.next()
        writer.close()
        await until(lambda: gateway.counts["refused/hung_up"])
        again = asyncio.create_task(ask(gateway, text))  # its count of retries is 0
        await until(lambda: session.counts["repeats"])
        answer(arrival, "one")
        assert said(await again) == "one"
        third = asyncio.create_task(ask(gateway, text))  # heard: an equal ask is a new one
        answer(await session.next(), "two")
        assert said(await third) == "two"
        assert session.counts["requests"] == 2

    served(test)


def test_an_answer_that_came_when_nobody_waited_is_kept():
    async def test(gateway, session, text):
        writer = await hang_up(gateway, text)
        arrival = await session.next()
        writer.close()
        await until(lambda: gateway.counts["refused/hung_up"])
        answer(arrival, "kept")
        assert said(await ask(gateway, text)) == "kept"
        assert session.counts["requests"] == 1 and session.counts["repeats"] == 1

    served(test)


def test_equal_asks_of_who_still_waits_are_asks_of_their_own():
    async def test(gateway, session, text):
        both = [asyncio.create_task(ask(gateway, text)) for _ in range(2)]
        for number in "12":
            answer(await session.next(), number)
        assert sorted([said(await each) for each in both]) == ["1", "2"]
        assert not session.counts["repeats"]

    served(test)


def test_a_stream_that_nobody_read_to_its_end_is_not_heard():
    async def test(gateway, session, _):
        text = head("", session.token, len(STREAMED)) + STREAMED
        writer = await hang_up(gateway, text)
        arrival = await session.next()
        writer.transport.abort()
        answer(arrival, "long " * 400_000)  # does not fit into the buffers of the connection
        await until(lambda: not arrival.waiting)
        assert not arrival.delivered

    served(test)
