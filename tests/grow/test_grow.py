"""Growth from end to end with the scripted engine: facts, forks by replay, failures, budgets."""

import asyncio
from random import Random

import pytest

from grow.worlds import OneMore
from hornbeam.chat import assistant, user
from hornbeam.engine.request import Sampling
from hornbeam.engine.scripted import Scripted
from hornbeam.episode.program import Limits
from hornbeam.episode.segmenters import Segmenter
from hornbeam.errors import BudgetSpent, ToolError
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.search import Branch, Independent
from hornbeam.store.database import Store, TreeKey
from hornbeam.store.ledger import Budget, Ledger
from hornbeam.tree.jsonl import to_json
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers, inline

KEY = TreeKey("train", 0, 0)
ROUTES = ["left", "right", "stay"]


async def walk(task, ep):
    """Three turns; every answer goes into the next prompt and to a tool."""
    messages = [user(task.question)]
    for _ in range(3):
        reply = await ep.ask("walker", messages)
        heard = await ep.call("echo", word=reply.text)
        messages += [assistant(reply.text), user(heard)]
    return reply.text


def say(prompt, rng):
    return rng.choice(ROUTES)


class ByText:
    """1 for an answer "left", 0 for the rest."""

    column = "reward"

    async def score(self, tree, nodes):
        await asyncio.sleep(0)
        return [1.0 if tree.nodes[i].answer == "left" else 0.0 for i in nodes]

    async def aclose(self):
        pass


calls = []


@inline
def echo(word):
    calls.append(word)
    return f"heard {word}"


def grower(program=walk, strategy=None, script=say, **more):
    tools = more.pop("tools", {"echo": echo})
    return Grower(
        program,
        {
            "walker": Speaker(
                Scripted(script, context=more.pop("context", None)),
                more.pop("sampling", Sampling()),
            )
        },
        strategy or Independent(n=4),
        ByText(),
        LocalWorkers(tools, seconds=more.pop("seconds", 5.0)),
        **more,
    )


def tree(seed=0):
    return Tree(Task("t", "Where?").to_json(), seed=seed)


def grow(how, start=None):
    return asyncio.run(how.grow(KEY, start if start is not None else tree()))


def test_an_episode_becomes_a_path_of_frozen_facts():
    grown = grow(grower(strategy=Independent(n=1)))
    assert [n.parent for n in grown.nodes] == [-1, 0, 1, 2]
    assert [n.origin.step for n in grown.nodes[1:]] == [0, 1, 2]
    assert [n.origin.turn for n in grown.nodes[1:]] == [0, 1, 2]
    texts = [n.text for n in grown.nodes[1:]]
    assert all(text in ROUTES for text in texts)
    assert [n.calls[0].result for n in grown.nodes[1:]] == [f"heard {t}" for t in texts]
    leaf = grown.nodes[3]
    assert leaf.done and leaf.answer == texts[-1] and not leaf.error
    assert grown.columns["reward"][:3] == [None, None, None]
    said = bytes(b for b in grown.context(3) if b).decode()
    assert said == (
        f"user: Where?assistant: {texts[0]}user: heard {texts[0]}"
        f"assistant: {texts[1]}user: heard {texts[1]}assistant: "
    )


def test_ids_are_held_once():
    grown = grow(grower(strategy=Independent(n=1)))
    held = sum(len(n.prompt) + len(n.tokens) for n in grown.nodes)
    assert held == len(grown.sequence(3))


def test_branches_replay_the_path_and_pay_no_tool_twice():
    calls.clear()
    how = grower(strategy=Branch(trunks=2, nodes=2, rounds=1))
    grown = grow(how)
    assert len(grown.leaves()) == 6
    assert how.ledger.totals["tool_calls"] == len(calls) == sum(len(n.calls) for n in grown.nodes)
    assert how.ledger.totals["tool_calls_replayed"] > 0
    for i, node in enumerate(grown.nodes[1:], 1):  # every context is what the program would say
        path = [grown.nodes[k] for k in grown.path(node.parent)]
        expected = b"user: Where?\0assistant: "
        for n in path:
            expected += f"{n.text}\0user: heard {n.text}\0assistant: ".encode()
        assert bytes([*grown.context(i)]) == expected


def test_equal_seeds_equal_trees_whatever_else_is_in_flight():
    strategy = Branch(trunks=2, nodes=2, rounds=2, pick="mixed")
    alone = grow(grower(strategy=strategy), tree(3))
    starts = [(TreeKey("train", 0, i), tree(i)) for i in range(6)]
    together = asyncio.run(grower(strategy=strategy).grow_all(starts, at_once=4))
    assert to_json(together[3]) == to_json(alone)
    assert to_json(together[2]) != to_json(alone)


