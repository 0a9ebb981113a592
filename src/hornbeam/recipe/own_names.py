"""What of a recipe is named out of files of Python code ("mine.py:name"), by its key."""

from __future__ import annotations

from hornbeam.own.own_parts import is_own
from hornbeam.recipe.recipe import Recipe


def held_names(recipe: Recipe) -> dict[str, str]:
    """Own names that a run is told apart by: their files must be as they were when it goes on."""
    names = {"program.name": recipe.program.name}
    names |= {f"tools.{name}.use": choice.use for name, choice in recipe.tools.items()}
    names |= {f"{place}.rule": table.rule for place, table in recipe.reward.own.items()}
    names["grow.strategy"] = recipe.grow.strategy
    names["credit.method"] = recipe.credit.method
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
    return {key: name for key, name in names.items() if is_own(name)}


def own_names(recipe: Recipe) -> dict[str, str]:
    """All own names, those of methods and labels too, whose trees say which code grew them."""
    names = {"label.strategy": recipe.label.strategy, "label.chunk_label": recipe.label.chunk_label}
    names["chunks.segment.by"] = recipe.chunks.segment.by
    for method in recipe.search.methods:
        names[f"search.methods.{method.name}.strategy"] = method.strategy
        names[f"search.methods.{method.name}.choose"] = method.choose
    return held_names(recipe) | {key: name for key, name in names.items() if is_own(name)}
