"""The http engine against a little server: what a probe finds, refuses, and waits for."""

import asyncio
import gc
import threading
import time
from dataclasses import replace

import pytest

from hornbeam.chat import ByteChat, user
from hornbeam.engine.engine_checks import check_trainable
from hornbeam.engine.remote import http_client
from hornbeam.engine.remote.completions import HttpEngine
from hornbeam.engine.remote.completions_probe import Abilities
from hornbeam.engine.remote.http_client import HttpSettings, ServerUsage
from hornbeam.engine.request import Request, Sampling
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import EngineError, PromptTooLong
from hornbeam.settings import build
from little_server import LittleServer, Manners, answered, tiny_world

CHAT = ByteChat()
PROMPT = CHAT.render([user("hello")])
KNOWN = Abilities("tiny", gives_ids=True, scale="raw", stops=True, tokenizer="ids")


def talk(prompt, rng):
    """A sentence by the seed; a prompt that holds its beginning is gone on with."""
    sentence = " ".join(rng.choice(["oak", "elm", "ash", "yew", "fir", "box"]) for _ in range(30))
    said = prompt.rpartition("assistant: ")[2]
    return sentence[len(said) :] if sentence.startswith(said) else sentence


def served(**manners):
    return LittleServer(Scripted(talk), manners=Manners(**manners))


def spoken(server, *requests, known=None, result=None, **settings):
    """(answers or errors, the engine) of requests that go at once."""

    say = (lambda line: None) if result is None else result.append
    engine = HttpEngine(HttpSettings(url=server.url, **settings), CHAT, say)
    return asyncio.run(answered(engine, known, requests or [ask()])), engine


def ask(seed=1, prompt=PROMPT, **how):
    return Request(prompt, Sampling(**{"max_tokens": 24, **how}), seed)


ABILITIES = {
    "vllm": ({"window": 900}, {"context": 900, "scale": "raw", "gives_ids": True, "stops": True}),
    "old vllm": ({"gives_ids": False, "old_ids": True}, {"gives_ids": True, "tokenizer": "ids"}),
    "llama.cpp": ({"gives_ids": False, "llama": True}, {"gives_ids": True, "tokenizer": "ids"}),
    "no tokenize": ({"tokenize": False}, {"tokenizer": "ids", "gives_ids": True}),
    "no log-probs": ({"logprobs": False}, {"scale": "", "gives_ids": True}),
    "plain": (
        {"extras": False, "tokenize": False},
        {"extras": False, "takes_ids": True, "gives_ids": False, "tokenizer": "count"},
    ),
    "text": (
        {"extras": False, "takes_ids": False, "logprobs": False, "keeps_stop": False},
        {"takes_ids": False, "gives_ids": False, "stops": False, "extras": False},
    ),
    "ends trimmed": ({"keeps_end": False}, {"gives_ids": True}),
    "not seeded": ({"seeded": False}, {"seeded": False, "several": True}),
}


@pytest.mark.parametrize("kind", ABILITIES)
def test_a_probe_finds_out_what_a_server_can_do_and_answers_are_as_by_it(kind):
    manners, expected = ABILITIES[kind]
    requests = [ask(3), ask(4, temperature=0), ask(5, stop=("x",)), ask(6, max_tokens=200)]
    with served(**manners) as server:
        result = []
        answers, engine = spoken(server, *requests, result=result)
    able = engine.abilities
    assert {name: getattr(able, name) for name in expected} == expected
    assert len(result) == 2 and result[0].startswith(f"{server.url}: model 'tiny': ")
    assert result[1].startswith(f"{server.url}: {engine.account.requests} requests, ")

    async def direct():
        return await asyncio.gather(*map(Scripted(talk).generate, requests))

    for answer, here in zip(answers, asyncio.run(direct())):
        if able.seeded:
            assert (answer.tokens, answer.text, answer.finish) == (
                here.tokens,
                here.text,
                here.finish,
            )
        known = able.scale == "raw" and not (kind == "ends trimmed" and 0 in answer.tokens)
        assert list(answer.logprobs) == ([-1.0] * len(answer.tokens) if known else [])
    only = engine.only_search(Sampling())
    assert bool(only) == (not (able.gives_ids and able.scale))


