"""Servers that answer slowly, without end, in halves, elsewhere or wrongly: bounded, counted once.

All cases of bench/hostile_servers.py, on loopback, with short settings.
"""

import asyncio
import sys
from pathlib import Path

import pytest

from hornbeam.chat import ByteChat, user
from hornbeam.engine.remote.chat_completions import ChatEngine, ChatSettings
from hornbeam.engine.remote.chat_probe import ChatAbilities
from hornbeam.engine.remote.completions import HttpEngine
from hornbeam.engine.remote.completions_probe import Abilities
from hornbeam.engine.remote.http_client import HttpSettings
from hornbeam.engine.remote.replies import Answered, said
from hornbeam.engine.request import Request, Sampling
from hornbeam.errors import EngineError
from little_server import tiny_world

BENCH = str(Path(__file__).parents[2] / "bench")
sys.path.append(BENCH)
servers = pytest.importorskip("hostile_servers")
sys.path.remove(BENCH)

CHAT = ByteChat()
ASKED = (user("hello"),)
PROMPT = CHAT.render(ASKED)
KNOWN = Abilities("tiny", gives_ids=True, scale="raw", stops=True, tokenizer="ids")
SHORT = {"timeout": 0.5, "patience": 0.1, "deadline": 20, "key_env": "FIRST_KEY"}


def spoken(server, kind, known):
    """(a completion or an error, the engine, what it said)."""
    lines = []
    settings = {HttpEngine: HttpSettings, ChatEngine: ChatSettings}[kind]
    engine = kind(settings(url=server.url, **SHORT), CHAT, lines.append)
    engine.abilities = known

    async def ask():
        try:
            return await engine.generate(Request(PROMPT, Sampling(max_tokens=24), 1, (), ASKED))
        except EngineError as error:
            return error
        finally:
            await engine.aclose()

    return asyncio.run(ask()), engine, lines


@pytest.mark.parametrize("name", servers.CASES)
def test_a_bad_answer_is_one_line_or_an_answer_that_is_counted_once(name, monkeypatch):
    monkeypatch.setenv("FIRST_KEY", servers.KEY)
    case = servers.CASES[name]
    with servers.HostileServer(case) as server:
        found, engine, lines = spoken(server, HttpEngine, KNOWN)
        assert server.strayed == [] and server.heard
    usage = engine.account
    assert usage.requests == len(server.heard) == usage.retries + 1
    assert not any(servers.KEY in str(line) for line in (*lines, found))
    if case.answered:
        assert not isinstance(found, EngineError), found
        assert 0 < found.paid <= 24 and usage.prompt_tokens in (20, len(PROMPT))
        assert usage.sampled_tokens <= 24
        assert bool(found.logprobs) == case.scored and all(p <= 0 for p in found.logprobs)
        assert usage.faulty == ("fault" in case.marks)
        told = [line for line in lines if "left out" in line]
        assert len(told) == usage.faulty and all(server.url in line for line in told)
    else:
        assert isinstance(found, EngineError), found
        text = str(found)
        assert text.startswith(f"{server.url}/completions: ") and case.words in text
        assert "\n" not in text and len(text) < 500
        assert usage.sampled_tokens == usage.prompt_tokens == 0


@pytest.mark.parametrize(
    "name",
    ["bytes one by one", "a body without end", "512 MB in half a megabyte", "a key elsewhere"],
)
def test_the_same_of_a_server_that_chats(name, monkeypatch):
    monkeypatch.setenv("FIRST_KEY", servers.KEY)
    case = servers.CASES["moved to another host" if name == "a key elsewhere" else name]
    with servers.HostileServer(case) as server:
        found, _, _ = spoken(server, ChatEngine, ChatAbilities("tiny"))
        assert server.strayed == [] and server.heard
    assert isinstance(found, EngineError) and case.words in str(found)


def test_ids_that_a_tokenizer_passes_over_are_not_taken(tmp_path):
    _, chat = tiny_world(tmp_path)
    text = "oak"
    for tokens in (list(chat.encode(text)), [*chat.encode(text), 5_000_000]):
        answer = Answered.model_validate({"choices": [{"text": text, "token_ids": tokens}]})
        found = said(answer, chat, 24)
        known = max(tokens) < 5_000_000
        assert (found.tokens is not None) == known and bool(found.fault) == (not known)
