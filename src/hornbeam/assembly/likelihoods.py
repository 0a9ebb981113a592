"""Guides by log-probs: their settings, and the second models that log-ratios are taken to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hornbeam.assembly.endpoints import folder_of
from hornbeam.assembly.judges import content
from hornbeam.errors import ModelError, RecipeError
from hornbeam.recipe.recipe import Recipe
from hornbeam.score.likelihood import LikelihoodGuide
from hornbeam.score.log_ratio import LogRatioGuide
from hornbeam.settings import digest

BY_CHUNK = ("last", "lowest")


class Likelihoods:
    """Makes the guides of a recipe; those of one folder share its model.

    `tokenizer` is that of the model which grows the trees, None where that is not known.
    """

    def __init__(self, recipe: Recipe, tokenizer: Any) -> None:
        self._base, self._device, self._tokenizer = recipe.base, recipe.run.device, tokenizer
        # Greedy samples tell their log-probs at temperature 1.
        self._temperatures = {n: a.temperature or 1.0 for n, a in recipe.agents.items()}
        self._models: dict[str, Any] = {}

    def mark(self, model: str) -> str:
        """What tells the values by a model from those by another one."""
        return digest([content(folder_of(model, self._base)), self._temperatures])

    def likelihood(self, column: str, settings: Mapping[str, Any]) -> LikelihoodGuide:
        """The policy's own."""
        return LikelihoodGuide(column, **settings)

    def log_ratio(self, column: str, settings: Mapping[str, Any]) -> LogRatioGuide:
        """A guide by its settings. Raises `ModelError` where its model reads other ids."""
        from hornbeam.train.token_reader import TokenReader
        from hornbeam.train.value_files import fingerprint

        given = dict(settings)
        folder = folder_of(given.pop("model"), self._base)
        key = str(folder.resolve())
        if key not in self._models:
            self._models[key] = TokenReader.load(folder, self._device)
        model, grows = self._models[key], self._tokenizer
        if grows is not None and fingerprint(model.tokenizer) != fingerprint(grows):
            raise ModelError(
                f"guides.{column}: {model.name} reads with another tokenizer than the model's that"
                " grows the trees: its ids mean other words; name a model of the same family"
            )
        return LogRatioGuide(model, column, **given, temperatures=self._temperatures)


def check_likelihood(where: str, kind: str, given: Mapping[str, Any]) -> None:
    """Raise `RecipeError` for a second model, a chunk or a scale that cannot be."""
    if kind == "log_ratio" and not isinstance(given.get("model"), str):
        raise RecipeError(
            f"{where}: model: the folder of the policy's reference, or of a second model, is"
            " expected"
        )
    join, chunk, scale = given.get("join"), given.get("chunk"), given.get("scale", 1.0)
    if chunk is not None and (type(chunk) is not int or chunk < 1):
        raise RecipeError(f"{where}: chunk = {chunk!r}: a number of tokens, 1 or more, is expected")
    if (join in BY_CHUNK) != (chunk is not None):
        listed = " or ".join(map(repr, BY_CHUNK))
        raise RecipeError(
            f"{where}: join = {join!r} is over chunk = N tokens: set chunk"
            if chunk is None
            else f"{where}: chunk is of join = {listed}: set one of them, or leave chunk out"
        )
    if type(scale) not in (int, float) or not 0 < scale < math.inf:
        raise RecipeError(f"{where}: scale = {scale!r}: a number above 0 is expected")
