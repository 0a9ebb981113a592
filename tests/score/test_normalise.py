"""Reading numbers and short answers, by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.score.normalise import exact_match, last_number, normalise, same_number, token_f1

NUMBERS = {
    "The answer is 1,200.": 1200,
    "3,4": 4,
    "$-5": -5,
    "-$5": -5,
    "5-3": 3,
    "x = -3.5%": Fraction(-7, 2),
    "( -4 )": -4,
    "−7": -7,
    "50 %": 50,
    "costs $1.50.": Fraction(3, 2),
    "-.5": Fraction(-1, 2),
    "half is 1/2": Fraction(1, 2),
    "The total is **42**": 42,
    "12e2": 1200,
    "4 + 5 = 9 #### 1,234": 1234,
    "#### 7 of 9": 9,
    r"\boxed{\frac{14}{3}} or 7": Fraction(14, 3),
    r"\boxed{3} and \boxed{4": 3,
    r"first \boxed{1}, then \boxed{2}": 2,
    r"\boxed{x_{1} = 5}": 5,
    r"$\$1{,}000$": 1000,
}


@pytest.mark.parametrize("text", NUMBERS)
def test_the_last_number(text):
    assert last_number(text) == NUMBERS[text]


@pytest.mark.parametrize("text", ["", "none", r"\boxed{none} 7", "3/0", "9" * 5000, "1e99999"])
def test_no_number(text):
    assert last_number(text) is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["1," * 10**6, r"\boxed{" * 10**5, "1" * 10**6, "{" * 10**6])
def test_long_texts_are_read_at_once(text):
    number = last_number(text)
    assert number is None or same_number(number, number)


@given(st.integers(-(10**12), 10**12), st.text(alphabet="abc ,.$", max_size=10))
def test_a_number_written_with_separators_is_read_back(number, before):
    assert last_number(f"{before} is ${number:,}.") == number


@given(st.text(max_size=40) | st.text(alphabet="0123456789.,/-+eE$%{}# \\\\boxdfrac", max_size=60))
def test_any_text_has_a_number_or_none(text):
    number = last_number(text)
    assert number is None or same_number(number, number)


def test_same_number_allows_for_rounding_only():
    assert same_number(Fraction(33333333, 10**7), Fraction(10, 3))
    assert not same_number(Fraction(333, 100), Fraction(10, 3))
    assert not same_number(Fraction(1, 10**9), Fraction(0))


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
