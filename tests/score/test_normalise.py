"""Short answers in words, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.score.normalise import exact_match, normalise, token_f1


def test_squad_normalisation():
    assert normalise("  The  Beatles' (band), an A-side! ") == "beatles band aside"
    assert exact_match("The Beatles!", "beatles") == 1.0
    assert exact_match("Beatle", "beatles") == 0.0
    assert exact_match("the", "A") == 0.0  # nothing is left of either: compared as written
    assert exact_match("A", "a") == 1.0


def test_f1_by_hand():
    # answer: cat sat on mat (4 words); accepted: cat sat (2); 2 in common: 2 * 2 / 6
    assert token_f1("The cat sat on the mat", "a cat sat") == pytest.approx(2 / 3)
    # words count as often as both have them: yes yes / yes -> 2 * 1 / 3
    assert token_f1("yes yes", "yes") == pytest.approx(2 / 3)
    assert token_f1("dog", "cat") == 0.0
    assert token_f1("", "cat") == 0.0
    assert token_f1("The", "the") == 1.0


@given(st.text(max_size=30), st.text(max_size=30))
def test_f1_is_symmetric_and_bounded_and_one_on_itself(left, right):
    assert token_f1(left, right) == token_f1(right, left)
    assert 0.0 <= exact_match(left, right) <= token_f1(left, right) <= 1.0
    assert token_f1(left, left) == 1.0
