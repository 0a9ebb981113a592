"""A reward of one's own: `rule = "mine.py:score"` names a function in a file beside the recipe.

    def score(task, answer): ...        # a number, or None for no reward; or async def

Or a class, for one that keeps something (`reward_class`).

It takes by name what it wants of `WANTS`, and runs in processes that can be killed
(`reward_call`), async ones too: a loop that never awaits ends like one that never returns.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hornbeam.arguments import described
from hornbeam.errors import RecipeError
from hornbeam.files import paths
from hornbeam.own.given_objects import is_given, missing_object
from hornbeam.own.own_code import load_module
from hornbeam.own.own_functions import call_settings
from hornbeam.own.own_parts import Named, find_part, installed, is_own
from hornbeam.score.checker_pool import NoVerdict, Pool
from hornbeam.score.reward_class import NODES, scoring_method, scoring_parameters
from hornbeam.score.verdict import Judgement
from hornbeam.settings import nearest
from hornbeam.tree.jsonl import to_json
from hornbeam.tree.nodes import Tree

# Task, its program's answer, the grown tree, the leaf's number in it, all calls on the way to the
# leaf, all that was said on the way; [the leaf], whose values it returns.
WANTS = ("task", "answer", "tree", "leaf", "calls", "text", NODES)

# Rules that ship; packages are looked through for none of these.
READY = frozenset(
    ("exact", "numeric", "symbolic", "em", "f1", "reasoning_gym", "contains", "parts")
).union(("verifiers", "test", "none"))

Warn = Callable[[str], None]
NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


def is_function(rule: str) -> bool:
    """Whether a rule is a function of a file, or of a package that adds one of that name."""
    return is_own(rule) or (rule not in READY and _given_by_package(rule))


@cache
def _given_by_package(rule: str) -> bool:
    return any(point.name == rule for point in installed("reward"))


def named_function(
    rule: str,
    base: Path,
    settings: Mapping[str, Any] = NO_SETTINGS,
    place: str = "reward.rule",
    wants: Sequence[str] = WANTS,
) -> tuple[Path, Callable[..., Any], tuple[str, ...]]:
    """(its file, the function or class, what it takes of `wants`).

    Raises `RecipeError` or `ProgramError`, one line, for settings that it does not take too;
    `place` is the key that names it.
    """
    if not is_own(rule):
        return _of_package(rule, settings, place, wants)
    file, colon, name = rule.rpartition(":")
    if not colon or not name.isidentifier():
        raise RecipeError(f"{place} = {rule!r}: name a function too, as in mine.py:score")
    path = paths.find(file, base)
    wrong = "" if path.is_file() else paths.missing(file, base)
    if wrong := missing_object(rule) if is_given(rule) else wrong:
        raise RecipeError(f"{place} = {rule!r}: {wrong}")
    module = load_module(path)
    found: Any = getattr(module, name, None)
    if scoring_method(found) is None:
        if inspect.isclass(found):
            raise RecipeError(f"{place}: class {name} of {file} has no method score")
        known = [n for n, value in vars(module).items() if inspect.isfunction(value)]
        hint = nearest(name, known) if known else "there is none"
        raise RecipeError(f"{place}: {file} has no function {name!r}: {hint}")
    return path.resolve(), found, _taken(Named(found, f"{file}: {name}"), wants, settings)


def _of_package(
    rule: str, settings: Mapping[str, Any], place: str, wants: Sequence[str]
) -> tuple[Path, Callable[..., Any], tuple[str, ...]]:
    part = find_part("reward", rule)
    if scoring_method(part.thing) is None:
        raise RecipeError(f"{place}: {part.where} is {described(part.thing)}: a function is due")
    return Path(inspect.getfile(part.thing)), part.thing, _taken(part, wants, settings)


def _taken(part: Named, wants: Sequence[str], settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of `wants` that a function takes; others must be set or have a default.

    The settings of a class are what it is made with.
    """
    a_class, taken = inspect.isclass(part.thing), []
    for each in scoring_parameters(part.thing):
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue
        if each.name in wants and each.kind is not each.POSITIONAL_ONLY:
            taken.append(each.name)
        elif each.default is each.empty and (a_class or each.name not in settings):
            hint, of = nearest(each.name, wants), ": score" if a_class else ""
            here = f"{part.where}{of}"
            raise RecipeError(f"{here} takes {each.name!r}, which a reward is not given: {hint}")
    call_settings(part, settings, () if a_class else wants)
    return tuple(taken)


def line_of(found: Any) -> int:
    """The line at which a function, or the method of a class, begins."""
    code: Any = inspect.unwrap(scoring_method(found) or found)
    return int(code.__code__.co_firstlineno)


class RewardFunction:
    """The function that a rule names, called in the processes of a pool.

    `settings` are its own. `NoVerdict` is raised for what gave no reward: "errors" (it raised, or
    returned what is none), "timeouts", "crashes" (its process died); `failure` is the first of
    these, with its line, and `warn` hears of it.
    """

    def __init__(
        self, rule: str, settings: Mapping[str, Any], base: Path, pool: Pool, warn: Warn
    ) -> None:
        path, found, self.takes = named_function(rule, base, settings)
        self.rule, self.failure, self._warn = rule, "", warn
        self._place = f"{path.name}:{line_of(found)}"
        name, how = rule.rpartition(":")[2], json.dumps(dict(settings), default=str)
        place = (str(path), name) if is_own(rule) else (found.__module__, found.__name__)
        self.pool, pool.rule = pool, ("function", *place, how)

    async def reward(self, tree: Tree, leaf: int, answer: Any, text: str) -> Judgement:
        """Its verdict on an answer. Raises `NoVerdict` and `ScoreError`."""
        try:
            return self._read(await self.pool.ask(self._request(tree, leaf, answer, text)))
        except NoVerdict as reason:
            self._told(reason)
            raise

    def reward_now(self, tree: Tree, leaf: int, answer: Any, text: str) -> Judgement:
        """As `reward`, without a loop of events."""
        try:
            return self._read(self.pool.ask_now(self._request(tree, leaf, answer, text)))
        except NoVerdict as reason:
            self._told(reason)
            raise

    def _request(self, tree: Tree, leaf: int, answer: Any, text: str) -> dict[str, Any]:
        known: dict[str, Any] = {"task": tree.task, "answer": answer, "leaf": leaf, "text": text}
        known[NODES] = [leaf]
        known |= {name: to_json(tree) for name in ("tree", "calls") if name in self.takes}
        return {"given": {name: known[name] for name in self.takes}, "leaf": leaf}

    def _read(self, found: Any) -> Judgement:
        if not isinstance(found, dict) or not found.keys() & {"error", "reward"}:
            self._told(broken := NoVerdict("crashes"))  # it wrote among the answers itself
            raise broken
        if "error" in found:
            self.fail(f"reward {self.rule}: {found['error']}")
            raise NoVerdict("errors")
        return Judgement(found["reward"], found.get("figures", {}))

    def _told(self, reason: NoVerdict) -> None:
        if reason.kind != "errors":
            late = f"no reward in {self.pool.seconds:g} s (reward.seconds)"
            why = late if reason.kind == "timeouts" else "its process died"
            self.fail(f"reward {self.rule}: {why} ({self._place})")

    def fail(self, failure: str) -> None:
        """Keep and tell the first failure."""
        if not self.failure:
            self.failure = failure
            self._warn(f"{failure}: no reward; later ones are only counted")
