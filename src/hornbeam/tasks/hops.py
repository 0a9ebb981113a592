"""Questions that need two look-ups, and the passages that answer them: made, on any machine.

Of a person a passage tells where and when she was born, of a town in which country and on which
river it lies. A question goes from person to town ("the country in which Ada Brook was born"), or
puts two persons side by side. `data["plan"]` holds the rounds of sub-questions that answer it: what
to look for, the passage found, the answer (see the program `delegate`); `data["corpus"]` is "hops".
"""

from __future__ import annotations

import hashlib
from functools import cache
from random import Random
from typing import Any

from hornbeam.errors import DataError
from hornbeam.tasks.word_problems import held_out
from hornbeam.tree.task import Task

FIRST = (
    *("Ada", "Ben", "Cora", "Dan", "Elsa", "Finn", "Gwen", "Hugo", "Ida", "Jack"),
    *("Kate", "Leo", "Mona", "Ned", "Olga", "Paul", "Rosa", "Sam", "Tina", "Vera"),
)
LAST = (
    *("Brook", "Carter", "Dale", "Ellis", "Frost", "Grant", "Hale", "Irving", "Jarvis", "Kemp"),
    *("Lane", "Marsh", "North", "Osborn", "Pike", "Quinn", "Reed", "Stone", "Turner", "Wolfe"),
)
TOWNS = (
    *("Alden", "Barrow", "Calder", "Denby", "Elswick", "Fenton", "Garston", "Holt", "Ilkley"),
    *("Kelham", "Linton", "Morley", "Norwood", "Ormsby", "Penrith", "Ripley", "Selby", "Thirsk"),
)
COUNTRIES = ("Arland", "Belmar", "Corvia", "Dorsia", "Estmark", "Fallonia")
RIVERS = ("Avel", "Brent", "Cole", "Derra", "Esk", "Foyle", "Glane", "Humma")
WORK = ("baker", "doctor", "painter", "pilot", "poet", "singer")
Asked = tuple[str, str, list[list[dict[str, Any]]]]  # question, answer, plan

TRIES = 2000  # draws for one task before it is said that no more can be made


@cache
def _people() -> dict[str, tuple[str, int, str]]:
    """Person -> town, year and work; no two share a year."""
    rng = Random("hops/people")
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    years = rng.sample(range(1500, 2000), len(names))
    return {n: (rng.choice(TOWNS), year, rng.choice(WORK)) for n, year in zip(names, years)}


@cache
def _towns() -> dict[str, dict[str, str]]:
    """Town -> its country and its river."""
    rng = Random("hops/towns")
    return {t: {"country": rng.choice(COUNTRIES), "river": rng.choice(RIVERS)} for t in TOWNS}


@cache
def hop_passages() -> dict[str, str]:
    """Title -> text, of every person and town."""
    out = {
        name: f"{name} was a {work} born in {town} in {year}."
        for name, (town, year, work) in _people().items()
    }
    for town, at in _towns().items():
        out[town] = f"{town} is a town in {at['country']}. {town} lies on the river {at['river']}."
    return out


def hop_tasks(split: str = "train", count: int = 100, seed: int = 0) -> list[Task]:
    """`count` different questions, equal for equal arguments; train and held-out ones are apart.

    The held-out split may be called "test" or "dev".
    """
    if split not in ("train", "test", "dev"):
        raise DataError(f"hops have the splits train, test and dev, not {split!r}")
    rng = Random(f"hops/{'train' if split == 'train' else 'test'}/{seed}")
    made: dict[str, Task] = {}
    while len(made) < count:
        for _ in range(TRIES):
            question, answer, plan = rng.choice((_chain, _chain, _pair))(rng)
            if question not in made and held_out(question) == (split != "train"):
                break
        else:
            raise DataError(f"only {len(made)} different questions could be made of {count}")
        name = hashlib.blake2b(question.encode(), digest_size=6).hexdigest()
        data = {"plan": plan, "corpus": "hops"}
        made[question] = Task(f"hops-{seed}-{name}", question, answer, data)
    return list(made.values())


def _chain(rng: Random) -> Asked:
    """From a person to a town, and on to where that lies."""
    name = rng.choice(list(_people()))
    town = _people()[name][0]
    which, part = rng.choice((("In which country", "country"), ("On which river", "river")))
    answer = _towns()[town][part]
    first = _step(f"Where was {name} born?", name, town)
    then = _step(f"{which} lies the town {town}?", town, answer, f"{town} town")
    return f"{which} lies the town where {name} was born?", answer, [[first], [then]]


def _pair(rng: Random) -> Asked:
    """Two persons side by side, who can be looked for at once."""
    names = rng.sample(list(_people()), 2)
    born = {name: _people()[name][1] for name in names}
    steps = [_step(f"When was {name} born?", name, str(year)) for name, year in born.items()]
    question = f"Who was born first, {names[0]} or {names[1]}?"
    return question, min(names, key=born.__getitem__), [steps]


def _step(question: str, title: str, answer: str, query: str = "") -> dict[str, Any]:
    """A sub-question, what to search for, what the tool will say and what that comes to."""
    found = f"[1] {title}: {hop_passages()[title]}"
    return {"question": question, "query": query or title, "found": found, "answer": answer}
