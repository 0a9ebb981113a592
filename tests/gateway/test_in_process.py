"""OpenAI's own client in a program: asks of the episode, forked like any other."""

import pytest

from gateway.test_sessions import grow
from hornbeam.search import Branch

pytest.importorskip("openai")


async def client_agent(task, ep):
    from hornbeam.gateway.openai_transport import openai_client

    client = openai_client(ep)
    messages = [{"role": "user", "content": task.question}]
    for _ in range(2):
        answer = await client.chat.completions.create(model="solver", messages=messages)
        messages += [answer.choices[0].message, {"role": "user", "content": "go on"}]
    first = await client.responses.create(model="any", input="hello", instructions="be brief")
    more = await client.responses.create(model="any", input="and?", previous_response_id=first.id)
    streamed = await client.chat.completions.create(model="any", messages=messages, stream=True)
    text = ""
    async for chunk in streamed:
        text += chunk.choices[0].delta.content or "" if chunk.choices else ""
    return [more.output_text, text]


def test_a_client_in_a_program_forks_at_every_step():
    tree = grow(client_agent, Branch(trunks=2, nodes=4, rounds=1))
    assert [tree.nodes[i].error for i in tree.leaves()] == [""] * 10
    assert all(len(tree.nodes[i].answer) == 2 for i in tree.leaves())
