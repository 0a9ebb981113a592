"""What every engine is held to. A new engine adds a row to `ENGINES`.

A row makes an engine over a window of `WINDOW` tokens that says different things with different
seeds; it speaks with a chat of its own, whose ends a test may change.
"""

import asyncio
import copy
import math
from contextlib import asynccontextmanager
from unittest.mock import patch

import pytest
import torch

from hornbeam.chat import user
from hornbeam.engine.local.local_engine import LocalEngine, LocalSettings
from hornbeam.engine.local.packed_weights import PACK, unfit
from hornbeam.engine.remote.completions import HttpEngine
from hornbeam.engine.remote.http_client import HttpSettings
from hornbeam.engine.request import Request, Sampling
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import EngineError, PromptTooLong
from hornbeam.tasks.lookup_world import WORDS
from hornbeam.train import onednn
from hornbeam.tree.nodes import ids
from little_server import LittleServer, tiny_world

WINDOW = 160


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return tiny_world(tmp_path_factory.mktemp("tiny"), WINDOW)


@asynccontextmanager
async def scripted(model, chat):
    yield Scripted(
        lambda prompt, rng: " ".join(rng.choice(WORDS) for _ in range(300)), chat, context=WINDOW
    )


@asynccontextmanager
async def local(model, chat):
    engine = LocalEngine(model, chat)
    yield engine
    await engine.aclose()


def by(weights):
    @asynccontextmanager
    async def packed(model, chat):
        with patch.object(onednn, "LEAST", 1):  # the layers here are small
            engine = LocalEngine(model, chat, LocalSettings(weights=weights))
            yield engine
            await engine.aclose()

    return packed


@asynccontextmanager
async def http(model, chat):
    with LittleServer(LocalEngine(model, chat)) as server:
        server.manners.window = WINDOW
        engine = HttpEngine(HttpSettings(url=server.url), chat)
        yield engine
        await engine.aclose()


ENGINES = {"scripted": scripted, "local": local, "http": http}
ENGINES |= {form: by(form) for form in PACK if not unfit(form, torch.device("cpu"))}


@pytest.fixture(params=ENGINES)
def run(request, world):
    """Runs a scene with an engine."""

    def go(scene):
        async def played():
            model, chat = world
            async with ENGINES[request.param](model, copy.copy(chat)) as engine:
                prompt = engine.chat.render([user("k01 k02 k03")])
                return await asyncio.wait_for(scene(engine, prompt), 60)

        return asyncio.run(played())

    return go


def asks(prompt, count, **how):
    return [Request(prompt, Sampling(**{"max_tokens": 12, **how}), seed) for seed in range(count)]


async def all_of(engine, requests):
    return await asyncio.gather(*map(engine.generate, requests))


def test_an_answer_is_whole(run):
    async def scene(engine, prompt):
        return engine, prompt, await all_of(engine, asks(prompt, 4))

    engine, prompt, answers = run(scene)
    for answer in answers:
        assert 0 < len(answer.tokens) <= 12 and len(answer.logprobs) == len(answer.tokens)
        assert all(math.isfinite(value) and value <= 1e-6 for value in answer.logprobs)
        assert answer.tokens.typecode == ids().typecode and answer.logprobs.typecode == "f"
        assert answer.text == engine.chat.text(answer.tokens)
        assert answer.computed + answer.cached == len(prompt) and answer.computed >= 0
        assert 0 <= engine.cached(prompt) <= len(prompt)
        assert answer.version == engine.version == 0


def test_seeds_make_samples_and_company_does_not(run):
    async def scene(engine, prompt):
        together = await all_of(engine, asks(prompt, 6))
        alone = [await engine.generate(request) for request in asks(prompt, 6)]
        return together, alone

    together, alone = run(scene)
    assert [a.tokens for a in together] == [a.tokens for a in alone]
    assert len({tuple(a.tokens) for a in together}) > 3


