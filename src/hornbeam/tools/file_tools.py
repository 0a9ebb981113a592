"""Shell-like tools on a folder world: few, with short results, for small models.

Paths are relative to the folder, "attic/ash"; hidden files are not there. What is wrong is one line
for the agent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hornbeam.errors import ToolError
from hornbeam.protocols import Tool

NOTHING = "nothing"  # what is said of an empty result
LONGEST = 4000  # characters of a file that an agent is shown
LONGEST_NAME = 80  # of a path in a message


def ls(world: Any, path: str = ".") -> str:
    """The names in a folder, "/" behind those of folders."""
    place = _place(world, path)
    if not place.is_dir():
        raise ToolError(f"{path} is no folder")
    shown = (each for each in place.iterdir() if not each.name.startswith("."))
    return " ".join(sorted(each.name + "/" * each.is_dir() for each in shown)) or NOTHING


def cat(path: str, world: Any) -> str:
    """The text of a file."""
    return _read(_file(world, path), path)[:LONGEST].strip() or NOTHING


def grep(word: str, world: Any, path: str = ".") -> str:
    """The paths of the files that hold a word, below a folder."""
    if not _place(world, path).exists():
        raise ToolError(f"there is no {path}")
    held = re.compile(_whole(word))
    found = [n for n, file in _files(world, path) if held.search(_read(file, n))]
    return " ".join(found) or NOTHING


def mv(path: str, to: str, world: Any) -> str:
    """Give a file another path, where nothing lies yet."""
    source, target = _file(world, path), _place(world, to)
    if target.exists():
        raise ToolError(f"{to} is there already")
    _within(world, target, to)
    source.rename(target)
    return "ok"


def sub(path: str, old: str, new: str, world: Any) -> str:
    """Put another word for a word of a file, wherever it stands there."""
    place = _file(world, path)
    text, count = re.subn(_whole(old), lambda _: new, _read(place, path))
    if not count:
        raise ToolError(f"{path} holds no {old}")
    place.write_text(text, "utf-8", newline="")
    return "ok"


def write(path: str, text: str, world: Any) -> str:
    """Write a file, in place of the one that is there."""
    place = _place(world, path)
    if place.is_dir():
        raise ToolError(f"{path} is a folder")
    _within(world, place, path)
    place.write_text(text, "utf-8", newline="")
    return "ok"


def folder_state(world: Any) -> str:
    """All files with their texts, a line each, by path: what a task's end is judged by."""
    return "\n".join(f"{name}: {_read(file, name).strip()}" for name, file in _files(world, "."))


def file_tools() -> dict[str, Tool]:
    """The tools by name."""
    found: list[Tool] = [ls, cat, grep, mv, sub, write, folder_state]
    return {tool.__name__: tool for tool in found}


def _whole(word: str) -> str:
    """A word that is no part of a longer one."""
    if not word.strip():
        raise ToolError("the word is empty")
    return rf"(?<!\w){re.escape(word)}(?!\w)"


def _place(world: Any, path: str) -> Path:
    """A path in the folder. Raises `ToolError` for one outside of it."""
    try:
        found = Path(world / path)
        found.exists()  # which raises for a name that is too long
    except (ValueError, OSError) as error:
        shown = path if len(path) <= LONGEST_NAME else f"{path[:LONGEST_NAME]}..."
        raise ToolError(f"{shown!r} is no path in the folder") from error
    return found


def _file(world: Any, path: str) -> Path:
    place = _place(world, path)
    if not place.is_file():
        raise ToolError(f"there is no file {path}")
    return place


def _read(place: Path, path: str) -> str:
    try:
        return place.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ToolError(f"{path} holds no text") from error


def _within(world: Any, place: Path, path: str) -> None:
    """Make the folders above a path."""
    if place.resolve() == Path(world / ".").resolve():
        raise ToolError(f"{path!r} is the folder itself")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolError(f"{path}: a file is no folder") from error


def _files(world: Any, path: str) -> Iterator[tuple[str, Path]]:
    """(path, file) below a folder, sorted, without hidden ones and links."""
    top, place = Path(world / "."), _place(world, path)
    below = [place] if place.is_file() else place.rglob("*")
    named = {each.relative_to(top).as_posix(): each for each in below}
    for name in sorted(named):
        hidden = any(part.startswith(".") for part in name.split("/"))
        if not hidden and named[name].is_file() and not named[name].is_symlink():
            yield name, named[name]
