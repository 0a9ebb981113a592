"""Trained judges as guides: asked as the recipe that trained them asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hornbeam import config, models
from hornbeam.errors import RecipeError
from hornbeam.score.judge import JudgeGuide, VerdictSettings
from hornbeam.settings import build


def judge_folder(name: str) -> Path:
    """The folder of a judge: a path, or a known model."""
    return Path(name).expanduser() if Path(name).expanduser().exists() else models.resolve(name)


def judge_settings(given: Mapping[str, Any], folder: Path | None = None) -> VerdictSettings:
    """Settings of a judge, on top of those of the run that made the folder where it trained one.

    Raises `RecipeError` for what cannot be.
    """
    values = {**(trained(folder) if folder else {}), **given}
    return build("guide", {"judge": VerdictSettings}, "judge", values)


def trained(folder: Path) -> dict[str, Any]:
    """What the recipe beside a run's final weights says of how its judge is asked; {} if nothing.

    The texts are those of its program, `max_tokens` that of its agent.
    """
    path = folder.resolve().parent / "recipe.toml"
    if folder.name != "final" or not path.is_file():
        return {}
    recipe = config.read_toml(path)
    program = dict(recipe.get("program", {}))
    if program.pop("name", None) != "judge":
        return {}
    agent = recipe.get("agents", {}).get(program.pop("agent", "judge"), {})
    return {**{k: agent[k] for k in ("max_tokens",) if k in agent}, **program}


def load_judge(
    folder: Path, settings: VerdictSettings, column: str = "judge", device: str = "cpu"
) -> JudgeGuide:
    """The guide with an engine of its own. Raises `ModelError` where the model is unfit."""
    from hornbeam.chat import TemplateChat
    from hornbeam.engine.local import LocalEngine
    from hornbeam.train import weights

    model, tokenizer = weights.load(folder)
    chat = TemplateChat(tokenizer, str(folder))
    engine = LocalEngine(model.to(device).eval(), chat, deterministic=True)
    return JudgeGuide(engine, settings, column)


def check_judge(where: str, given: Mapping[str, Any]) -> None:
    """Raise `RecipeError` where a guide's table is no judge's."""
    values = dict(given)
    if not isinstance(values.pop("model", None), str):
        raise RecipeError(f"{where}: model: the folder of a judge is wanted")
    try:
        judge_settings(values)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error
