"""The recipe that does what a call from Python does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from hornbeam.api.python_recipe import Sections, recipe_from
from hornbeam.errors import RecipeError
from hornbeam.files.atomic import whole_file
from hornbeam.own.object_names import file_name, why_no_file
from hornbeam.recipe import toml


def recipe_of(
    program: Any = None,
    tasks: Any = None,
    *,
    model: Any = None,
    reward: Any = None,
    strategy: Any = None,
    credit: Any = None,
    tools: Any = None,
    eval_tasks: Any = None,
    path: str | Path | None = None,
    **sections: Unpack[Sections],
) -> str:
    """The recipe, as TOML, that does what `train` does with these arguments; written to `path`.

    Functions and classes stand there as "file.py:name". Raises `RecipeError` of one line for what
    has no place in a recipe: what stands in no file, and a list of tasks without a `path`, beside
    which it is written. A file that is there and says something else is not written over.
    """
    given: dict[str, Any] = {"program": program, "tasks": tasks, "model": model, "reward": reward}
    given |= {"strategy": strategy, "credit": credit, "tools": tools, "eval_tasks": eval_tasks}
    base = None if path is None else Path(path).resolve().parent
    asked = recipe_from("hornbeam.recipe_of", {**given, **sections}, base, _by_file)
    text = toml.to_toml(asked.data)
    if path is None:
        if asked.files:
            name = next(iter(asked.files))
            raise RecipeError(
                f"hornbeam.recipe_of: a list of tasks is a file beside the recipe ({name}): say"
                ' where the recipe is to lie, path="mine.toml"'
            )
        return text
    for name, held in {Path(path).name: text, **asked.files}.items():
        _write(Path(path).parent / name, held)
    return text


def _by_file(thing: Any, base: Path | None) -> str:
    """A name that other processes know. `RecipeError` where there is none."""
    if why := why_no_file(thing):
        raise RecipeError(f"hornbeam.recipe_of: {why}")
    return file_name(thing, base)


def _write(path: Path, text: str) -> None:
    """Write a file that is not there. `RecipeError` where it is, and says something else."""
    if path.is_file() and path.read_text("utf-8") == text:
        return
    if path.exists():
        raise RecipeError(f"hornbeam.recipe_of: {path} is there, and is another: name another path")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as stream:
            stream.write(text)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be written: {error.strerror or error}") from error
