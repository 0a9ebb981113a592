"""The guides of a recipe, made when they are first needed: fitted models, likelihood, mixtures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hornbeam.assembly.endpoints import folder_of
from hornbeam.assembly.fitted_models import FittedModels, only_in_training
from hornbeam.assembly.judges import JudgeModel, check_judge, judge_settings
from hornbeam.assembly.likelihoods import Likelihoods, check_likelihood
from hornbeam.errors import RecipeError
from hornbeam.own.own_parts import Base, Named, code_mark, find_part
from hornbeam.protocols import Guide
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import GuideSection
from hornbeam.score.ensemble import EnsembleGuide
from hornbeam.score.judge_guide import JudgeGuide, VerdictSettings, open_judges
from hornbeam.score.own_guide import OwnGuide, checked
from hornbeam.settings import build, digest, led_by, nearest
from hornbeam.train.train_settings import HeadSettings

TAKES = {
    "prm": {"model"},
    "orm": {"model"},
    "value_head": {*HeadSettings.model_fields},
    "judge": {"model", "endpoint", *VerdictSettings.model_fields},
    "likelihood": {"over", "join", "chunk", "scale"},
    "log_ratio": {"model", "over", "join", "chunk", "scale"},
    "sum": {"parts"},
    "product": {"parts"},
}
OPTIONS = {"over": ("path", "step"), "join": ("mean", "sum", "last", "lowest")}  # of likelihoods


class Guides:
    """Guides by column. `columns` are those that will be needed; their models are loaded at once.

    `tokenizer` is that of the model which grows the trees, None where that is not known. `heads`
    are the models of value heads that are fitted meanwhile, by column.

    Raises `RecipeError` for what cannot be, `ModelError` for a model that is missing or was fitted
    on another tokenizer.
    """

    def __init__(
        self,
        recipe: Recipe,
        columns: Iterable[str],
        tokenizer: Any,
        heads: Mapping[str, Any] | None = None,
    ) -> None:
        self._sections, self._base = recipe.guides, recipe.base
        self._likelihoods = Likelihoods(recipe, tokenizer)
        self._fitted = FittedModels(recipe, tokenizer, heads or {})
        for column, choice in recipe.guides.items():
            check_guide(column, choice, recipe)
        self._models: dict[str, Any] = {}
        self.marks: dict[str, str] = {}  # column -> what tells its models from others
        self._device = recipe.run.device
        self._made = {column: self._make(column) for column in self.needed(columns)}

    def __getitem__(self, column: str) -> Guide:
        """The guide that writes this column."""
        return self._made[column]

    def needed(self, columns: Iterable[str]) -> Sequence[str]:
        """These columns and those that they are mixed from, parts first, each once."""
        return with_parts(self._sections, columns)

    async def open(self) -> None:
        """See that judges are there. Raises `EngineError` and `ScoreError` where they are not."""
        await open_judges(self._made.values())

    @property
    def engines(self) -> list[Any]:
        """What speaks for judges."""
        return [guide.engine for guide in self._made.values() if isinstance(guide, JudgeGuide)]

    async def aclose(self) -> None:
        """Give back what all of them hold."""
        for guide in self._made.values():
            await guide.aclose()

    def _make(self, column: str) -> Guide:
        choice = self._sections[column]
        if choice.kind not in TAKES:
            self.marks[column] = digest(code_mark(choice.kind, self._base))
            return OwnGuide(column, own_part(choice, self._base), choice.rest())
        if choice.kind == "likelihood":
            return self._likelihoods.likelihood(column, choice.rest())
        if choice.kind in ("sum", "product"):
            parts = choice.rest()["parts"]
            data = [[self._sections[p].model_dump(), self.marks.get(p, "")] for p in parts]
            self.marks[column] = digest(data)
            return EnsembleGuide(parts, column, "sum" if choice.kind == "sum" else "product")
        if choice.kind == "judge":
            return self._judge(column)
        if choice.kind == "log_ratio":
            self.marks[column] = self._likelihoods.mark(choice.rest()["model"])
            return self._likelihoods.log_ratio(column, choice.rest())
        guide, self.marks[column] = self._fitted.guide(column, choice)
        return guide

    def _judge(self, column: str) -> JudgeGuide:
        """A judge; guides of one folder or server share its engine."""
        given = self._sections[column].rest()
        where = f"guides.{column}.endpoint"
        model = JudgeModel.of(where, given.pop("model"), given.pop("endpoint", {}), self._base)
        settings = judge_settings(given, model.folder)
        self.marks[column] = model.mark(settings.model_dump())
        if model.place not in self._models:
            self._models[model.place] = model.engine(self._device)
        return JudgeGuide(self._models[model.place], settings, column)


def with_parts(choices: Mapping[str, GuideSection], columns: Iterable[str]) -> list[str]:
    """These columns and those that they are mixed from, parts first, each once."""
    out: dict[str, None] = {}
    for column in columns:
        parts = choices[column].rest().get("parts", {})
        out |= dict.fromkeys([*with_parts(choices, parts), column])
    return list(out)


def own_part(choice: GuideSection, base: Base) -> Named:
    """What a guide's kind stands for that is not ready-made."""
    return find_part("guide", choice.kind, TAKES, base)


def check_guides(recipe: Recipe, columns: Iterable[str]) -> None:
    """Raise `ModelError` where the model of a guide that is needed is not here."""
    for column in dict.fromkeys(columns):
        choice = recipe.guides[column]
        settings = choice.rest()
        if choice.kind == "value_head":
            raise only_in_training(column)
        if "model" in TAKES.get(choice.kind, ()) and "://" not in settings["model"]:
            folder_of(settings["model"], recipe.base)
        check_guides(recipe, settings.get("parts", ()))


def check_guide(column: str, choice: GuideSection, recipe: Recipe) -> None:
    """Raise `RecipeError` where a guide's table does not fit its kind."""
    given, takes = choice.rest(), TAKES.get(choice.kind, set())
    where = f"guides.{column}"
    if choice.kind not in TAKES:
        with led_by(where):
            checked(own_part(choice, recipe.base), given, column)
        takes = set(given)
    for key in given:
        if key not in takes:
            raise RecipeError(f"{where}: no setting {key!r}: {nearest(key, {'kind', *takes})}")
    if column == "reward":
        raise RecipeError(f"{where}: column 'reward' is the outcome's; name the guide otherwise")
    if choice.kind in ("prm", "orm") and not isinstance(given.get("model"), str):
        raise RecipeError(
            f"{where}: model: the folder of a model made by `hornbeam fit` is expected"
        )
    if choice.kind == "judge":
        check_judge(where, given)
    for key, known in OPTIONS.items():
        if given.get(key, known[0]) not in known:
            raise RecipeError(f"{where}: {key} = {given[key]!r}: {' or '.join(map(repr, known))}")
    if choice.kind == "value_head":
        build("guide", {where: HeadSettings}, where, given)
    if choice.kind in ("likelihood", "log_ratio"):
        check_likelihood(where, choice.kind, given)
    if choice.kind in ("sum", "product"):
        parts = given.get("parts")
        if not isinstance(parts, dict) or not parts:
            raise RecipeError(f"{where}: parts: a table of columns and weights is expected")
        for part, weight in parts.items():
            if not isinstance(weight, int | float):
                raise RecipeError(f"{where}: parts.{part} = {weight!r}: a number is expected")
            if part not in recipe.guides or recipe.guides[part].kind in ("sum", "product"):
                raise RecipeError(f"{where}: parts.{part}: no such plain guide in the recipe")
