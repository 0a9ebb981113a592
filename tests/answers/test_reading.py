"""Which number a text says: by hand, by law, and at once however long the text is."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.answers.numerals import Number, hundredth, same_number
from hornbeam.answers.reading import last_number, whole
from hornbeam.programs.talk import read_answer

ANSWERS = {  # what is said: the number that it ends on, in its plain spelling
    # signs
    "The change is −5 degrees.": "-5",
    "He is at -$18": "-18",
    "$-5": "-5",
    "- \\frac 32": "-3/2",
    "( -4 )": "-4",
    "is –5": "-5",
    "It is minus 5.": "-5",
    "5-3 = -2": "-2",
    "- 18 eggs\n- 20 eggs": "20",
    # currency, thousands, decimals
    "costs $1.50.": "1.50",
    "It is 3, no, $1,200.50.": "1200.50",
    r"$\$1{,}000$": "1000",
    r"10,\!000": "10000",
    r"\boxed{10\,080}": "10080",
    "1 000 000": "1000000",
    "1'000": "1000",
    "1.234,5": "1234.5",
    "1.234.567": "1234567",
    "It is .5": "0.5",
    r"\boxed{5.}": "5",
    "10.00": "10.00",
    "007": "7",
    r"0.\overline{3}": "1/3",
    r"0.1\overline{6}": "1/6",
    "0.(3)": "1/3",
    "0.1666...": "1/6",
    # fractions and mixed numbers
    "The answer is 3/4.": "3/4",
    r"\boxed{\frac{-1}{2}}": "-1/2",
    r"\boxed{\frac12}": "1/2",
    r"\tfrac34": "3/4",
    r"\dfrac{2469}{20,\!000}": "2469/20000",
    r"\frac{1}{2^{98}}": str(Fraction(1, 2**98)),
    r"3\frac{1}{2}": "7/2",
    "3 1/2": "7/2",
    "3½": "7/2",
    r"-15\frac{3}{5}": "-78/5",
    # powers, words, bases
    "1.5 × 10^3": "1500",
    r"1.5\times 10^{-3}": "0.0015",
    "1e-3": "0.001",
    "10^{-3}": "1/1000",
    "10³": "1000",
    "2^{10}": "1024",
    "1.20156e+06": "1.20156e6",
    r"5 \text{ million}": "5000000",
    "$2.5 million": "2500000",
    "101_2": "5",
    r"152A_{11}": str(int("152A", 11)),
    r"\text{A5}_{11}": "115",
    "12 in base 8": "10",
    # per cent, degrees, units
    "x = -3.5%": "-3.5%",
    r"50\%": "50%",
    "50 percent": "50%",
    r"50 \text{ percent}": "50%",
    r"33\frac{1}{3}\%": "100/3%",
    r"90^\circ": "90",
    r"\frac{990}{7}^{\circ}": "990/7",
    "The area is 25 cm^2.": "25",
    r"2400 \mbox{ cm}^2": "2400",
    r"25 \text{ m}^2": "25",
    "45 mph": "45",
    "no, it's 1,000.99m²": "1000.99",
    "$28$ %": "28%",
    "100 km/h": "100",
    r"$3.0 \times 10^{8}$ m/s": "300000000",
    r"9.8 \text{ m/s}^2": "9.8",
    "18 g/mol": "18",
    "five (5)": "5",
    "5 (five)": "5",
    "the 5th": "5",
    "9 p.m.": "9",
    # equations against a number, labels, boxes
    "x=5": "5",
    "5 = x": "5",
    "f(2) = 7": "7",
    r"\angle ABC = 90^\circ": "90",
    "5 x 3 = 15": "15",
    "Total cost = 3 * 4 = $12": "12",
    r"0.56 = 56\%": "56%",
    r"\$\dfrac23 \approx \$0.67": "2/3",
    r"\approx 8.24 \text{ mph}": "8.24",
    r"first \boxed{1}, then \boxed{2}": "2",
    r"\boxed{3} and \boxed{4": "3",
    r"\boxed 7": "7",
    r"\boxed{\textbf{(C)}\ 5}": "5",
    "<answer>5</answer>": "5",
    "The total is **42**": "42",
    "4 + 5 = 9 #### 1,234": "1234",
    "I have 5 apples and 18 oranges": "18",
    "Of the 20, 18 remain": "18",
    "٣": "3",
}
NOT_ONE = [
    *("", "none", "True", "nan", "3/0", "9" * 5000, "1e99999", r"\boxed{none} 7", "1,2", "3,5"),
    *("5 or 6", "41 or 43", "7 of 9", "5 to 6", "5-3", "5–6", "5 ± 0.1", r"\pm 5", "81, 256"),
    *(
        "2x=10",
        "x+y=3",
        "m+n = 7",
        "x > 5",
        "x = 5 or x = 6",
        "xy = 6",
        "6*7",
        "2^{10} - 1",
        "x^2",
        r"\pi",
    ),
    *(r"2\sqrt{2}", r"\boxed{\frac{\sqrt{3}}{2}}", r"the answer is 2\sqrt{2}", "3:4", "1 : 2"),
    *("[1,2)", "(3,4)", r"\{1,2\}", "4:30", "2023-05-01", "5 feet 3 inches", "5!", "2k", "3s^2"),
    *(r"12\text{ and }13", r"\boxed{5 \text{ apples and } 3 \text{ pears}}", "1,234,5", "102_2"),
]
STRICT = {  # accepted answers: what may not stand around a number there
    "about 5 km": "5",
    "7 distinct integers": "7",
    "x = 5": "5",
    "AB = 5": "5",
    "Area = 5 cm^2": "5",
    "ab = 5": None,
    "6m": None,
    "25m^2": None,
    "25 m^2": "25",
    "Boeing 747": None,
    "October 30": None,
    r"9\text{ a.m.}": None,
    "3 xy": None,
}


@pytest.mark.parametrize("text", ANSWERS)
def test_the_number_that_an_answer_ends_on(text):
    assert str(last_number(text)) == ANSWERS[text]
    assert read_answer("number", text) == ANSWERS[text]


@pytest.mark.parametrize("text", NOT_ONE)
def test_what_is_not_one_number_is_none(text):
    assert last_number(text) is whole(text) is read_answer("number", text) is None


@pytest.mark.parametrize("text", STRICT)
def test_an_accepted_answer_is_a_number_and_nothing_else(text):
    number = whole(text)
    assert (number and str(number)) == STRICT[text]


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text",
    ["1," * 10**6, r"\boxed{" * 10**5, "1" * 10**6, "{" * 10**6, "\n" * 10**6, "=1" * 10**5],
)  # fmt: skip
def test_long_texts_are_read_at_once(text):
    number = last_number(text)
    assert number is None or same_number(number, number)


PIECES = [*"1,./-−+e$%(){}#^_=: x", "12", "000", "\\frac", "\\times", "\\text{", "\\boxed{", "\\!"]


@settings(max_examples=200)
@given(st.text(max_size=40) | st.lists(st.sampled_from(PIECES)).map("".join))
def test_any_text_is_a_number_or_none_and_its_plain_spelling_is_the_same(text):
    for number in (last_number(text), whole(text)):
        again = number and last_number(str(number))
        assert number is None or same_number(again, number)


# --- spellings of one rational --------------------------------------------------------------------


def grouped(number, mark):
    return f"{number:,}".replace(",", mark)


def spellings(value):
    """Ways to write a rational."""
    sign, over, below = "-" * (value < 0), abs(value.numerator), value.denominator
    out = [f"{sign}{over}/{below}", f"{sign}\\frac{{{over}}}{{{below}}}"]
    out.append(f"\\dfrac{{{sign.replace('-', '−')}{over}}}{{{below}}}")
    ones, rest = divmod(over, below)
    if ones and rest:
        out += [f"{sign}{ones}\\frac{{{rest}}}{{{below}}}", f"{sign}{ones} {rest}/{below}"]
    if below == 1:
        marks = (",", "{,}", r"\,", r",\!", " ", "\u202f")
        out += [sign + grouped(over, mark) for mark in marks]
        out += [f"{sign}\\${over}.00", f"{sign}{over}e0", f"{sign}{over}.", f"{sign}0{over}"]
    hundred = value * 100
    if hundred.denominator == 1:
        out += [f"{hundred}\\%", f"{hundred} percent"]
        out += [f"{sign}{abs(hundred.numerator) // 100}.{abs(hundred.numerator) % 100:02}"]
    if over % 10**6 == 0 and below == 1:
        out += [f"{sign}{over // 10**6} million", f"{sign}{over // 10**6} \\times 10^{{6}}"]
    return out


FRAMES = [
    "{}",
    r"\boxed{{{}}}",
    "${}$",
    "The answer is {}.",
    r"so $x = {}$",
    "{} apples",
    r"= {} \text{{ m}}",
]


@settings(max_examples=150)
@given(
    st.fractions(-2000, 2000, max_denominator=200)
    | st.integers(-(10**9), 10**9).map(Fraction)
    | st.integers(-99, 99).map(lambda n: Fraction(n * 10**6)),
    st.sampled_from(FRAMES),
)
def test_all_spellings_of_a_rational_are_read_as_it(value, frame):
    for spelling in spellings(value):
        number = last_number(frame.format(spelling))
        assert number is not None, spelling
        assert (hundredth(number) if number.percent else number).value == value, spelling


@given(st.integers(-(10**12), 10**12), st.text(alphabet="abc .", max_size=10))
def test_a_number_written_with_separators_is_read_back(number, before):
    assert last_number(f"{before} is ${number:,}.").value == number


# --- equality -------------------------------------------------------------------------------------


def number(text):
    found = last_number(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("3.3333333", "10/3", True),  # rounded at its last place
        ("3.33", "10/3", False),
        ("1234567", "1234568", False),  # whole numbers are written out
        ("16386.16", "16386.17", False),
        ("0.30000000000000004", "0.3", True),  # floating point
        ("0.25000000000000006", "1/4", True),
        ("0.000001", "0", False),
        ("0.0000001", "0.0000002", False),
        ("1363289", "1.36329e+06", True),  # six digits were kept
        ("1363389", "1.36329e+06", False),
        ("1500", "1.5e3", True),
        ("25%", "25", True),
        ("25%", "0.25", True),
        ("25", "0.25", False),
        ("0.5%", "0.005", True),
        ("25%", "25 percent", True),
    ],
)
def test_numbers_are_equal_as_far_as_they_were_written(left, right, same):
    assert same_number(number(left), number(right)) is same
    assert same_number(number(right), number(left)) is same


def test_places_of_a_sum_of_floats():
    assert same_number(Number(Fraction("2.9999999"), 7), Number(Fraction(3), 0))
