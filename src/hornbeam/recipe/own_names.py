"""What of a recipe is named out of files of Python code ("mine.py:name"), by its key."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from hornbeam.gateway.agent_settings import AgentCommand
from hornbeam.own.given_objects import is_given
from hornbeam.own.own_parts import is_own
from hornbeam.recipe.recipe import Recipe
from hornbeam.settings import led_by

CODE = "Code of this recipe that runs: "


def held_names(recipe: Recipe, guides: Collection[str] = ()) -> dict[str, str]:
    """Own names that a run is told apart by: their files must be as they were when it goes on.

    `guides` are those whose columns it reads.
    """
    names = {"program.name": recipe.program.name}
    names |= {f"tools.{name}.use": choice.use for name, choice in recipe.tools.items()}
    names["world.kind"] = recipe.world.kind
    names |= {f"{place}.rule": table.rule for place, table in recipe.reward.own.items()}
    names["grow.strategy"] = recipe.grow.strategy
    names["credit.method"], names["state.key"] = recipe.credit.method, recipe.state.key
    for policy in recipe.names:
        loss = recipe.of(policy).loss
        place = f"policies.{policy}.loss" if policy else "loss"
        names[f"{place}.objective"] = loss.objective
        names |= {f"{place}.terms.{n}.use": term.use for n, term in enumerate(loss.terms)}
    for name, agent in recipe.agents.items():
        if agent.segment is not None:
            names[f"agents.{name}.segment.by"] = agent.segment.by
    for part in ("train", "eval"):
        for number, source in enumerate(getattr(recipe.tasks, part)):
            names[f"tasks.{part}.{number}.source"] = source.source
    names |= {f"guides.{column}.kind": recipe.guides[column].kind for column in guides}
    return {key: name for key, name in names.items() if is_own(name)}


def command_files(recipe: Recipe, base: Path) -> dict[str, Path]:
    """The files of an agent's command by name, held in the same way."""
    command = recipe.program.rest().get("command", "")
    if recipe.program.name != "agent" or not isinstance(command, str):
        return {}
    given = recipe.program.rest()
    more = {key: given[key] for key in ("folder", "test") if isinstance(given.get(key), str)}
    return AgentCommand(command=command, **more).beside(base).files()


def template_names(recipe: Recipe) -> dict[str, str]:
    """The chat templates that stand in place of the models' own, held in the same way."""
    names = {"model.chat_template": recipe.model.chat_template}
    names |= {f"policies.{n}.chat_template": p.chat_template for n, p in recipe.policies.items()}
    return {key: name for key, name in names.items() if name}


def own_names(recipe: Recipe) -> dict[str, str]:
    """All own names, those of methods and labels too, whose trees say which code grew them."""
    names = {"label.strategy": recipe.label.strategy, "label.chunk_label": recipe.label.chunk_label}
    names["chunks.segment.by"] = recipe.chunks.segment.by
    for method in recipe.search.methods:
        names[f"search.methods.{method.name}.strategy"] = method.strategy
        names[f"search.methods.{method.name}.choose"] = method.choose
    for name, section in recipe.serve.items():
        names[f"serve.{name}.strategy"] = section.strategy
        names[f"serve.{name}.choose"] = section.choose
    return held_names(recipe, recipe.guides) | {
        key: name for key, name in names.items() if is_own(name)
    }


def code_line(recipe: Recipe) -> str:
    """What of a recipe runs as code: files by name, and commands; "" where nothing does."""
    given = recipe.program.rest()
    names = own_names(recipe).values()
    parts = [name.rpartition(":")[0] or name for name in names if not is_given(name)]
    parts += [str(given[key]) for key in ("command", "test", "environment") if given.get(key)]
    parts += [str(mcp) for tool in recipe.tools.values() if (mcp := tool.rest().get("mcp"))]
    return CODE + ", ".join(dict.fromkeys(parts)) if parts else ""


def check_code(recipe: Recipe, base: Path) -> None:
    """`RecipeError` or `ProgramError` where a function that cuts answers, or of a loss, is unfit.

    Other own code is looked at as what it is of is made.
    """
    segments = {f"agents.{name}.segment": a.segment for name, a in recipe.agents.items()}
    for key, segment in {**segments, "chunks.segment": recipe.chunks.segment}.items():
        if segment is not None:
            with led_by(key):
                segment.beside(base)
    for name in recipe.names:
        with led_by(f"policies.{name}.loss" if name else "loss"):
            recipe.of(name).loss.beside(base)
