"""A server whose weights are the trainer's: loads, versions, and what must not pass unseen."""

import asyncio
import copy
import gc

import pytest
import torch

from hornbeam.engine.local.local_engine import LocalEngine, LocalSettings
from hornbeam.engine.request import Request, Sampling
from hornbeam.engine.vllm.served_engine import ServedEngine, ServedSettings
from hornbeam.errors import EngineError
from hornbeam.train import forward
from little_server import LittleServer, Manners, tiny_world

SAID = Sampling(max_tokens=8, temperature=1.0)


@pytest.fixture
def world(tmp_path):
    """(the trainer's model, a server with a copy of it, an engine between them)."""
    model, chat = tiny_world(tmp_path / "model")
    theirs = copy.deepcopy(model)
    inner = LocalEngine(theirs, chat, LocalSettings(max_batch=8))
    server = LittleServer(inner, theirs, Manners(scale="cut", updates=True, logprobs=True))
    with server:
        yield model, server, lambda **how: engine_of(model, chat, server, **how)
        assert not server.paused


def engine_of(model, chat, server, **how):
    settings = ServedSettings(url=server.url, dtype="float32", patience=2, **how)

    def probe(context, tokens):
        return forward.score(model, context, tokens, 1.0)

    return ServedEngine(settings, chat, lambda: model.state_dict().items(), probe)


def change(model, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * weight.std() * 0.3)


def asks(engine, count, sampling=SAID):
    prompt = engine.chat.encode("k01 k02 k03")
    return [engine.generate(Request(prompt, sampling, seed)) for seed in range(count)]


def run(engine, scene):
    async def played():
        try:
            return await asyncio.wait_for(scene(engine), 60)
        finally:
            await engine.aclose()

    return asyncio.run(played())


def test_it_speaks_with_the_weights_that_were_sent(world):
    model, server, make = world

    async def scene(engine):
        await engine.load(0)
        before = await asyncio.gather(*asks(engine, 4))
        change(model, 1)
        await engine.load(1)
        return before, await asyncio.gather(*asks(engine, 4))

    engine = make()
    before, after = run(engine, scene)
    assert {done.version for done in before} == {0} and {done.version for done in after} == {1}
    assert [done.tokens for done in before] != [done.tokens for done in after]
    prompt = engine.chat.encode("k01 k02 k03")
    for done in after:
        want = forward.score(model, prompt, done.tokens, 1.0)
        assert list(done.logprobs) == pytest.approx(want, abs=1e-4)
    assert engine.gap < 1e-4 and server.label.endswith("/1")


def test_weights_that_did_not_arrive_are_found(world):
    model, server, make = world

    async def scene(engine):
        await engine.load(0)
        server.model.load_state_dict = lambda *args, **kwargs: None  # loses what is sent
        change(model, 1)
        with pytest.raises(EngineError, match="did not arrive as they are"):
            await engine.load(1)
        with pytest.raises(EngineError, match="did not arrive"):
            await asyncio.gather(*asks(engine, 1))

    run(make(), scene)


@pytest.mark.parametrize("moment", ["between", "within"])
def test_nothing_is_taken_of_weights_of_others(world, moment):
    """As after a server's restart, or the update of another trainer."""
    _, server, make = world

    async def scene(engine):
        await engine.load(3)
        await asyncio.gather(*asks(engine, 2))
        server.manners.slow = 0.2
        flying = [asyncio.ensure_future(one) for one in asks(engine, 3 * (moment == "within"))]
        await asyncio.sleep(0.1)
        server.label = "default"
        server.manners.slow = 0.0
        flying += [asyncio.ensure_future(one) for one in asks(engine, 3)]
        said = await asyncio.gather(*flying, return_exceptions=True)
        assert all(
            isinstance(one, EngineError) and "other weights than version 3" in str(one)
            for one in said
        )
        assert str(said[0]).endswith("The same command goes on")
        with pytest.raises(EngineError, match="other weights than version 3"):
            await engine.load(4)

    run(make(), scene)


def test_before_the_first_load_nothing_is_said(world):
    async def scene(engine):
        with pytest.raises(EngineError, match="load the weights first"):
            await asyncio.gather(*asks(engine, 2))

    run(world[2](), scene)


