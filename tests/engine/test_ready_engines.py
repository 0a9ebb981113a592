"""Engines by a line each, as `grow_trees` takes them; closed by `with`."""

import asyncio

import pytest

import hornbeam as hb
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import ArgumentError, ModelError, UnknownSetting
from little_server import LittleServer, Manners

TASK = hb.Task("t", "hello")


async def solver(task, ep):
    return (await ep.ask("solver", [hb.user(task.question)])).text


def grow(engine):
    agents = {"solver": hb.Speaker(engine, hb.Sampling(max_tokens=4))}
    (tree,) = hb.grow_trees(solver, [TASK], agents, hb.Independent(n=2))
    return [tree.nodes[leaf].answer for leaf in tree.leaves()], tree


def test_a_local_model_samples_and_is_closed_by_with():
    with hb.Local("tiny", max_batch=4) as engine:
        first, tree = grow(engine)
        assert len(first) == 2 and all(len(node.tokens) <= 4 for node in tree.nodes[1:])
        assert grow(engine)[0] == first == grow(hb.Local("tiny"))[0]
        assert grow(hb.Local("tiny", seed=1))[0] != first
    with pytest.warns(UserWarning, match="the engine is closed: make a new one"):
        grow(engine)


def test_an_engine_is_closed_inside_a_running_loop():
    async def held():
        with hb.Local("tiny") as engine:
            return grow(engine)[0]

    assert len(asyncio.run(held())) == 2


def test_a_server_with_the_api_of_openai():
    with LittleServer(Scripted("oak"), manners=Manners(chat_only=True)) as server:
        with hb.OpenAI(server.url, "tiny") as engine:
            assert grow(engine)[0] == ["oak", "oak"]
        assert {body["model"] for body in server.seen} == {"tiny"}


WRONG = [
    (lambda: hb.Local(3), ArgumentError, "Local takes the name or folder of a model, not 3"),
    (lambda: hb.Local("smolm2-135m"), ModelError, "did you mean 'smollm2-135m'"),
    (lambda: hb.Local("tiny", max_bach=3), UnknownSetting, "did you mean 'max_batch'"),
    (lambda: hb.Local("tiny", device="nowhere"), ArgumentError, "'nowhere' cannot be used here"),
    (lambda: hb.OpenAI("localhost:8000"), ArgumentError, "the address of a server, as http"),
    (lambda: hb.OpenAI(None), ArgumentError, "OpenAI takes the address of a server.* not None"),
    (lambda: hb.OpenAI("http://localhost:1/v1", 3), ArgumentError, "model takes a name, not 3"),
    (lambda: hb.OpenAI("http://localhost:1/v1", patient=1), UnknownSetting, "mean 'patience'"),
    (lambda: hb.VLLM(3), ArgumentError, "VLLM takes the name or folder of a model, not 3"),
    (lambda: hb.VLLM("tiny", cache_gb=3), UnknownSetting, "did you mean 'cache_gib'"),
    (lambda: hb.VLLM("tiny"), ArgumentError, 'model "tiny" is made for Local'),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_arguments_are_one_line(number):
    make, family, says = WRONG[number]
    with pytest.raises(family, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)
