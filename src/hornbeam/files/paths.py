"""Where a file or folder that a recipe names lies: one rule for all of them.

Beside the recipe first, then from the working directory, then where else its kind is looked for
(files of tasks and passages: in the data directory). What a command line names is meant from the
working directory; where a run writes is too.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from hornbeam.errors import DataError

LISTED = 8  # names of folders in a message
GIVEN_FILES = "given"  # folder beside a recipe: tasks that were given to it from Python


def find(name: str | Path, base: Path = Path(), *more: Path | None, folder: bool = False) -> Path:
    """The file (or `folder`) of that name, `base` being the recipe's own folder.

    Where there is none the name itself, for messages and for names that are no paths.
    """
    path = Path(name).expanduser()
    for each in _places(base, more):
        there = each / path
        if there.is_dir() if folder else there.exists() and not there.is_dir():
            return there
    return path


def missing(name: str | Path, base: Path = Path(), *more: Path | None, folder: bool = False) -> str:
    """In words that nothing of that name is there, where it was looked for and what is near."""
    path, near, there_are = Path(name).expanduser(), "", list[str]()
    for each in _places(base, more):
        there = (each / path).parent
        if not near and there.is_dir():
            names = [item.name for item in there.iterdir() if item.is_dir() or not folder]
            near = next(iter(get_close_matches(path.name, names, n=1)), "")
            there_are = there_are or sorted(each for each in names if each[0] != ".")
    kind = "folder" if folder else "file"
    looked = dict.fromkeys(str((each / path).parent.resolve()) for each in _places(base, more))
    text = f"no such {kind} in {' or '.join(looked)}"
    if near:
        return f"{text}; did you mean {str(path.with_name(near))!r}?"
    shown = [*there_are[:LISTED], *(["..."] if there_are[LISTED:] else [])]
    return text + (f" (there are: {', '.join(shown)})" if folder and shown else "")


def check_file(path: str | Path, remedy: str = "") -> Path:
    """The file that a command line names. `DataError` where it is a folder, or is not there."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        return path
    text = "is a folder, a file is expected" if path.is_dir() else missing(path)
    sign = " " if text.endswith("?") else ": "
    raise DataError(f"{path}: {text}{sign + remedy if remedy else ''}")


def _places(base: Path, more: tuple[Path | None, ...]) -> list[Path]:
    return [base, Path(), *(each for each in more if each is not None)]
