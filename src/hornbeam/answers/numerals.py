r"""Numbers as they are written, and when two are equal.

`Number` keeps how it was written, `same_number` compares two as far as both were written down,
`read` parses one from tidy text (latex): signs, currency, thousands, decimals that repeat,
fractions, mixed numbers, powers of ten and others, bases.

Left out: finding numbers in texts (reading), expressions (score.check), number words
("forty-two"), decimal commas without thousands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 4000  # of a literal, fewer than Python refuses to print
MAX_BITS = 13_000  # of a value, about as many
TOLERANCE = Fraction(1, 10**6)  # relative, so that 3.3333333 is ten thirds
NOISE = Fraction(1, 10**12)  # relative, of floating point
SIGNIFICANT = 6  # digits from which on a number with a power of ten is taken for a rounded one


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written.

    `places` of decimals were written (negative: that many digits before the point are rounded off),
    None where it is exact, as fractions are. `percent`: the value is that before the sign.
    """

    value: Fraction
    places: int | None = None
    rounded: bool = False
    percent: bool = False

    def __str__(self) -> str:
        """Its plain spelling, which reads as the same number: -5, 1200.50, 7/2, 25%."""
        text, places = str(self.value), self.places
        if places is not None and (places > 0 or self.rounded):
            text = _decimal(self.value, places)
        return f"{text}%" if self.percent else text


