"""Searches over HTTP: clients are told what `hornbeam search` finds, in every format."""

import asyncio
import http.client
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from unittest.mock import ANY
from urllib.parse import urlsplit

import pytest

from gateway.opened import line, post, request
from hornbeam.assembly.plan import plan
from hornbeam.gateway import search_answers
from hornbeam.jobs.search.run_search import Search
from hornbeam.store.database import Store

from .doors import Silent
from .served_recipe import NAMES, gateway, user, written

HERE = Path(__file__).parent
SEGMENT = '[agents.solver.segment]\nby = "tokens"\ntokens = 3\n'
CHAT = "/v1/chat/completions"
QUESTIONS = [f"door {word}?" for word in ("one", "two", "three")]


@pytest.fixture
def recipe(world, tmp_path):
    return written(world, tmp_path)


def body(name, text=QUESTIONS[0], **more):
    return {"model": f"hornbeam/{name}", "messages": user(text), **more}


def fetched(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as got:
        return got.headers["content-type"], got.read().decode()


async def in_thread(function, *words):
    return await asyncio.to_thread(function, *words)


def test_clients_hear_what_hornbeam_search_finds(recipe, tmp_path):
    job = Search(recipe, plan(recipe, recipe.base, ["eval"]), tmp_path / "search", Silent())
    result, _ = asyncio.run(job.go())
    found = {
        (question["question"], search["method"]): search["answer"]
        for question in reversed(result["questions"])
        for search in question["searches"]
    }

    async def asked():
        async with gateway(recipe, tmp_path / "serve") as (address, _):
            pairs = [(q, n) for q in QUESTIONS for n in NAMES]
            # as a harness sends them: all at once, with settings of sampling of its own
            more = {"temperature": 0, "max_tokens": 256, "stop": ["\n"], "seed": 1234}
            sent = [post(address + CHAT, body(n, q, **more)) for q, n in pairs]
            chats = dict(zip(pairs, await asyncio.gather(*sent)))
            prompts = {}
            for name in NAMES:
                given = {"model": name, "prompt": QUESTIONS, **more}
                prompts[name] = await post(address + "/v1/completions", given)
            return chats, prompts

    chats, prompts = asyncio.run(asked())
    for (question, name), (status, told) in chats.items():
        assert status == 200, told
        assert told["choices"][0]["message"]["content"] == found[question, name]
        assert told["hornbeam"]["answer"] == found[question, name]
        assert told["hornbeam"]["ignored"] == ["temperature", "max_tokens", "stop"]
    for name, (status, told) in prompts.items():
        assert status == 200, told
        assert [choice["index"] for choice in told["choices"]] == [0, 1, 2]
        assert [choice["text"] for choice in told["choices"]] == [found[q, name] for q in QUESTIONS]


def test_usage_is_the_whole_search_and_its_tree_can_be_looked_at(recipe, tmp_path):
    async def asked():
        async with gateway(recipe, tmp_path / "serve") as (address, _):
            status, told = await post(address + CHAT, body("beam"))
            assert status == 200, told
            page = await in_thread(fetched, told["hornbeam"]["url"])
            idents = ["0123456789abcdef", "f" * 16, "1" * 99, "-1", "beam"]
            wrong = [await in_thread(request, f"{address}/trees/{ident}") for ident in idents]
            models = await in_thread(request, address + "/v1/models")
            return told, page, wrong, models

    told, (kind, page), wrong, (_, models) = asyncio.run(asked())
    with Store(tmp_path / "serve", read_only=True) as store:
        paid = store.totals()
    usage, more = told["usage"], told["hornbeam"]
    assert usage["completion_tokens"] == paid["sampled_tokens"] == more["tokens"]["sampled"]
    parts = ("prompt_tokens_computed", "prompt_tokens_cached", "scorer_tokens")
    assert usage["prompt_tokens"] == sum(paid[part] for part in parts)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    curve = more["curve"]
    assert len(curve) > 1 and curve[-1]["answer"] == more["answer"]
    assert curve[-1]["tokens"] == usage["total_tokens"] - paid["prompt_tokens_cached"]
    assert kind.startswith("text/html") and QUESTIONS[0] in page and "<svg" not in told
    assert [line(each)[0] for each in wrong] == [404] * 5
    names = [model["id"] for model in models["data"]]
    assert {"solver", "hornbeam/beam", "hornbeam/mcts-5", "hornbeam/best-of-8"} <= {*names}


@pytest.mark.parametrize("path", ["chat/completions", "responses", "messages"])
def test_a_stream_says_that_it_goes_on_and_then_the_answer(recipe, tmp_path, monkeypatch, path):
    monkeypatch.setattr(search_answers, "ALIVE", 0.0)  # a comment at every turn of the loop
    given = {"model": "hornbeam/beam", "max_tokens": 9, "stream": True}
    given |= {"input": QUESTIONS[0]} if path == "responses" else {"messages": user(QUESTIONS[0])}

    async def asked():
        async with gateway(recipe, tmp_path / "serve") as (address, _):
            sent = urllib.request.Request(
                f"{address}/v1/{path}", json.dumps(given).encode(), {"content-type": "text/json"}
            )
            _, text = await in_thread(fetched_of, sent)
            _, whole = await post(f"{address}/v1/{path}", {**given, "stream": False})
            return text, whole

    text, whole = asyncio.run(asked())
    comments, _, events = text.partition("data: " if path == "chat/completions" else "event: ")
    assert set(comments.split("\n")) == {": searching", ""}
    assert events and whole["hornbeam"]["answer"] in [
        value for data in parsed(text) for value in texts(data)
    ]
    assert any(whole["hornbeam"] in [data.get("hornbeam"), *inner(data)] for data in parsed(text))


def fetched_of(sent):
    with urllib.request.urlopen(sent, timeout=60) as got:
        return got.headers["content-type"], got.read().decode()


def parsed(text):
    rows = [row.removeprefix("data: ") for row in text.split("\n") if row.startswith("data: {")]
    return [json.loads(row) for row in rows]


def inner(data):
    return [v["hornbeam"] for v in data.values() if isinstance(v, dict) and "hornbeam" in v]


def texts(data):
    """All texts in an event."""
    if isinstance(data, dict):
        data = list(data.values())
    if isinstance(data, list):
        return [text for each in data for text in texts(each)]
    return [data] if isinstance(data, str) else []


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_stops_its_search(recipe, tmp_path, stream):
    async def asked():
        async with gateway(recipe, tmp_path / "serve") as (address, made):
            line = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
            sent = json.dumps(body("majority-64", stream=stream))
            await in_thread(line.request, "POST", CHAT, sent, {"content-type": "application/json"})
            while not list(made.grower.store.entries()):
                await asyncio.sleep(0)
            line.close()
            while not made.counts["searches/left"]:
                await asyncio.sleep(0)
            (key,) = made.grower.store.keys(None)
            while made._under_way:
                await asyncio.sleep(0)
            stored = made.grower.store.read(key)
            assert not stored.done
            # who asks again goes on with it
            paid = made.grower.store.totals()["sampled_tokens"]
            status, told = await post(address + CHAT, body("majority-64"))
            assert status == 200 and told["usage"]["completion_tokens"] > paid > 0
            assert list(made.grower.store.keys(None)) == [key]

    asyncio.run(asked())


@pytest.mark.parametrize("stream", [False, True])
def test_a_gateway_that_stops_tells_who_waits(recipe, tmp_path, stream):
    async def asked():
        async with gateway(recipe, tmp_path / "serve") as (address, made):
            sent = body("majority-64", stream=stream)
            waits = asyncio.create_task(in_thread(answered, address + CHAT, sent))
            while not list(made.grower.store.entries()):
                await asyncio.sleep(0)
            await made.aclose()
            return await waits, await post(address + CHAT, body("greedy"))

    (status, told), late = asyncio.run(asked())
    assert "goes on when it is asked again" in told and status == (200 if stream else 503)
    assert line(late)[0] == 503


def answered(url, given):
    """(status, text) of an answer."""
    try:
        sent = urllib.request.Request(url, json.dumps(given).encode(), {"content-type": "a/json"})
        with urllib.request.urlopen(sent, timeout=60) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


WRONG = [
    (CHAT, body("best-of-x"), 404, "no search 'best-of-x'"),
    (CHAT, body("likeliest-300"), 400, "256"),
    (CHAT, body("best_orm-4"), 404, "no search"),
    (CHAT, body("orm"), 404, "majority-N"),
    (CHAT, body("beam", n=3), 400, "n: a search has one answer"),
    (CHAT, body("beam", n=10**9), 400, "n"),
    (CHAT, body("beam", logprobs=True), 400, "logprobs"),
    (
        CHAT,
        body("beam", tools=[{"type": "function", "function": {"name": "f"}}]),
        400,
        "tools of its",
    ),
    (CHAT, body("beam") | {"messages": [*user("a"), *user("b")]}, 400, "answers one question"),
    (
        CHAT,
        body("beam") | {"messages": user([{"type": "image_url", "image_url": {"url": "x"}}])},
        400,
        "'image_url'",
    ),
    (CHAT, body("beam") | {"messages": []}, 400, "messages"),
    ("/v1/completions", {"model": "gpt-4", "prompt": "a"}, 404, "no search 'gpt-4'"),
    ("/v1/completions", {"model": "beam", "prompt": [[1, 2]]}, 400, "ids of tokens"),
    ("/v1/completions", {"model": "beam", "prompt": "a", "echo": True}, 400, "echo"),
    ("/v1/completions", {"model": "beam", "prompt": "a", "logprobs": 1}, 400, "logprobs"),
    ("/v1/completions", {"model": "beam", "prompt": "a", "n": 2}, 400, "n: "),
    ("/v1/completions", {"model": "beam", "prompt": "a", "max_tokens": 0}, 400, "max_tokens"),
    ("/v1/completions", {"model": "beam", "prompt": []}, 400, "prompt"),
]


def test_what_no_search_answers_is_one_line(recipe, tmp_path):
    async def asked():
        async with gateway(recipe, tmp_path / "serve") as (address, made):
            found = [await post(address + path, given) for path, given, *_ in WRONG]
            crowd = {"model": "greedy", "prompt": [f"{n}" for n in range(5)]}
            made.waiting = -1
            crowded = await post(address + "/v1/completions", crowd)
            fits = await post(address + "/v1/completions", {**crowd, "prompt": ["0", "1", "2"]})
            _, opened = await post(address + "/sessions", {"question": "door?"})
            inside = await post(opened["base_url"] + "/chat/completions", body("greedy"))
            assert line(inside) == (400, ANY) and "of no session" in line(inside)[1]
            assert not made.grower.store.keys("serve")
            return found, crowded, fits

    found, crowded, fits = asyncio.run(asked())
    for (_, _, status, words), got in zip(WRONG, found):
        code, told = line(got)
        assert (code, words in told, "\n" in told) == (status, True, False), told
    assert line(crowded)[0] == 429 and fits[0] == 200


def test_with_a_key_nobody_else_searches(recipe, tmp_path):
    async def asked():
        async with gateway(recipe, tmp_path / "serve", key="secret") as (address, _):
            right = {"Authorization": "Bearer secret"}
            refused = await post(address + CHAT, body("greedy"))
            prompts = await post(address + "/v1/completions", {"model": "greedy", "prompt": "a"})
            told = await post(address + CHAT, body("greedy"), **right)
            url = told[1]["hornbeam"]["url"]
            return [refused, prompts, await in_thread(request, url)], told

    refused, told = asyncio.run(asked())
    assert [status for status, _ in refused] == [401, 401, 401] and told[0] == 200


def test_an_agent_outside_is_what_is_searched_with(world, tmp_path):
    shutil.copy(HERE / "asking_agent.py", tmp_path)
    agent = 'agent = "python asking_agent.py {task}"'
    recipe = written(world, tmp_path, **{'name = "single"': agent, SEGMENT: ""})

    async def asked():
        async with gateway(recipe, tmp_path / "serve") as (address, made):
            sent = [post(address + CHAT, body("mcts-3", q)) for q in QUESTIONS[:2]]
            found = await asyncio.gather(*sent)
            trees = [made.tree(told["hornbeam"]["tree"]) for _, told in found]
            return found, trees

    found, trees = asyncio.run(asked())
    for (status, told), tree in zip(found, trees):
        assert status == 200, told
        assert not [node.error for node in tree.nodes if node.error]
        text = told["choices"][0]["message"]["content"]
        assert text and text in [tree.nodes[leaf].answer for leaf in tree.leaves()]
        assert max(len(tree.path(leaf)) for leaf in tree.leaves()) == 2


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl(recipe, tmp_path):
    async def asked():
        async with gateway(recipe, tmp_path / "serve") as (address, _):
            command = ["curl", "-s", f"{address}{CHAT}", "-d", json.dumps(body("majority-4"))]
            done = await in_thread(lambda: subprocess.run(command, capture_output=True, check=True))
            return json.loads(done.stdout), await post(address + CHAT, body("majority-4"))

    told, (_, again) = asyncio.run(asked())
    assert told == again and told["choices"][0]["message"]["content"]
