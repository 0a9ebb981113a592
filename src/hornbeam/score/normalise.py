r"""Reading answers: the last number of a text, and the usual form of short answers.

Left out: symbolic equality (check).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from fractions import Fraction

from hornbeam.tasks.families import boxed

MAX_TEXT = 20_000  # characters from the end of a text in which a number is looked for
MAX_DIGITS = 100
TOLERANCE = Fraction(1, 10**6)  # relative, so that 3.3333333 is ten thirds

_NUMBER = re.compile(
    r"(?P<sign>(?<![\w)\].])-)?\s?(?:[$€£]\s?(?P<late>-)?)?"
    r"(?P<digits>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?P<exponent>[eE][-+]?[0-9]+)?"
    r"(?:\s?/\s?(?P<below>[0-9]{1,100})(?![0-9.,]*[0-9]))?"
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*([0-9]+)\s*\}\s*\{\s*([0-9]+)\s*\}")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def last_number(text: str) -> Fraction | None:
    r"""The number that a text ends on: in its last `\boxed{}`, else behind `####`, else the last.

    Thousands separators, currency and per-cent signs are read over (20% is 20), `3/4` and
    `\frac{3}{4}` are fractions. None where there is no number.
    """
    text = text[-MAX_TEXT:].replace("−", "-").replace("\\$", "$").replace("{,}", ",")
    inside = boxed(text)
    if inside is not None:
        text = inside
    elif "####" in text:
        text = text.rpartition("####")[2]
    text = _FRACTION.sub(r"\1/\2", text)
    numbers = list(_NUMBER.finditer(text))
    return _value(numbers[-1]) if numbers else None


def _value(found: re.Match[str]) -> Fraction | None:
    digits = found["digits"].replace(",", "")
    below = int(found["below"] or 1)
    if len(digits) > MAX_DIGITS or len(found["exponent"] or "") > 4 or not below:
        return None
    value = Fraction(digits + (found["exponent"] or "")) / below
    return -value if found["sign"] or found["late"] else value


def same_number(left: Fraction, right: Fraction) -> bool:
    """Equal, or within a millionth of the right one."""
    return abs(left - right) <= TOLERANCE * abs(right)


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces (SQuAD, arXiv 1606.05250)."""
    plain = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def exact_match(answer: str, accepted: str) -> float:
    """1 where the two are equal once normalised (as written, where nothing is left of them)."""
    left, right = normalise(answer), normalise(accepted)
    if not left or not right:
        return float(answer.strip().lower() == accepted.strip().lower())
    return float(left == right)


def token_f1(answer: str, accepted: str) -> float:
    """Harmonic mean of precision and recall over the words of the two, normalised (SQuAD)."""
    left, right = normalise(answer).split(), normalise(accepted).split()
    if not left or not right:
        return exact_match(answer, accepted)
    common = sum((Counter(left) & Counter(right)).values())
    return 2 * common / (len(left) + len(right))