async def fails(task, ep):
    reply = await ep.ask("walker", [user(task.question)])
    if reply.text == "stay":
        raise ValueError("nothing here\nsecond line")
    return reply.text


def test_a_program_that_raises_is_a_failed_leaf_and_no_zero():
    grown = grow(grower(fails, Independent(n=12)))
    failed = [i for i in grown.leaves() if grown.nodes[i].error]
    assert failed and len(failed) < 12
    for i in failed:
        assert grown.nodes[i].error == "ValueError: nothing here"
        assert grown.nodes[i].done and grown.columns["reward"][i] is None


async def hangs(task, ep):
    await ep.ask("walker", [user(task.question)])
    try:
        await ep.call("slow")
    except ToolError as error:
        return str(error)


def test_a_tool_that_hangs_is_told_to_the_program():
    async def slow():
        await asyncio.sleep(60)

    grown = grow(grower(hangs, Independent(n=1), tools={"slow": slow}, seconds=0.05))
    assert "slow" in grown.nodes[1].answer and "0.05" in grown.nodes[1].answer
    assert grown.nodes[1].calls[0].error == grown.nodes[1].answer


async def both(task, ep):
    replies = await asyncio.gather(
        *(ep.ask("walker", [user(f"{task.question} {i}")], max_tokens=9) for i in range(3))
    )
    last = await ep.ask("walker", [user(" ".join(r.text for r in replies))])
    return last.text + str(ep.rng.random())


def test_asks_of_a_gather_are_told_in_the_order_asked():
    grown = grow(grower(both, Independent(n=1)))
    assert [n.parent for n in grown.nodes] == [-1, 0, 1, 2, 3]
    assert [n.origin.turn for n in grown.nodes[1:]] == [0, 1, 2, 3]
    fork = grow(grower(both, OneMore(3, 9)), grown)
    assert fork.nodes[4].answer[:4] == fork.nodes[4].text[:4]
    assert fork.nodes[5].parent == 3 and fork.nodes[5].done
    assert bytes([*fork.context(5)]) == bytes([*fork.context(4)])


def test_what_comes_before_the_first_ask_is_run_once_for_all_episodes():
    async def program(task, ep):
        first = await ep.call("echo", word="first")
        pick = ep.rng.choice([1, 2, 3])
        reply = await ep.ask("walker", [user(f"{first} {pick}")])
        return reply.text

    calls.clear()
    grown = grow(grower(program, Independent(n=5)))
    assert calls == ["first"] and [c.tool for c in grown.nodes[0].calls] == ["echo"]
    assert len({bytes([*grown.context(i)]) for i in grown.leaves()}) == 1
    assert len(grown.leaves()) == 5


def test_a_program_that_does_not_reproduce_its_path_is_told_where():
    turns = iter(range(100))

    async def program(task, ep):
        reply = await ep.ask("walker", [user("plain")])
        await ep.ask("walker", [user(f"{reply.text} at {next(turns)}")])
        await ep.ask("walker", [user("end")])

    grown = grow(grower(program, Independent(n=1)))
    again = grow(grower(program, OneMore(2, 1)), grown)
    assert again.nodes[-1].error.startswith("Divergence: ") and " at 0" in again.nodes[-1].error
    assert " at 1" in again.nodes[-1].error


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (lambda ep: asyncio.sleep(1), "clock"),
        (lambda ep: asyncio.get_running_loop().time(), "plain function"),
        (lambda ep: asyncio.get_running_loop().getaddrinfo("localhost", 1), "socket"),
        (lambda ep: asyncio.get_running_loop().create_future(), "neither"),
        (lambda ep: ep.ask("wlaker", [user("x")]), "'walker'"),
        (lambda ep: ep.ask("walker", [user("x")], temprature=1), "'temperature'"),
        (lambda ep: ep.call("echo", word={1, 2}), "JSON"),
    ],
)
def test_what_cannot_be_replayed_is_refused_in_words(body, word):
    async def program(task, ep):
        await body(ep)

    grown = grow(grower(program, Independent(n=1)))
    assert grown.nodes[-1].done and word in grown.nodes[-1].error


def test_a_plain_function_that_is_handed_to_a_thread_is_called_in_its_place():
    async def program(task, ep):
        reply = await ep.ask("walker", [user("plain")])
        first = await asyncio.to_thread(str.upper, reply.text)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        await ep.ask("walker", [user(first)])
        return first

    grown = grow(grower(program, Independent(n=1)))
    again = grow(grower(program, OneMore(1, 1)), grown)
    assert [again.nodes[i].error for i in again.leaves()] == ["", ""]
    assert grown.nodes[2].answer == grown.nodes[1].text.upper() == again.nodes[-1].answer


