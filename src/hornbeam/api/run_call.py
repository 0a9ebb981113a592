"""Runs a job for a call from Python: its folder, the files given to it, progress, Ctrl-C."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any, TypeVar

from rich.console import Console

from hornbeam.api.loop_thread import outside_loop
from hornbeam.api.python_recipe import PythonRecipe
from hornbeam.arguments import wrong
from hornbeam.assembly.progress import Progress
from hornbeam.errors import ArgumentError
from hornbeam.files.paths import GIVEN_FILES
from hornbeam.own.given_objects import GIVEN
from hornbeam.own.object_names import origin
from hornbeam.own.own_code import check_not_loading
from hornbeam.recipe.recipe import Recipe

T = TypeVar("T")
Job = Callable[[Recipe, Path, Progress], T]  # recipe, the folder of its files, who is told


def run_folder(job: str, out: Any, asked: PythonRecipe) -> Path:
    """The run folder of a job: `out`, or runs / the program's name."""
    if out is not None:
        return folder_given(f"hornbeam.{job}: out", out)
    file, _, name = asked.recipe.program.name.rpartition(":")
    name = name.rpartition("_")[0] if file == GIVEN else name
    return Path("runs") / f"{name}{'' if job == 'train' else f'-{job}'}"


def folder_given(where: str, out: Any) -> Path:
    """The folder that an argument names. `ArgumentError` where it is none."""
    if not isinstance(out, (str, Path)):
        raise wrong(where, "a folder", out)
    if Path(out).is_file():
        raise ArgumentError(f"{where} = {str(out)!r} is a file: name a folder")
    return Path(out)


def run_job(job: Job[T], asked: PythonRecipe, folder: Path | None, progress: bool) -> T:
    """What the job gives, with the files of its recipe in its folder (a passing one, if None).

    Ctrl-C is told in one line, and raised.
    """
    check_not_loading("a job of hornbeam")
    if asked.recipe.workers.kind != "local" and GIVEN in str(asked.data):
        raise ArgumentError(
            f"workers.kind = {asked.recipe.workers.kind!r}: other processes cannot load what stands"
            " in no file: define program, tools and rewards in one, and import them"
        )
    seen = Progress(Console(quiet=not progress))
    for name in _threaded(asked.data.get("reward")):
        seen.say(
            f"Reward {name.rpartition('_')[0]} stands in no file that can be loaded: it runs in a"
            " thread, which goes on where it hangs"
        )

    def held() -> T:
        with _files(asked, folder) as base:
            return job(asked.at(base), base.resolve(), seen)

    try:
        return outside_loop(held)
    except KeyboardInterrupt:
        seen.end()
        seen.say("Stopped. What was grown is kept: the same call goes on from here.")
        raise


def _threaded(section: Any) -> Iterator[str]:
    """Names of given functions in a section that no process can load."""
    if isinstance(section, str) and section.startswith(f"{GIVEN}:"):
        name = section.rpartition(":")[2]
        if origin(name)[0] == GIVEN:
            yield name
    elif isinstance(section, (Mapping, list)):
        for each in section.values() if isinstance(section, Mapping) else section:
            yield from _threaded(each)


@contextmanager
def _files(asked: PythonRecipe, folder: Path | None) -> Iterator[Path]:
    """The folder of a recipe with its files; they go with a run that did not begin."""
    if folder is None:
        with tempfile.TemporaryDirectory() as scratch:
            asked.write_files(Path(scratch))
            yield Path(scratch)
        return
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    asked.write_files(folder)
    try:
        yield folder
    except BaseException:
        if not (folder / "run.db").exists():
            rmtree(folder / GIVEN_FILES, ignore_errors=True)
            with suppress(OSError):  # it holds something else
                for path in new:
                    path.rmdir()
        raise