def test_greedy_is_one_answer_whatever_the_seed(run):
    async def scene(engine, prompt):
        greedy = asks(prompt, 3, temperature=0)
        narrow = asks(prompt, 3, top_k=1)
        return await all_of(engine, greedy), await all_of(engine, narrow)

    greedy, narrow = run(scene)
    assert len({tuple(a.tokens) for a in greedy}) == 1
    assert all(len(a.tokens) for a in narrow)


def test_max_tokens_ends_an_answer(run):
    async def scene(engine, prompt):
        return [await engine.generate(asks(prompt, 1, max_tokens=most)[0]) for most in (1, 5, 12)]

    one, five, twelve = run(scene)
    assert (len(one.tokens), one.finish, len(five.tokens), five.finish) == (
        1,
        "length",
        5,
        "length",
    )
    assert one.tokens + five.tokens[1:] == five.tokens == twelve.tokens[:5]


def test_a_stop_string_ends_with_the_token_that_completes_it(run):
    async def scene(engine, prompt):
        (free,) = await all_of(engine, asks(prompt, 1))
        said = [engine.chat.text(free.tokens[:n]) for n in range(len(free.tokens) + 1)]
        stop = said[7][len(said[5]) :]
        first = next(n for n, text in enumerate(said) if stop in text)
        (cut,) = await all_of(engine, asks(prompt, 1, stop=("never said", stop)))
        return free, cut, first

    free, cut, first = run(scene)
    assert (cut.finish, cut.tokens) == ("stop", free.tokens[:first])
    assert len(cut.logprobs) == first <= 7


def test_an_end_token_ends_an_answer_and_is_part_of_it(run):
    async def scene(engine, prompt):
        (free,) = await all_of(engine, asks(prompt, 1))
        engine.chat.ends = frozenset({free.tokens[6]})
        (ended,) = await all_of(engine, asks(prompt, 1))
        return free, ended

    free, ended = run(scene)
    first = list(free.tokens).index(free.tokens[6]) + 1
    assert (ended.finish, len(ended.tokens)) == ("stop", first)
    assert ended.tokens[:-1] == free.tokens[: first - 1]


def test_the_window_limits_prompt_and_answer(run):
    async def scene(engine, prompt):
        word = prompt[1:2]
        last = await engine.generate(Request(word * (WINDOW - 2), Sampling(max_tokens=50)))
        with pytest.raises(PromptTooLong, match=rf"{WINDOW} tokens .*{WINDOW}"):
            await engine.generate(Request(word * WINDOW, Sampling(max_tokens=50)))
        return last

    last = run(scene)
    assert len(last.tokens) == 2 and last.finish == "length"


def test_what_cannot_be_answered_is_refused(run):
    async def scene(engine, prompt):
        for bad in (Request(ids()), Request(prompt, Sampling(max_tokens=0))):
            with pytest.raises(EngineError, match="needs a prompt and max_tokens"):
                await engine.generate(bad)
        return await engine.generate(asks(prompt, 1)[0])

    assert run(scene).tokens


def test_who_is_cancelled_disturbs_nobody(run):
    async def scene(engine, prompt):
        (alone,) = await all_of(engine, asks(prompt, 1))
        long = asyncio.create_task(engine.generate(Request(prompt, Sampling(max_tokens=100), 9)))
        short = asyncio.create_task(engine.generate(asks(prompt, 1)[0]))
        await asyncio.sleep(0)
        taken = long.cancel()  # not where the answer was there at once
        return alone, await short, taken, await asyncio.gather(long, return_exceptions=True)

    alone, short, taken, (long,) = run(scene)
    assert short.tokens == alone.tokens and taken == isinstance(long, asyncio.CancelledError)


def test_the_version_is_stamped_and_closing_ends_what_runs(run):
    async def scene(engine, prompt):
        await engine.load(0)
        (answer,) = await all_of(engine, asks(prompt, 1))
        long = asyncio.create_task(engine.generate(Request(prompt, Sampling(max_tokens=100), 9)))
        await asyncio.sleep(0)
        await engine.aclose()
        await engine.aclose()
        return answer, (await asyncio.gather(long, return_exceptions=True))[0]

    answer, long = run(scene)
    assert answer.version == 0
    assert getattr(long, "tokens", None) or "closed" in str(long)
