"""Copies of folders: blocks shared by the file system where it can, else real copies, or links.

A *reflink* shares the blocks of a file until one of the two is written to (btrfs, XFS, bcachefs,
overlays on them); copies of it are safe. A *hard link* is the same file under two names: whoever
writes into it (`>>`, `open("r+")`, `sed` without -i, SQLite) changes all of them. It is right only
where files are replaced whole, and taken only where it is asked for.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Literal

from hornbeam.errors import WorldError

Copies = Literal["safe", "links"]
FICLONE = 0x40049409  # ioctl of Linux: share all blocks of another file
_UNABLE = {
    *(errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM),
    errno.EBADF,
}
_unable: set[int] = set()  # devices that share no blocks


def copy_folder(source: Path, target: Path, most: int, copies: Copies = "safe") -> int:
    """Copy a folder to a place where nothing is; the bytes of its files.

    Symbolic links, modes and times are kept. Raises `WorldError` for what cannot be copied, and
    above `most` bytes; then nothing is left at the target.
    """
    try:
        return _copied(str(source), str(target), most, copies)
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, OSError):
            what = error.filename or source
            name = os.path.relpath(what, source) if str(what).startswith(str(source)) else what
            why = error.strerror or type(error).__name__
            raise WorldError(f"the world's folder cannot be copied: {name}: {why}") from error
        raise


def _copied(source: str, target: str, most: int, copies: Copies) -> int:
    size, folders = 0, [(source, target)]
    done: list[tuple[str, str]] = []
    while folders:
        here, there = folders.pop()
        os.mkdir(there)
        done.append((here, there))
        with os.scandir(here) as entries:
            for entry in entries:
                place = os.path.join(there, entry.name)
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), place)
                elif entry.is_dir():
                    folders.append((entry.path, place))
                elif entry.is_file():
                    size += entry.stat().st_size
                    if size > most:
                        raise too_large(size, most)
                    _copy_file(entry.path, place, copies)
                else:
                    name = os.path.relpath(entry.path, source)
                    raise WorldError(
                        f"the world's folder cannot be copied: {name} is a pipe, a socket or a"
                        " device: delete it within the call"
                    )
    for here, there in reversed(done):  # the innermost first: writing changes times
        shutil.copystat(here, there)
    return size


def too_large(size: int, most: int) -> WorldError:
    """The error of a folder above `most` bytes."""
    return WorldError(
        f"the world's folder holds over {size - 1:,} bytes, world.most is {most:,}: keep less in"
        ' it, raise world.most, or set world.fork = "rerun"'
    )


def _copy_file(source: str, target: str, copies: Copies) -> None:
    if copies == "links":
        os.link(source, target)
        return
    if os.stat(os.path.dirname(target)).st_dev in _unable or not _shared(source, target):
        shutil.copyfile(source, target)
    shutil.copystat(source, target)


def _shared(source: str, target: str) -> bool:
    with open(source, "rb") as read, open(target, "xb") as write:
        return _share(read.fileno(), write.fileno())


def _share(source: int, target: int) -> bool:
    """Share the blocks of a file; whether the file system can."""
    device = os.fstat(target).st_dev
    if device in _unable:
        return False
    try:
        import fcntl

        fcntl.ioctl(target, FICLONE, source)
        return True
    except ImportError:
        pass
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
    _unable.add(device)
    return False


def shares_blocks(folder: Path) -> bool:
    """Whether copies in a folder share blocks; tried with a small file."""
    first, second = folder / ".share-1", folder / ".share-2"
    try:
        first.write_bytes(b"x" * 4096)
        with first.open("rb") as read, second.open("wb") as write:
            return _share(read.fileno(), write.fileno())
    finally:
        first.unlink(missing_ok=True)
        second.unlink(missing_ok=True)
