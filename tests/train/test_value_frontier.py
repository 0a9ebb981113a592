"""Values of growing trees: equal to plain forwards, each token once, bounded memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.train.frontier import Frontier
from hornbeam.train.pack import unique
from hornbeam.train.rows import Row, Rows
from train import value_worlds as worlds
from train.test_families import FAMILIES

MODELS = {
    family: worlds.value_model(family) for family in ("Llama", "Gemma2", "Gemma3Text", "Mistral")
}
# states that are not kept, frequencies that change at a length
MODELS |= {
    family: worlds.value_model(family, size={"tie_word_embeddings": False, **FAMILIES[family]})
    for family in ("Qwen3Next", "Phi3")
}


def trie(tree, nodes):
    """How many tokens the trie over the nodes' sequences holds."""
    rows = [Row(np.asarray(tree.sequence(i), np.int32), ()) for i in nodes]
    return unique(Rows(rows)) if rows else 0


@pytest.mark.parametrize("family", MODELS)
def test_frontier_values_are_those_of_plain_forwards(family):
    model = MODELS[family]
    trees = [worlds.labelled(seed, nodes=25) for seed in range(3)]
    frontier = Frontier(model, 10_000)
    waiting = [worlds.readable(tree) for tree in trees]
    found = [{} for _ in trees]
    while any(waiting):  # a few nodes of every tree at a time
        asks = [(k, nodes[:3]) for k, nodes in enumerate(waiting) if nodes]
        data = frontier.read([(trees[k], nodes) for k, nodes in asks])
        for (k, nodes), (values, _) in zip(asks, data):
            found[k].update(zip(nodes, values))
            waiting[k] = waiting[k][3:]
    for tree, values in zip(trees, found):
        assert sorted(values) == worlds.readable(tree)
        for i, z in values.items():
            assert z == pytest.approx(worlds.plain(model.model, tree, i), abs=1e-5)


@pytest.mark.parametrize("family", MODELS)
def test_packed_values_are_those_of_plain_forwards(family):
    model = MODELS[family]
    trees = [worlds.labelled(seed, nodes=25) for seed in range(3)]
    data = model.read([(tree, worlds.readable(tree)) for tree in trees])
    for tree, values in zip(trees, data):
        for i, z in zip(worlds.readable(tree), values):
            assert z == pytest.approx(worlds.plain(model.model, tree, i), abs=1e-5)


def test_each_token_of_a_four_agent_tree_is_computed_once():
    tree = worlds.team(agents=4)
    assert len({node.agent for node in tree.nodes[1:]}) == 4
    frontier = Frontier(MODELS["Llama"], 10_000)
    ran = [
        frontier.read([(tree, [i])])[0][1] for i in range(1, len(tree))
    ]  # step by step, as it grows
    nodes = range(1, len(tree))
    assert sum(ran) == trie(tree, nodes) == frontier.held
    assert sum(ran) < 0.5 * sum(tree.length(i) for i in nodes)
    assert frontier.read([(tree, list(nodes))])[0][1] == 0  # asked again: nothing runs
    at_once = Frontier(MODELS["Llama"], 10_000)
    assert at_once.read([(tree, list(nodes))])[0][1] == sum(ran)


def test_a_node_inside_what_was_run_costs_nothing():
    tree = worlds.team(agents=2)
    last = len(tree) - 1
    frontier = Frontier(MODELS["Llama"], 10_000)
    frontier.read([(tree, [last])])
    parent = tree.nodes[last].parent
    assert frontier.new(tree, [last]) == 0
    assert 0 < frontier.new(tree, [parent]) < tree.length(parent)  # it shares the question


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=25),
    st.sampled_from([1, 30, 60, 10_000]),
    st.sampled_from([3, 4096]),
)
def test_any_order_of_asks_and_any_room(asks, room, most):
    """Values stay right, tokens never exceed what was foretold, and rooms are kept."""
    model = MODELS["Llama"]
    trees = [worlds.labelled(seed, nodes=12) for seed in range(4)]
    left = [worlds.readable(tree) for tree in trees]
    frontier, before = Frontier(model, room), model.optim
    model.optim = before.model_copy(update={"max_pack_tokens": most})
    try:
        for k, many in asks:
            nodes, left[k] = left[k][:many], left[k][many:]
            if not nodes:
                frontier.forget(trees[k])
                left[k] = worlds.readable(trees[k])
                continue
            foretold = frontier.new(trees[k], nodes)
            ((values, ran),) = frontier.read([(trees[k], nodes)])
            assert ran == foretold
            for i, z in zip(nodes, values):
                assert z == pytest.approx(worlds.plain(model.model, trees[k], i), abs=1e-5)
    finally:
        model.optim = before
    for tree in trees:
        frontier.forget(tree)
    assert frontier.held == 0


def test_what_was_not_used_longest_goes_first():
    trees = [worlds.labelled(seed, nodes=12) for seed in range(12)]
    nodes = [worlds.readable(tree) for tree in trees]
    sizes = [trie(tree, n) for tree, n in zip(trees, nodes)]
    frontier = Frontier(MODELS["Llama"], sum(sizes) // 2)
    for tree, n in zip(trees, nodes):
        frontier.read([(tree, n)])
    assert frontier.held <= sum(sizes) // 2
    assert frontier.new(trees[-1], nodes[-1]) == 0
    assert frontier.new(trees[0], nodes[0]) == sizes[0]


def test_asks_that_share_a_pass_do_not_make_room_for_each_other():
    trees = [worlds.labelled(seed, nodes=12) for seed in range(3)]
    nodes = [worlds.readable(tree) for tree in trees]
    frontier = Frontier(MODELS["Llama"], 1)
    frontier.read([(tree, n[:-1]) for tree, n in zip(trees, nodes)])
    foretold = [frontier.new(tree, n) for tree, n in zip(trees, nodes)]
    data = frontier.read([(tree, n) for tree, n in zip(trees, nodes)])
    assert [ran for _, ran in data] == foretold
