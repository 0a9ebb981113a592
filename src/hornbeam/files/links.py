"""Links in a folder of ours that another one may have made: nothing is written through them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hornbeam.errors import StoreError


def check_links(folder: Path) -> None:
    """Raise `StoreError` where a link in a run folder leads out of it, or a pipe lies there.

    What a command writes there would be written elsewhere.
    """
    home = Path(os.path.realpath(folder))
    for place, folders, files in os.walk(home):
        for name in (*folders, *files):
            _check(Path(place, name), home, folder)


def check_link(path: Path) -> None:
    """The same of one file, which nobody named, in a folder that holds other things too."""
    _check(path, Path(os.path.realpath(path.parent)), path.parent)


def _check(path: Path, home: Path, folder: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except OSError:
        return  # it is not there, or not any more
    if stat.S_ISLNK(kind):
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(home):
            raise StoreError(
                f"{folder}: {path.name} is a link to {target}: nothing is written through it; put"
                " what it leads to in its place"
            )
    elif stat.S_ISFIFO(kind) or stat.S_ISCHR(kind) or stat.S_ISBLK(kind):
        raise StoreError(f"{folder}: {path.name} is no file that can be kept there: remove it")
