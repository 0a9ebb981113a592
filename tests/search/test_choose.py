"""What every chooser takes from trees written by hand, and when a vote is settled."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.errors import DataError, RecipeError
from hornbeam.search import Fork, State, Vote
from hornbeam.search.choose import (
    candidates,
    choose,
    choosers,
    likelihood,
    majority,
    outcome_weight,
    path_weights,
)
from hornbeam.tree.nodes import ids
from search.by_hand import end, step, task


def pool():
    """Five ends, one of them failed, one without an answer.

    0 - 1 - 2 "4"    values 0.6, 0.0    log-probs -1 -1, -2     orm 0.0
      |   ` 3 "5"    values 0.6, 0.8    log-probs -1 -1, -1     orm 0.6
      - 4   "5"      value -0.8         log-probs -0.5          orm 0.8
      - 5   "4 "     value -0.5         log-probs -9            orm -0.6
      - 6   failed   - 7  None
    """
    tree = task()
    one = step(tree, 0, 0, 0.6, logprobs=[-1, -1])
    end(tree, one, 0, "4", 0.0, at=1, logprobs=[-2])
    end(tree, one, 1, "5", 0.8, logprobs=[-1])
    end(tree, 0, 2, "5", -0.8, logprobs=[-0.5])
    end(tree, 0, 3, "4 ", -0.5, logprobs=[-9])
    end(tree, 0, 4, "5", 1.0, error="ProgramError: no")
    end(tree, 0, 5, None, 1.0)
    tree.columns["orm"] = [None, None, 0.0, 0.6, 0.8, -0.6, 1.0, 1.0]
    return tree


def test_without_log_probs_there_is_no_likelihood() -> None:
    """An engine that tells none is no reason to take every path for equally likely."""
    tree = task()
    leaf = end(tree, 0, 0, "4", tokens=ids([5, 6]))
    with pytest.raises(DataError, match="its engine gives no log-probs"):
        likelihood(tree, leaf)


def test_candidates_are_answers_in_order_of_episode() -> None:
    assert candidates(pool()) == [2, 3, 4, 5]
    tree = task()
    end(tree, 0, 3, "late")
    end(tree, 0, 1, "early")
    step(tree, 0, 0, 0.5)  # left unfinished
    assert candidates(tree) == [2, 1]


@pytest.mark.parametrize(
    "name, leaf",
    [
        ("first", 2),
        ("majority", 2),  # two each: the first in order
        # 4: 0.8 * 0.5 + 0.25 = 0.65     5: 0.8 * 0.9 + 0.1 = 0.82
        ("prm_vote", 3),
        # sigmoid(atanh v): 4: 0.5 + 1/3 = 0.833     5: 2/3 + 0.75 = 1.417
        ("orm_vote", 3),
        # sums: -4, -3, -0.5, -9
        ("likelihood_vote", 3),
        # means: -4/3, -1, -0.5, -9
        ("mean_likelihood_vote", 3),
        ("plain_prm_vote", 3),
        ("best_product", 3),
        ("best_min", 3),
        ("best_mean", 3),
        ("best", 3),
        ("best_orm", 4),
        ("likelihood", 4),
        ("mean_likelihood", 4),
        ("kept", 3),  # nothing was kept: the best of all
        ("q", 2),  # no such column: the first on every level
    ],
)
def test_choosers_by_hand(name: str, leaf: int) -> None:
    assert choose(pool(), name) == leaf


def test_weights_by_hand() -> None:
    tree = pool()
    weights = path_weights(tree, [2, 3, 4, 5], "value")
    assert weights == [0.8 * 0.5, 0.8 * 0.9, (1 - 0.8) / 2, 0.25]
    assert path_weights(tree, [4, 5], "value") == [2 * (1 - 0.8) / 2, 2 * 0.25]  # up to scale
    assert path_weights(tree, [2, 3], "none") == [0, 0]
    for z in (-3.0, -0.4, 0.0, 0.7, 5.0):
        sigmoid = 1 / (1 + math.exp(-z))
        assert outcome_weight(2 * sigmoid - 1) == pytest.approx(sigmoid)
    assert [outcome_weight(v) for v in (None, -1.0, 1.0)] == [0, 0, 1]
    assert likelihood(tree, 2) == -4 and likelihood(tree, 2, mean=True) == pytest.approx(-4 / 3)


def test_answers_are_equal_when_their_keys_are() -> None:
    tree = task()
    for episode, answer in enumerate(["0.5", "7", "1/2", "7.0", "50 %"]):
        end(tree, 0, episode, answer)
    assert majority(tree, candidates(tree)) == 1
    halves = {"0.5": 0.5, "1/2": 0.5, "50 %": 0.5}
    assert majority(tree, candidates(tree), lambda answer: halves.get(answer, answer)) == 1
    same = {**halves, "7": 7, "7.0": 7}
    assert choose(tree, "majority", same.get) == 1


def test_votes_without_weights_are_counted() -> None:
    tree = task()
    for episode, answer in enumerate("xyy"):
        end(tree, 0, episode, answer)
    assert [choose(tree, name) for name in ("prm_vote", "orm_vote", "best")] == [2, 2, 1]


def paths(*runs: tuple[str, list[float | None]]):
    """A tree of one run each, with the values of its steps; the leaves are in order."""
    tree = task()
    for episode, (answer, values) in enumerate(runs):
        at = 0
        for k, value in enumerate(values[:-1]):
            at = step(tree, at, episode, value, at=k)
        end(tree, at, episode, answer, values[-1], at=len(values) - 1)
    return tree


@pytest.mark.parametrize(
    "name, answer",
    [
        ("best", "A"),  # the last: 0.9, 0.5, 0.05
        ("best_mean", "A"),  # 0.63, 0.5, 0.05
        ("best_min", "B"),  # 0.1, 0.5, 0.05
        ("best_product", "C"),  # 0.95 * 0.55 * 0.95 = 0.496, 0.75 ** 3 = 0.422, 0.525
    ],
)
def test_best_of_n_by_all_values_of_a_path(name: str, answer: str) -> None:
    runs = ("A", [0.9, 0.1, 0.9]), ("B", [0.5, None, 0.5, 0.5]), ("C", [0.05]), ("D", [None, None])
    tree = paths(*runs)
    assert tree.nodes[choose(tree, name)].answer == answer
    alone = paths(*runs[3:])
    assert alone.nodes[choose(alone, name)].answer == "D"


def test_one_step_of_value_minus_one_leaves_the_others_their_say() -> None:
    #  A: 1e-6 * 0.05   A: 1e-6 * 0.05   B: 1e-6 * 0.95       by the plain product all are 0
    tree = paths(("A", [-1.0, -0.9]), ("A", [-1.0, -0.9]), ("B", [-1.0, 0.9]))
    assert tree.nodes[choose(tree, "prm_vote")].answer == "B"
    assert tree.nodes[choose(tree, "plain_prm_vote")].answer == "A"
    assert tree.nodes[choose(tree, "best_product")].answer == "B"


def test_no_path_is_so_long_that_its_weight_vanishes() -> None:
    tree = paths(("A", [-0.9] * 500), ("A", [-0.9] * 500), ("B", [-0.9] * 499 + [-0.6]))
    for name in ("prm_vote", "plain_prm_vote", "best_product"):  # 0.05 + 0.05 < 0.2
        assert tree.nodes[choose(tree, name)].answer == "B"


def test_only_what_a_search_kept_is_chosen_from() -> None:
    tree = pool()
    tree.columns["kept"] = [None, None, 1.0, None, 1.0, 2.0, None, None]
    assert choose(tree, "kept") == 2
    assert choose(tree, "kept_orm") == 4


def test_an_answer_by_the_way_down() -> None:
    #  0 - 1 (N 5, Q 0.1) - 2 "4" (N 1, Q 0.0)
    #    |                ` 3 "5" (N 4, Q -0.2)
    #    - 4 "5" (N 3, Q 0.9)    5 "4 " (N 3)    6 failed (N 9)    7 no answer (N 9)
    tree = pool()
    tree.columns["visits"] = [20, 5, 1, 4, 3, 3, 9, 9]
    tree.columns["q"] = [0.0, 0.1, 0.0, -0.2, 0.9, None, 1.0, 1.0]
    assert choose(tree, "visits") == 3
    assert choose(tree, "q") == 4
    tree.columns["q"][1] = 0.95
    assert choose(tree, "q") == 2