def _decimal(value: Fraction, places: int) -> str:
    """The value with so many decimals; with a power of ten where the last digits are rounded."""
    digits = str(abs(value.numerator) * 10 ** max(places, 0) // value.denominator)
    sign = "-" if value < 0 else ""
    if places > 0:
        digits = digits.rjust(places + 1, "0")
        return f"{sign}{digits[:-places]}.{digits[-places:]}"
    kept = digits[: len(digits) + places] or "0"
    return f"{sign}{kept[0]}.{kept[1:] or '0'}e{len(digits) - 1}"


def same_number(left: Number, right: Number) -> bool:
    """Whether two numbers are equal as far as they were written down.

    |a - b| < 10^-d and |a - b| <= 10^-6 max(|a|, |b|), d the fewer decimals of the two: one is the
    other, rounded, so 3.3333333 is 10/3, but 16386.16 is not 16386.17 nor 1234567 1234568. Per cent
    may be written either way: 25% is 25 and 0.25.
    """
    if left.percent == right.percent:
        return _close(left, right)
    if right.percent:
        left, right = right, left
    return _close(left, right) or _close(hundredth(left), right)


def hundredth(number: Number) -> Number:
    """The value of a percentage: 25% as 0.25."""
    places = None if number.places is None else number.places + 2
    return Number(number.value / 100, places, number.rounded)


def _close(left: Number, right: Number) -> bool:
    a, b = left.value, right.value
    if a == b:
        return True
    difference, size = abs(a - b), max(abs(a), abs(b))
    if difference <= NOISE * size and not a.denominator == b.denominator == 1:
        return True
    places = [n.places for n in (left, right) if n.places is not None]
    if not places:
        return False
    unit = Fraction(1, 10) ** min(places)
    if difference < unit and difference <= TOLERANCE * size:
        return True
    rounded = [n for n in (left, right) if n.rounded and n.places == min(places)]
    return bool(rounded) and 2 * difference <= unit


# --- one number ----------------------------------------------------------------------------------

_DIGITS = re.compile(
    r"(?P<groups>[1-9]\d{0,2}(?:,\d{3})+(?![\d,]|\.\d{3},)|[1-9]\d{0,2}(?: \d{3})+(?!\d|\s?/)"
    r"|[1-9]\d{0,2}(?:'\d{3})+(?!\d)|[1-9]\d{0,2}(?:_\d{3})+(?!\d))(?P<rest>\.\d+|\.(?!\.))?"
    r"|(?P<european>[1-9]\d{0,2}(?:\.\d{3})+,\d+|[1-9]\d{0,2}(?:\.\d{3}){2,})(?![\d.,])"
    r"|(?P<ones>\d*)\.(?P<decimals>\d*)(?:\((?P<again>\d{1,100})\)|(?P<dots>\.\.\.))"
    r"|(?P<digits>\d+(?:\.\d*)?|\.\d+)"
)
_EXPONENT = re.compile(r"[eE]([-+]?\d{1,6})(?![\w.])")
_TEN_TO = re.compile(
    r"\s?[*xX]\s?10\s?\^\s?(?:\{\s?([-+]?\s?\d{1,6})\s?\}|\(([-+]?\d{1,6})\)|([-+]?\d{1,6}))"
)
_POWER = re.compile(
    r"\s?\^\s?(?:\{\s?([-+]?\s?\d{1,6})\s?\}|\(([-+]?\d{1,6})\)|([-+]?\d{1,6}))(?![\d.])"
)
_BASED = re.compile(
    r"([0-9A-Za-z]{1,400})(?:\.([0-9A-Za-z]{1,100}))?_\s?(?:\{\s?(\d{1,2})\s?\}|(\d{1,2}))(?!\w)"
)
_FRAC = re.compile(r"\\frac\s*")
_SLASH = re.compile(r"\s?/\s?")
_SIGN = re.compile(r"\s*([-+]?)\s*(?:(?:US|AU|CA|A|C)?\$\s*)*([-+]?)\s*(?:\$\s*)*")
_REPEATED = re.compile(r"(\d{2,30}?)\1+\d*$|(\d)\2\2+$")


class NotOne(Exception):
    """The text is no number, or more than one."""


@dataclass(slots=True)
class Part:
    """A number without its sign, and where in the text it ends."""

    value: Fraction
    places: int | None
    end: int
    rounded: bool = False
    plain: bool = False  # digits alone

    def exact(self) -> bool:
        """Whether no decimals were written."""
        return self.places in (0, None)


def _unsigned(text: str, at: int, depth: int = 0) -> Part:
    """The number that stands there: a mixed number, a fraction, a power, digits."""
    first = _atom(text, at, depth)
    if first.plain and first.exact():
        mixed = _mixed(text, first, depth)
        if mixed is not None:
            return mixed
    if over := _SLASH.match(text, first.end):
        minus = text.startswith("-", over.end())
        below = _atom(text, over.end() + minus, depth)
        return Part(_over(first.value, -below.value if minus else below.value), None, below.end)
    return first


def _mixed(text: str, whole_part: Part, depth: int) -> Part | None:
    r"""`3 1/2` and `3\frac{1}{2}`, where a proper fraction follows; None where none does."""
    at = whole_part.end
    blank = len(text) > at and text[at] == " "
    start = at + blank
    if _FRAC.match(text, start):
        part = _atom(text, start, depth)
    elif blank and text[start : start + 1].isdigit():
        above = _atom(text, start, depth)
        over = _SLASH.match(text, above.end)
        if over is None or not above.plain:
            return None
        below = _atom(text, over.end(), depth)
        part = Part(_over(above.value, below.value), None, below.end)
    else:
        return None
    if not 0 < part.value < 1:
        raise NotOne
    return Part(whole_part.value + part.value, None, part.end)


def _atom(text: str, at: int, depth: int) -> Part:
    if depth > 4:
        raise NotOne
    if found := _FRAC.match(text, at):
        above, end = _argument(text, found.end(), depth)
        below, end = _argument(text, end, depth)
        return _raised(text, Part(_over(above, below), None, end))
    if text[at : at + 1] in ("(", "{"):
        inside, end = _bracketed(text, at)
        signed = _signed(inside, depth + 1)
        return _raised(text, Part(signed.value, signed.places, end, signed.rounded))
    if found := _BASED.match(text, at):
        return Part(_in_base(*found.groups()), 0 if not found[2] else None, found.end())
    found = _DIGITS.match(text, at)
    if found is None:
        raise NotOne
    return _raised(text, _scientific(text, _literal(found)))


def _literal(found: re.Match[str]) -> Part:
    """Digits with what separates them."""
    end = found.end()
    if found["again"] or found["dots"]:
        return Part(_repeating(found), None, end)
    if found["european"]:
        digits = found["european"].replace(".", "").replace(",", ".")
    else:
        digits = re.sub(r"[,' _]", "", found["groups"] or "") + (found["rest"] or "")
        digits = digits or found["digits"]
    if len(digits) > MAX_DIGITS or not any(map(str.isdigit, digits)):
        raise NotOne
    decimals = digits.partition(".")[2]
    return Part(Fraction(digits.rstrip(".")), len(decimals), end, plain=True)


def _repeating(found: re.Match[str]) -> Fraction:
    """a.b(c) = a + (bc - b) / (10^|b| (10^|c| - 1)); of dots the period is what stands twice."""
    ones, decimals, again = found["ones"] or "0", found["decimals"], found["again"]
    if not again:
        period = _REPEATED.search(decimals[-60:])
        if period is None:
            raise NotOne
        again = period[1] or period[2]
        start = len(decimals[-60:]) - len(period[0])
        decimals = decimals[: max(len(decimals) - 60, 0) + start]
    if len(ones) + len(decimals) + len(again) > 300:
        raise NotOne
    scale, nines = 10 ** len(decimals), 10 ** len(again) - 1
    return Fraction(int(ones + decimals) * nines + int(again), scale * nines)


def _scientific(text: str, part: Part) -> Part:
    found = _EXPONENT.match(text, part.end) or _TEN_TO.match(text, part.end)
    if found is None:
        return part
    power = int(next(g for g in found.groups() if g is not None).replace(" ", ""))
    assert part.places is not None
    digits = len(str(int(part.value * 10**part.places)))
    value = part.value * power_of(Fraction(10), power)
    return Part(value, part.places - power, found.end(), digits >= SIGNIFICANT)


def _raised(text: str, part: Part) -> Part:
    found = _POWER.match(text, part.end)
    if found is None:
        return part
    power = int(next(g for g in found.groups() if g is not None).replace(" ", ""))
    places = 0 if part.places == 0 and power >= 0 else None
    return Part(power_of(part.value, power), places, found.end())


def power_of(value: Fraction, power: int) -> Fraction:
    """value^power. Raises `NotOne` where that is none, or too long."""
    size = max(value.numerator.bit_length(), value.denominator.bit_length())
    if abs(power) * size > 4 * MAX_BITS or (not value and power < 0):
        raise NotOne
    return value**power


def bounded(value: Fraction) -> Fraction:
    """The value itself. Raises `NotOne` where it is too long to be printed."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise NotOne
    return value


def _over(above: Fraction, below: Fraction) -> Fraction:
    if not below:
        raise NotOne
    return above / below


def _in_base(digits: str, decimals: str | None, braced: str | None, bare: str | None) -> Fraction:
    base = int(braced or bare or 0)
    try:
        if not 2 <= base <= 36:
            raise ValueError
        value = int(digits + (decimals or ""), base)
    except ValueError:
        raise NotOne from None
    return Fraction(value, base ** len(decimals or ""))


def _argument(text: str, at: int, depth: int) -> tuple[Fraction, int]:
    r"""One argument of `\frac`: a group, or the one digit that comes next."""
    at += len(text[at:]) - len(text[at:].lstrip()) if text[at : at + 1] == " " else 0
    if text[at : at + 1].isdigit():
        return Fraction(int(text[at])), at + 1
    if text[at : at + 1] != "{":
        raise NotOne
    inside, end = _bracketed(text, at)
    return _signed(inside, depth + 1).value, end


def _bracketed(text: str, at: int) -> tuple[str, int]:
    """What stands in the bracket that opens there, and where it is closed."""
    open_, close = text[at], {"(": ")", "{": "}"}[text[at]]
    deep = 0
    for i in range(at, len(text)):
        deep += (text[i] == open_) - (text[i] == close)
        if not deep:
            return text[at + 1 : i], i + 1
    raise NotOne


def _signed(text: str, depth: int = 0) -> Part:
    """All of a text as one number with its sign. Raises `NotOne`."""
    part, rest = read(text.strip(), depth)
    if rest.strip():
        raise NotOne
    return part


def _negative(part: Part) -> Part:
    return Part(-part.value, part.places, part.end, part.rounded)


def read(text: str, depth: int = 0) -> tuple[Part, str]:
    """The number that a tidy text begins with, and what is left. Raises `NotOne`."""
    sign = _SIGN.match(text)
    assert sign is not None
    if sign[1] and sign[2]:
        raise NotOne
    part = _unsigned(text, sign.end(), depth)
    bounded(part.value)
    rest = text[part.end :]
    return (_negative(part) if "-" in (sign[1], sign[2]) else part), rest
