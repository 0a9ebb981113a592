"""Rows and sums by hand on a five-node tree, and the trie's laws on random trees."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.credit import credit, methods
from hornbeam.errors import DataError
from hornbeam.train.pack import packs, unique
from hornbeam.train.rows import collect, weight
from hornbeam.tree.nodes import INJECTED, Node, Origin, Tree, floats, ids
from train import worlds


def node(parent, prompt, tokens, **more):
    return Node(
        parent,
        prompt=ids(prompt),
        tokens=ids(tokens),
        logprobs=floats([-1.0] * len(tokens)),
        **more,
    )


def little():
    """Task -> 1 -> {2, 3}; 3 -> 4. Leaves 2 (A = 2) and 4 (A = -1)."""
    tree = Tree({"id": "q"})
    for n in (node(0, [1, 2], [3]), node(1, [], [4, 5]), node(1, [], [4, 6]), node(3, [7], [8])):
        tree.append(n)
    tree.columns["advantage"] = [None, None, 2.0, None, -1.0]
    return tree


def test_sums_by_hand():
    """Token mean: leaf 2 trains 1 + 2 tokens, leaf 4 trains 1 + 2 + 1, so w = 1/7."""
    rows = collect([little()])
    assert [list(r.ids) for r in rows.rows] == [[1, 2, 3, 4, 5], [1, 2, 3, 4, 6, 7, 8]]
    got = [(s.start, s.plus, s.minus, s.weight) for r in rows.rows for s in r.segments]
    w = 1 / 7
    assert np.asarray(got) == pytest.approx(
        np.asarray([(3, 2 * w, 0, w), (2, 2 * w, -w, 2 * w), (3, 0, -w, w), (6, 0, -w, w)])
    )
    assert (rows.flat, rows.trained, rows.leaves) == (12, 7, 2)
    assert unique(rows) == 8


def test_flat_rows_repeat_the_shared_node():
    rows = collect([little()], share=False)
    assert [len(r.segments) for r in rows.rows] == [2, 3]
    assert rows.rows[0].segments[0].plus == pytest.approx(2 / 7)
    assert rows.rows[1].segments[0].minus == pytest.approx(-1 / 7)


def test_an_inner_node_with_an_advantage_of_its_own_is_trained_with_it():
    tree = little()
    tree.columns["advantage"][1] = 0.5
    segment = collect([tree], aggregation="constant", constant=2).rows[1].segments[0]
    assert (segment.plus, segment.minus) == (2 * 0.25 * 0.5, 0.0)


def test_pairs_for_sequence_ratios():
    rows = collect([little()], pairs=True)
    assert [(leaf, s) for leaf, s, _ in rows.pairs] == [(0, 1), (0, 0), (1, 1), (1, 2), (1, 3)]
    assert [v for *_, v in rows.pairs] == pytest.approx([2 / 7, 2 / 7, -1 / 7, -1 / 7, -1 / 7])


def test_weights_of_aggregations():
    assert weight("token_mean", 3, 12, 4, 100) == 1 / 12
    assert weight("sequence_mean", 3, 12, 4, 100) == 1 / 12
    assert weight("constant", 3, 12, 4, 100) == 1 / 400


def test_trains_keeps_what_the_policy_said():
    tree = little()
    rows = collect([tree], trains=lambda n: len(n.tokens) == 2)
    assert rows.trained == 4
    assert sum(len(r.segments) for r in rows.rows) == 2


def interleaved():
    """Main 1, s.1 at 2 and 4, t.1 at 3, main 5: three trajectories on one path."""
    tree = Tree({"id": "q"})
    scopes = ["", "s.1", "t.1", "s.1", ""]
    for i, (scope, tokens) in enumerate(zip(scopes, ([3], [4, 5], [6], [7], [8, 9]))):
        tree.append(node(i, [1], tokens, scope=scope, agent=scope[:1] or "main"))
    tree.columns |= {
        "advantage": [None, None, None, 0.5, -1.0, 2.0],
        "mass": [None, None, None, 2.0, 3.0, None],
    }
    return tree


@pytest.mark.parametrize("share", [True, False])
def test_delegations_are_trained_with_their_own_advantage_times_mass(share):
    """Token mean: main 3 tokens once, s.1 3 tokens 3 times, t.1 1 token twice: 14 in all."""
    rows = collect([interleaved()], share=share)
    got = {
        tuple(r.ids[s.start : s.start + len(s.old)].tolist()): (s.plus, s.minus, s.weight)
        for r in rows.rows
        for s in r.segments
    }
    main, s1, t1 = (2 / 14, 0, 1 / 14), (0, -3 / 14, 3 / 14), (1 / 14, 0, 2 / 14)
    for tokens, sums in {(3,): main, (4, 5): s1, (6,): t1, (7,): s1, (8, 9): main}.items():
        assert got[tokens] == pytest.approx(sums), tokens
    assert (rows.leaves, rows.trained, len(rows.rows)) == (3, 7, 1 if share else 3)


def test_a_sequence_is_a_trajectory():
    rows = collect([interleaved()], aggregation="sequence_mean", pairs=True)
    held = {}
    for trajectory, segment, value in rows.pairs:
        held.setdefault(trajectory, []).append((segment, value))
    # copies: 1 + 3 + 2 = 6; t.1 has one token, the others three
    assert [[s for s, _ in pairs] for pairs in held.values()] == [[2], [1, 3], [0, 4]]
    assert [pairs[0][1] for pairs in held.values()] == pytest.approx([1 / 6, -1 / 6, 1 / 9])


def test_mass_counts_as_so_many_copies():
    twice, once = interleaved(), [interleaved(), interleaved()]
    twice.columns["mass"] = [None, None, None, 2.0, 2.0, None]
    for tree in once:
        tree.columns["mass"] = [None] * 6
    kinds = {"aggregation": "constant", "trains": lambda n: n.agent != "main"}
    (one,), two = collect([twice], **kinds).rows, collect(once, **kinds).rows
    for k, segment in enumerate(one.segments):
        assert segment.plus == pytest.approx(sum(row.segments[k].plus for row in two))
        assert segment.weight == pytest.approx(sum(row.segments[k].weight for row in two))


def test_without_mass_or_advantage_a_delegation_does_not_train():
    tree = interleaved()
    tree.columns["mass"][4], tree.columns["advantage"][3] = 0.0, None
    (row,) = collect([tree]).rows
    assert [s.start for s in row.segments] == [1, 10]


def test_branches_below_a_delegation_train_it_once_with_its_mass():
    tree = interleaved()
    tree.append(node(4, [1], [9, 9], agent="main"))
    tree.columns["advantage"][6] = -2.0
    tree.columns["mass"] = [None, None, None, 2.0, 6.0, None, None]
    rows = collect([tree], aggregation="constant", constant=1)  # copies 1 + 1 + 6 + 2
    row = max(rows.rows, key=lambda row: len(row.segments))  # the other holds node 5 alone
    assert [(s.plus, s.minus, s.weight) for s in row.segments[:2]] == [
        pytest.approx((0.2, -0.2, 0.2)),
        pytest.approx((0, -0.6, 0.6)),
    ]
    assert rows.leaves == 4


def test_zeros_are_left_out_where_nothing_needs_them():
    tree = little()
    tree.columns["advantage"] = [None, None, 0.0, None, 0.0]
    assert len(collect([tree]).rows) == 2
    assert not collect([tree], keep_zeros=False).rows


def test_refusals_name_the_node():
    tree = little()
    del tree.columns["advantage"]
    with pytest.raises(DataError, match="credit it first"):
        collect([tree])
    bare = Tree({"id": "q"}, [Node(-1), Node(0, tokens=ids([3]))], {"advantage": [None, 1.0]})
    with pytest.raises(DataError, match="node 1: no prompt"):
        collect([bare])


def test_runs_that_were_cut_off_are_left_out_as_if_they_had_no_advantage():
    for share in (True, False):
        for leaf in (2, 4):
            tree, without = little(), little()
            tree.nodes[leaf] = replace(tree.nodes[leaf], finish="length")
            without.columns["advantage"][leaf] = None
            masked = collect([tree], share=share, pairs=True, mask_truncated=True)
            assert str(masked) == str(collect([without], share=share, pairs=True))
            assert str(masked) != str(collect([tree], share=share, pairs=True))
    tree.nodes[3] = replace(tree.nodes[3], finish="length")  # the run went on and ended
    assert str(collect([tree], mask_truncated=True)) == str(collect([without]))


@pytest.mark.parametrize("end", [3, 4, 5])
def test_delegations_that_were_cut_off_are_left_out_alone(end):
    tree, without = interleaved(), interleaved()
    tree.nodes[end] = replace(tree.nodes[end], finish="length")
    without.columns["advantage"][end] = None
    masked = collect([tree], mask_truncated=True, pairs=True)
    assert str(masked) == str(collect([without], pairs=True))
    assert str(masked) != str(collect([tree], pairs=True))


def test_log_probs_are_needed_where_the_loss_reads_them():
    tree = little()
    result = [s.old for row in collect([tree]).rows for s in row.segments]
    for i, node in enumerate(tree.nodes):
        tree.nodes[i] = replace(node, logprobs=floats())
    found = collect([tree])
    assert found.trained == collect([little()]).trained
    for segment, old in zip((s for row in found.rows for s in row.segments), result, strict=True):
        assert segment.old.shape == old.shape and np.isnan(segment.old).all()
    with pytest.raises(
        DataError, match=r"node 2: tokens without log-probs: .*loss\.old = 'trainer'"
    ):
        collect([tree], needs_old=True)
    tree.nodes[1] = replace(tree.nodes[1], origin=Origin(version=INJECTED))
    with pytest.raises(DataError, match=r"node 1: tokens without .* another one put in"):
        collect([tree])


def test_trie_by_hand():
    """Preorder, position = depth, and where each subtree stops."""
    (pack,) = packs(collect([little()]), 100, packed=True)
    assert pack.ids[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert pack.position[0].tolist() == [0, 1, 2, 3, 4, 4, 5, 6]
    assert pack.end.tolist() == [8, 8, 8, 8, 5, 8, 8, 8]
    assert pack.sources.tolist() == [1, 2, 3, 6]
    # the first token of both branches has one source and place but two targets
    targets = zip(pack.sources[pack.slot].tolist(), pack.token.tolist(), pack.segment.tolist())
    assert list(targets) == [(1, 3, 1), (2, 4, 0), (2, 4, 2), (3, 5, 0), (3, 6, 2), (6, 8, 3)]


def test_a_cut_repeats_the_path_above():
    made = packs(collect([little()]), 7, packed=True)
    assert [p.ids[0].tolist() for p in made] == [[1, 2, 3, 4, 5], [1, 2, 3, 4, 6, 7, 8]]
    assert [len(p.token) for p in made] == [2, 4]


def paths(pack):
    """The ids that each query sees, in order."""
    n = pack.ids.shape[1]
    i, j = torch.arange(n)[:, None], torch.arange(n)[None]
    seen = (j <= i) & (i < pack.end[None])
    return [tuple(pack.ids[0][row].tolist()) for row in seen]


@given(st.integers(0, 10_000), st.sampled_from(sorted(methods)), st.integers(8, 60))
def test_every_token_is_trained_once_after_its_own_context(seed, method, bound):
    trees = worlds.random_trees(seed)
    credit(trees, method)
    rows = collect(trees, pairs=True)
    wanted = sorted(
        (tuple(tree.context(i)) + tuple(n.tokens[:k]), t, n.logprobs[k])
        for tree in trees
        for i, n in enumerate(tree.nodes)
        if i and any(tree.columns["advantage"][leaf] is not None for leaf in below(tree, i))
        for k, t in enumerate(n.tokens)
    )
    got, uniques = [], set()
    for pack in packs(rows, bound, packed=True):
        seen = paths(pack)
        uniques.update(seen)
        sources = pack.sources[pack.slot].tolist()
        assert all(len(seen[i]) == pack.position[0][i] + 1 for i in range(len(seen)))
        got += [(seen[s], t, o) for s, t, o in zip(sources, pack.token.tolist(), pack.old.tolist())]
    assert sorted(got) == wanted
    assert len(uniques) == unique(rows) <= rows.flat


def below(tree, i):
    kids = tree.children(i)
    return [leaf for c in kids for leaf in below(tree, c)] if kids else [i]