def test_a_tree_without_answers_has_no_choice() -> None:
    tree = task()
    step(tree, 0, 0, 0.9)
    end(tree, 0, 1, None)
    assert [choose(tree, name) for name in choosers] == [None] * len(choosers)


def test_a_chooser_that_is_none_is_told() -> None:
    with pytest.raises(RecipeError, match="unknown chooser 'majorty': did you mean 'majority'"):
        choose(pool(), "majorty")


# --- settled votes --------------------------------------------------------------------------------


def result_of(*answers, errors=()) -> tuple:
    """A tree and state in which these answers came back, in this order."""
    tree, state = task(), State()
    for episode, answer in enumerate(answers):
        error = "no" if episode in errors else ""
        state.asked[episode], state.results[episode] = 0, end(tree, 0, episode, answer, error=error)
    return tree, state


def test_a_vote_is_settled_when_nobody_can_catch_up() -> None:
    how = Vote(n=5, parallel=2)
    assert how.ask(*result_of()) == [Fork(0, 0), Fork(1, 0)]
    assert len(how.ask(*result_of("a", "A "))) == 2  # 2 to 0, three to come
    assert how.ask(*result_of("a", "b", "a", "a")) == []  # 3 to 1, one to come
    assert len(how.ask(*result_of("a", "b", "a"))) == 2  # 2 to 1, two to come
    assert (
        len(how.ask(*result_of("a", "a", None))) == 2
    )  # 2 to 0, two to come: a tie is not settled
    assert len(how.ask(*result_of(None, None, None))) == 2  # no answer is no vote
    assert how.ask(*result_of("a", "a", None, "b", errors={1})) == [Fork(4, 0)]  # 1 to 1


def test_what_is_out_when_a_vote_is_settled_is_dropped() -> None:
    how = Vote(n=5)
    tree, state = result_of("a", "a")
    state.asked |= {2: 0, 3: 0, 4: 0}
    assert how.ask(tree, state) == [] and not how.drops(tree, state)
    state.results[3] = end(tree, 0, 3, "a")
    assert how.ask(tree, state) == [] and set(how.drops(tree, state)) == {2, 4}


@settings(max_examples=100)
@given(answers=st.lists(st.sampled_from("abc"), min_size=1, max_size=9))
def test_a_settled_vote_is_the_vote_of_all(answers: list[str]) -> None:
    how = Vote(n=len(answers), parallel=1)
    for many in range(len(answers) + 1):
        tree, state = result_of(*answers[:many])
        if not how.ask(tree, state):
            break
    whole, _ = result_of(*answers)
    one, other = choose(tree, "majority"), choose(whole, "majority")
    assert tree.nodes[one].answer == whole.nodes[other].answer
