r"""Which number a text says: the one reader of programs and rules.

`whole` reads a text that is one number, as accepted answers are; `last_number` the number that an
answer ends on. Plain text, Unicode and LaTeX, with units, words such as "million", per cent,
degrees, labels and equations around it. `None` stands for what is no number or more than one; a
calculation that was left to the reader (`6*7`, `2^{10} - 1`) is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from hornbeam.answers.latex import MAX_TEXT, SCALE, WORD, boxed, tidy
from hornbeam.answers.numerals import NotOne, Number, bounded, power_of, read

# --- the number of a stretch without words -------------------------------------------------------

_UNIT = r"[a-zA-Z](?:\s?[/*]\s?[a-zA-Z]{1,3}(?:\s?\^\{?2\}?)?)?|m\s?\^\{?[23]\}?"
_ENDING = re.compile(
    rf"^(?:{SCALE}(?P<scale>-?\d+){SCALE})?\s*\$?\s*(?P<percent>%)?\s*\$?\s*(?P<unit>{_UNIT})?$"
)
_GLUED = "mgshL"  # units of one letter that people write without a blank
_SPACED = "mgshLlNJWVAKCFtP"
_NAME = re.compile(
    r"\s*(?:m?\s?\\(?:angle|triangle|measuredangle)\s*)?"
    r"(?:\\(?:sin|cos|tan|cot|sec|csc|log|ln|det|arg|max|min|gcd|lcm|lim)(?:_\S{1,8})?\s*)?"
    r"(?:[A-Za-z](?![A-Za-z])|[A-Z]{1,4}(?![A-Za-z])|\\(?!frac|sqrt|pi)[a-z]+(?![a-z]))'*"
    r"(?:_(?:\{[^{}]{1,20}\}|\w))?(?:\([^()=]{1,40}\))?\s*"
)
_ABSOLUTE = re.compile(r"\s*\|(?P<name>[^|]{1,40})\|\s*")
_LETTER = re.compile(r"\\?[A-Za-z]+")
_TIMES = re.compile(r"(?<=\d)\s*[xX]\s*(?=[\d.$(])|(?<=\d)\s+[xX]\s+(?=-\d)")


def _of_stretch(text: str, strict: bool) -> Number | None:
    """What a stretch without words says: one number, or an equation that ends in one."""
    if "<" in text or ">" in text:
        return None
    text, *about = text.split("≈")
    if about and (exact := _value(text.rpartition("=")[2], strict)):
        return exact
    text = "=".join([text, *about])
    *left, right = text.split("=")
    if not right.strip() and left:
        right = left.pop()
    if left and is_name(right) and len(left) == 1:  # 5 = x
        left, right = [right], left[0]
    if any(not is_name(side) and _LETTER.search(_TIMES.sub("*", side)) for side in left):
        return None
    return _value(right, strict)


def is_name(text: str) -> bool:
    r"""Whether the side of an equation only names a quantity: x, a_5, f(2), AB, `\angle ABC`."""
    if inside := _ABSOLUTE.fullmatch(text):
        text = inside["name"]
    return _NAME.fullmatch(text.strip(" $")) is not None


def _value(text: str, strict: bool) -> Number | None:
    try:
        part, rest = read(_stripped(text))
        ending = _ENDING.match(rest)
        if ending is None or not _unit_fits(rest, ending["unit"], strict):
            return None
        value, places = part.value, part.places
        if ending["scale"]:
            power = int(ending["scale"])
            value = bounded(value * power_of(Fraction(10), power))
            places = None if places is None else max(places - power, 0)
    except NotOne:
        return None
    return Number(value, places, part.rounded, bool(ending["percent"]))


def _unit_fits(ending: str, unit: str | None, strict: bool) -> bool:
    if not unit:
        return True
    return unit[0] in (_SPACED if ending[0] == " " else "" if strict else _GLUED)


_MARKS = " \t.,:;!?\"'*&|#/\\"


_AFTER_POINT = (*"0123456789", "(")


def _stripped(text: str) -> str:
    """Without marks around it, brackets that do not pair, and dollar signs of mathematics."""
    for _ in range(6):
        before = text
        text = text.strip(_MARKS[:2] + "\n")
        if text[:1] in tuple("\"'*&|#:;,") or (text[:1] == "." and text[1:2] not in _AFTER_POINT):
            text = text[1:]
        text = text.rstrip(_MARKS) if not text.endswith("...") else text
        text = text.strip("$") if text.endswith("$") else text
        for open_, close in ("()", "[]", "{}"):
            if text.endswith(close) and text.count(close) > text.count(open_):
                text = text[:-1]
            if text.startswith(open_) and text.count(open_) > text.count(close):
                text = text[1:]
            text = text.removeprefix(close).removesuffix(open_)
        if text[:1] in ("(", "{", "[") and text[-1:] in (")", "}", "]") and "," not in text:
            inner = text[1:-1]
            if not set(inner) & set("(){}[]") and text[0] + text[-1] != "[]":
                text = inner
        if text == before:
            return text
    return text


# --- texts ---------------------------------------------------------------------------------------

_PIECE = re.compile(
    rf"(?P<word>(?<![\\\w}})]){WORD}?[^\W\d_]{{2,}}(?:['-][^\W\d_]+)*(?:\s?\^\s?\{{?-?\d\}}?)?"
    rf"|{WORD}[^\W\d_](?:\s?\^\s?\{{?-?\d\}}?)?)"
    r"|(?P<dots>\.\.\.)|(?P<stop>\n|;|[.!?:](?=\s|$)|\s\|\s)"
    r"|(?P<command>\\[A-Za-z]+)|(?P<digits>[\d.,]*\d)|(?P<other>.)",
    re.DOTALL,
)
_SAYS = {
    *("\\pi", "\\sqrt", "\\infty", "\\frac", "\\emptyset", "\\varnothing", "\\ln", "\\log"),
    *("\\sin", "\\cos", "\\tan", "\\pm", "\\mp", "\\binom", "\\cup"),
}
_JOINTS = {"or", "and", "to", "of", "out", "by", "through", "versus", "vs"}


def _listed(words: str) -> set[str]:
    return set(words.split())


_LABELS = _listed(
    "the a answer answers final is are equals equal about approximately approx exactly roughly"
    " total of so thus hence therefore result value usd eur gbp rs us"
)
_LARGER = _listed(
    "and feet foot ft hours hour hrs hr minutes minute min years year months month weeks week days"
    " day dollars dollar pounds pound lbs lb"
)
_SMALLER = _listed(
    "inches inch in minutes minute min mins seconds second sec secs months month days day hours"
    " hour cents cent ounces ounce oz"
)
_TIMES_OF_DAY = {"noon", "midnight", "clock", "january", "february", "march", "april"}
_TIMES_OF_DAY |= {"may", "june", "july", "august", "september", "october", "november", "december"}
_CHOICE = re.compile(rf"^\s*\(?{WORD}?[A-J]\)\s*(?=[\d\\$.-])")
_PRODUCT = re.compile(r"(?!cm|mm|km|kg|mg|lbs?|ft|yd|ml|hrs?|mph|kph|sq)[b-df-hj-np-tv-z]{2,3}")
_BEFORE = _listed("sqrt root log lg ln exp sin cos tan cot arcsin arccos arctan mod choose pi")
_BEHIND = _BEFORE | _listed("squared cubed factorial")
_HALVES = re.compile(r"and (?:one )?(?:half|third|quarter)\b")
_ARC = re.compile(r"\s*\d+(?:\.\d+)?\s?'")
_SIZE = re.compile(r"\|-[^|\s]{1,40}\|")
_FACTORIAL = re.compile(r"[\d)]\s?!(?!\w)")


@dataclass(slots=True)
class _Stretch:
    """What stands between words: text, and the words before and after it."""

    text: str
    before: list[str]
    after: list[str]
    says: bool = False
    name: str = ""  # the word right before it, as it stands


def _stretches(text: str) -> list[_Stretch]:
    """The stretches of a tidy text that hold digits or say a value, with the words around them."""
    out: list[_Stretch] = []
    words: list[str] = []
    at = _Stretch("", words, [])

    for found in _PIECE.finditer(text):
        kind = found.lastgroup
        if kind in ("word", "stop"):
            if at.says:
                out.append(at)
                words = at.after
            if kind == "word":
                words.append(found[0].lstrip(WORD).partition("^")[0].strip().lower())
            elif found[0] != ".":
                words.append(found[0].strip() or "\n")
            name = found[0] if kind == "word" else ""
            at = _Stretch("", words, [], name=name)
        else:
            at.text += found[0]
            at.says = at.says or kind == "digits" or found[0] in _SAYS
    return [*out, at] if at.says else out


@lru_cache(4096)
def whole(text: str, strict: bool = True) -> Number | None:
    """The number that a text is, all of it; units and words behind it are read over.

    `strict`, as for accepted answers: before it only words such as "about" may stand, and what is
    an hour or a date is none.
    """
    plain = _CHOICE.sub("", tidy(text))
    found = _stretches(plain)
    if len(found) != 1 or _FACTORIAL.search(plain):
        return None
    (only,) = found
    before = only.before[:-1] if only.text.lstrip().startswith("=") else only.before  # a name
    around = {w for w in before if w not in "\n:;!?"}
    if strict and (around - _LABELS or _TIMES_OF_DAY & {*around, *only.after}):
        return None
    if _is_worked(only):
        return None
    if strict and only.after and _PRODUCT.fullmatch(only.after[0]):
        return None
    return _of_stretch(_article(only), strict)


@lru_cache(4096)
def last_number(text: str) -> Number | None:
    r"""The number that an answer ends on, None where that is not one number.

    It is what stands in the last `\boxed{}`, else what stands behind `####`, else the last of the
    text. "5 or 6" is two.
    """
    text = text[-MAX_TEXT:]
    inside = boxed(text)
    if inside is not None:
        return whole(inside, False)
    if "####" in text:
        return whole(text.rpartition("####")[2].strip().partition("\n")[0], False)
    plain = _CHOICE.sub("", tidy(text))
    found = _stretches(plain)
    if not found:
        return None
    last = found[-1]
    if _is_worked(last) or (len(found) > 1 and _joined(last)):
        return None
    if not any(map(str.isalpha, (*last.before, *last.after))) and _FACTORIAL.search(plain):
        return None
    return _of_stretch(_tail(_article(last), last), False)


def _is_worked(found: _Stretch) -> bool:
    """Whether the words right at a number make another of it: 25 pi, sqrt(2), 5 and a half."""
    if _SIZE.search(found.text) or _HALVES.match(" ".join(found.after[:3])):
        return True
    before = "=" not in found.text and found.name.lstrip(WORD).lower() in _BEFORE
    return before or bool(_BEHIND & set(found.after[:1]))


def _joined(last: _Stretch) -> bool:
    """Whether the words before a stretch make it one number with the one before, or a choice."""
    words = set(last.before)
    if words == {"degrees"} and _ARC.match(last.text):  # minutes of arc
        return True
    if words <= _JOINTS or ("or" in words and len(last.before) <= 3):
        return True
    return words <= _LARGER and bool(_SMALLER & set(last.after[:1]))


_UNKNOWNS = re.compile(r"(?!cm|mm|km|kg|mg|lb|ft|yd|ml|hr|oz|in|mi|is|so|or)[a-z]{2}")


def _article(found: _Stretch) -> str:
    """The stretch without an article in front, but with a product of two unknowns (xy = 6)."""
    if found.text.lstrip().startswith("=") and _UNKNOWNS.fullmatch(found.name):
        return f"{found.name[0]}*{found.name[1]}{found.text}"
    return re.sub(r"^\s*[aAI]\s+(?=[-$]*[\d\\.])", "", found.text)


def _tail(text: str, found: _Stretch) -> str:
    """Of numbers set apart by commas in front of a word only the last goes with the word."""
    if found.after and found.after[0].isalpha() and ", " in text:
        return text.rpartition(", ")[2]
    return text