REFUSED = {
    "chat only": ({"chat_only": True}, {}, r"404.*a server that only chats begins every answer"),
    "restarts": ({"restarts": "assistant: "}, {}, "does not go on from a given prefix"),
    "wraps": ({"wraps": True}, {}, r"makes \d+ tokens of a prompt of \d+"),
    "vocabulary": ({"shift": 1}, {}, "another tokenizer than the one here.*85 there where 84 is"),
    "by echo": ({"shift": 1, "tokenize": False}, {}, "another tokenizer"),
    "model": ({}, {"model": "big"}, "does not serve model 'big', it serves 'tiny'"),
    "two models": ({"served": ("a", "b")}, {}, "names as its models 'a', 'b'.*name one as model"),
    "key": ({"key": "s3cret"}, {}, r"refuses a request without a key: name its key_env \(401\)"),
    "wrong key": ({"key": "s3cret"}, {"key_env": "HORN_KEY"}, "refuses the key in HORN_KEY"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_server_cannot_do_is_refused_in_a_line(kind, monkeypatch):
    manners, settings, line = REFUSED[kind]
    monkeypatch.setenv("HORN_KEY", "n0t-that")
    with served(**manners) as server:
        (error,), engine = spoken(server, **settings)
        with pytest.raises(EngineError, match="has not been probed"):
            check_trainable(engine, Sampling())
    assert isinstance(error, EngineError) and error.__class__ is not PromptTooLong
    if kind in ("chat only", "restarts", "wraps"):
        assert 'take kind = "chat", where the server has /chat/completions' in str(error)
    assert "\n" not in str(error) and "n0t-that" not in str(error)
    with pytest.raises(EngineError, match=line):
        raise error


@pytest.mark.parametrize("scale", ["whole", "raw", "cut"])
def test_log_probs_are_those_of_the_sampling_or_none(scale, tmp_path):
    from hornbeam.engine.local.local_engine import LocalEngine

    model, chat = tiny_world(tmp_path)
    prompt = chat.render([user("k01")])
    hows = [{}, {"temperature": 0}, {"temperature": 0.6}, {"temperature": 0.6, "top_p": 0.7}]
    hows += [{"top_k": 3}]
    right = {"whole": [0, 1, 2, 3, 4], "raw": [0, 1, 4], "cut": [0, 1, 2]}[scale]
    requests = [Request(prompt, Sampling(max_tokens=8, **how), 7) for how in hows]

    async def go():
        local = LocalEngine(model, chat)
        with LittleServer(LocalEngine(model, chat), model, Manners(scale=scale)) as server:
            engine = HttpEngine(HttpSettings(url=server.url), chat)
            there = await asyncio.gather(*map(engine.generate, requests))
            await engine.aclose()
        return engine, there, await asyncio.gather(*map(local.generate, requests))

    engine, there, here = asyncio.run(go())
    assert engine.abilities.scale == scale
    for n, (a, b, request) in enumerate(zip(there, here, requests)):
        assert a.tokens == b.tokens
        if n in right:
            assert list(a.logprobs) == pytest.approx(list(b.logprobs), abs=1e-4)
            check_trainable(engine, request.sampling)
        else:
            assert not len(a.logprobs)
            with pytest.raises(EngineError, match=r"only: .* (before the temperature|after top_k)"):
                check_trainable(engine, request.sampling)


def test_trouble_is_tried_again_and_what_the_server_asks_for_is_waited(monkeypatch):
    monkeypatch.setattr(http_client, "FIRST", 0.01)
    with served() as server:
        server.failures += [(429, {"retry-after": "0.4"}), (500, {}), "drop", (503, {})]
        began, result = time.monotonic(), []
        (answer,), engine = spoken(server, known=KNOWN, result=result)
    assert answer.finish == "length" and time.monotonic() - began >= 0.4
    assert (engine.account.requests, engine.account.retries) == (5, 4)
    assert "500; waiting up to 120 s" in result[0] and "answers again after" in result[1]
    assert "5 requests (4 of them again)" in result[2]
    assert len(result) == 3 and len(server.seen) == 1


@pytest.mark.parametrize(
    ("failures", "line"),
    [
        ([(429, {"retry-after": "900"})], "answers 429, and asks for 900 s; 1 tries, patience ="),
        ([(500, {})] * 99, r"the server answers 500; \d+ tries, patience = 0.2 s: see that"),
    ],
)
def test_patience_ends_in_a_line(failures, line, monkeypatch):
    monkeypatch.setattr(http_client, "FIRST", 0.02)
    with served() as server:
        server.failures += failures
        (error,), _ = spoken(server, known=KNOWN, patience=0.2)
    with pytest.raises(EngineError, match=line):
        raise error


def test_a_server_that_goes_down_is_waited_for(monkeypatch):
    monkeypatch.setattr(http_client, "FIRST", 0.1)
    server = served().start()
    server.stop()
    timer = threading.Timer(0.5, server.start)
    timer.start()
    result = []
    (answer,), _ = spoken(server, known=KNOWN, result=result)
    timer.join()
    server.stop()
    assert answer.tokens and "ConnectError" in result[0] and "answers again" in result[1]
    (error,), _ = spoken(server, known=KNOWN, patience=0.2)
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:\d+/v1/completions: ConnectError.*is up"):
        raise error


def test_a_slow_server_meets_the_deadline():
    with served(slow=30) as server:
        (error,), _ = spoken(server, known=KNOWN, deadline=0.3)
    with pytest.raises(EngineError, match=r"no answer within deadline = 0\.3 s"):
        raise error


def test_who_is_cancelled_ends_the_request_at_the_server():
    async def go(server):
        engine = HttpEngine(HttpSettings(url=server.url), CHAT)
        engine.abilities = KNOWN
        jobs = [asyncio.create_task(engine.generate(ask(seed))) for seed in range(3)]
        while len(server.seen) < 3:
            await asyncio.sleep(0.01)
        jobs[0].cancel()
        while server.aborted < 1:
            await asyncio.sleep(0.01)
        assert not jobs[1].done()
        await engine.aclose()
        return await asyncio.gather(*jobs, return_exceptions=True)

    with served(slow=60) as server:
        gone, *closed = asyncio.run(go(server))
    assert isinstance(gone, asyncio.CancelledError)
    assert all("closed while this request was in flight" in str(error) for error in closed)


ONE_AT_A_TIME = [
    {"requests_minute": 1},
    {"tokens_minute": len(PROMPT) + 24},
    {"concurrency": 1, "timeout": 60},
]


@pytest.mark.parametrize("bound", ONE_AT_A_TIME)
def test_rates_and_requests_in_flight_are_bounded(bound):
    async def go(server):
        engine = HttpEngine(HttpSettings(url=server.url, **bound), CHAT)
        engine.abilities = KNOWN
        jobs = [asyncio.create_task(engine.generate(ask(seed))) for seed in range(3)]
        while not server.seen:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        await engine.aclose()
        return await asyncio.gather(*jobs, return_exceptions=True)

    with served(slow=60 if "concurrency" in bound else 0) as server:
        asyncio.run(go(server))
    assert len(server.seen) == 1


def test_a_pace_is_even_and_what_was_not_used_is_given_back():
    async def even():
        rate_limit, began = http_client.RateLimit(1200), time.monotonic()
        for _ in range(5):
            await rate_limit.take(2)
        return time.monotonic() - began

    async def unused():
        rate_limit = http_client.RateLimit(1)
        for _ in range(5):
            await rate_limit.take(2)
            rate_limit.give(2)

    assert asyncio.run(even()) >= 0.4
    asyncio.run(asyncio.wait_for(unused(), 20))


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_an_engine_outlives_its_event_loops():
    with served() as server:
        engine = HttpEngine(HttpSettings(url=server.url), CHAT)
        first, second = (asyncio.run(engine.generate(ask(3))) for _ in range(2))
        asyncio.run(engine.aclose())
    assert first == second and first.tokens
    del engine
    gc.collect()  # what the first loop left open is let go here, where it is expected


def test_what_is_paid_is_counted(monkeypatch):
    monkeypatch.setenv("HORN_KEY", "s3cret")
    with served(key="s3cret") as server:
        answers, engine = spoken(server, ask(1), ask(2), known=KNOWN, key_env="HORN_KEY")
    assert [len(answer.tokens) for answer in answers] == [24, 24]
    assert engine.account == ServerUsage(2, 0, 2 * len(PROMPT), 0, 48)
    prices = replace(engine.account, prompt_tokens=2_000_000, sampled_tokens=500_000)
    settings = HttpSettings(url="http://a/v1", prompt_price=0.5, sampled_price=3)
    assert prices.cost(settings) == pytest.approx(2.5)
    monkeypatch.delenv("HORN_KEY")
    with pytest.raises(EngineError, match="the key is looked for in HORN_KEY: set it"):
        HttpEngine(HttpSettings(url="http://a/v1", key_env="HORN_KEY"), CHAT)


@pytest.mark.parametrize("tells", [True, False])
def test_the_window_is_asked_for_or_learned_from_a_refusal(tells):
    window = len(PROMPT) + 9
    known = replace(KNOWN, context=window if tells else 0)
    with served(window=window) as server:
        long = ask(2, CHAT.encode("a" * window))
        (short, error), _ = spoken(server, ask(1, max_tokens=200), long, known=known)
    assert (len(short.tokens), short.finish) == (9, "length")
    assert isinstance(error, PromptTooLong) and str(window) in str(error)


def test_weights_stay_where_they_are():
    async def go(engine):
        with pytest.raises(EngineError, match=r"cannot become version 3.*kind"):
            await engine.load(3)

    asyncio.run(go(HttpEngine(HttpSettings(url="http://localhost:1/v1"), CHAT)))


@pytest.mark.parametrize("url", ["localhost:8000", "http://me:secret@host/v1", "http:///v1"])
def test_an_address_that_cannot_be_is_refused(url):
    with pytest.raises(Exception, match=r"engine 'http': url = "):
        build("engine", {"http": HttpSettings}, "http", {"url": url})
