"""What requests say besides their messages: done, or counted as ignored; what answers tell."""

import json
from array import array

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.test_kept_tokens import told
from gateway.test_sessions import copy, grow
from grow.worlds import OneMore
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import EngineError, PromptTooLong
from hornbeam.gateway.asked import BadRequest
from hornbeam.gateway.relayed import _shared, refused
from hornbeam.search import Independent

ONE = Independent(n=1)


def test_tokens_of_a_prompt_that_stood_before_are_told():
    tree = grow("usage", ONE)
    *asks, other = json.loads(tree.nodes[-1].answer)
    assert [prompt for prompt, _, _ in asks] == [len(tree.context(i)) for i in (1, 2, 3)]
    assert [said for _, said, _ in asks] == [len(tree.nodes[i].tokens) for i in (1, 2, 3)]
    whole = [prompt + said for prompt, said, _ in asks]
    assert [cached for _, _, cached in asks] == [0, *whole[:2]]
    first, fresh = list(tree.context(1)), list(tree.context(4))
    assert 0 < other == next(n for n, (a, b) in enumerate(zip(first, fresh)) if a != b)


def test_a_fork_tells_the_same_of_what_it_replays():
    whole = grow("usage", ONE)
    new = grow("usage", OneMore(2, 9), copy(whole)).nodes[-1]
    assert json.loads(new.answer)[:2] == json.loads(whole.nodes[4].answer)[:2]


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_what_two_prompts_share(a, b):
    size = _shared(array("i", a), array("i", b))
    assert a[:size] == b[:size]
    assert size in (len(a), len(b)) or a[size] != b[size]


def test_a_session_can_be_told_by_a_header():
    assert len(json.loads(grow("by_header", ONE).nodes[-1].answer)) == 3


def test_forms_that_no_engine_holds_to_are_answered_and_counted():
    tree, counts = told("formats")
    assert not tree.nodes[-1].error
    assert {k: n for k, n in counts.items() if k.startswith("ignored")} == {
        "ignored_tool_choice": 2,
        "ignored_response_format": 3,
        "ignored_top_logprobs": 1,
        "ignored_temperature": 1,
    }


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PromptTooLong("no room"), 400, "context_length_exceeded"),
        (EngineError("it failed"), 500, "engine_error"),
        (BadRequest("no", 422, "odd"), 422, "odd"),
    ],
)
def test_errors_of_asks_are_told_alike(error, status, code):
    no = refused(error)
    assert (no.status, no.code, str(no)) == (status, code, str(error))


async def client(task, ep):
    """Several answers at once, and an ask that fails, by the transport in process."""
    from hornbeam.gateway.openai_transport import EpisodeTransport

    async with httpx2.AsyncClient(transport=EpisodeTransport(ep, "solver")) as http:
        url = "http://episode/v1/chat/completions"
        body = {"messages": [{"role": "user", "content": task.question}], "n": 3}
        three = (await http.post(url, json=body)).json()
        late = await http.post(url, json={"messages": [{"role": "user", "content": "x" * 999}]})
        texts = [choice["message"]["content"] for choice in three["choices"]]
        return [texts, three["usage"]["completion_tokens"], late.status_code, late.json()["error"]]


def test_the_transport_in_process_answers_alike():
    def say(prompt, rng):
        return rng.choice(["one", "two", "three", "four"])

    tree = grow(client, ONE, engine=Scripted(say, context=500))
    (leaf,) = tree.leaves()
    texts, tokens, status, error = tree.nodes[leaf].answer
    asked = tree.nodes[1:4]
    assert texts == [node.text for node in asked] and len(set(texts)) > 1
    assert tokens == sum(len(node.tokens) for node in asked)
    assert status == 400 and error["code"] == "context_length_exceeded"
