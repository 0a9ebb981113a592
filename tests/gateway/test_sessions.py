"""Agents that are processes of their own grow the trees of an equal program, and fork by replay."""

import asyncio
import json
import os
import shlex
from pathlib import Path

import pytest

from gateway import outside_agents
from grow.worlds import KEY, OneMore
from hornbeam.chat import assistant, system, user
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import EngineError
from hornbeam.gateway.agent_program import AgentCommand, AgentProgram
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.search import Branch, Independent
from hornbeam.tree.jsonl import from_json, to_json
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

AGENTS = Path(__file__).with_name("outside_agents.py")
ONE = Independent(n=1)


def say(prompt, rng):
    return rng.choice(["one", "two", "three", "four"])


def grow(how, strategy, start=None, counts=None, engine=None, ledger=None, file=AGENTS, **settings):
    """The tree that an agent of `outside_agents` grows, or an equal program."""

    async def run():
        program = how
        if isinstance(how, str):
            command = f"python {file} {shlex.quote(how)} {{task}}"
            program = AgentProgram(AgentCommand(command=command, **settings))
        agents = {"solver": Speaker(engine or Scripted(say))}
        paid = {} if ledger is None else {"ledger": ledger}
        fresh = Tree(Task("t", "What?").to_json(), seed=5)
        grown = await Grower(program, agents, strategy, **paid).grow(KEY, start or fresh)
        if isinstance(how, str):
            await program.aclose()
        if counts is not None:
            counts.update(program.gateway.counts)
        return grown

    return asyncio.run(run())


async def talk(task, ep):
    messages = [user(task.question)]
    for _ in range(3):
        reply = await ep.ask("solver", messages)
        messages += [assistant(reply.text), user("go on")]
    return json.dumps(reply.text)


async def stripped(task, ep):
    messages = [system("be brief"), user(task.question)]
    for _ in range(3):
        reply = await ep.ask("solver", messages)
        messages += [assistant(reply.text), user("on")]
    return json.dumps(reply.text)


def calls(prompt, rng):
    """Calls of a tool, one or two at once, oddly spaced, some broken; in the end a number."""
    if rng.random() < 0.3:
        return rng.choice(["4", "5"])
    made = [
        f'<tool_call>\n{{"name": "add", "arguments": {{"a":{rng.randint(1, 9)},  "b" : 2}}}}\n'
        "</tool_call>"
        for _ in range(rng.choice([1, 2]))
    ]
    return "\n".join(made) if rng.random() < 0.8 else f"so\n{made[0]}"


async def tools(task, ep):
    schema = [outside_agents.ADD]
    messages = [user(task.question)]
    for _ in range(6):
        reply = await ep.ask("solver", messages, tools=schema)
        if not reply.calls:
            return json.dumps(reply.content)
        messages.append(reply.message)
        for call in reply.calls:
            result = str(call.arguments["a"] + call.arguments["b"])
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return json.dumps("no end")


def copy(tree):
    return from_json(json.loads(json.dumps(to_json(tree))))


def facts(tree):
    return [
        (n.parent, n.agent, [*n.prompt], [*n.tokens], [*n.logprobs], n.finish, n.done, n.answer)
        for n in tree.nodes
    ]


@pytest.mark.parametrize("program", [talk, stripped], ids=lambda p: p.__name__)
def test_an_agent_outside_grows_the_tree_of_an_equal_program(program):
    strategy = Branch(trunks=2, nodes=2, rounds=1)
    outside = grow(program.__name__, strategy)
    assert [outside.nodes[i].error for i in outside.leaves()] == [""] * 6
    assert facts(outside) == facts(grow(program, strategy))


@pytest.mark.parametrize("how", ["tools", "compact", "renames"])
def test_calls_of_tools_keep_the_ids_that_were_sampled(how):
    engine, counts = Scripted(calls), {}
    strategy = Branch(trunks=2, nodes=3, rounds=1)
    outside = grow(how, strategy, engine=engine, counts=counts)
    assert [outside.nodes[i].error for i in outside.leaves()] == [""] * 8
    assert facts(outside) == facts(grow(tools, strategy, engine=engine))
    assert counts["turns/spelt otherwise"]
    assert set(counts) == {"requests", "turns/spelt otherwise"}


def test_ids_of_calls_that_an_agent_draws_are_no_divergence():
    counts = {}
    tree = grow("reads", Branch(trunks=1, nodes=3, rounds=1), counts=counts)
    assert [tree.nodes[i].error for i in tree.leaves()] == [""] * len(tree.leaves())
    assert len(tree.leaves()) > 2 and set(counts) == {"requests", "turns/other calls"}


def test_a_turn_that_was_meddled_with_is_the_frameworks_text():
    counts = {}
    tree = grow("meddles", Independent(n=4), engine=Scripted(calls), counts=counts)
    assert counts["turns/other arguments"] and "turns/same" not in counts
    assert not any(node.error for node in tree.nodes)


