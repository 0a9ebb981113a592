"""The chat engine against a little server: what is sent, what is heard, what is waited for."""

import asyncio
import gc
import time

import pytest

import hornbeam as hb
from hornbeam.chat import ByteChat, PieceChat, assistant, system, user
from hornbeam.engine.engine_checks import check_trainable, gives_logprobs
from hornbeam.engine.remote import http_client
from hornbeam.engine.remote.chat_completions import ChatEngine, ChatSettings, Crowded
from hornbeam.engine.remote.chat_probe import ChatAbilities
from hornbeam.engine.request import Request, Sampling
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import EngineError, EngineLost, PromptTooLong
from hornbeam.settings import build
from little_server import LittleServer, Manners, answered

MESSAGES = (system("Be short."), user("hello"))
KNOWN = ChatAbilities("tiny")


def talk(prompt, rng):
    return " ".join(rng.choice(["oak", "elm", "ash", "yew", "fir", "box"]) for _ in range(30))


def served(say=talk, **manners):
    return LittleServer(Scripted(say), manners=Manners(chat_only=True, **manners))


def ask(seed=1, messages=MESSAGES, **how):
    prompt = PieceChat().render(messages)
    sampling = Sampling(**{"max_tokens": 24, **how})
    return Request(prompt, sampling, seed, messages=tuple(messages))


def spoken(server, *requests, known=KNOWN, result=None, chat=None, **settings):
    """(answers or errors, the engine) of requests that go at once."""

    say = (lambda line: None) if result is None else result.append
    engine = ChatEngine(ChatSettings(url=server.url, **settings), chat, say)
    return asyncio.run(answered(engine, known, requests or [ask()])), engine


def test_messages_go_out_as_they_are_and_text_comes_back():
    talked = [*MESSAGES, assistant("an oak"), {**user("and?"), "name": "kim"}]
    with served() as server:
        (answer,), _ = spoken(server, ask(3, talked), extra_body={"reasoning_effort": "low"})
        (body,) = server.seen
    assert body == {
        "model": "tiny",
        "messages": talked,
        "max_tokens": 24,
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": 3,
        "reasoning_effort": "low",
    }
    assert answer.text == PieceChat().text(answer.tokens) and answer.text.startswith(
        ("oak", "elm", "ash", "yew", "fir", "box")
    )
    assert (answer.finish, answer.paid, list(answer.logprobs)) == ("length", 24, [])
    assert answer.computed == len(ByteChat().render(talked))  # as the server counts


FORMS = {
    "all": ({}, {"limit": "max_tokens", "seeded": True, "several": True, "usage": True}),
    "reasons": (
        {"refuses": ("max_tokens", "temperature", "top_p")},
        {"limit": "max_completion_tokens", "takes": frozenset({"seed"})},
    ),
    "no seeds": ({"refuses": ("seed",)}, {"seeded": False, "several": True}),
    "unnamed": (
        {"refuses": ("seed", "top_p"), "names_refused": False},
        {"takes": frozenset({"temperature"})},
    ),
    "no usage": ({"usage": False}, {"usage": False}),
    "not seeded": ({"seeded": False}, {"seeded": False, "several": True}),
}


@pytest.mark.parametrize("kind", FORMS)
def test_a_probe_finds_the_form_that_a_server_takes(kind):
    manners, expected = FORMS[kind]
    with served(**manners) as server:
        result = []
        (answer,), engine = spoken(server, known=None, result=result)
        body = server.seen[-1]
    able = engine.abilities
    assert {name: getattr(able, name) for name in expected} == expected
    assert body.keys() == {"model", "messages", able.limit, *able.takes}
    assert answer.text and len(result) == 2
    assert result[0].startswith(f"{server.url}: model 'tiny': messages in, text out (for search")
    assert ("no usage reported of" in result[1]) == (kind == "no usage")
    assert engine.account.uncounted == (5 if kind == "no usage" else 0)
    assert ("its own temperature" in result[0]) == (kind == "reasons")


SAID = {
    "parts": ({"content": [{"type": "text", "text": "an "}, {"text": "oak"}]}, "an oak"),
    "nothing": ({"content": None}, ""),
    "reasoning": ({"content": "an oak", "reasoning_content": "hm"}, "an oak"),
    "refusal": ({"content": None, "refusal": "I cannot."}, "I cannot."),
}


@pytest.mark.parametrize("kind", SAID)
def test_what_is_said_is_the_text_of_the_message(kind):
    message, text = SAID[kind]
    with served() as server:
        server.twist = lambda answer: {
            "choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop"}]
        }
        (answer,), engine = spoken(server)
    assert (answer.text, answer.finish) == (text, "stop")
    assert list(answer.tokens) == [*PieceChat().encode(text), 0]
    assert answer.paid == len(PieceChat().encode(text)) and engine.account.uncounted == 1


def test_an_answer_ends_at_its_stop_string_brackets_counted():
    with served(lambda prompt, rng: "ANSWER[a[0]] or so") as server:
        (cut, free), _ = spoken(server, ask(stop=("]",)), ask(max_tokens=99))
        assert all("stop" not in body for body in server.seen)
    assert (cut.text, cut.finish) == ("ANSWER[a[0]]", "stop") and cut.tokens[-1] != 0
    assert cut.paid == free.paid == len("ANSWER[a[0]] or so") + 1
    assert (free.text, free.finish, free.tokens[-1]) == ("ANSWER[a[0]] or so", "stop", 0)


