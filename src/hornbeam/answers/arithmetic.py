"""Arithmetic expressions as people write them: read and worked out exactly, never by `eval`.

    sum     = product (("+" | "-") product)*
    product = signed (("*" | "/" | "//" | "%") signed)*
    signed  = ("-" | "+") signed | power
    power   = percent (("**" | "^") signed)?            to the right, so -2^2 = -4
    percent = atom "%"*                                 20% is 0.2
    atom    = number | "(" sum ")"

A `%` before a number or a bracket is the remainder (`17 % 5`), anywhere else it is "per cent"
(`20% * 50`, `20% - 3`). Also read: thousands separators (1,200), exponents (1.5e3), a `$` before
a number, and the signs × · ÷ − and x for * * / - and *. `//` and the remainder round down, as in
Python.

Everything is a Fraction; only a power with a broken exponent is rounded (to 40 digits). Length,
depth, digits and exponents are bounded, so that every input is answered at once.

Left out: names, functions, comparisons, implied products such as 2(3).
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, DecimalException
from fractions import Fraction

MAX_LENGTH = 1000  # characters of an expression
MAX_DEPTH = 40  # brackets, signs and powers inside each other
MAX_DIGITS = 100  # of one number as written
MAX_BITS = 2048  # of a numerator or denominator, about 600 digits
LONGEST = 30  # digits before a result is printed in scientific notation
DECIMALS = 10  # places after the point in a printed result

_TOKEN = re.compile(
    r"\s*(?:\$?(?P<number>(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?)"
    r"|(?P<sign>\*\*|//|[-+*/%^()]))"
)
_SAME = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "x": "*", "X": "*"})
_OPERATORS = {"+", "-", "*", "/", "//", "%", "**", "^"}
_DIGITS = Context(prec=40)


class ArithmeticProblem(ValueError):
    """An expression that cannot be worked out; the text says why."""


def evaluate(expression: str) -> Fraction:
    """The exact value of an expression (grammar and bounds: the head of this file).

    Raises `ArithmeticProblem` for whatever has no value.
    """
    if len(expression) > MAX_LENGTH:
        raise ArithmeticProblem(f"the expression is longer than {MAX_LENGTH} characters")
    reader = _Reader(tokens(expression))
    value = reader.sum()
    if reader.next:
        raise ArithmeticProblem(f"an operator is missing before {reader.next!r}")
    return value


def tokens(expression: str) -> list[str]:
    """Numbers, operators and brackets in order, `$` left out; at least one.

    Raises `ArithmeticProblem` for what is none of these.
    """
    text = expression.translate(_SAME).rstrip()
    found, at = [], 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if not token:
            raise ArithmeticProblem(f"{text[at:].strip()[:1]!r} is not part of arithmetic")
        found.append(token["sign"] or token["number"])
        at = token.end()
    if not found:
        raise ArithmeticProblem("the expression is empty")
    return found


def operations(expression: str) -> int:
    """How many operators with two operands: 3 in `-(4 + 2) * 20% - 1`."""
    listed = tokens(expression)
    return sum(_is_binary(listed, at) for at in range(len(listed)))


def spaced(expression: str) -> str:
    """The same expression in one form: ` + ` around operators, no brackets around the whole."""
    listed = tokens(expression)
    while _enclosed(listed):
        listed = listed[1:-1]
    return "".join(
        f" {token} " if _is_binary(listed, at) else token for at, token in enumerate(listed)
    )


def _is_binary(listed: list[str], at: int) -> bool:
    """Whether the token stands between two operands: no sign, no per cent."""
    if at == 0 or at == len(listed) - 1 or listed[at] not in _OPERATORS:
        return False
    if listed[at] == "%":
        return _begins_operand(listed[at + 1])
    return listed[at - 1] in (")", "%") or listed[at - 1][-1].isdigit() or listed[at - 1][-1] == "."


def _enclosed(listed: list[str]) -> bool:
    """Whether the first bracket closes at the very end."""
    if len(listed) < 3 or listed[0] != "(" or listed[-1] != ")":
        return False
    depth = 0
    for at, token in enumerate(listed):
        depth += (token == "(") - (token == ")")
        if depth == 0:
            return at == len(listed) - 1
    return False


class _Reader:
    """Recursive descent over the tokens, one method a rule of the grammar."""

    def __init__(self, listed: list[str]) -> None:
        self.tokens = [*listed, ""]
        self.at = 0
        self.depth = 0

    @property
    def next(self) -> str:
        return self.tokens[self.at]

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def sum(self) -> Fraction:
        value = self.product()
        while self.next in ("+", "-"):
            plus = self.take() == "+"
            term = self.product()
            value = _bounded(value + term if plus else value - term)
        return value

    def product(self) -> Fraction:
        value = self.signed()
        while self.next in ("*", "/", "//", "%"):
            value = _bounded(_multiply(value, self.take(), self.signed()))
        return value

    def signed(self) -> Fraction:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ArithmeticProblem(f"nested deeper than {MAX_DEPTH}")
        if self.next in ("-", "+"):
            value = -self.signed() if self.take() == "-" else self.signed()
        else:
            value = self.power()
        self.depth -= 1
        return value

    def power(self) -> Fraction:
        value = self.percent()
        if self.next in ("**", "^"):
            self.take()
            value = _power(value, self.signed())
        return value

    def percent(self) -> Fraction:
        value = self.atom()
        while self.next == "%" and not _begins_operand(self.tokens[self.at + 1]):
            self.take()
            value /= 100
        return _bounded(value)

    def atom(self) -> Fraction:
        token = self.take()
        if token == "(":
            value = self.sum()
            if self.take() != ")":
                raise ArithmeticProblem("a bracket is not closed")
            return value
        if not (token[:1].isdigit() or token[:1] == "."):
            where = f"before {token!r}" if token else "at the end"
            raise ArithmeticProblem(f"a number is missing {where}")
        digits = token.replace(",", "")
        if len(digits) > MAX_DIGITS:
            raise ArithmeticProblem(f"a number has more than {MAX_DIGITS} digits")
        return _bounded(Fraction(digits))


def _begins_operand(token: str) -> bool:
    return token == "(" or token[:1].isdigit() or token[:1] == "."


def _multiply(left: Fraction, sign: str, right: Fraction) -> Fraction:
    if sign == "*":
        return left * right
    if right == 0:
        raise ArithmeticProblem("division by zero")
    if sign == "/":
        return left / right
    return Fraction(left // right) if sign == "//" else left % right


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if base == 0 and exponent < 0:
        raise ArithmeticProblem("division by zero")
    if exponent.denominator == 1:
        bits = max(abs(base.numerator) - 1, base.denominator - 1).bit_length()
        if bits * abs(exponent) > MAX_BITS:
            raise ArithmeticProblem("the result is too large")
        return base**exponent.numerator
    if base < 0:
        raise ArithmeticProblem("a broken power of a negative number")
    if base == 0:
        return base
    try:
        root = _DIGITS.power(_decimal(base), _decimal(exponent))
    except DecimalException as error:
        raise ArithmeticProblem("the result is too large") from error
    if abs(root.adjusted()) > LONGEST * 10:  # checked before 10**exponent is written out
        raise ArithmeticProblem("the result is too large")
    return _bounded(Fraction(root))


def _decimal(value: Fraction) -> Decimal:
    return _DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise ArithmeticProblem("the result is too large")
    return value


def write_number(value: Fraction) -> str:
    """A number as people write it: 12, 0.25, 3.3333333333 (ten places at most).

    More than 30 digits before the point, or too small for ten places: 1.234567891e+40.
    """
    size = abs(value)
    if size >= 10**LONGEST or 0 < size < Fraction(1, 10 ** (DECIMALS - 4)):
        mantissa, exponent = f"{_decimal(value):.9e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{exponent}"
    scaled = round(size * 10**DECIMALS)
    whole, rest = divmod(scaled, 10**DECIMALS)
    text = f"{whole}.{rest:0{DECIMALS}d}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 and scaled else text
