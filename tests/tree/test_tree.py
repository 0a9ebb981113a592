"""The tree: walks, folds and token ids, by hand and by law."""

from __future__ import annotations

from array import array
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.errors import DataError
from hornbeam.tree.nodes import Node, Tree, common_prefix, fold_up, ids, leaves_below
from little_trees import tree, trees


def hand() -> Tree:
    #       0
    #      / \
    #     1   5
    #    / \
    #   2   4
    #   |
    #   3
    return tree([0, 1, 2, 1, 0], {})


def test_walks_by_hand() -> None:
    t = hand()
    assert len(t) == 6
    assert t.leaves() == [3, 4, 5]
    assert list(t.children(1)) == [2, 4]
    assert t.path(3) == [1, 2, 3] and t.path(0) == []
    assert [t.trunk(i) for i in range(6)] == [0, 1, 1, 1, 1, 5]
    assert [t.depth(i) for i in range(6)] == [0, 1, 2, 3, 2, 1]
    assert [t.is_leaf(i) for i in range(6)] == [False, False, False, True, True, True]


def test_folds_by_hand() -> None:
    t = hand()
    sizes = fold_up(t, lambda i: 1, lambda i, below: 1 + sum(below))
    assert sizes == [6, 4, 2, 1, 1, 1]
    assert leaves_below(t, lambda i: i != 4) == [[3, 5], [3], [3], [3], [], [5]]


def test_the_task_alone_has_no_leaf() -> None:
    assert Tree({"id": "q"}).leaves() == []


def test_columns_grow_with_the_tree() -> None:
    t = hand()
    t.column("value")[2] = 0.5
    t.append(Node(3))
    assert t.columns["value"] == [None, None, 0.5, None, None, None, None]
    assert t.leaves() == [4, 5, 6]


def test_nodes_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        hand().nodes[1].text = "other"


@pytest.mark.parametrize(
    "node, message",
    [
        (Node(6), "node 6 has parent 6"),
        (Node(-1), "node 6 has parent -1"),
        (Node(0, prefix=6), "node 6 has prefix 6"),
        (Node(0, prefix=-1), "node 6 has prefix -1"),
        (Node(0, keep=1), "node 6 keeps 1 ids of the 0 of node 0"),
    ],
)
def test_a_node_refers_only_to_what_is_there(node: Node, message: str) -> None:
    t = hand()
    with pytest.raises(DataError, match=message):
        t.append(node)
    assert len(t) == 6 and t == hand()


def test_sequences_by_hand() -> None:
    # 1 says 10 11 after 1 2; 2 goes on from it; 3 keeps "1 2 10" of 1 and asks anew; 4 starts over
    t = Tree({"id": "q"})
    t.append(Node(0, prompt=ids([1, 2]), tokens=ids([10, 11])))
    t.append(Node(1, prompt=ids([3]), tokens=ids([12])))
    t.append(Node(2, prefix=1, keep=3, prompt=ids([4]), tokens=ids([13])))
    t.append(Node(3, prefix=0, keep=0, prompt=ids([5]), tokens=ids([14])))
    assert [list(t.context(i)) for i in (1, 2, 3, 4)] == [
        [1, 2],
        [1, 2, 10, 11, 3],
        [1, 2, 10, 4],
        [5],
    ]
    assert [list(t.sequence(i)) for i in (1, 2, 3, 4)] == [
        [1, 2, 10, 11],
        [1, 2, 10, 11, 3, 12],
        [1, 2, 10, 4, 13],
        [5, 14],
    ]


contexts = st.lists(st.integers(0, 2), max_size=6)


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from("ab"), contexts, st.booleans(), contexts),
        max_size=9,
    )
)
def test_placed_nodes_give_their_contexts_back(steps: list) -> None:
    t, expected = Tree({"id": "q"}), [[]]
    for parent, agent, extra, goes_on, tokens in steps:
        parent %= len(t)
        context = ids([*t.sequence(parent), *extra] if goes_on else extra)
        t.append(
            Node(parent, agent, tokens=ids(tokens), **t.place(parent, agent, context)._asdict())
        )
        expected.append([*context])
    assert [list(t.context(i)) for i in range(len(t))] == expected
    assert all(t.before(t.nodes[i]) == t.context(i) for i in range(1, len(t)))
    assert [t.length(i) for i in range(len(t))] == [len(t.sequence(i)) for i in range(len(t))]


def test_a_growing_conversation_is_held_once() -> None:
    t, context = Tree({"id": "q"}), ids([7] * 100)
    for parent in range(50):
        t.append(Node(parent, "a", tokens=ids([5, 6]), **t.place(parent, "a", context)._asdict()))
        context = t.sequence(parent + 1) + ids([8])
    assert sum(len(node.prompt) + len(node.tokens) for node in t.nodes) == 100 + 50 * 2 + 49


def test_two_agents_in_turn_hold_their_own_conversations_once() -> None:
    t = Tree({"id": "q"})
    talk = {"a": ids([1] * 40), "b": ids([2] * 40)}
    for parent in range(20):
        agent = "ab"[parent % 2]
        placed = t.place(parent, agent, talk[agent])
        t.append(Node(parent, agent, tokens=ids([9]), **placed._asdict()))
        assert t.context(parent + 1) == talk[agent]
        talk[agent] = t.sequence(parent + 1) + ids([3])
    assert sum(len(node.prompt) for node in t.nodes) == 2 * 40 + 18


def test_siblings_with_the_same_prompt_hold_it_once() -> None:
    t = Tree({"id": "q"})
    for _ in range(8):
        t.append(Node(0, "a", tokens=ids([3]), **t.place(0, "a", ids([1] * 30))._asdict()))
    assert sum(len(node.prompt) for node in t.nodes) == 30


@given(a=st.lists(st.integers(0, 1), max_size=20), b=st.lists(st.integers(0, 1), max_size=20))
def test_common_prefix(a: list[int], b: list[int]) -> None:
    n = common_prefix(array("i", a), array("i", b))
    assert a[:n] == b[:n]
    assert n == min(len(a), len(b)) or a[n] != b[n]


@given(t=trees())
def test_every_leaf_is_below_its_path_and_nowhere_else(t: Tree) -> None:
    below = leaves_below(t, lambda leaf: True)
    for i in range(len(t)):
        on = [leaf for leaf in t.leaves() if i == 0 or i in t.path(leaf)]
        assert sorted(below[i]) == on


@pytest.mark.timeout(60)  # quadratic work on so many nodes would take minutes
def test_a_deep_chain_is_walked_without_recursion_in_linear_time() -> None:
    n = 50_000
    t = Tree({"id": "q"})
    for i in range(n):
        t.append(Node(i))
    assert t.depth(n) == len(t.path(n)) == n and t.trunk(n) == 1
    assert len(leaves_below(t, bool)[0]) == 1
