"""Which searches can be asked for by name: sections, methods of the recipe, ready-made ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hornbeam.errors import HornbeamError, RecipeError
from hornbeam.jobs.search.search_jobs import NO_MARKS, Job, make_job
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import ServeSection, keys_of

PREFIX = "hornbeam/"
MOST = 256  # episodes that a ready-made name may ask for; sections say their own number

_N = "[1-9][0-9]{0,8}"
_READY = re.compile(
    rf"greedy|(majority|likeliest|best-of|mcts)(?:-({_N}))?|beam(?:-({_N})x({_N}))?"
)
DEFAULT = {"majority": 8, "likeliest": 8, "best-of": 8, "mcts": 16, "beam": 4}
READY = "greedy, majority-N, likeliest-N, best-of-N, beam-BxW, mcts-N"
SHOWN = ("greedy", "majority-8", "likeliest-8", "best-of-8", "beam-4x4", "mcts-16")


class NoSuchSearch(HornbeamError):
    """A name that is no search's."""


@dataclass(frozen=True, slots=True)
class ServedSearch:
    """A search by name: how trees grow, and who speaks in them.

    `program`: the recipe's; else `agent` answers the messages, read as `answer` says.
    """

    name: str
    job: Job
    program: bool
    agent: str
    answer: str


def served_search(recipe: Recipe, name: str, marks: Mapping[str, str] = NO_MARKS) -> ServedSearch:
    """The search of a name, with or without "hornbeam/".

    Raises `NoSuchSearch`, and `RecipeError` for one that cannot be here. `marks` tell one guide's
    model from another at the same place.
    """
    name = name.removeprefix(PREFIX)
    section = recipe.serve.get(name)
    where = f"serve.{name}"
    if section is None:
        section, where = _method(recipe, name), f"{PREFIX}{name}"
    if section is None:
        section = _ready(name, recipe.guides)
    if section is None:
        own = list(dict.fromkeys([*recipe.serve, *_methods(recipe)]))
        raise NoSuchSearch(
            f"there is no search {name!r}: {', '.join([*own, READY])}"
            f"{'' if own else ', or a section [serve.' + name + ']'}"
        )
    try:
        with keys_of(section):
            job = make_job(recipe, section.method(name), "", section.rest(), marks, pools=False)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error
    program = section.program
    if program is None:
        program = "program" in recipe.model_fields_set
    return ServedSearch(
        name, job, program, section.agent or next(iter(recipe.agents)), section.answer
    )


def is_search(recipe: Recipe, name: str) -> bool:
    """Whether a name without "hornbeam/" is a search's, and no agent's."""
    own = name in recipe.serve or any(method.name == name for method in recipe.search.methods)
    return name not in recipe.agents and (own or _READY.fullmatch(name) is not None)


def names(recipe: Recipe) -> list[str]:
    """The names to show: sections, methods of one point, and of the ready-made ones an example."""
    found = dict.fromkeys([*recipe.serve, *_methods(recipe)])
    for name in SHOWN:
        try:
            served_search(recipe, name)
        except RecipeError:
            continue
        found[name] = None
    return [f"{PREFIX}{name}" for name in found]


def _methods(recipe: Recipe) -> list[str]:
    return [method.name for method in recipe.search.methods if not method.sweep]


def _method(recipe: Recipe, name: str) -> ServeSection | None:
    """A method of the recipe's search as a section, where it is one point."""
    found = next((m for m in recipe.search.methods if m.name == name), None)
    if found is None:
        return None
    if found.sweep:
        raise RecipeError(
            f"search method {name!r} has {len(found.points())} points: give the one to serve a"
            f" section [serve.NAME]"
        )
    return ServeSection.model_validate(found.model_dump(exclude={"name", "sweep"}))


def _ready(name: str, guides: Collection[str]) -> ServeSection | None:
    """The section that a ready-made name stands for."""
    found = _READY.fullmatch(name)
    if found is None:
        return None
    kind, number, beams, width = found.groups()
    kind = kind or name.partition("-")[0]
    few = DEFAULT.get(kind, 1)
    most = int(beams or few) * int(width or few) if kind == "beam" else int(number or few)
    if most > MOST:
        raise RecipeError(
            f"{PREFIX}{name}: more than {MOST} at once: say so many in a section [serve.NAME]"
        )
    settings: dict[str, Any]
    if kind == "greedy":
        settings = {"greedy": True, "n": 1}
    elif kind in ("majority", "likeliest"):
        choose = {"majority": "majority", "likeliest": "mean_likelihood"}[kind]
        settings = {"choose": choose, "n": most}
    elif kind == "best-of":
        column = "orm" if "orm" in guides else "value"
        settings = {"choose": {"orm": "best_orm", "value": "best"}[column], "n": most}
    elif kind == "mcts":
        settings = {"strategy": "mcts", "choose": "q", "simulations": most}
    else:
        sizes = {"beams": int(beams or few), "width": int(width or few)}
        settings = {"strategy": "beam", "choose": "kept", **sizes}
    return ServeSection.model_validate(settings)
