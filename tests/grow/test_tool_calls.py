"""Native tool calls in episodes: asked with tools, run, told, recorded and replayed."""

import asyncio
import json

import pytest

from grow.worlds import KEY, grow, grower, tree
from hornbeam.assembly.failed_episodes import tool_figures
from hornbeam.chat import ByteChat, TemplateChat, assistant, user
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import ToolError
from hornbeam.models import tiny_model
from hornbeam.search import Branch, Independent
from hornbeam.tools import calculate
from hornbeam.tools.schema import schema_of
from hornbeam.workers.local_workers import inline, pure

CHAT = ByteChat()


@pure
@inline
def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    return a + b


@inline
def breaks(why: str) -> str:
    """Always fails."""
    raise ToolError(why)


TOOLS = {"add": add, "calculator": calculate, "breaks": breaks}


def call(name, **arguments):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


def agent(tools="*", quote=lambda reply: reply.message, seen=None):
    """Asks with tools and runs what is called, until nothing is."""

    async def program(task, ep):
        messages = [user(task.question)]
        for _ in range(5):
            reply = await ep.ask("walker", messages, tools=tools)
            if seen is not None:
                seen.append(reply)
            if not reply.calls:
                return reply.content
            messages += [quote(reply), *await ep.run(reply)]
        return messages[-1]["content"]

    return program


def grown(program, say, strategy=None, start=None, tools=TOOLS):
    how = grower(program, strategy or Independent(n=1), Scripted(say), tools)
    return grow(how, start)


def test_calls_are_run_and_told_and_what_was_said_stands_in_the_next_prompt() -> None:
    seen = []
    said = f"Let me see.\n{call('add', a=1, b=2)}\n{call('calculator', expression='2 * 3')}"
    done = grown(agent(seen=seen), [said, "3 and 6"])
    first, last = done.nodes[1:]
    assert (last.answer, last.error) == ("3 and 6", "")
    assert [(c.tool, dict(c.arguments), c.result) for c in first.calls] == [
        ("add", {"a": 1, "b": 2}, 3),
        ("calculator", {"expression": "2 * 3"}, "6"),
    ]
    assert (seen[0].content, seen[0].text) == ("Let me see.", said)
    assert [c.name for c in seen[0].calls] == ["add", "calculator"] and seen[1].calls == ()
    asked = [schema_of(name, tool) for name, tool in TOOLS.items()]
    ids = [c.id for c in seen[0].calls]
    results = [
        {"role": "tool", "content": text, "tool_call_id": i, "name": name}
        for text, i, name in zip(["3", "6"], ids, ["add", "calculator"])
    ]
    prompt = [user("Where?"), seen[0].message, *results]
    assert done.context(2) == CHAT.render(prompt, {1: first.tokens}, asked)
    assert done.context(2)[: done.length(1)] == done.sequence(1)  # no fork: the very ids


@pytest.mark.parametrize("quote", [assistant, lambda r: r.message, lambda r: assistant(r.text)])
def test_a_reply_may_be_quoted_as_a_message_as_itself_or_by_its_text(quote) -> None:
    done = grown(agent(quote=quote), [call("add", a=1), "1"])
    assert done.context(2)[: done.length(1)] == done.sequence(1)
    assert done.nodes[2].answer == "1"


BAD = {
    '<tool_call>\n{"name": "add", "arguments": {"a": 1,}}\n</tool_call>': (
        "error: the call cannot be read: ",
        "unreadable_calls",
    ),
    '<tool_call>\n{"name": "add", "arguments": [1]}\n</tool_call>': (
        "error: the call cannot be read: the arguments are no JSON object",
        "unreadable_calls",
    ),
    '<tool_call>\n{"name": "add", "argum': ("error: the call cannot be read: ", "unreadable_calls"),
    call("ad", a=1): ("error: there is no tool 'ad': did you mean 'add'?", "unknown_tools"),
    call("add", a="1"): (
        'error: the arguments do not fit: a must be integer, not "1"',
        "wrong_arguments",
    ),
    call("add"): (
        "error: the arguments do not fit: the argument 'a' is missing",
        "wrong_arguments",
    ),
    call("add", a=1, c=2): (
        "error: the arguments do not fit: there is no argument 'c': known: a, b",
        "wrong_arguments",
    ),
    call("breaks", why="no luck"): ("error: no luck", ""),
}


@pytest.mark.parametrize("said", BAD)
def test_what_goes_wrong_is_a_message_to_the_model_and_the_run_goes_on(said) -> None:
    line, kind = BAD[said]
    heard = []

    async def program(task, ep):
        first = await ep.ask("walker", [user("go")], tools=[*TOOLS])
        heard.extend(await ep.run(first))
        messages = [user("go"), first.message, *heard[-1:]]
        return (await ep.ask("walker", messages, tools=[*TOOLS])).content

    done = grown(program, [said, "well"])
    assert (done.nodes[2].answer, done.nodes[2].error) == ("well", "")
    (message,) = heard
    assert message["role"] == "tool" and message["content"].startswith(line)
    (recorded,) = done.nodes[1].calls
    assert f"error: {recorded.error}" == message["content"]
    figures = {"tool_errors": 1, "unknown_tools": 0, "unreadable_calls": 0, "wrong_arguments": 0}
    if kind:
        figures[kind] = 1
    got = tool_figures([done])
    assert {key: got[key] for key in figures} == figures


def test_a_tool_that_was_not_offered_is_unknown_to_the_model() -> None:
    done = grown(agent(tools=[add]), [call("calculator", expression="1"), "no"])
    assert done.nodes[1].calls[0].error == "there is no tool 'calculator': known: add"


def test_offers_that_cannot_be_fail_the_episode_in_one_line() -> None:
    done = grown(agent(tools=["nope"]), ["x"])
    assert done.nodes[-1].error.startswith("ProgramError: ep.ask: tools: there is no tool 'nope'")
    done = grown(agent(tools=[lambda x: x]), ["x"])
    assert "is no tool of this run" in done.nodes[-1].error


def test_a_template_that_leaves_tools_out_fails_the_ask_in_one_line() -> None:
    chat = TemplateChat(tiny_model.tokenizer(), "tiny")
    how = grower(agent(), Independent(n=1), Scripted("x", chat), TOOLS)
    node = grow(how).nodes[-1]
    assert node.error.startswith("EngineError: tiny: the chat template leaves out the tools (add)")


def test_a_tree_of_native_calls_branches_and_replays_and_a_changed_offer_diverges() -> None:
    def say(prompt, rng):
        if "tool: " in prompt:
            return rng.choice(["3", "4"])
        return rng.choice([call("add", a=1, b=2), "<tool_call>{bad</tool_call>", call("nope")])

    how = Branch(trunks=2, nodes=2, rounds=2)
    done = grown(agent(), say, how)
    assert [done.nodes[i].error for i in done.leaves()] == [""] * len(done.leaves())
    assert len(done.leaves()) > 4
    start = tree()
    once = grown(agent(tools=["add"]), say, Independent(n=1), start)
    later = grower(
        agent(tools=["add", "breaks"]), Branch(trunks=1, nodes=1, rounds=1), Scripted(say), TOOLS
    )
    grown_on = asyncio.run(later.grow(KEY, once))
    errors = [grown_on.nodes[i].error for i in grown_on.leaves()]
    assert any(error.startswith("Divergence") for error in errors)
