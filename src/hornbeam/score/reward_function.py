"""A reward of one's own: `rule = "mine.py:score"` names a function in a file beside the recipe.

    def score(task, answer): ...        # a number, or None for no reward; or async def

It takes by name what it wants of `WANTS`, and runs in processes that can be killed
(`reward_call`), async ones too: a loop that never awaits ends like one that never returns.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hornbeam.errors import RecipeError
from hornbeam.files import paths
from hornbeam.own.given_objects import is_given, missing_object
from hornbeam.own.own_code import load_module
from hornbeam.score.checker_pool import NoVerdict, Pool
from hornbeam.settings import nearest
from hornbeam.tree.jsonl import to_json
from hornbeam.tree.nodes import Tree

# Task, its program's answer, the grown tree, the leaf's number in it, all calls on the way to the
# leaf, all that was said on the way.
WANTS = ("task", "answer", "tree", "leaf", "calls", "text")

Warn = Callable[[str], None]


def is_function(rule: str) -> bool:
    """Whether a rule is a function of a file."""
    return ":" in rule or rule.endswith(".py")


def to_stderr(line: str) -> None:
    """Where nobody else listens."""
    print(line, file=sys.stderr, flush=True)


def named_function(rule: str, base: Path) -> tuple[Path, Callable[..., Any], tuple[str, ...]]:
    """(its file, the function, what it takes). Raises `RecipeError` or `ProgramError`, one line."""
    file, colon, name = rule.rpartition(":")
    if not colon or not name.isidentifier():
        raise RecipeError(f"reward.rule = {rule!r}: name a function too, as in mine.py:score")
    path = paths.find(file, base)
    wrong = "" if path.is_file() else paths.missing(file, base)
    if wrong := missing_object(rule) if is_given(rule) else wrong:
        raise RecipeError(f"reward.rule = {rule!r}: {wrong}")
    module = load_module(path)
    found = getattr(module, name, None)
    if not inspect.isfunction(found):
        known = [n for n, value in vars(module).items() if inspect.isfunction(value)]
        hint = nearest(name, known) if known else "there is none"
        raise RecipeError(f"reward.rule: {file} has no function {name!r}: {hint}")
    return path.resolve(), found, _taken(f"{file}: {name}", found)


def _taken(here: str, found: Callable[..., Any]) -> tuple[str, ...]:
    """The names of `WANTS` that a function takes; others must have a default."""
    taken = []
    for each in inspect.signature(found).parameters.values():
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue
        if each.name in WANTS and each.kind is not each.POSITIONAL_ONLY:
            taken.append(each.name)
        elif each.default is each.empty:
            hint = nearest(each.name, WANTS)
            raise RecipeError(f"{here} takes {each.name!r}, which a reward is not given: {hint}")
    return tuple(taken)


class RewardFunction:
    """The function that a rule names, called in the processes of a pool.

    `NoVerdict` is raised for what gave no reward: "errors" (it raised, or gave no number),
    "timeouts", "crashes" (its process died); `warn` hears the first one, with its line.
    """

    def __init__(self, rule: str, base: Path, pool: Pool, warn: Warn) -> None:
        path, found, self.takes = named_function(rule, base)
        self.rule, self._warn, self._told = rule, warn, False
        self._place = f"{path.name}:{inspect.unwrap(found).__code__.co_firstlineno}"
        self.pool, pool.rule = pool, ("function", str(path), rule.rpartition(":")[2])

    async def reward(
        self, task: Mapping[str, Any], answer: Any, tree: Tree, leaf: int, text: str
    ) -> float | None:
        """Its reward of a leaf, None where it says so. Raises `NoVerdict` and `ScoreError`."""
        given: dict[str, Any] = {"task": task, "answer": answer, "leaf": leaf, "text": text}
        given = {name: given[name] if name in given else to_json(tree) for name in self.takes}
        try:
            found = await self.pool.ask({"given": given, "leaf": leaf})
        except NoVerdict as reason:
            late = f"no reward in {self.pool.seconds:g} s (reward.seconds)"
            why = late if reason.kind == "timeouts" else "its process died"
            self._tell(f"{why} ({self._place})")
            raise
        if "error" in found:
            self._tell(found["error"])
            raise NoVerdict("errors")
        return None if found["reward"] is None else float(found["reward"])

    def _tell(self, line: str) -> None:
        if not self._told:
            self._told = True
            self._warn(f"reward {self.rule}: {line}: no reward; later ones are only counted")
