"""Whose anchors they are: the settings of a recipe, and the mark of a reference or a teacher.

A *mark* tells what an anchor is of: the weights, the program with its tools and limits, how agents
sample, what is rewarded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hornbeam.assembly.endpoints import folder_of, identity, template_marks
from hornbeam.assembly.engines import AWAY
from hornbeam.assembly.judges import content
from hornbeam.assembly.plan import Plan
from hornbeam.assembly.task_records import mark_of
from hornbeam.assembly.teacher import endpoint
from hornbeam.episode.program import Limits
from hornbeam.errors import RecipeError
from hornbeam.own.own_code import OWN
from hornbeam.own.own_parts import code_mark
from hornbeam.recipe.recipe import ModelSettings, Recipe
from hornbeam.recipe.sections import AnchorSection


def mark_of_reference(recipe: Recipe, plan: Plan, folder: Path, served: Sequence[Any] = ()) -> str:
    """What tells anchors apart: weights, chat, program and tools, agents, limits, rewards.

    Of weights that a server holds, `served` are its address and its name for them.
    """
    data = recipe.model_dump(mode="json")
    sections = {name: data[name] for name in ("program", "tools", "agents", "limits", "reward")}
    for name in ("seconds", "workers"):  # of the checker: how long it may take, not what it says
        sections["reward"].pop(name)
    if sections["limits"]["rewards"] == Limits().rewards:  # as before there was this limit
        sections["limits"].pop("rewards")
    if not recipe.reward.parts:  # as before there were any
        sections["reward"].pop("parts")
    weights = list(served) or content(folder) or str(folder.resolve())
    own = template_marks(recipe)
    for table in recipe.reward.own.values():
        own += code_mark(table.rule, plan.base)
    for agent in recipe.agents.values():
        own += code_mark(agent.segment.by, plan.base) if agent.segment else []
    return mark_of([weights, _chat(folder), sections, *_sources(plan), *own])


def _chat(folder: Path) -> list[str]:
    """The files of a model's folder that say how it is talked to."""
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    return [(folder / name).read_text("utf-8") for name in names if (folder / name).is_file()]


def _sources(plan: Plan) -> list[str]:
    """The text of the files that program and tools were loaded from."""
    found = []
    for function in (plan.program, *plan.tools.values()):
        inner = getattr(function, "func", function)
        module = sys.modules.get(getattr(inner, "__module__", None) or "")
        if module is not None and module.__name__.startswith(OWN):
            found.append(Path(str(module.__file__)).read_text(encoding="utf-8"))
    return found


def settings(recipe: Recipe) -> AnchorSection:
    """The recipe's anchors. Raises `RecipeError` where nobody could say whose they are."""
    how = recipe.anchor or AnchorSection()
    if len(recipe.names) > 1:
        raise RecipeError(
            f"[anchor]: anchors are of one policy, and [policies] has {', '.join(recipe.names)}:"
            " leave one of the two sections out"
        )
    if recipe.sft is not None and not how.model:
        raise RecipeError(
            "anchor.model: the recipe has a warm start, and the policy after it is the reference:"
            " train it with run.steps = 0 and name its folder, as runs/NAME/final"
        )
    return _found(how, recipe)


def _found(how: AnchorSection, recipe: Recipe) -> AnchorSection:
    """The settings with the folders that lie beside the recipe."""

    def place(name: str) -> str:
        return str(recipe.folder(name)) if name and "://" not in name else name

    end = dict(how.endpoint)
    if isinstance(end.get("tokenizer"), str):
        end["tokenizer"] = place(end["tokenizer"])
    found = {"model": place(how.model), "teacher": place(how.teacher), "endpoint": end}
    return how.model_copy(update=found)


def check_own(recipe: Recipe, how: AnchorSection) -> None:
    """Raise `RecipeError` where a server's weights would speak, and not those that are trained."""
    kind = recipe.engine.kind
    if kind == "chat" or (kind in AWAY and how.teacher):
        why = "what its teacher says is scored by it" if kind != "chat" else "a server's are others"
        raise RecipeError(
            f'engine.kind = "{kind}": anchors are of the policy that is trained, and {why}: take'
            ' kind = "local" or "vllm" for `hornbeam anchor`'
        )


def reference(recipe: Recipe) -> Recipe:
    """The recipe of the reference policy: its model, no adapters."""
    how = settings(recipe)
    changed: dict[str, Any] = {"lora": None}
    if how.model:
        changed["model"] = ModelSettings(name=str(folder_of(how.model)))
    return recipe.model_copy(update=changed)


def reference_mark(recipe: Recipe, plan: Plan, base: Path) -> str:
    """The mark of the recipe's reference policy; `base` is the folder of the recipe's own model."""
    return mark_of_reference(recipe, plan, _own(settings(recipe), base))


def teacher_mark(recipe: Recipe, plan: Plan, base: Path) -> str:
    """The mark of the recipe's teacher, "" where it has none; `base` as in `reference_mark`."""
    how = settings(recipe)
    if not how.teacher:
        return ""
    server = endpoint(how)
    if server is None:
        return mark_of_reference(recipe, plan, folder_of(how.teacher))
    folder = folder_of(server.tokenizer) if server.tokenizer else _own(how, base)
    return mark_of_reference(recipe, plan, folder, identity(server))


def _own(how: AnchorSection, base: Path) -> Path:
    return folder_of(how.model) if how.model else base
