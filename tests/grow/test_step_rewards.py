"""Rewards inside a run: where they stand, what replay holds them to, what is refused."""

import asyncio
import json

import pytest

import hornbeam as hb
from grow.worlds import ONE_EPISODE, OneMore, grow, grower, rewarded, tree
from hornbeam.chat import user
from hornbeam.episode.program import Limits
from hornbeam.errors import ArgumentError, ToolError
from hornbeam.tree.facts import Call, StepReward
from hornbeam.tree.jsonl import from_json, to_json
from hornbeam.tree.nodes import Node, Tree
from hornbeam.workers.local_workers import inline


async def paid(task, ep):
    ep.reward(4)
    await ep.call("pays", word="w")
    reply = await ep.ask("walker", [user("one")])
    ep.reward(0.5)
    ep.reward(True, name="brief")
    await ep.call("pays", word="w")
    ep.reward(-1, "late")
    await ep.ask("walker", [user("two")])
    return reply.text


def test_a_reward_stands_with_the_last_step_and_is_a_column():
    grown = grow(grower(paid, ONE_EPISODE))
    task, first, last = grown.nodes
    assert task.rewards == (StepReward(4.0),) and last.rewards == ()
    assert first.rewards == (
        StepReward(0.5),
        StepReward(1.0, "brief"),
        StepReward(-1.0, "late", "", 1),
    )
    assert [call.reward for call in (*task.calls, *first.calls)] == [0.5, 0.5]
    assert first.calls[0].result == "w"
    columns = {n: c for n, c in grown.columns.items() if n.startswith("step_reward")}
    assert columns == {
        "step_reward": [4.5, 1.0, None],
        "step_reward.brief": [None, 1.0, None],
        "step_reward.late": [None, -1.0, None],
        "step_reward.pays": [0.5, 0.5, None],
    }


def test_a_sub_agent_s_reward_has_its_scope():
    grown = grow(grower(rewarded, ONE_EPISODE))
    scopes = {r.name: r.scope for node in grown.nodes for r in node.rewards}
    assert scopes == {"": "", "early": "", "slow": "", "drawn": "", "helper": "walker.1"}


def test_a_tree_with_rewards_reads_back():
    grown = grow(grower(rewarded, ONE_EPISODE))
    again = from_json(json.loads(json.dumps(to_json(grown))))
    assert again == grown and again.nodes[0].rewards == grown.nodes[0].rewards
    assert any(call.reward == 0.5 for node in again.nodes for call in node.calls)


def test_replayed_rewards_are_not_given_twice():
    grown = grow(grower(paid, ONE_EPISODE))
    again = grow(grower(paid, OneMore(1, 1)), grown)
    assert again.nodes[:3] == grown.nodes[:3]
    assert again.nodes[3].parent == 1 and not again.nodes[3].rewards


def two_ways(*ways):
    """A program that gives other rewards each time that it is run."""
    left = iter(ways)

    async def program(task, ep):
        first, second = next(left)
        await ep.ask("walker", [user("one")])
        for value, name in first:
            ep.reward(value, name)
        await ep.call("slow", word="w")
        for value, name in second:
            ep.reward(value, name)
        await ep.ask("walker", [user("two")])

    return program


PAID = [(1.0, ""), (2.0, "b")]


@pytest.mark.parametrize(
    ("again", "says"),
    [
        (([(1.5, ""), (2.0, "b")], []), "reward 1.5 in scope '', the record has reward 1 in"),
        (([(1.0, ""), (2.0, "c")], []), "reward 'c' 2 in scope '', the record has reward 'b' 2"),
        (([(1.0, "")], []), "after 1 effects it gives no reward, the record has reward 'b' 2"),
        (
            ([*PAID, (3.0, "")], []),
            "after 1 effects it gives reward 3 in scope '', the record has n",
        ),
        ((PAID, [(3.0, "")]), "after 2 effects it gives reward 3 in scope '', the record has none"),
        (([], PAID), "after 1 effects it gives no reward"),
    ],
)
def test_another_reward_in_a_replayed_part_is_a_divergence(again, says):
    program = two_ways((PAID, []), again)
    grown = grow(grower(program, ONE_EPISODE))
    assert not grown.nodes[-1].error
    grown = grow(grower(program, OneMore(1, 1)), grown)
    error = grown.nodes[-1].error
    assert error.startswith("Divergence: the program did not reproduce its own path:")
    assert says in error