def test_trouble_is_tried_again_and_errors_inside_a_200_are_errors(monkeypatch):
    monkeypatch.setattr(http_client, "FIRST", 0.01)
    busy = {"error": {"message": "Provider returned error", "code": 429}}
    with served() as server:
        server.failures += [(429, {"retry-after": "0.4"}), (503, {}), "drop", (200, {}, busy)]
        began, result = time.monotonic(), []
        (answer,), engine = spoken(server, result=result)
        assert answer.text and time.monotonic() - began >= 0.4
        assert (engine.account.requests, engine.account.retries) == (5, 4)
        server.failures.append((200, {}, {"error": {"message": "no such model", "code": 404}}))
        (error,), _ = spoken(server)
    with pytest.raises(EngineError, match=r"/chat/completions: refused \(404\): no such model"):
        raise error


def test_the_key_is_read_from_the_environment_and_told_nowhere(monkeypatch):
    monkeypatch.setenv("HORN_KEY", "s3cret")
    with served(key="s3cret") as server:
        result = []
        (answer,), engine = spoken(server, known=None, result=result, key_env="HORN_KEY")
        monkeypatch.setenv("HORN_KEY", "n0t-that")
        (error,), _ = spoken(server, key_env="HORN_KEY")
    assert answer.text and "s3cret" not in f"{result} {engine.settings!r} {engine.bill}"
    assert isinstance(error, EngineLost) and "n0t-that" not in str(error)
    assert "refuses the key in HORN_KEY (401)" in str(error)


def test_a_window_shortens_the_answer_or_refuses_the_prompt():
    long = [user("a" * 300)]
    size = len(ByteChat().render(MESSAGES))
    with served(window=size + 9) as server:
        (short, error), _ = spoken(server, ask(max_tokens=99), ask(2, long))
    assert (len(short.text), short.paid, short.finish) == (9, 9, "length")
    assert isinstance(error, PromptTooLong) and "some 81 tokens" in str(error)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("maximum context length is 4096 tokens and your request has 100 input tokens", 3996),
        ("maximum context length is 50 tokens. However, you requested 9 output tokens and your"
         " prompt contains at least 45 input tokens", 5),
        ("the prompt is too long", 0),
    ],
)  # fmt: skip
def test_the_room_that_is_left_is_read_from_a_refusal(words, left):
    assert Crowded("", words).left == left


def test_what_a_model_that_reasons_spent_is_an_answer_without_words():
    text = "Could not finish the message because max_tokens or model output limit was reached."
    with served() as server:
        server.failures.append((400, {}, {"error": {"message": text}}))
        (answer,), engine = spoken(server)
    assert (answer.text, answer.finish, answer.paid) == ("", "length", 24)
    assert engine.account.sampled_tokens == 24


def test_what_cannot_be_is_refused_in_a_line():
    inside = Request(PieceChat().encode("assistant: an oa"), Sampling())
    with LittleServer(Scripted(talk)) as server:  # it has /completions alone
        (error,), engine = spoken(server, known=None)
        (middle,), _ = spoken(server, inside)
    assert "\n" not in str(error) and "404" in str(error) and 'kind = "http"' in str(error)
    assert isinstance(middle, EngineLost) and "cannot go on inside one" in str(middle)
    with pytest.raises(EngineError, match="gives text, not the sampled ids"):
        check_trainable(engine, Sampling())
    assert not gives_logprobs(engine, Sampling())
    for key in ("temperature", "messages", "n"):
        with pytest.raises(Exception, match=f"{key!r} is set by engine and agents"):
            build("e", {"chat": ChatSettings}, "chat", {"url": "http://a", "extra_body": {key: 1}})


def test_what_is_said_can_be_kept_in_the_ids_of_a_tokenizer():
    with served() as server:
        (answer,), _ = spoken(server, chat=ByteChat())
    assert answer.tokens == ByteChat().encode(answer.text) and len(answer.tokens) == 24


def test_it_grows_trees_from_python():
    async def run(task, ep):
        first = await ep.ask("solver", [user(task.question)])
        return (await ep.ask("solver", [user(task.question), assistant(first.text)])).text

    with served() as server:
        engine = ChatEngine(ChatSettings(url=server.url))
        how = {"strategy": hb.Branch(trunks=2, nodes=1), "score": lambda task, answer: 1.0}
        agents = {"solver": hb.Speaker(engine, Sampling(max_tokens=8))}
        task = hb.Task("t", "hello", answer="oak")
        (tree,) = hb.grow_trees(hb.program(run), [task], agents, **how)
        bodies = [body for body in server.seen if body["messages"][0]["content"] == "hello"]
        (again,) = hb.grow_trees(hb.program(run), [task], agents, **how)  # in a loop of its own
        gc.collect()  # connections of the first are closed: else a warning fails the test
    assert len(tree.leaves()) == 4 and not any(node.error for node in tree.nodes)
    assert [node.text for node in again.nodes] == [node.text for node in tree.nodes]
    second = [body["messages"][1] for body in bodies if len(body["messages"]) == 2]
    texts = {tree.nodes[i].text for i in tree.children(0)}
    assert {each["content"] for each in second} == texts and len(bodies) == 6
