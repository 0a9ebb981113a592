"""One gold expression for the calculator out of a worked solution with calculator notes.

GSM8K solutions carry their arithmetic as `<<48/2=24>>` `<<48+24=72>>`; put together that is
`48 + (48 / 2)`. It teaches a model to reach the answer with one call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from hornbeam.answers.arithmetic import ArithmeticProblem, evaluate, operations, spaced, tokens

_NOTE = re.compile(r"<<([^<>=]+)=([^<>=]+)>>")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+")
# what a reader knows beside the numbers of a question: words such as "half", days, minutes, pence
_COMMON = {*range(11), 12, 24, 30, 31, 52, 60, 100, 365, 1000, Fraction(1, 2), Fraction(1, 4)}
_WORDS = {
    word: number
    for words, start, step in (
        ("eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen", 11, 1),
        ("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10),
    )
    for number, word in zip(range(start, 100, step), words.split())
}


@dataclass(slots=True)
class _Step:
    """A result that later steps may build on, and what it was worked out from."""

    value: Fraction
    tokens: list[str]
    used: bool = False


def compose(question: str, solution: str, answer: str) -> str | None:
    """The expression that the notes of a solution amount to, or None.

    A number in a step stands for the latest earlier result of that value, unless the question
    holds this number too and the result has been used before. None where there are no notes, one
    cannot be read, a number comes from nowhere (a step without a note), the whole has no operation
    or does not give the answer exactly.
    """
    given = {_value(number) for number in _NUMBER.findall(question)}
    given |= {Fraction(_WORDS[word]) for word in question.lower().split() if word in _WORDS}
    steps: list[_Step] = []
    try:
        for expression, result in _NOTE.findall(solution):
            steps.append(_Step(evaluate(result), _substitute(expression, steps, given)))
        if not steps:
            return None
        whole = spaced("".join(steps[-1].tokens))
        right = evaluate(whole) == evaluate(answer) and _is_known(steps[-1].tokens, given)
    except ArithmeticProblem:
        return None
    return whole if right and operations(whole) else None


def _value(number: str) -> Fraction:
    return Fraction(number.replace(",", ""))


def _is_known(listed: list[str], given: set[Fraction]) -> bool:
    """Whether every number is in the question (20% as 0.2, too) or is one that everybody knows."""
    values = [evaluate(token) for token in listed if token[-1].isdigit() or token[-1] == "."]
    return all(v in given or v * 100 in given or v in _COMMON for v in values)


def _substitute(expression: str, steps: list[_Step], given: set[Fraction]) -> list[str]:
    """The tokens of a step, earlier results in it replaced by what they came from."""
    out: list[str] = []
    for token in tokens(expression):
        step = _meant(token, steps, given) if token[-1].isdigit() else None
        if step is None:
            out.append(token)
            continue
        step.used = True
        out += ["(", *step.tokens, ")"] if len(step.tokens) > 1 else step.tokens
    return out


def _meant(token: str, steps: list[_Step], given: set[Fraction]) -> _Step | None:
    """The earlier step whose result a number stands for."""
    value = evaluate(token)
    same = [step for step in steps if step.value == value]
    fresh = [step for step in same if not step.used]
    if fresh:
        return fresh[-1]
    return same[-1] if same and value not in given else None
