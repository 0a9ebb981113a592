"""The value models of guides: fitted before, one loaded once a folder; or while a run trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hornbeam.assembly.endpoints import folder_of
from hornbeam.assembly.judges import content
from hornbeam.errors import ModelError, RecipeError
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import GuideSection
from hornbeam.score.prm import ValueGuide


class FittedModels:
    """Makes the guides of a recipe that read value models.

    `tokenizer` is that of the model which grows the trees, None where that is not known; `heads`
    are the models that are fitted meanwhile, by column.
    """

    def __init__(self, recipe: Recipe, tokenizer: Any, heads: Mapping[str, Any]) -> None:
        self._base, self._device = recipe.base, recipe.run.device
        self._tokenizer, self._heads = tokenizer, heads
        self._models: dict[str, Any] = {}

    def guide(self, column: str, choice: GuideSection) -> tuple[ValueGuide, str]:
        """(a guide, what tells its model from others). Raises `RecipeError` and `ModelError`."""
        if choice.kind == "value_head":
            if column not in self._heads:
                raise only_in_training(column)
            return ValueGuide(self._heads[column], column), ""
        name = choice.rest()["model"]
        at: Any = "steps" if choice.kind == "prm" else "ends"
        return ValueGuide(self._model(column, name), column, at), content(
            folder_of(name, self._base)
        )

    def _model(self, column: str, name: str) -> Any:
        from hornbeam.train.value import ValueModel
        from hornbeam.train.value_files import fingerprint

        folder = folder_of(name, self._base)
        key = str(folder.resolve())
        if key not in self._models:
            model = ValueModel.load(folder, device=self._device)
            if not model.card.objective:
                raise ModelError(
                    f"guides.{column}: {name} is no fitted value model: fit one with `hornbeam fit`"
                )
            if self._tokenizer is not None:
                model.check(fingerprint(self._tokenizer))
            self._models[key] = model
        return self._models[key]


def only_in_training(column: str) -> RecipeError:
    """What is raised where nobody fits a value head."""
    return RecipeError(
        f'guides.{column}: kind "value_head" is fitted while a run trains: name what it wrote, as'
        f' kind = "prm", model = "RUN/checkpoints/step-N/guides/{column}"'
    )
