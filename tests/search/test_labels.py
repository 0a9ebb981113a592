"""Q of every step and pairs of siblings, by hand."""

from __future__ import annotations

import pytest

from hornbeam.errors import DataError
from hornbeam.search.labels import MAS_MCTS, informative, label, pairs
from hornbeam.tree.nodes import Tree
from search.by_hand import end, step, task


def labelled(seed: int = 0) -> Tree:
    """0 - 1 - 2 (reward 1), 3 (0), 4 (1); 0 - 5 - 6 (0.25); 0 - 7 (no reward); 0 - 8 (failed)."""
    tree = task(seed)
    one = step(tree, 0, 0)
    end(tree, one, 0, "a", at=1)
    end(tree, one, 1, "b")
    end(tree, one, 2, "c")
    five = step(tree, 0, 3)
    end(tree, five, 3, "d", at=1)
    end(tree, 0, 4, "e")
    end(tree, 0, 5, "f", error="ProgramError: no")
    tree.columns["reward"] = [None, None, 1.0, 0.0, 1.0, None, 0.25, None, 1.0]
    tree.columns |= label(tree)
    return tree


def test_labels_by_hand() -> None:
    tree = labelled()
    assert tree.columns["visits"] == [4, 3, 1, 1, 1, 1, 1, 0, 0]
    expected = [(1 - 1 + 1 - 0.5) / 4, 1 / 3, 1, -1, 1, -0.5, -0.5, None, None]
    assert tree.columns["q"] == pytest.approx(expected)


def test_a_leaf_may_count_as_often_as_a_search_visited_it() -> None:
    tree = labelled()
    # leaves 2 (r 1) 3 times, 3 (r 0) once, 4 (r 1) never, 6 (r 0.25) twice; 7 and 8 have no outcome
    result = label(tree, times=[9, 9, 3, 1, 0, 9, 2, 5, None])
    assert result["visits"] == [6, 4, 3, 1, 0, 2, 2, 0, 0]
    expected = [(3 - 1 - 1) / 6, 0.5, 1, -1, None, -0.5, -0.5, None, None]
    assert result["q"] == pytest.approx(expected)


def test_trees_that_are_settled_teach_little() -> None:
    tree = labelled()
    assert informative(tree) and not informative(tree, most=0.1)
    tree.columns["q"][0] = -0.7
    assert informative(tree)
    tree.columns["q"][0] = -0.71
    assert not informative(tree)
    tree.columns["q"][0] = None
    assert not informative(tree)


def test_pairs_are_siblings_of_different_q_better_one_first() -> None:
    # 1 (1/3) over 5 (-1/2); 2 (1) over 3 (-1); 4 (1) over 3; 2 and 4 are equal, 7 and 8 unknown
    tree = labelled()
    assert pairs(tree) == [(1, 5), (2, 3), (4, 3)]
    tree.columns["q"][5] = tree.columns["q"][1] * (1 + 2.0**-23)  # equal but for rounding
    assert pairs(tree) == [(2, 3), (4, 3)]


def test_of_too_many_pairs_some_are_drawn() -> None:
    drawn = [tuple(pairs(labelled(seed), most=2)) for seed in range(60)]
    assert set(drawn) == {((1, 5), (2, 3)), ((1, 5), (4, 3)), ((2, 3), (4, 3))}
    assert tuple(pairs(labelled(7), most=2)) == drawn[7]


def test_children_without_a_visit_make_no_pair() -> None:
    tree = labelled()
    tree.columns["visits"][5] = 0
    assert pairs(tree) == [(2, 3), (4, 3)]


def test_a_tree_without_labels_is_told() -> None:
    for ask in (pairs, informative):
        with pytest.raises(DataError, match=r"tree 'q' has no column 'q': .hornbeam label RECIPE"):
            ask(task())


def test_the_label_search_is_that_of_the_paper() -> None:
    how = MAS_MCTS
    assert (how.rollout, how.simulations, how.children, how.c) == (True, 64, 4, 8.0)
    assert (how.rule, how.patience, how.widen) == ("uct", 24, 0)