@pytest.mark.parametrize(
    ("value", "name", "says"),
    [
        (float("nan"), "", "ep.reward takes a finite number, not nan"),
        (float("inf"), "", "ep.reward takes a finite number, not inf"),
        (None, "", "ep.reward takes a finite number, not None"),
        ("1", "", "ep.reward takes a finite number, not the text '1'"),
        ([1.0], "", "ep.reward takes a finite number, not a list"),
        (1.0, "a b", "ep.reward takes a name of letters, digits, '_' and '-', not the text 'a b'"),
        (1.0, 3, "ep.reward takes a name of letters, digits, '_' and '-', not 3"),
    ],
)
def test_what_is_no_reward_fails_the_episode(value, name, says):
    async def program(task, ep):
        await ep.ask("walker", [user("one")])
        ep.reward(1.0)
        ep.reward(value, name)

    grown = grow(grower(program, ONE_EPISODE))
    assert grown.nodes[-1].error.startswith(f"ProgramError: {says}")
    assert grown.nodes[1].rewards == (StepReward(1.0),)


def test_there_is_a_limit():
    async def program(task, ep):
        await ep.ask("walker", [user("one")])
        for _ in range(3):
            ep.reward(1.0)
        await ep.ask("walker", [user("two")])
        ep.reward(1.0)

    grown = grow(grower(program, ONE_EPISODE, limits=Limits(rewards=4)))
    assert not grown.nodes[-1].error
    grown = grow(grower(program, ONE_EPISODE, limits=Limits(rewards=3)))
    assert "more than 3 rewards in one episode (limits.rewards)" in grown.nodes[-1].error
    assert len(grown.nodes[1].rewards) == 3  # those given stand


@pytest.mark.parametrize("reward", [None, float("nan"), "1", [1]])
def test_a_result_with_what_is_no_reward_is_a_tool_error(reward):
    with pytest.raises(ArgumentError, match="Result: reward takes a finite number, not"):
        hb.Result("w", reward=reward)

    @inline
    def pays(word):
        return hb.Result(word, reward=reward)

    async def program(task, ep):
        try:
            await ep.call("pays", word="w")
        except ToolError as error:
            await ep.ask("walker", [user("one")])
            return str(error)

    grown = grow(grower(program, ONE_EPISODE, tools={"pays": pays}))
    assert "Result: reward takes a finite number" in grown.nodes[-1].answer
    assert grown.nodes[0].calls[0].reward is None and "step_reward" not in grown.columns


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({"rewards": [{"name": "x"}]}, "a reward of a step is an object with a 'value'"),
        ({"rewards": [{"value": "1"}]}, "'value' of a reward must be a number, not '1'"),
        ({"rewards": [{"value": True}]}, "'value' of a reward must be a number, not True"),
        ({"rewards": [{"value": float("inf")}]}, "'value' of a reward must be a number, not inf"),
        ({"rewards": [{"value": 1, "nam": ""}]}, "'nam' of a reward: did you mean 'name'?"),
        ({"rewards": 1}, "'rewards' must be a list, not 1"),
        ({"calls": [{"tool": "t", "reward": "1"}]}, "'reward' of a call must be a number, not '1'"),
    ],
)
def test_what_is_no_reward_in_a_file(node, says):
    data = {"task": {"id": "t"}, "nodes": [{"parent": -1}, {"parent": 0, **node}]}
    with pytest.raises(hb.HornbeamError) as caught:
        from_json(data)
    assert f"node 1: {says}" in str(caught.value) or says in str(caught.value)


def test_trees_of_before_have_none():
    plain = to_json(Tree({"id": "t"}, [Node(-1), Node(0, calls=(Call("t", {}),))]))
    assert plain["nodes"] == [{"parent": -1}, {"parent": 0, "calls": [{"tool": "t"}]}]


def test_grow_trees_has_step_rewards_and_figures():
    trees = hb.grow_trees(
        paid,
        [hb.Task("t", "?")],
        {"walker": hb.Scripted("left")},
        hb.Independent(n=1),
        score=lambda task, answer: {"reward": 1.0, "length": len(answer)},
        tools={"pays": lambda word: hb.Result(word, 0.25)},
    )
    (grown,) = trees
    assert grown.columns["figure.length"][2] == 4.0 and grown.columns["step_reward"][0] == 4.25
    hb.credit_trees(trees, "rloo")
    assert grown.columns["advantage"] == [None, None, 0.0]


def test_every_order_gives_the_same_rewards():
    first = asyncio.run(grower(rewarded, hb.Branch(trunks=2, nodes=2)).grow(*start()))
    again = asyncio.run(grower(rewarded, hb.Branch(trunks=2, nodes=2)).grow(*start()))
    assert to_json(first) == to_json(again) and not any(node.error for node in first.nodes)


def start():
    from grow.worlds import KEY

    return KEY, tree()