def test_every_node_can_be_forked():
    whole = grow("talk", ONE)
    for node in range(len(whole)):
        start = copy(whole)
        again = grow("talk", OneMore(node, 9), start)
        new = again.nodes[len(whole) :]
        assert new[-1].done and not new[-1].error


def test_two_at_once_fork_whatever_comes_first():
    whole = grow("both", ONE)
    assert set(json.loads(whole.nodes[-1].answer)) == {"left", "right"}
    for node in range(1, len(whole) - 1):
        start = copy(whole)
        new = grow("both", OneMore(node, 9), start).nodes[len(whole) :]
        assert new[-1].done and not new[-1].error


def test_a_retry_hears_the_same_and_an_equal_ask_is_new():
    counts = {}
    tree = grow("twice", ONE, counts=counts)
    same, *_ = json.loads(tree.nodes[-1].answer)
    assert same and len(tree) == 3 and counts["repeats"] == 1


async def again(task, ep):
    with pytest.raises(EngineError):
        await ep.ask("solver", [user(task.question)])
    return json.dumps([500, None, (await ep.ask("solver", [user(task.question)])).text])


def test_a_retry_behind_an_error_of_the_engine_is_a_new_ask():
    def engine():
        failures = iter([True])

        def busy(prompt, rng):
            if next(failures, False):
                raise EngineError("busy")
            return say(prompt, rng)

        return Scripted(busy)

    whole = grow("again", ONE, engine=engine())
    assert [node.finish for node in whole.nodes[1:]] == ["error", "stop"]
    assert facts(whole) == facts(grow(again, ONE, engine=engine()))
    for node in range(2):
        new = grow("again", OneMore(node, 9), copy(whole), engine=engine() if not node else None)
        assert new.nodes[-1].done and not new.nodes[-1].error


@pytest.mark.parametrize("fails", ["What?", "and?"])
def test_an_error_of_the_engine_is_no_answer_of_an_agent_that_takes_it_for_one(fails):
    def engine():
        def busy(prompt, rng):
            if ("and?" in prompt) == (fails == "and?"):
                raise EngineError("busy")
            return say(prompt, rng)

        return Scripted(busy)

    tree = grow("shrugs", ONE, engine=engine())
    leaf = tree.nodes[-1]
    if fails == "What?":  # it went on with an answer behind the error
        assert leaf.error == "" and "busy" in leaf.answer
    else:
        assert leaf.error == "EngineError: the agent ended without the engine: busy"
    start = copy(tree)
    again = grow("shrugs", OneMore(1, 9), start, engine=engine()).nodes[len(tree) :]
    assert bool(again[-1].error) == bool(leaf.error)
    assert not again[-1].error.startswith("Divergence")


def test_what_is_spelt_otherwise_keeps_its_ids_and_is_counted():
    counts = {}
    grow("stripped", ONE, counts=counts)
    assert counts["turns/spelt otherwise"] == 3 and counts["ignored/temperature"] == 3


def test_a_run_that_asks_otherwise_is_told_where():
    whole = grow("changing", ONE)
    new = grow("changing", OneMore(1, 9), copy(whole), patience=0.2).nodes[len(whole) :]
    assert new[-1].error.startswith("Divergence: the program did not reproduce its own path")
    assert "where it now says" in new[-1].error


def test_bad_bodies_are_a_line_each_and_the_run_goes_on():
    *told, text = json.loads(grow("broken", ONE).nodes[-1].answer)
    assert [code for code, _ in told] == [400] * 7 + [401]
    lines = [line for _, line in told]
    assert "no JSON" in lines[0] and "no JSON object" in lines[1]
    assert lines[2] == "messages: a list of messages is expected"
    assert lines[3] == "messages[0]: a part of type 'image_url' cannot be read: texts only"
    assert lines[4] == "messages[0]: there is no role 'wizard'"
    assert lines[5].startswith("max_tokens = -1") and "tools[0]" in lines[6]
    assert lines[7] == "there is no such session" and text in ("one", "two", "three", "four")


def test_an_agent_that_fails_is_a_failed_leaf_with_its_last_words():
    tree = grow("fails", ONE)
    (leaf,) = tree.leaves()
    assert tree.nodes[leaf].error.endswith("exit code 3: a word of its own")


def test_an_agent_that_hangs_is_ended_with_what_it_started(monkeypatch):
    mark = f"of {os.getpid()}"  # other tests of this machine have such children, too
    monkeypatch.setenv("MARK", mark)
    tree = grow("hangs", ONE, seconds=1.0)
    assert tree.nodes[-1].error.endswith("the agent took more than 1 s")
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if mark.encode() in read(p)]
    assert not left or os.name != "posix"


def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_command_that_does_not_start_is_told():
    async def run():
        program = AgentProgram(AgentCommand(command="no-such-command {task}"))
        agents = {"solver": Speaker(Scripted(say))}
        tree = await Grower(program, agents, ONE).grow(KEY, Tree(Task("t", "?").to_json()))
        await program.aclose()
        return tree

    assert "agent 'no-such-command {task}' does not start" in asyncio.run(run()).nodes[-1].error
