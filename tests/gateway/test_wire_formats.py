"""Each format, whole and streamed, grows the tree of the same native program."""

import json
from pathlib import Path

import pytest

from gateway import outside_agents
from gateway.test_sessions import facts, grow
from hornbeam.chat import system, user
from hornbeam.engine.scripted import Scripted
from hornbeam.search import Branch

AGENTS = Path(__file__).with_name("wire_agents.py")
WAYS = ["chat", "responses", "responses_by_id", "responses_thoughts", "messages"]


def thinks(prompt, rng):
    """Calls of a tool, some behind reasoning or a text, some with half a surrogate pair."""
    thought = rng.choice(["", "<think>\nhm\n</think>\n\n"])
    if rng.random() < 0.3:
        return thought + rng.choice(["4", "5"])
    note = rng.choice(["", ', "note": "\\ud83d"', ', "note": "caf\\u00e9"'])
    call = f'{{"name": "add", "arguments": {{"a":{rng.randint(1, 9)},  "b" : 2{note}}}}}'
    calls = [f"<tool_call>\n{call}\n</tool_call>"] * rng.choice([1, 2])
    return thought + rng.choice(["", "so\n"]) + "\n".join(calls)


async def native(task, ep):
    messages = [system("be brief"), user(task.question)]
    for _ in range(6):
        reply = await ep.ask("solver", messages, tools=[outside_agents.ADD])
        if not reply.calls or any(call.problem for call in reply.calls):
            return json.dumps(reply.text if reply.calls else reply.content)
        messages.append(reply.message)
        for call in reply.calls:
            result = str(call.arguments["a"] + call.arguments["b"])
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return json.dumps("no end")


@pytest.mark.parametrize("streamed", ["", " streamed"])
@pytest.mark.parametrize("way", WAYS)
def test_a_format_grows_the_tree_of_an_equal_program(way, streamed):
    engine, counts = Scripted(thinks), {}
    strategy = Branch(trunks=3, nodes=3, rounds=1)
    outside = grow(f"{way}{streamed}", strategy, engine=engine, counts=counts, file=AGENTS)
    assert [outside.nodes[i].error for i in outside.leaves()] == [""] * 12
    same = grow(native, strategy, engine=engine)
    assert facts(outside) == facts(same)
    assert {name for name in counts if name.startswith("turns/")} <= {
        "turns/same",
        "turns/spelt otherwise",
    }
