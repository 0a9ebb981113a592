"""Teachers of on-policy distillation: the models that `loss.distill.teacher` names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.assembly.endpoints import folder_of
from hornbeam.assembly.judges import content
from hornbeam.errors import ModelError, RecipeError
from hornbeam.models import catalogue
from hornbeam.recipe.recipe import Recipe

if TYPE_CHECKING:
    from hornbeam.assembly.policies import Policies
    from hornbeam.train.distillation import Teacher


def names(recipe: Recipe) -> list[str]:
    """The teachers of all policies that learn, each once."""
    losses = [recipe.of(name).loss for name in recipe.names]
    return list(dict.fromkeys(loss.distill.teacher for loss in losses if loss.distill))


def check_names(recipe: Recipe) -> None:
    """Raise `RecipeError` or `ModelError` for teachers that cannot be; nothing is fetched."""
    for name in names(recipe):
        if name.startswith(("http://", "https://")):
            raise RecipeError(
                f"loss.distill.teacher = {name!r}: a server does not tell the log-probs of tokens"
                " that others sampled: name a known model or a folder"
            )
        if wrong := catalogue.misnamed(name, recipe.base):
            raise ModelError(f"loss.distill.teacher = {name!r}: {wrong}")
        catalogue.check(recipe.folder(name))


def fetch_teachers(recipe: Recipe, say: catalogue.Say) -> None:
    """Pull the teachers that are not here, or raise `ModelError` where nobody has one."""
    for name in names(recipe):
        catalogue.obtain(recipe.folder(name), say)


def teacher_for(recipe: Recipe, device: str) -> Teacher | None:
    """The teacher in the loss of one policy's recipe; its weights are read when it first reads.

    Those of one folder are shared.
    """
    how = recipe.loss.distill
    if how is None:
        return None
    from hornbeam.train import weights
    from hornbeam.train.distillation import Teacher

    def folder() -> Path:
        return folder_of(how.teacher, recipe.base)

    def load() -> Any:
        return weights.load(folder())[0].to(device)

    key = (recipe.folder(how.teacher).absolute(), device)
    return Teacher(load, how.teacher, recipe.optim, key, lambda: content(folder()))


def check_teachers(recipe: Recipe, policies: Policies) -> None:
    """Raise `ModelError` where a teacher is not here, or its tokenizer gives a policy's other ids.

    It may know more tokens, and its chat template is not read.
    """
    from transformers import AutoTokenizer

    for member in policies:
        how = recipe.of(member.name).loss.distill
        if how is None:
            continue
        folder = folder_of(how.teacher, recipe.base)
        catalogue.check_folder(folder)
        with catalogue.reading(f"{folder}: the tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(folder, **catalogue.AS_DATA)
        known = tokenizer.get_vocab()
        own = member.policy.tokenizer.get_vocab()
        other = next((token for token, number in own.items() if known.get(token) != number), None)
        if other is not None:
            said = f"is {known[other]}" if other in known else "is none"
            raise ModelError(
                f"loss.distill.teacher = {how.teacher!r}: its tokenizer is another than the"
                f" policy's: {other!r} is token {own[other]}, and {said} of the teacher's; name a"
                " model of the same family"
            )