def test_limits_end_an_episode_with_the_name_of_the_limit():
    grown = grow(grower(limits=Limits(turns=2), strategy=Independent(n=1)))
    assert "limits.turns" in grown.nodes[-1].error and len(grown.leaves()) == 1
    grown = grow(grower(limits=Limits(tokens=3), strategy=Independent(n=1)))
    assert "limits.tokens" in grown.nodes[-1].error


def test_a_budget_is_never_passed_and_what_was_grown_grows_on(tmp_path):
    whole = grow(grower(strategy=Independent(n=6)))
    with Store(tmp_path) as store:
        budget = Ledger(Budget(calls=17), sink=store.enter)
        with pytest.raises(BudgetSpent, match="calls"):
            grow(grower(strategy=Independent(n=6), ledger=budget, keeper=store))
        assert budget.calls <= 17
        left = store.read(KEY)
        assert not left.done and len(left.tree) > 1
        more = Ledger(sink=store.enter)
        grown = grow(grower(strategy=Independent(n=6), ledger=more, keeper=store), left)
        assert to_json(grown) == to_json(whole)
        assert store.read(KEY).done and to_json(store.read(KEY).tree) == to_json(whole)
        costs = store.totals()
    assert costs["model_calls"] == 18  # nothing finished was paid twice
    assert costs["tool_calls"] == 18


async def wordy(task, ep):
    """It would have a million tokens; its model's context has 40."""
    return (await ep.ask("walker", [user("go")], max_tokens=1_000_000)).text


def test_an_answer_reserves_no_more_than_the_models_context_holds():
    budget = Ledger(Budget(tokens=100))
    grown = grow(grower(wordy, Independent(n=2), context=40, ledger=budget))
    assert len(grown.leaves()) == 2


async def long(task, ep):
    reply = await ep.ask("walker", [user("go")], max_tokens=60)
    return reply.text


def chunky(prompt, rng: Random):
    return "".join(f"part {rng.randrange(9)}.\n" for _ in range(4))


@pytest.mark.parametrize("by", ["text", "regex", "sentences", "tokens"])
def test_chunks_of_one_answer_are_nodes(by):
    segment = Segmenter(by=by, text=(".",), regex=r"\.", tokens=10)
    how = Grower(long, {"walker": Speaker(Scripted(chunky), segment=segment)}, Independent(n=1))
    grown = grow(how)
    texts = [n.text for n in grown.nodes[1:]]
    assert "".join(texts) == grown.nodes[-1].answer and len(texts) >= 3
    assert {n.finish for n in grown.nodes[1:-1]} == {"chunk"}
    assert {n.origin.turn for n in grown.nodes[1:]} == {0}
    fork = asyncio.run(Grower(long, how.agents, OneMore(2, 1)).grow(KEY, grown))
    new = fork.nodes[-1]
    assert new.done and new.answer.startswith(texts[0] + texts[1])


def test_growth_by_steps_stops_after_so_many_chunks():
    segment = Segmenter(by="text", text=(".",))
    agents = {"walker": Speaker(Scripted(chunky), segment=segment)}
    grown = asyncio.run(Grower(long, agents, OneMore(0, 0, steps=2)).grow(KEY, tree()))
    assert len(grown) == 3 and not grown.nodes[-1].done
    grown = asyncio.run(
        Grower(walk, grower().agents, OneMore(0, 0, 2), tools=LocalWorkers({"echo": echo})).grow(
            KEY, tree()
        )
    )
    assert len(grown) == 3 and grown.nodes[-1].calls and not grown.nodes[-1].done


async def team(task, ep):
    async def helper(task, ep):
        reply = await ep.ask("anyone", [user(task.question)])
        return reply.text

    first = await ep.delegate("walker", helper, Task("s", "sub"))
    second = await ep.delegate("walker", helper, Task("s", "sub"))
    last = await ep.ask("walker", [user(first + second)])
    return last.text


def test_delegation_has_scopes_of_its_own():
    grown = grow(grower(team, Independent(n=1)))
    assert [n.scope for n in grown.nodes[1:]] == ["walker.1", "walker.2", ""]
    assert {n.agent for n in grown.nodes[1:]} == {"walker"}


def test_an_ask_may_not_change_the_temperature_of_what_is_trained():
    async def program(task, ep):
        reply = await ep.ask("walker", [user("x")], temperature=0.5)
        return reply.text

    how = grower(program, Independent(n=1))
    assert not grow(how).nodes[-1].error
    how.agents["walker"] = Speaker(Scripted(say), trained=True)
    assert "temperature" in grow(how).nodes[-1].error