def test_a_load_that_is_broken_off_leaves_no_server_paused(world):
    _, server, make = world

    async def scene(engine):
        await engine.load(0)
        server.stuck = True
        load = asyncio.create_task(engine.load(1))
        while not server.paused:
            await asyncio.sleep(0.01)
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        assert not server.paused
        with pytest.raises(EngineError, match="a load was aborted"):
            await asyncio.gather(*asks(engine, 1))

    run(make(), scene)


def test_a_server_that_was_left_paused_goes_on(world):
    _, server, make = world

    async def scene(engine):
        server._loop.call_soon_threadsafe(server._goes.clear)
        await engine.load(0)
        return await asyncio.gather(*asks(engine, 2))

    assert len(run(make(), scene)) == 2


def test_an_answer_that_fills_the_window_is_not_looked_at(world):
    _, server, make = world

    async def scene(engine):
        server.manners.window = 64
        prompt = engine.chat.encode("k01 k02 k03")
        await engine.load(0)
        done = await engine.generate(Request(prompt, Sampling(max_tokens=64, temperature=3.0)))
        assert len(prompt) + len(done.tokens) == 64
        await engine.load(1)

    run(make(), scene)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # connections of the first loop
def test_two_event_loops_may_follow_one_another(world):
    _, server, make = world
    engine = make()

    async def scene(last):
        await engine.load(engine.version + 1)
        server.manners.slow = 0.1
        first = asyncio.gather(*asks(engine, 2))
        await asyncio.sleep(0.05)
        load = asyncio.create_task(engine.load(engine.version + 1))
        await asyncio.sleep(0.02)
        said = [*await first, *await asyncio.gather(*asks(engine, 2)), await load]
        if last:
            await engine.aclose()
        return said

    for last in (False, True):
        assert len(asyncio.run(scene(last))) == 5
    gc.collect()


@pytest.mark.parametrize("concurrency", [3, 64])  # as many as are asked, and more
@pytest.mark.parametrize("in_flight", ["finish", "abort"])
def test_requests_in_flight_are_finished_or_asked_again(world, in_flight, concurrency):
    model, server, make = world

    async def scene(engine):
        await engine.load(0)
        server.manners.slow = 3600 if in_flight == "abort" else 0.3
        flying = asyncio.gather(*asks(engine, 3))
        await asyncio.sleep(0.1)
        change(model, 1)
        server.manners.slow = 0.0
        await engine.load(1)
        return await flying

    engine = make(in_flight=in_flight, concurrency=concurrency)
    said = run(engine, scene)
    broken = in_flight == "abort"
    assert {done.version for done in said} == {int(broken)}
    assert engine.aborted == (3 if broken else 0)
    assert ("abort_requests" in server.update_calls) == broken


def test_what_cannot_be_trained_on_is_refused(world):
    async def scene(engine):
        await engine.load(0)
        with pytest.raises(EngineError, match="for search only"):
            await asyncio.gather(*asks(engine, 1, Sampling(max_tokens=4, top_k=3)))

    run(world[2](), scene)


def test_what_is_refused_inside_a_200_is_no_update(world, monkeypatch):
    _, server, make = world
    update = server._update

    async def full(path, body):
        if path.startswith("collective_rpc"):
            return 200, {}, {"error": {"message": "disk full", "code": 500}}
        return await update(path, body)

    async def load(engine):
        monkeypatch.setattr(server, "_update", full)
        with pytest.raises(EngineError, match="refused"):
            await engine.load(0)

    run(make(), load)


def test_a_plain_server_and_a_folder_unseen_are_told_in_a_line(world, monkeypatch):
    _, server, make = world

    async def load(engine):
        await engine.load(0)

    monkeypatch.setattr("hornbeam.engine.vllm.served_engine.write_weights", lambda *args: None)
    with pytest.raises(EngineError, match="a folder that it sees"):
        run(make(), load)
    server.manners.updates = False
    with pytest.raises(EngineError, match="started by `hornbeam serve`"):
        run(make(), load)
