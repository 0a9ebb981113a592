"""What servers leave out, put as null or say inside a 200: the text of an answer is never lost."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from hornbeam.chat import ByteChat, user
from hornbeam.engine.remote import http_client
from hornbeam.engine.remote.completions import HttpEngine
from hornbeam.engine.remote.completions_probe import Abilities
from hornbeam.engine.remote.http_client import HttpSettings
from hornbeam.engine.remote.replies import (
    ServedModels,
    Tokenized,
    completion,
    prompt_logprobs,
    said,
)
from hornbeam.engine.request import Request, Sampling
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import EngineError, EngineLost, PromptTooLong
from little_server import LittleServer

CHAT = ByteChat()
PROMPT = CHAT.render([user("hello")])
KNOWN = Abilities("tiny", gives_ids=True, scale="raw", stops=True, tokenizer="ids")
IDS, PROBS = [52, 50, 0], [-0.5, -0.25, -1.0]
LISTS = {"tokens": ["4", "2", ""], "token_logprobs": PROBS, "top_logprobs": None}
CONTENT = [{"id": i, "logprob": p} for i, p in zip(IDS, PROBS)]


def answer(**choice):
    """A completion that says 42; fields of its choice as given."""
    plain = {"index": 0, "text": "42", "finish_reason": "stop", "token_ids": IDS, "logprobs": LISTS}
    return {"choices": [{**plain, **choice}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def spoken(result, **settings):
    """(answer or error, engine) of one request to a server that says this; a text as it is."""

    async def go(server):
        engine = HttpEngine(HttpSettings(url=server.url, sampled_price=1e6, **settings), CHAT)
        engine.abilities = KNOWN
        request = Request(PROMPT, Sampling(max_tokens=9))
        (done,) = await asyncio.gather(engine.generate(request), return_exceptions=True)
        await engine.aclose()
        return done, engine

    with LittleServer(Scripted("42"), twist=lambda _: result) as server:
        return asyncio.run(go(server))


# field of the choice -> (ids, log-probs or None)
CHOICES = {
    "whole": ({}, IDS, PROBS),
    "no log-probs": ({"logprobs": None}, IDS, None),
    "empty object": ({"logprobs": {}}, IDS, None),
    "no object": ({"logprobs": []}, IDS, None),
    "false": ({"logprobs": False}, IDS, None),
    "a null": ({"logprobs": {**LISTS, "token_logprobs": [None, -0.25, -1.0]}}, IDS, None),
    "not finite": ({"logprobs": {**LISTS, "token_logprobs": [-0.5, "nan", -1]}}, IDS, None),
    "some": ({"logprobs": {"token_logprobs": PROBS[:2]}}, IDS, None),
    "too many": ({"logprobs": {"token_logprobs": [-3.0, *PROBS]}}, IDS, None),
    "as texts": ({"token_ids": ["52", "50", "0"], "logprobs": {"token_logprobs": ["-0.5", "-0.25",
                 "-1"]}}, IDS, PROBS),
    "content": ({"token_ids": None, "logprobs": {"content": CONTENT}}, IDS, PROBS),
    "content, null": ({"logprobs": {"content": None, "token_logprobs": PROBS}}, IDS, PROBS),
    "content by name": ({"token_ids": None, "logprobs": {"content": [
        {"token": f"token_id:{i}", "logprob": p} for i, p in zip(IDS, PROBS)]}}, IDS, PROBS),
    "content, no ids": ({"token_ids": None, "logprobs": {"content": [
        {"token": "4", "logprob": -1.0}, {"token": "2"}]}}, None, None),
    "names": ({"token_ids": None, "logprobs": {"tokens": ["token_id:52", "token_id:50",
              "token_id:0"], "token_logprobs": PROBS}}, IDS, PROBS),
    "names of some": ({"token_ids": None, "logprobs": {"tokens": ["token_id:52"],
                      "token_logprobs": [-0.5]}}, None, None),
    "no ids, empty lists": ({"token_ids": None, "logprobs": {"tokens": [], "token_logprobs": [],
                            "top_logprobs": [], "text_offset": []}}, None, None),
    "ids empty": ({"token_ids": [], "logprobs": {"tokens": []}}, None, None),
    "ids of a part": ({"token_ids": [52]}, None, None),
    "an end alone": ({"token_ids": [0]}, None, None),
    "ids with a null": ({"token_ids": [52, None, 0], "logprobs": None}, None, None),
    "ids below zero": ({"token_ids": [-1, 50]}, None, None),
    "ids of another model": ({"token_ids": [52, 50, 4000]}, None, None),
    "end written out": ({"text": "42\0"}, IDS, PROBS),
    "text null": ({"text": None}, IDS, PROBS),
    "a message": ({"text": None, "token_ids": None, "message": {"content": "42"}}, None, None),
    "in parts": ({"text": [{"type": "text", "text": "4"}, "2"], "token_ids": None}, None, None),
    "a number": ({"text": 42, "token_ids": None}, None, None),
    "index as text": ({"index": "0"}, IDS, PROBS),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHOICES)
def test_ids_and_log_probs_are_whole_or_not_there_and_the_text_stays(kind):
    choice, tokens, logprobs = CHOICES[kind]
    status, result = completion(answer(**choice))
    assert status == 200
    found = said(result, CHAT)
    assert (None if found.tokens is None else list(found.tokens)) == tokens
    assert found.logprobs == logprobs
    assert found.text.strip("\0") == ("" if kind == "text null" else "42")
    done, engine = spoken(answer(**choice))
    assert (done.text, done.finish, list(done.tokens)) == ("42", "stop", IDS)
    assert list(done.logprobs) == (logprobs or [])
    assert engine.account.sampled_tokens == 3


def test_ids_that_are_as_many_as_were_sampled_are_whole_whatever_the_text_holds():
    """As where a server puts the prompt before the answer, or writes out what is hidden here."""
    found = said(completion(answer(text="What is 40+2? 42"))[1], CHAT)
    assert list(found.tokens) == IDS and found.logprobs == PROBS
    lost = completion(answer(text="What is 40+2? 42", token_ids=IDS[:1]))[1]
    assert said(lost, CHAT).tokens is None


def test_halves_of_surrogate_pairs_are_mended_or_replaced():
    for result, text in (
        ("a\ud83d\udc4d", "a\U0001f44d"),
        ("4\ud83d2", "4\ufffd2"),
        ("4\udc4d", "4\ufffd"),
    ):
        found = said(completion(answer(text=result, token_ids=None))[1], CHAT)
        assert found.text == text and found.sampled == 3
        done, _ = spoken(answer(text=result, token_ids=None))
        assert done.text == text


USAGES = {
    "left out": (..., None, 3),
    "null": (None, None, 3),
    "no object": ([], None, 3),
    "empty": ({}, None, 3),
    "zeros": ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None, 3),
    "texts": ({"prompt_tokens": "7", "completion_tokens": "5"}, 7, 5),
    "total alone": ({"total_tokens": 12}, None, 3),
    "total and prompt": ({"prompt_tokens": 7, "total_tokens": 12}, 7, 5),
    "other names": ({"input_tokens": 7, "output_tokens": 5}, 7, 5),
    "fewer than came": ({"prompt_tokens": 7, "completion_tokens": 1}, 7, 3),
    "below zero": ({"prompt_tokens": -1, "completion_tokens": -1}, None, 3),
    "no details": ({"completion_tokens": 4, "prompt_tokens_details": None}, None, 4),
}


@pytest.mark.parametrize("kind", USAGES)
def test_what_was_sampled_is_counted_by_what_came_back(kind):
    usage, prompt, sampled = USAGES[kind]
    row = {**answer(), "usage": usage}
    if usage is ...:
        del row["usage"]
    found = said(completion(row)[1], CHAT)
    assert (found.prompt_tokens, found.sampled, found.cached) == (prompt, sampled, 0)
    _, engine = spoken(row)
    assert engine.account.prompt_tokens == (prompt or len(PROMPT))
    assert engine.bill["cost"] == sampled
    row["choices"][0] |= {"token_ids": None, "logprobs": None}
    if kind in ("null", "zeros"):
        assert said(completion(row)[1], CHAT).sampled == 2  # the text's own ids


def test_an_empty_text_beside_a_message_and_an_error_without_words_hide_no_answer():
    message = {"role": "assistant", "content": "42"}
    result = answer(text="", message=message, token_ids=None, logprobs=None)
    status, read = completion({**result, "error": {"code": 0, "message": ""}})
    assert (status, said(read, CHAT).text) == (200, "42")


def test_a_rate_is_kept_without_usage():
    async def go(server):
        rate = len(PROMPT) + 9  # what one request may use, a minute
        engine = HttpEngine(HttpSettings(url=server.url, tokens_minute=rate), CHAT)
        engine.abilities = KNOWN
        await engine.generate(Request(PROMPT, Sampling(max_tokens=9)))
        free = engine.client.tokens._free - time.monotonic()
        await engine.aclose()
        return free / 60 * rate

    result = answer()
    del result["usage"]
    with LittleServer(Scripted("42"), twist=lambda _: result) as server:
        assert asyncio.run(go(server)) == pytest.approx(len(PROMPT) + 3, abs=1)


@pytest.mark.parametrize(
    ("reason", "tokens", "finish"),
    [
        (None, IDS, "stop"),
        ("eos_token", IDS[:2], "stop"),
        ("STOP", IDS[:2], "stop"),
        ("length", IDS[:2], "length"),
        ({"type": "length", "length": 2}, IDS[:2], "length"),
        ("content_filter", IDS[:2], "length"),
        (None, IDS[:2], "stop"),  # there was room for more
        ("who knows", IDS[:2], "stop"),
        (None, [52] * 9, "length"),
        ("who knows", [52] * 9, "length"),
        ("stop", [], "stop"),
        (7, IDS[:2], "stop"),
    ],
)
def test_why_an_answer_ended_is_told_or_seen_by_its_room(reason, tokens, finish):
    text = CHAT.decode(tokens)
    result = answer(finish_reason=reason, token_ids=tokens, text=text, logprobs=None)
    result["usage"] = None
    done, _ = spoken(result)
    assert (done.finish, done.text) == (finish, text)
    assert len(done.tokens) == max(1, len(tokens))


def test_the_first_choice_by_index_is_taken_wherever_it_stands():
    other = {"index": 1, "text": "41", "finish_reason": "stop"}
    for choices in ([other, answer()["choices"][0]], [None, answer()["choices"][0], other]):
        assert spoken({**answer(), "choices": choices})[0].text == "42"
    assert spoken({**answer(), "choices": answer()["choices"][0]})[0].text == "42"
    twice = [answer()["choices"][0], {**other, "index": 0}]
    assert spoken({**answer(), "choices": twice})[0].text == "42"
    unnamed = [{**answer()["choices"][0], "index": None}, {**other, "index": None}]
    assert spoken({**answer(), "choices": unnamed})[0].text == "42"


PASSING = {
    "code": {"error": {"message": "Provider overloaded", "code": 502}},
    "rate": {"error": {"message": "slower", "code": "429"}, "choices": None},
    "words": {"error": {"message": "slower", "code": "rate_limit_exceeded"}},
    "type": {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    "text": {"error": "upstream timed out"},
    "status": {"error": {"status": "UNAVAILABLE", "message": "try again later"}},
    "listed": [{"error": {"code": 503, "message": "no"}}],
    "bare": {"object": "error", "message": "CUDA out of memory", "code": 500},
    "beside a text": {**answer(), "error": {"code": 524, "message": "late"}},
    "in a choice": answer(error={"code": 502, "message": "gone"}),
    "as its end": answer(finish_reason="error", text=""),
    "no choices": {"choices": [], "usage": None},
    "choices null": {"choices": None},
    "choices of null": {"choices": [None]},
    "nothing": {},
    "no object": None,
    "a text": "later",
    "html": "<!doctype html><title>Bad gateway</title>",
    "cut": json.dumps(answer())[:40],
    "unknown": {"error": {"message": "hm"}},
}


@pytest.mark.parametrize("kind", PASSING)
def test_a_passing_fault_inside_a_200_is_tried_again(kind, monkeypatch):
    monkeypatch.setattr(http_client, "FIRST", 0.01)
    result, lines = PASSING[kind], []

    async def go(server):
        engine = HttpEngine(HttpSettings(url=server.url), CHAT, lines.append)
        engine.abilities = KNOWN
        done = await engine.generate(Request(PROMPT, Sampling(max_tokens=9)))
        await engine.aclose()
        return done, engine.account

    with LittleServer(Scripted("42")) as server:
        server.failures += [(200, {}, result), (200, {}, result)]
        done, account = asyncio.run(go(server))
    assert (done.text, account.requests, account.retries) == ("42", 3, 2)
    if kind not in ("rate",):
        assert "inside a 200: " in lines[0] and "\n" not in lines[0]


REFUSED = [
    ({"error": {"code": 400, "message": "no such field"}}, r"refused \(400\): no such field"),
    ({"error": {"code": "404", "message": "no model"}}, r"refused \(404\)"),
    ({"error": {"type": "invalid_request_error", "message": "n"}}, r"refused \(400\): n"),
    ({"object": "error", "message": "prompt must be text", "type": "BadRequestError"}, "must be"),
    ({"detail": [{"loc": ["body"], "msg": "field required"}], "choices": None}, "field required"),
]


@pytest.mark.parametrize(("message", "line"), REFUSED)
def test_what_a_200_says_of_the_request_itself_is_told_at_once(message, line):
    error, engine = spoken(message)
    assert engine.account.requests == 1 and not isinstance(error, EngineLost)
    with pytest.raises(EngineError, match=line):
        raise error


def test_a_window_and_a_key_are_told_inside_a_200_too():
    for error in ({"message": "maximum context length is 12 tokens", "code": 400},
                  {"message": "please reduce it", "code": "context_length_exceeded"}):  # fmt: skip
        assert isinstance(spoken({"error": error})[0], PromptTooLong)
    error, _ = spoken({"error": {"message": "who?", "code": "invalid_api_key"}})
    assert isinstance(error, EngineLost) and "without a key" in str(error)


def test_an_address_that_moved_is_told():
    with LittleServer(Scripted("42")) as server:
        server.failures.append((307, {"location": "http://there/v1/completions"}))
        engine = HttpEngine(HttpSettings(url=server.url), CHAT)
        engine.abilities = KNOWN

        async def go():
            try:
                await engine.generate(Request(PROMPT, Sampling(max_tokens=9)))
            finally:
                await engine.aclose()

        with pytest.raises(EngineError, match=r"refused \(307\): moved to http://there/v1"):
            asyncio.run(go())


def test_no_error_is_none():
    for error in (None, {}, "", False, {"code": 0}, {"code": 200, "message": "success"}):
        assert completion({**answer(), "error": error})[0] == 200


def test_patience_ends_with_what_the_server_said(monkeypatch):
    monkeypatch.setattr(http_client, "FIRST", 0.02)
    error, _ = spoken("<html>\nwrong door", patience=0.1)
    with pytest.raises(EngineLost, match=r"502 inside a 200: no JSON object but '<html>.*tries"):
        raise error


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "7s"}, 7),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "-4"}, 0),
        ({"retry-after": "inf"}, 0),
        ({"retry-after": "soon"}, 0),
        ({}, 0),
    ],
)
def test_how_long_a_server_asks_to_wait(headers, seconds):
    assert http_client._asked(headers) == seconds


def test_a_date_to_wait_for():
    at = datetime.now(UTC) + timedelta(seconds=30)
    for result in (format_datetime(at, usegmt=True), at.strftime("%a, %d %b %Y %H:%M:%S -0000")):
        assert 27 < http_client._asked({"retry-after": result}) <= 30
    past = format_datetime(at - timedelta(hours=1), usegmt=True)
    assert http_client._asked({"retry-after": past}) == 0


MODELS = [
    ({"data": [{"id": "m", "max_model_len": "900"}]}, {"m": 900}),
    ({"data": [{"id": "m", "max_model_len": None, "meta": None}]}, {"m": 0}),
    ({"data": [{"id": "m", "meta": {"n_ctx": 64}}, {"name": "n"}, None]}, {"m": 64}),
    ([{"id": "m", "context_length": 8}], {"m": 8}),
    ({"data": None}, {}),
    ({"error": "no"}, {}),
    ("<html>", {}),
]


@pytest.mark.parametrize(("message", "found"), MODELS)
def test_models_and_windows(message, found):
    rows = ServedModels.model_validate(message).by_name
    assert {name: row.context for name, row in rows.items()} == found


def test_tokens_of_a_text():
    for result, found in (
        ({"tokens": [1, "2"]}, [1, 2]),
        ({"tokens": [{"id": 5, "piece": "a"}]}, [5]),
        ({"tokens": ["a"]}, None),
        ({"tokens": []}, None),
        ({"tokens": None}, None),
        ("<html>", None),
    ):
        assert Tokenized.model_validate(result).tokens == found


def test_log_probs_of_a_prompt():
    rows = [None, {"5": {"logprob": -1.0}}, {"6": {"logprob": "-2"}, "9": {}}]
    row = {"choices": [{"prompt_logprobs": rows}]}
    assert prompt_logprobs(row, [5, 6], 1) == [-1.0, -2.0]
    for other in ({}, {"choices": []}, {"choices": [{"prompt_logprobs": None}]}, "no"):
        assert prompt_logprobs(other, [5, 6], 1) is None
    assert prompt_logprobs(row, [5, 7], 1) is None and prompt_logprobs(row, [5, 6, 7], 1) is None
