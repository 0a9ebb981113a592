"""A value model as a guide: who gets a value, what shares a pass, what it costs."""

import asyncio
import math

import pytest
import torch

from hornbeam.errors import ModelError, ScoreError
from hornbeam.protocols import Opinions
from hornbeam.score.prm import ValueGuide
from hornbeam.tree.nodes import Node, Tree, ids
from train import value_worlds as worlds
from train.test_value_frontier import trie

MODEL = worlds.value_model()


def judged(guide, tree, nodes):
    return asyncio.run(guide.judge(tree, nodes))


def test_values_are_tanh_of_plain_forwards_and_cost_their_tokens():
    tree = worlds.team()
    guide, nodes = ValueGuide(MODEL), range(1, len(tree))
    most = guide.most(tree, nodes)
    result = judged(guide, tree, nodes)
    wanted = [math.tanh(worlds.plain(MODEL.model, tree, i)) for i in nodes]
    assert result.values == pytest.approx(wanted, abs=1e-5)
    assert result.tokens == most == trie(tree, nodes)
    guide.forget(tree)
    assert guide.most(tree, nodes) == most


def test_who_has_no_value():
    tree = Tree({"id": "q"})
    tree.append(Node(0, prompt=ids([1, 2]), tokens=ids([3])))
    tree.append(Node(1, done=True))  # said nothing
    tree.append(Node(1, tokens=ids([4]), error="it fell", done=True))
    tree.append(Node(1, tokens=ids([4]), done=True))
    tree.append(Node(1, tokens=ids([5] * 300), done=True))  # beyond the model's context
    guide = ValueGuide(MODEL)
    steps = judged(guide, tree, [1, 2, 3, 4, 5])
    assert [value is None for value in steps.values] == [False, True, True, False, True]
    assert judged(guide, tree, [2, 3]) == Opinions([None, None], 0)
    ends = judged(ValueGuide(MODEL, "orm", at="ends"), tree, [1, 2, 3, 4])
    assert [value is None for value in ends.values] == [True, True, True, False]


def test_an_empty_frontier_has_no_opinions():
    assert judged(ValueGuide(MODEL), worlds.team(), []) == Opinions([], 0)


def test_values_come_in_the_order_asked():
    tree = worlds.team()
    guide = ValueGuide(MODEL)
    up = judged(guide, tree, [1, 2, 3]).values
    assert judged(guide, tree, [3, 1, 2]).values == [up[2], up[0], up[1]]


def test_all_who_wait_share_one_pass_and_the_guide_waits_for_the_busy():
    trees = [worlds.team(seed=k) for k in range(3)]
    guide = ValueGuide(MODEL)

    async def episode(tree, node, naps):
        guide.barrier.enter()
        for _ in range(naps):
            await asyncio.sleep(0.001)
        guide.barrier.leave()
        return await guide.judge(tree, [node])

    async def all_at_once():
        jobs = [episode(tree, node, 5 * node) for tree in trees for node in (1, 2)]
        return await asyncio.gather(*jobs)

    together = asyncio.run(all_at_once())
    assert guide._frontier._round == 1
    alone = [judged(ValueGuide(MODEL), tree, [node]) for tree in trees for node in (1, 2)]
    for a, b in zip(together, alone):
        assert a.values == pytest.approx(b.values, abs=1e-6)
    assert sum(a.tokens for a in together) == sum(trie(tree, [1, 2]) for tree in trees)


def test_one_who_gave_up_is_not_read():
    tree = worlds.team()
    guide = ValueGuide(MODEL)

    async def run():
        guide.barrier.enter()
        gone = asyncio.create_task(guide.judge(tree, [1]))
        stays = asyncio.create_task(guide.judge(tree, [2]))
        await asyncio.sleep(0.002)
        gone.cancel()
        guide.barrier.leave()
        return await stays

    assert asyncio.run(run()).values[0] is not None
    assert guide.most(tree, [2]) == 0 < guide.most(tree, [1])


def test_damaged_weights_are_one_clear_line():
    model = worlds.value_model()
    with torch.no_grad():
        model.model.score.weight.fill_(math.nan)
    with pytest.raises(
        ScoreError, match=r"^Llama: a value of task 'team' is not finite: .*damaged$"
    ):
        judged(ValueGuide(model), worlds.team(), [1])


def test_an_error_in_the_pass_reaches_all_who_wait():
    tree = Tree({"id": "q"})
    tree.append(Node(0, prompt=ids([1, 2]), tokens=ids([999])))
    guide = ValueGuide(MODEL)
    with pytest.raises(ScoreError, match="reading values failed: IndexError"):
        judged(guide, tree, [1])
    assert judged(guide, worlds.team(), [1]).tokens  # and it goes on


def test_a_model_fitted_on_another_tokenizer_is_refused():
    with pytest.raises(
        ModelError, match=r"^Llama: fitted on another tokenizer \(unknown\)"
    ) as result:
        MODEL.check("abc")
    assert "\n" not in str(result.value)


def test_closing_ends_what_waits():
    guide = ValueGuide(MODEL)

    async def run():
        guide.barrier.enter()
        waits = asyncio.create_task(guide.judge(worlds.team(), [1]))
        await asyncio.sleep(0.002)
        await guide.aclose()
        with pytest.raises(ScoreError):
            await waits

    asyncio.run(run())
