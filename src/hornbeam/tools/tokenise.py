"""The words of a text, as retrieval compares them: of every script, of one character too.

Letters are lower case in their usual form (NFKC). A run of a script that writes no blanks between
words (Chinese, Japanese, Thai ...; Korean too, which writes endings on to them) is told as its
single characters and its pairs. Endings behind an apostrophe ('s, 't) are left out,
and commas between thousands.

Left out: stems, and words of scripts without blanks by a dictionary.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import pairwise

# English words that say nothing by themselves (those of Lucene and bm25s)
_STOP = """a an and are as at be but by for if in into is it no not of on or such that the their
    then there these they this to was will with"""
STOP = frozenset(_STOP.split())
LETTER = "A"  # the letter, where it stands like a name; "a" is the article

# Thai to Khmer and their kin, Hangul, kana, Bopomofo, Han
_NO_BLANKS = (
    "\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f"
    "\u3005-\u3007\u3040-\u31ff\u3400-\u4dbf\u4e00-\ua4cf\ua960-\ua9df\uaa60-\uaa7f\uac00-\ud7ff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_DENSE = re.compile(f"[{_NO_BLANKS}]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NAME = re.compile(r"(?<=[^\W_] )A(?!\w)")  # "vitamin A", "Serie A"


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """(a word, one written sign of a dense script): marks belong to the letter before them."""
    points = (chr(point) for point in range(0x300, 0x20000))
    marks = "".join(c for c in points if unicodedata.category(c) in ("Mn", "Mc"))
    inside = f"[\\w{marks}]"
    dense = f"[{_NO_BLANKS}][{marks}]*"
    sign = re.compile(dense)
    word = re.compile(
        rf"(?<!\w)[a-z](?:\+\+|[+#])(?![\w+#])|(?:{dense})+"  # C++, C#, A+
        f"|(?:(?![{_NO_BLANKS}]){inside})+(?:['\u2019][a-z]{{1,2}}(?!\\w))?"
    )
    return word, sign


def words(text: str) -> list[str]:
    """The words of a text, English stop words left out, those of dense scripts and "A" last.

    >>> words("What is Ann's Apollo 8?")
    ['what', 'ann', 'apollo', '8']
    """
    word, sign = _patterns()
    text = _THOUSANDS.sub("", unicodedata.normalize("NFKC", text))
    found: list[str] = []
    pairs: list[str] = []
    for each in word.findall(text.casefold()):
        if _DENSE.match(each):
            signs = sign.findall(each)
            pairs += [*signs, *(a + b for a, b in pairwise(signs))]
        else:
            plain = re.split("['\u2019]", each)[0]
            found += [plain] * (plain not in STOP)
    return [*found, *pairs, *_NAME.findall(text)]


def query_words(text: str) -> list[str]:
    """The words to seek. An "a" at the end is no article: "which foods hold vitamin a?"."""
    found = words(text)
    last = re.search(r"\w\s+a\W*\Z", text.casefold())
    return [*found, LETTER] if last and LETTER not in found else found
