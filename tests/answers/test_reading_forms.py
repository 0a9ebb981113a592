"""Which number a text says: spellings of LaTeX, words and bases beside the usual ones, by hand."""

from fractions import Fraction

import pytest

from hornbeam.answers.reading import last_number, whole

SAME = {  # as an answer and as an accepted one
    r"{1 \over 2}": Fraction(1, 2),
    r"3 \over 4": Fraction(3, 4),
    "1/-2": Fraction(-1, 2),
    "{-}5": -5,
    r"10\text{,}000": 10000,
    r"10\mathord{,}000": 10000,
    r"1.5\mathrm{e}3": 1500,
    r"1.5\text{E}-3": Fraction(3, 2000),
    "1.5 times 10^3": 1500,
    r".\overline{3}": Fraction(1, 3),
    r"0.\overline 3": Fraction(1, 3),
    r"0.\dot{1}4285\dot{7}": Fraction(1, 7),
    "5 Million": 5 * 10**6,
    "5 hundred thousand": 500_000,
    r"2 \text{ thousand million}": 2 * 10**9,
    "3 quadrillion": 3 * 10**15,
    "7 hundred-thousandths": Fraction(7, 10**5),
    "(101)_2": 5,
    r"{101}_{2}": 5,
    "101_{(2)}": 5,
    r"12_{\text{base }3}": 5,
    r"10,\!110_2": 22,
    "FF_{16}": 255,
    "0xFF": 255,
    "0x1f": 31,
    "0b101": 5,
    r"90^\text{o}": 90,
    "90^o": 90,
    "37℃": 37,
    r"5^{\text{th}}": 5,
    r"\textcolor{red}{5}": 5,
    r"\color{blue}{-5}": -5,
    r"\Large 5": 5,
    r"\mathbf 5": 5,
    r"x = 5 \tag{1}": 5,
    r"\phantom{0}5": 5,
    r"\num{5}": 5,
    r"\SI{5}{\metre}": 5,
    r"\ang{90}": 90,
    r"90 \deg": 90,
    r"1.5\times{10}^{3}": 1500,
    r"{1.5}\times 10^{3}": 1500,
}
ENDS_ON = {
    r"\fbox{5}": 5,
    "5 cm = 0.05 m": Fraction(1, 20),
    "5 cm × 3 cm = 15 cm²": 15,
    "5 x -3 = -15": -15,
    "sin 30 = 0.5": Fraction(1, 2),
}
NONE = [
    *("sqrt(2)", "2 sqrt 3", "log(100)", "ln 2", "25 pi cm^2", "3 root 2", r"\boxed{25 pi}"),
    *("5 factorial", "2 squared", "5 and a half", "5 mod 7", "2x-10=0", "2x - 10 = 0", "|-5|"),
    "30°15'",
]


@pytest.mark.parametrize("text", SAME)
def test_a_spelling_is_its_value_on_both_sides(text):
    for found in (last_number(text), whole(text)):
        assert found is not None and found.value == SAME[text]


@pytest.mark.parametrize("text", ENDS_ON)
def test_an_answer_ends_on_this_value(text):
    found = last_number(text)
    assert found is not None and found.value == ENDS_ON[text]


@pytest.mark.parametrize("text", NONE)
def test_work_that_is_left_to_the_reader_is_no_number(text):
    assert last_number(text) is whole(text) is None
