r"""What the symbolic rule compares: numbers and words here, everything else by the checker.

Accepted answers and answers are read by the same functions, so that a form that math-verify does
not know, or knows only with some version of its parser, is one it never meets: `spelled` writes
thousands, decimals that repeat and per cent in a form that it has always read.
"""

from __future__ import annotations

import re

from hornbeam.answers.latex import MAX_TEXT, WORD, boxed, joined, tidy
from hornbeam.answers.numerals import Number, same_number
from hornbeam.answers.reading import is_name, last_number, whole

_TEXT = r"\\(?:text|textrm|textnormal|mbox|hbox|mathrm)"
_UNIT = r"(?:[A-Za-z]{2,}(?:[\s/][A-Za-z]{1,20}){0,4}\.?|[a-zA-Z](?=\s*\}\s*\^))"
_ENDS = r"(?:\^\s*\{?\s*[23]\s*\}?)?\s*(?:\\[,;: ]|~|\s)*[.$]*$"
_SPELLINGS = [
    (re.compile(pattern), by)
    for pattern, by in (
        (r"[−﹣－]", "-"),
        (r"[\u00a0\u2002-\u200a\u202f\u205f\u3000]", " "),
        (r",\s{0,3}\\!\s{0,3}", ","),
        (r"\s{0,3}\\!\s{0,3}", ""),
        (r"(?<=\d)(?:\{,\}|\\[,;: ]|~)\s?(?=\d{3}(?!\d))", ""),
        (r"(?<=[\d}])\s?\\?[%％]", ""),
        (r"×", r"\\times "),
        (r"[·⋅]", r"\\cdot "),
        (r"÷", "/"),
        (r"\\varnothing(?![a-zA-Z])|∅", r"\\emptyset"),
        (r"(?<=\d)\s?pi(?![a-zA-Z])|(?<![\\a-zA-Z])pi(?=\s?[/)]|$)", r"\\pi "),
        (r"√\s?(?:(\d{1,100})|\(([^()]{1,100})\)|\{([^{}]{1,100})\})", r"\\sqrt{\1\2\3}"),
        (r"(?<![\\a-zA-Z])sqrt\s?\(([^()]{1,100})\)", r"\\sqrt{\1}"),
        (r"°", r"^{\\circ}"),
        (rf"{_TEXT}\s*\{{\s*([a-zA-Z])\s*\}}", r" \1 "),
        (r"\\[hv]?phantom\s*(?:\{[^{}]*\}|[^\s{])", ""),
        # a letter behind a blank is taken for a unit
        (r"(?<=\S)\s+(?=[-+=])|(?<=[-+=])\s+|(?<=[\d)}])\s+(?=[a-zA-Z](?![a-zA-Z]))", ""),
        (r"(?<![A-Za-z\\])([A-Za-z])\s+(?=[A-Za-z](?![A-Za-z]))", r"\1"),
        (r"(?<=\{)\s+(?=\S)|(?<=\S)\s+(?=\})", ""),
        (r"\\[dtc]?frac\s*(\\[a-zA-Z]+)\s*(?=[\d{])", r"\\frac{\1}"),
        (rf",?\s{{0,5}}{_TEXT}\s*\{{\s*(?:,\s*)?(?:and|or)\s*\}}", ", "),
        (rf"(?<=[\d}})])\s*(?:\\[,;: ]|~)*\s*{_TEXT}\s*\{{\s*{_UNIT}\s*\}}\s*{_ENDS}", ""),
    )
]
_REPEATS = re.compile(
    r"(?<![\d.])(\d{0,100})\.(\d{0,100})\\(?:overline|bar|dot)\s?\{?\s?(\d{1,100})\s?\}?"
)
_DOLLAR = re.compile(r"(?<!\\)\$")
_SAID = re.compile(r"answer(?:\s+is)?\s*:?\s*\**(.+)", re.IGNORECASE)
_ANSWER_IS = re.compile(r"\banswer\b", re.IGNORECASE)
_WORDS = re.compile(r"(?<![\\A-Za-z])[^\W\d_]{2,}")
_WORD = re.compile(rf"(?:{WORD}[^\W\d_]{{2,}}|(?<![\\A-Za-z])[^\W\d_]{{3,}})")
_MATHS = re.compile(r"[\\^_=+*/<>{}|]|\d")
_CHOICE = re.compile(r"\(?\s*([A-J])\s*\)?[.:]?")
_CLOCK = re.compile(
    rf"(\d{{1,3}}(?::\d{{1,3}})+)\s*(?:{WORD}?([ap])\.?\s?{WORD}?m\.?)?", re.IGNORECASE
)


def core(text: str) -> str:
    """What of a text is the answer: the inside of its last box, else all of it."""
    inside = boxed(text[-MAX_TEXT:])
    return (text[-MAX_TEXT:] if inside is None else inside).strip()


def spelled(text: str) -> str:
    """The text in spellings that every version of the parser reads, its end without a full stop."""
    for pattern, by in _SPELLINGS:
        text = pattern.sub(by, text)
    text = _DOLLAR.sub("", _REPEATS.sub(_fraction, text)).strip()
    return text[:-1].rstrip() if text.endswith((".", ",", ";")) else text


