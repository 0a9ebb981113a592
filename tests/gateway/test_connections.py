"""Connections that never come to an end, and keys of other sessions: ended, refused, counted."""

import asyncio
import contextlib
import json

from hornbeam.gateway import bodies, connections, session
from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.server import Gateway
from hornbeam.gateway.session import AgentSession

OPEN = []  # connections
BODY = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()


def head(path, key, length=len(BODY)):
    lines = (f"POST {path}/v1/chat/completions HTTP/1.1", "host: x", f"authorization: Bearer {key}")
    return "\r\n".join([*lines, f"content-length: {length}", "", ""]).encode()


async def connect(gateway):
    port = int(gateway.address.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    OPEN.append(writer)
    return reader, writer


async def ask(gateway, text):
    """(status, body) that is heard of a request; None where the connection is ended instead."""
    reader, writer = await connect(gateway)
    writer.write(text)
    try:
        told = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    length = int(told.lower().partition(b"content-length: ")[2].split()[0])
    body = await reader.readexactly(length)
    return int(told.split()[1]), json.loads(body)


async def answer(one):
    """Answers a session's requests, with its own name."""
    while True:
        arrival = await one.next()
        arrival.answer.set_result([HttpAnswer("x", "m", one.agents[0], "stop")])


def serve(test, *names):
    """Runs `test(gateway, sessions)` with sessions that are answered."""

    async def run():
        gateway = Gateway()
        await gateway.start()
        sessions = [AgentSession((name,)) for name in names]
        for one in sessions:
            gateway.add(one)
        answering = [asyncio.create_task(answer(one)) for one in sessions]
        try:
            return await test(gateway, sessions)
        finally:
            for task in answering:
                task.cancel()
            while OPEN:
                writer = OPEN.pop()
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            await gateway.aclose()

    return asyncio.run(run())


def said(told):
    return told[1]["choices"][0]["message"]["content"]


def test_a_key_of_another_session_is_refused():
    async def test(gateway, sessions):
        one, other = sessions
        path = f"/s/{one.token}"
        assert said(await ask(gateway, head(path, one.token) + BODY)) == "one"
        assert said(await ask(gateway, head(path, "sk-none-of-ours") + BODY)) == "one"
        assert said(await ask(gateway, head("", other.token) + BODY)) == "other"
        status, told = await ask(gateway, head(path, other.token) + BODY)
        assert status == 403 and "the API key of another" in told["error"]["message"]
        for address, named, key in (("", one, other), (path, other, one)):
            text = head(address, key.token)
            more = b"host: x\r\nx-hornbeam-session: " + named.token.encode()
            assert (await ask(gateway, text.replace(b"host: x", more) + BODY))[0] == 403
        assert one.counts == {"requests": 2, "refused/other_key": 3}
        assert other.counts == {"requests": 1}

    serve(test, "one", "other")


def test_an_ended_session_is_told_so():
    async def test(gateway, sessions):
        (one,) = sessions
        gateway.remove(one)
        status, told = await ask(gateway, head(f"/s/{one.token}", one.token) + BODY)
        assert status == 401 and told["error"]["message"] == "there is no such session"
        assert gateway.counts["refused/no_session"] == 1

    serve(test, "one")


def test_heads_that_never_end_are_ended(monkeypatch):
    monkeypatch.setattr(connections, "HEAD", 0.2)

    async def test(gateway, sessions):
        path = f"/s/{sessions[0].token}"
        assert await ask(gateway, head(path, "k")[:-2]) is None
        assert await ask(gateway, b"") is None
        reader, writer = await connect(gateway)  # kept alive, then slow
        writer.write(head(path, "k") + BODY)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head(path, "k")[:20])
        await reader.read()
        assert gateway.counts["refused/too_slow"] == 3

    serve(test, "one")


def test_a_body_that_never_ends_is_told_and_ended(monkeypatch):
    monkeypatch.setattr(bodies, "SECONDS", 0.2)

    async def test(gateway, sessions):
        status, told = await ask(gateway, head(f"/s/{sessions[0].token}", "k") + BODY[:-1])
        assert status == 408 and "more than 0.2 s" in told["error"]["message"]
        assert sessions[0].counts["refused/too_slow"] == 1

    serve(test, "one")


def test_a_body_that_goes_on_after_it_was_refused_is_ended(monkeypatch):
    monkeypatch.setattr(connections, "HEAD", 0.2)

    async def test(gateway, sessions):
        reader, writer = await connect(gateway)
        writer.write(head("/s/guessed", "k", 10**9))
        assert b" 401 " in await reader.readuntil(b"\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 1000)
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            assert gateway.counts["refused/too_slow"] == 1

    serve(test, "one")


def test_where_there_are_too_many_connections_those_that_say_nothing_go(monkeypatch):
    monkeypatch.setattr(connections, "most_connections", lambda: 10)

    async def test(gateway, sessions):
        for _ in range(50):
            await connect(gateway)
        path = f"/s/{sessions[0].token}"
        assert said(await ask(gateway, head(path, "k") + BODY)) == "one"
        assert gateway.counts["refused/connections"] == 41

    serve(test, "one")


def test_bodies_of_one_session_are_bounded_together(monkeypatch):
    monkeypatch.setattr(session, "HELD", 3000)

    async def test(gateway, sessions):
        one = sessions[0]
        path = f"/s/{one.token}"
        _, first = await connect(gateway)
        first.write(head(path, "k", 2500) + b"x" * 2000)
        while one._held < 2000:
            await asyncio.sleep(0.01)
        status, told = await ask(gateway, head(path, "k", 2000) + b"x" * 2000)
        assert status == 429 and "more than 3000 bytes" in told["error"]["message"]
        first.write(b"x" * 500)
        while one._held:
            await asyncio.sleep(0.01)
        assert said(await ask(gateway, head(path, "k") + BODY)) == "one"

    serve(test, "one")


def test_requests_of_one_session_are_bounded_together(monkeypatch):
    monkeypatch.setattr(session, "WAITING", 5)

    async def test(gateway, sessions):
        one = sessions[0]
        path = f"/s/{one.token}"
        slow = [await connect(gateway) for _ in range(5)]
        for _, writer in slow:
            writer.write(head(path, "k"))
        while one._waiting < 5:
            await asyncio.sleep(0.01)
        status, told = await ask(gateway, head(path, "k") + BODY)
        assert status == 429 and "more than 5 requests" in told["error"]["message"]
        for _, writer in slow:
            writer.close()
        while one._waiting:
            await asyncio.sleep(0.01)
        assert said(await ask(gateway, head(path, "k") + BODY)) == "one"
        assert one.counts["refused/too_many"] == 1

    serve(test, "one")
