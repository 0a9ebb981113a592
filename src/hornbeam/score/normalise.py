"""The usual form of short answers in words, and how two of them are compared.

Left out: numbers (numerals), symbolic equality (check).
"""

from __future__ import annotations

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


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
