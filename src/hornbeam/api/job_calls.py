"""The jobs of recipes as functions: each is given what a recipe says, and gives what it found.

Each is the very job of the command of its name: it keeps its run folder, page and ledger, and goes
on where it was stopped when it is called again with the same `out`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any, TypeVar, Unpack

from rich.console import Console

from hornbeam.api.job_results import TrainResult
from hornbeam.api.loop_thread import outside_loop
from hornbeam.api.python_recipe import PythonRecipe, Sections, recipe_from
from hornbeam.arguments import wrong
from hornbeam.assembly.progress import Progress
from hornbeam.errors import ArgumentError, RecipeError
from hornbeam.files.atomic import whole_file
from hornbeam.files.paths import GIVEN_FILES
from hornbeam.own.given_objects import GIVEN
from hornbeam.own.object_names import file_name, why_no_file
from hornbeam.recipe import toml
from hornbeam.recipe.recipe import Recipe

T = TypeVar("T")


def train(
    program: Any,
    tasks: Any,
    *,
    model: Any = None,
    reward: Any = None,
    strategy: Any = None,
    credit: Any = None,
    tools: Any = None,
    eval_tasks: Any = None,
    out: str | Path | None = None,
    progress: bool = True,
    **sections: Unpack[Sections],
) -> TrainResult:
    """Train by a recipe made of these arguments (docs/python.md): `hornbeam train` from Python.

    Sections of a recipe are arguments, as dicts or settings; `strategy` is [grow], `steps` and
    `seed` are of [run]. `out` is the run folder, "runs/NAME" by default: a call with the same goes
    on where it was stopped. Works inside a running event loop too, as notebooks have one.
    """
    from hornbeam.jobs.preparation import threads
    from hornbeam.jobs.train.train_job import check_recipe, ready
    from hornbeam.jobs.train.train_job import train as train_here

    given = _named(program, tasks, model, reward, strategy, credit, tools, eval_tasks, sections)
    asked = recipe_from("hornbeam.train", given)
    folder = _folder("train", out, asked)

    def job(recipe: Recipe, base: Path, seen: Progress) -> TrainResult:
        check_recipe(recipe, base)
        made = ready(recipe, base, folder, None, seen, seen.say)
        assert made is not None
        threads(recipe.run.threads)
        return TrainResult.of(folder, train_here(recipe, made, folder, seen))

    return _run(job, asked, folder, progress)


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
    given = _named(program, tasks, model, reward, strategy, credit, tools, eval_tasks, sections)
    base = None if path is None else Path(path).resolve().parent
    asked = recipe_from("hornbeam.recipe_of", given, base, _by_file)
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


def _named(*values: Any) -> dict[str, Any]:
    """The arguments that calls share, by their names, and the sections."""
    names = ("program", "tasks", "model", "reward", "strategy", "credit", "tools", "eval_tasks")
    return {**dict(zip(names, values)), **values[len(names)]}


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


def _folder(job: str, out: Any, asked: PythonRecipe) -> Path:
    """The run folder of a job."""
    if out is not None:
        if not isinstance(out, (str, Path)):
            raise wrong(f"hornbeam.{job}: out", "a folder", out)
        return Path(out)
    name = asked.recipe.program.name.rpartition(":")[2].rpartition("_")
    plain = name[0] if asked.recipe.program.name.startswith(GIVEN) else name[0] + name[1] + name[2]
    return Path("runs") / f"{plain}{'' if job == 'train' else f'-{job}'}"


def _run(
    job: Callable[[Recipe, Path, Progress], T], asked: PythonRecipe, folder: Path, progress: bool
) -> T:
    """Run a job with the folder that its recipe's files lie in; Ctrl-C is told in one line."""
    if asked.recipe.workers.kind != "local" and GIVEN in str(asked.data):
        raise ArgumentError(
            f"workers.kind = {asked.recipe.workers.kind!r}: other processes cannot load what stands"
            " in no file: define program, tools and rewards in one, and import them"
        )
    seen = Progress(Console(quiet=not progress))

    def held() -> T:
        with _files(asked, folder):
            return job(asked.at(folder), folder.resolve(), seen)

    try:
        return outside_loop(held)
    except KeyboardInterrupt:
        seen.say("Stopped. What was grown is kept: the same call goes on from here.")
        raise


@contextmanager
def _files(asked: PythonRecipe, folder: Path) -> Iterator[None]:
    """The files of a recipe in its folder; they go with a run that did not begin."""
    if folder.is_file():
        raise ArgumentError(f"out = {str(folder)!r} is a file: name a folder")
    asked.write_files(folder)
    try:
        yield
    except BaseException:
        if not (folder / "run.db").exists() and asked.files:
            rmtree(folder / GIVEN_FILES, ignore_errors=True)
            with suppress(OSError):  # it holds something else
                folder.rmdir()
        raise
