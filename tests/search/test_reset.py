"""Chunk-reset by hand: what is accepted, how often a step is drawn, what stays in the end."""

from __future__ import annotations

import pytest

from hornbeam.errors import RecipeError
from hornbeam.search import Fork, Reset, State, strategy
from hornbeam.search.choose import candidates, chooser
from search.by_hand import come_back, step, task


def test_a_step_judged_bad_is_drawn_again_from_the_same_place() -> None:
    how, tree, state = Reset(attempts=3), task(), State()
    forks = how.ask(tree, state)
    assert forks == [Fork(0, 0, 1)]
    come_back(tree, state, forks, -0.5)
    forks = how.ask(tree, state)
    assert forks == [Fork(1, 0, 1)]
    (good,) = come_back(tree, state, forks, 0.5)
    forks = how.ask(tree, state)
    assert forks == [Fork(3, good, 1)]
    (end,) = come_back(tree, state, forks, 0.1, done=(0,))
    assert how.ask(tree, state) == []
    assert [i for i, v in enumerate(how.columns(tree)["kept"]) if v] == [good, end]


def test_nothing_is_asked_while_an_attempt_is_out() -> None:
    how, tree, state = Reset(), task(), State()
    state.asked[0] = how.ask(tree, state)[0].node
    assert how.ask(tree, state) == []


def test_after_all_attempts_the_best_one_stays() -> None:
    how, tree, state = Reset(attempts=3), task(), State()
    came = []
    for value in (-0.9, -0.2, -0.4):
        came += come_back(tree, state, how.ask(tree, state), value)
    assert how.ask(tree, state) == [Fork(3, came[1], 1)]


def test_a_value_at_the_threshold_is_not_above_it_and_none_is_never_accepted() -> None:
    how, tree, state = Reset(attempts=3, threshold=0.5), task(), State()
    for value in (None, 0.5):
        come_back(tree, state, how.ask(tree, state), value)
    (kept,) = come_back(tree, state, how.ask(tree, state), 0.6)
    assert how.ask(tree, state) == [Fork(3, kept, 1)]


def test_a_failed_attempt_never_stays_and_it_ends_where_all_failed() -> None:
    how, tree, state = Reset(attempts=2), task(), State()
    for _ in range(2):
        (fork,) = how.ask(tree, state)
        i = step(tree, fork.node, fork.episode, 0.9, done=True, error="ToolError: no")
        state.asked[fork.episode], state.results[fork.episode] = fork.node, i
    assert how.ask(tree, state) == []
    assert not any(how.columns(tree)["kept"])


def test_it_stops_at_its_depth_and_the_kept_answer_is_chosen() -> None:
    how, tree, state = Reset(attempts=2, depth=2), task(), State()
    come_back(tree, state, how.ask(tree, state), 1.0)
    come_back(tree, state, how.ask(tree, state), -0.5, done=(0,))
    (end,) = come_back(tree, state, how.ask(tree, state), -0.9, done=(0,))
    assert how.ask(tree, state) == []
    tree.columns |= how.columns(tree)
    assert end not in [i for i in candidates(tree) if tree.columns["kept"][i]]
    assert chooser("kept").pick(tree, candidates(tree), str) == end - 1


def test_settings_that_cannot_be_are_named() -> None:
    with pytest.raises(RecipeError, match="attempts"):
        strategy("reset", attempts=0)
