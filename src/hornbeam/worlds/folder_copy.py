"""Copies of folders: blocks shared by the file system where it can, else real copies, or links.

A *reflink* shares the blocks of a file until one of the two is written to (btrfs, XFS, bcachefs,
overlays on them); copies of it are safe. A *hard link* is the same file under two names: whoever
writes into it (`>>`, `open("r+")`, `sed` without -i, SQLite) changes all of them. It is right only
where files are replaced whole, and taken only where it is asked for.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Literal

from hornbeam.errors import WorldError

Copies = Literal["safe", "links", "worktree"]  # the last is "safe", of what git checked out
MOST = 1 << 20  # bytes that are read at once
FICLONE = 0x40049409  # ioctl of Linux: share all blocks of another file
_UNABLE = {
    *(errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM),
    errno.EBADF,
}
_unable: set[int] = set()  # devices that share no blocks


def copy_folder(source: Path, target: Path, most: int, copies: Copies = "safe") -> int:
    """Copy a folder to a place where nothing is; the bytes of its files.

    Symbolic links, modes and times are kept, extended attributes are not. Raises `WorldError` for
    what cannot be copied, and above `most` bytes; then nothing is left at the target.
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


def folder_state(folder: Path) -> dict[str, str]:
    """What a folder holds, by path: digests of files, where links lead, "" for a folder.

    Whether a file can be run counts, when it was written does not; ".git" is left out.
    """
    out: dict[str, str] = {}
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git"]
        for name in [*folders, *names]:
            path = os.path.join(here, name)
            place = os.path.relpath(path, folder)
            if os.path.islink(path):
                out[place] = f"-> {os.readlink(path)}"
            elif name in folders or not os.path.isfile(path):
                out[place] = ""
            else:
                with open(path, "rb") as file:
                    found = hashlib.file_digest(file, "blake2b").hexdigest()
                out[place] = f"{found[:32]}{'x' if os.access(path, os.X_OK) else ''}"
    return out


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
                    about = entry.stat()
                    size += about.st_size
                    if size > most:
                        raise too_large(size, most)
                    if copies == "links":
                        os.link(entry.path, place)
                    else:
                        _copy_file(entry.path, place, about)
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


def _copy_file(source: str, target: str, about: os.stat_result) -> None:
    read = os.open(source, os.O_RDONLY)
    try:
        write = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if not _share(read, write):
                if about.st_blocks * 512 < about.st_size:
                    _copy_parts(read, write, about.st_size)
                else:
                    _copy_part(read, write)
            os.fchmod(write, stat.S_IMODE(about.st_mode))
            os.utime(write, ns=(about.st_atime_ns, about.st_mtime_ns))
        finally:
            os.close(write)
    finally:
        os.close(read)


def _copy_part(read: int, write: int, size: int | None = None) -> None:
    """Copy from where both are, so many bytes or all."""
    while part := os.read(read, MOST if size is None else min(size, MOST)):
        size = None if size is None else size - len(part)
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(write, rest) :]


def _copy_parts(read: int, write: int, size: int) -> None:
    """Copy what was ever written of a file, and leave its holes."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(read, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing behind it
                raise
            break
        end = os.lseek(read, begin, os.SEEK_HOLE)
        os.lseek(read, begin, os.SEEK_SET)
        os.lseek(write, begin, os.SEEK_SET)
        _copy_part(read, write, end - begin)
    os.ftruncate(write, size)


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
