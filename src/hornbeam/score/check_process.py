r"""The checker's process: a script that reads requests and writes verdicts.

One JSON object a line each way: {"rule": "symbolic", "readings": ["\\frac12"], "accepted":
["\\boxed{0.5}"], "seconds": 5}, {"rule": "symbolic", "texts": [...], "known": [...], "seconds": 5}
(which of them are equal) or {"rule": "reasoning_gym", "answer": ..., "task": {...}}; back comes a
number, a list of numbers, or null where the checker failed. A reward function: `reward_call`.

It is meant to be killed when it takes too long, and an alarm of its own ends it should nobody be
left to do so. The only import of math-verify; it has no time-out of its own here, since that one
works by signals in the main thread and does not break into long integer powers. It imports nothing
of ours, so that a process starts in a second.

What math-verify calls equal is looked at again by value: it rounds decimals to six places, so it
takes all small ones for equal; here two values may differ by a millionth of the larger.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

MAX_MEMORY = 4 << 30  # bytes of address space: a tower of powers may not take the machine down
TOLERANCE = 1e-6  # relative
DIGITS = 30  # of values that are compared
TRIES = (
    (r"\boxed{\frac12}", r"\boxed{0.5}", True),
    (r"\boxed{(x+1)^2}", r"\boxed{x^2+2x+1}", True),
    (r"\boxed{2\sqrt{2}}", r"\boxed{\sqrt8}", True),
    (r"\boxed{(1,3]}", r"\boxed{(1, 3]}", True),
    (r"\boxed{\{1,2\}}", r"\boxed{\{2,1\}}", True),
    (r"\boxed{\frac{1}{3}}", r"\boxed{\frac{1}{2}}", False),
)
SIGN = (r"\boxed{25\%}", r"\boxed{\frac{1}{4}}", True)  # some versions of the parser do not read it
READY, NO_SIGN, UNFIT = "ready", "ready, but for the sign of per cent", "unfit: it misjudges "


# --- values --------------------------------------------------------------------------------------


def value(expression: Any) -> tuple[Any, Any] | None:
    """(real, imaginary) part of a constant, or of an expression at fixed positive points."""
    import sympy

    names = sorted(expression.free_symbols, key=str)
    points = {name: sympy.Rational(7 + 3 * k, 5) for k, name in enumerate(names)}
    try:
        found = sympy.N(expression.subs(points).doit(), DIGITS)
        real, imaginary = found.as_real_imag()
        return (_firm(real), _firm(imaginary)) if found.is_number else None
    except Exception:  # what has no value
        return None


def _firm(part: Any) -> Any:
    """A part of a value; 0 where no digit of it is known."""
    import sympy

    if not part.is_finite:
        raise ValueError("no number")
    return sympy.Integer(0) if isinstance(part, sympy.Float) and part._prec <= 2 else part


def near(left: Any, right: Any) -> bool:
    """Whether two values differ by a millionth of the larger at most."""
    (a, b), (c, d) = left, right
    size = max(abs(x) for x in (a, b, c, d))
    return bool(abs(a - c) <= TOLERANCE * size and abs(b - d) <= TOLERANCE * size)


def parts(expression: Any) -> list[Any] | None:
    """The members of a set, tuple, interval or matrix, in an order by value; None of the rest."""
    import sympy

    if isinstance(expression, sympy.Interval):
        return [expression.start, expression.end]
    if isinstance(expression, sympy.MatrixBase):
        return list(expression)
    members: Any = getattr(expression, "_unsorted_args", None) or getattr(expression, "args", ())
    if isinstance(expression, sympy.FiniteSet):
        return sorted(members, key=lambda each: (_order(each), str(each)))
    return list(members) if isinstance(expression, sympy.Tuple) else None


def _order(member: Any) -> list[float]:
    """All values in a member of a set, by which two sets are brought into one order."""
    import sympy

    member = member.rhs if isinstance(member, sympy.Eq) else member
    inner = parts(member)
    if inner is not None:
        return [each for part in inner for each in _order(part)]
    found = value(member) if hasattr(member, "free_symbols") else None
    return [0.0] if found is None else [float(found[0]), float(found[1])]


def close(gold: Any, said: Any) -> bool:
    """Whether values differ by a millionth at most, member by member; True where none is known."""
    import sympy

    if isinstance(gold, sympy.Eq) != isinstance(said, sympy.Eq):
        gold, said = (e.rhs if isinstance(e, sympy.Eq) else e for e in (gold, said))
    if isinstance(gold, str) or isinstance(said, str):
        return True
    if isinstance(gold, sympy.Rel) or isinstance(said, sympy.Rel):
        named = isinstance(gold, sympy.Eq) and gold.lhs == said.lhs
        return not named or close(gold.rhs, said.rhs)
    many, others = parts(gold), parts(said)
    if many is None and others is None:
        return _same_or_open(gold, said)
    if many is None or others is None or len(many) != len(others):
        return True
    return all(map(close, many, others))


def _same_or_open(gold: Any, said: Any) -> bool:
    left, right = value(gold), value(said)
    return left is None or right is None or near(left, right)


# --- verdicts ------------------------------------------------------------------------------------


@lru_cache(4096)
def parsed(text: str) -> tuple[Any, ...]:
    """What math-verify reads in a text, once."""
    from math_verify import parse

    return tuple(parse(text, parsing_timeout=None))


def names_a_quantity(side: Any) -> bool:
    """Whether the side of an equation is no expression: x, f(2), AB, |z|, (p, q), 3 + 4."""
    import sympy

    if not isinstance(side, sympy.Expr) or not side.free_symbols:
        return True
    if isinstance(side, sympy.Symbol | sympy.Function):
        return True
    return isinstance(side, sympy.Mul) and not any(map(_has_number, side.args))


def _has_number(factor: Any) -> bool:
    return not factor.free_symbols or bool(factor.is_Add)


def equal(gold: Any, said: Any) -> bool:
    """Whether math-verify and the values call two parsed answers equal."""
    import sympy
    from math_verify import verify

    for one, other in ((gold, said), (said, gold)):
        if isinstance(one, sympy.Eq) and not isinstance(other, sympy.Rel | str):
            if getattr(other, "is_Boolean", False):
                continue
            if not names_a_quantity(one.lhs):  # x + y = 3 is not 3
                return False
    if verify(gold, said, timeout_seconds=None):
        return close(gold, said)
    if isinstance(gold, str) or isinstance(said, str):
        return False
    return _rounded(gold, said)


def _rounded(gold: Any, said: Any) -> bool:
    """Whether a decimal stands for an exact constant to a millionth."""
    import sympy

    exprs = (gold, said)
    if any(not isinstance(e, sympy.Expr) or e.free_symbols for e in exprs):
        return False
    if sum(e.has(sympy.Float) for e in exprs) != 1:
        return False
    left, right = value(gold), value(said)
    return left is not None and right is not None and near(left, right)


def symbolic(readings: Sequence[str], accepted: Sequence[str]) -> float:
    """1 where a reading of the answer equals an accepted one: as number, expression or set."""
    said = [each for text in dict.fromkeys(readings) for each in parsed(text)]
    boxes = (each if "\\boxed" in each else f"\\boxed{{{each}}}" for each in accepted)
    golds = [each for text in boxes for each in parsed(text)]
    return float(any(equal(gold, each) for gold in golds for each in said))


def classes(texts: Sequence[Sequence[str]], known: Sequence[int | None]) -> list[int]:
    """Which texts are equal, each by its readings: the number of the first that each is equal to.

    Texts whose class is known are not compared with each other. A text joins the first class whose
    first member it equals; values that are apart are not put to math-verify.
    """
    marks = [_mark(readings) for readings in texts]
    out: list[int] = []
    for k, (mine, place) in enumerate(zip(texts, known)):
        firsts = (j for j in range(k) if out[j] == j)
        same = (
            j
            for j in firsts
            if (known[j] == place if None not in (known[j], place) else _may(marks[j], marks[k]))
            and (None not in (known[j], place) or symbolic(mine, texts[j]))
        )
        out.append(next(same, k))
    return out


def _mark(readings: Sequence[str]) -> Any:
    """The value of a text, or None where it has none that tells it from others."""
    found = [each for text in readings for each in parsed(text) if not isinstance(each, str)]
    values = [value(each) for each in found if parts(each) is None and hasattr(each, "subs")]
    return values[0] if len(found) == 1 == len(values) else None


def _may(left: Any, right: Any) -> bool:
    return left is None or right is None or near(left, right)


def reasoning_gym(answer: str, task: Mapping[str, Any]) -> float:
    """What reasoning-gym says of the answer, in [0, 1] (`tasks.gym`, read from its file)."""
    return float(_gym().score(answer, task))


@cache
def _gym() -> Any:
    path = Path(__file__).parents[1] / "tasks" / "gym.py"
    spec = importlib.util.spec_from_file_location("gym", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def misread() -> list[str]:
    """Pairs that every working parser judges right and this one does not."""
    return [
        f"{said} for {gold}" for gold, said, same in TRIES if bool(symbolic([said], [gold])) != same
    ]


# --- the process ---------------------------------------------------------------------------------


def check(request: Mapping[str, Any]) -> float | list[int]:
    """The verdict on one request."""
    if request["rule"] != "symbolic":
        return reasoning_gym(request["answer"], request["task"])
    if "texts" in request:
        return classes(request["texts"], request["known"])
    return symbolic(request["readings"], request["accepted"])


def main() -> None:
    """Answer requests until the input ends."""
    logging.disable(logging.CRITICAL)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not stand among the verdicts
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # nor may what they read be a request
    _bound_memory()
    answer: Callable[[Mapping[str, Any]], Any] = check
    if sys.argv[1] == "function":
        from hornbeam.score.reward_call import reward_call

        try:
            answer, ready = reward_call(*sys.argv[2:]), READY
        except Exception as error:
            ready = f"unfit: {str(error)[:500]!r}"
    elif sys.argv[1] == "symbolic":  # loads now what the first check would wait for
        wrong = misread()
        ready = READY if symbolic([SIGN[1]], [SIGN[0]]) else NO_SIGN
        if wrong:
            ready = f"{UNFIT}{'; '.join(wrong)}"
    else:
        _gym().ready()
        ready = READY
    print(ready, file=out, flush=True)
    process = os.getpid()
    for line in requests:
        request = json.loads(line)
        if hasattr(signal, "alarm"):
            signal.alarm(math.ceil(request["seconds"]) + 1)
        try:
            verdict: Any = answer(request)
        except Exception:  # whatever a third party's parser raises over a strange answer
            verdict = None
        if os.getpid() != process:  # a child that a reward forked: this answer is not its own
            os._exit(0)
        print(json.dumps(verdict), file=out, flush=True)
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def _bound_memory() -> None:
    if sys.argv[1] == "function":  # it may hold a model
        return
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MAX_MEMORY if hard == resource.RLIM_INFINITY else min(MAX_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


if __name__ == "__main__":
    main()
