"""Models of a recipe: the folders that they lie in, and the policies that are read from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hornbeam.assembly.engines import needs_folder
from hornbeam.errors import RecipeError
from hornbeam.models import catalogue
from hornbeam.recipe.recipe import Recipe

if TYPE_CHECKING:  # they import torch: a recipe is read and checked without it
    from hornbeam.assembly.policies import MakeEngine, Policies

Say = Callable[[str], None]
Load = Callable[[Recipe, Path, Say, "MakeEngine | None"], "Policies"]


def model_folder(recipe: Recipe, folder: Path, say: Say) -> Path:
    """Where the model of a recipe lies; a tiny one is made into `folder`, others may be pulled."""
    if recipe.model.name != "tiny":
        if recipe.model.options:
            raise RecipeError("model.options are settings of the model 'tiny' only")
        return catalogue.obtain(recipe.folder(recipe.model.name), say)
    if not (folder / "tokenizer_config.json").is_file():
        from hornbeam.models import tiny_model

        part = folder.with_name(f".{folder.name}.part")  # what a killed run leaves is no model
        for left in (part, folder):
            shutil.rmtree(left, ignore_errors=True)
        tiny_model.make(part, recipe.run.seed, **recipe.model.options).rename(folder)
    return folder


def model_folders(recipe: Recipe, folder: Path, say: Say) -> dict[str, Path]:
    """Where the model of each policy lies; those without one of their own share the recipe's."""
    out = {}
    for name in recipe.names:
        own = recipe.policies[name].model if name in recipe.policies else ""
        place = folder.with_name(f"{folder.name}-{name}") if own else folder
        out[name] = model_folder(recipe.of(name), place, say)
    return out


def load_policies(
    recipe: Recipe, folder: Path, say: Say, make_engine: MakeEngine | None = None
) -> Policies:
    """The policies with their losses, optimisers and adapters; `folder` is for tiny models."""
    from hornbeam.assembly.policies import Policies

    here = make_engine is not None or needs_folder(recipe)
    return Policies(recipe, model_folders(recipe, folder, say) if here else {}, make_engine)


def say_templates(policies: Policies, say: Say) -> None:
    """A line for each chat template: what it does with a conversation."""
    for line in dict.fromkeys(chat.about() for chat in policies.chats.values()):
        say(line)


def bf16_is_slow(recipe: Recipe) -> bool:
    """Whether the recipe asks for bfloat16 on a processor that has no instructions for it."""
    import torch

    return recipe.optim.bf16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