def _fraction(found: re.Match[str]) -> str:
    ones, decimals, again = found[1] or "0", found[2], found[3]
    scale, nines = 10 ** len(decimals), 10 ** len(again) - 1
    return f"\\frac{{{int(ones + decimals) * nines + int(again)}}}{{{scale * nines}}}"


def readings(answer: str) -> list[str]:
    """How math-verify shall read an answer: its last box; without one as a bare expression.

    Boxes that the answer ends on side by side are read together, too. What has words in it is read
    as it stands, as math-verify looks for an answer in it.
    """
    bare = f"\\boxed{{{spelled(core(answer))}}}"
    answer = answer[-MAX_TEXT:]
    if boxed(answer) is not None:
        many = joined(answer)
        return [bare] if many is None else [bare, f"\\boxed{{{spelled(many)}}}"]
    return [answer, bare] if prose(answer) else [bare]


def accepted_readings(accepted: str) -> list[str]:
    """How math-verify shall read an accepted answer: in a box, in its spelling."""
    many = joined(accepted)
    return [f"\\boxed{{{spelled(each)}}}" for each in (core(accepted), many) if each is not None]


def prose(text: str) -> bool:
    """Whether there are words in a text that LaTeX does not print as text."""
    return bool(_WORDS.search(re.sub(r"\\[a-zA-Z]+\s*(?:\{[^{}]*\})?|\$[^$]*\$", " ", text)))


def plain_number(text: str) -> Number | None:
    """The number that an answer of the symbolic rule is, read as accepted answers are."""
    return whole(core(text))


def decided(answer: str, accepted: str) -> bool | None:
    """Whether an answer is right, where numbers or words decide; None where the checker must."""
    said, gold = core(answer), core(accepted)
    if said == gold or spelled(said) == spelled(gold) != "":
        return True
    if joined(answer) or joined(accepted):
        return None
    number = whole(gold)
    if number is not None and not ("=" in said and "=" in gold):
        mine = whole(said)
        if mine is not None:
            return same_number(mine, number)
        if _CLOCK.fullmatch(said):  # a time, a ratio
            return False
        if boxed(answer) is None and "\\" not in answer and "$" not in answer and prose(answer):
            last = last_number(answer)
            if last is None or not _ANSWER_IS.search(answer):
                return last is not None and same_number(last, number)
    words = in_words(gold)
    if words is not None and words in (in_words(said), in_words(_stated_answer(answer))):
        return True
    if words is not None and ("\\" in gold or max(map(len, words)) != 3):
        return False  # abc may be a product
    if ("=" in said) != ("=" in gold) and not (_names(said) and _names(gold)):
        return False  # x + y = 3 is not 3
    return None


_SIDES = re.compile(r"(?<![<>!\\:])=")
_SEPARATED = re.compile(r"[,;]|\\text|\\quad|\\\\|\band\b|\bor\b|\\in(?![a-z])|[<>]|\\[lg]e")
_LONG_WORD = re.compile(r"(?<![\\A-Za-z])[^\W\d_]{3,}")
_RATIO = re.compile(r"\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}|([^:/]+)[:/]([^:/]+)")


def _names(text: str) -> bool:
    """Whether what stands left of a sign of equality only names a quantity, or is plain numbers."""
    *left, _ = _SIDES.split(_DOLLAR.sub("", text))
    if not left or _LONG_WORD.search(text) or _SEPARATED.search(text):
        return True
    for side in (side.strip() for side in left):
        ratio = _RATIO.fullmatch(side)
        members = [each for each in ratio.groups() if each] if ratio else [side]
        if not all(is_name(each) or not re.search(r"[A-Za-z]", each) for each in members):
            return False
    return True


def _stated_answer(answer: str) -> str:
    """What stands behind "the answer is" in a text without a box."""
    found = None if boxed(answer) is not None else _SAID.search(answer[-500:])
    return found[1].strip(" *.!$") if found else ""


def in_words(text: str) -> tuple[str, ...] | None:
    """An answer in words, a letter of a choice, a time or a ratio, brought to one form.

    Sorted where several are listed. None for what is mathematics.
    """
    plain = tidy(text).replace("$", " ").strip(" .,;\n")
    if found := _CHOICE.fullmatch(plain.replace(WORD, "")):
        return (found[1],)
    if found := _CLOCK.fullmatch(
        re.sub(r"\s{0,3}:\s{0,3}", ":", plain.replace(f"{WORD}clock", ""))
    ):
        half = re.search(r"([ap])\.?\s*m", text.lower())
        return (*found[1].split(":"), half[1] if half else "")
    if _MATHS.search(plain) or not _WORD.search(plain):
        return None
    parts = re.split(rf",|{WORD}?\band\b|;", plain)
    listed = (re.sub(r"[\s().'\"-]|\x01", "", part).casefold() for part in parts)
    return tuple(sorted(part for part in listed if part)) or None
