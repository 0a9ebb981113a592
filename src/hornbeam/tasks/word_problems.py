"""Short word problems with gold expressions, made up from templates: data without data files.

A problem is a template and its numbers; a digest of the two decides whether it belongs to train
or test, whatever the seed, so that the two never share a problem. Names and things vary freely.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from random import Random

from hornbeam.answers.arithmetic import evaluate, write_number
from hornbeam.errors import DataError
from hornbeam.tasks.word_templates import NAMES, TEMPLATES, THINGS
from hornbeam.tree.task import Task

OPERATIONS = tuple(len(re.findall(r"[-+*/]", expression)) for _, expression, _ in TEMPLATES)
TRIES = 2000  # draws for one problem before it is said that no more can be made


def word_problems(
    split: str = "train", count: int = 100, seed: int = 0, operations: tuple[int, int] = (1, 2)
) -> list[Task]:
    """`count` different problems of so many operations (from, to), equal for equal arguments.

    `answer` is the number as text, `data` holds `expression`, `operations` and `template`.
    """
    if split not in ("train", "test"):
        raise DataError(f"word problems have the splits train and test, not {split!r}")
    low, high = operations
    usable = [t for t, n in enumerate(OPERATIONS) if low <= n <= high]
    if not usable:
        raise DataError(f"word problems have one to three operations, not {low} to {high}")
    rng = Random(f"{split}/{seed}/{low}/{high}")
    seen: set[str] = set()
    tasks: list[Task] = []
    while len(tasks) < count:
        for _ in range(TRIES):
            template = rng.choice(usable)
            numbers = _draw(template, rng)
            key = f"{template}:{sorted(numbers.items())}"
            if key not in seen and held_out(key) == (split == "test"):
                break
        else:
            raise DataError(f"only {len(tasks)} different word problems could be made of {count}")
        seen.add(key)
        tasks.append(_problem(template, numbers, rng, f"word-{seed}"))
    return tasks


def held_out(key: str) -> bool:
    """Whether what the key stands for belongs to the held-out fifth: a digest modulo five."""
    return hashlib.blake2b(key.encode(), digest_size=8).digest()[0] % 5 == 0


def _draw(template: int, rng: Random) -> dict[str, int]:
    """Numbers for a template; every intermediate result is a whole number above zero."""
    _, expression, ranges = TEMPLATES[template]
    while True:
        numbers = {
            name: rng.randint(int(low), int(high))
            for name, low, high in re.findall(r"(\w) (\d+)-(\d+)", ranges)
        }
        values = (evaluate(part) for part in _parts(_fill(expression, numbers)))
        if all(value > 0 and value.denominator == 1 for value in values):
            return numbers


def _fill(expression: str, numbers: dict[str, int]) -> str:
    return re.sub(r"[a-z]", lambda found: str(numbers[found[0]]), expression)


def _parts(expression: str) -> Iterator[str]:
    """Every expression in brackets, then the whole."""
    opened = []
    for at, sign in enumerate(expression):
        if sign == "(":
            opened.append(at)
        elif sign == ")":
            yield expression[opened.pop() : at + 1]
    yield expression


def _problem(template: int, numbers: dict[str, int], rng: Random, prefix: str) -> Task:
    text, expression, _ = TEMPLATES[template]
    name, other = rng.sample(NAMES, 2)
    question = text.format(name=name, other=other, thing=rng.choice(THINGS), **numbers)
    filled = _fill(expression, numbers)
    digest = hashlib.blake2b(question.encode(), digest_size=6).hexdigest()
    data = {"expression": filled, "operations": OPERATIONS[template], "template": template}
    return Task(f"{prefix}-{digest}", question, write_number(evaluate(filled)), data)
