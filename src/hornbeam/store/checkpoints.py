"""Checkpoints: whole or not there.

A checkpoint is written into a hidden folder, brought to the disk, given its manifest (names and
sizes of all files, and the caller's data) last, and renamed into place. What is killed half-way is
a hidden folder that the next start removes; older checkpoints go only after a newer one is whole.

Left out: what is in a checkpoint (the caller's `save`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hornbeam.errors import StoreError
from hornbeam.files.atomic import sync

_MANIFEST = "manifest.json"
_NAME, _TEMP, _OLD = "step-{:06d}", ".new-{:06d}", ".old-{:06d}"


class Checkpoint(NamedTuple):
    """A whole checkpoint: the step it was written after, its folder, and the caller's data."""

    step: int
    path: Path
    data: dict[str, Any]


def latest(folder: str | Path) -> Checkpoint | None:
    """The newest whole checkpoint in a folder, which is only looked at."""
    return max(_whole(Path(folder)), key=lambda found: found.step, default=None)


class Checkpoints:
    """The checkpoints of a run, for the one process that writes them. Keeps the newest `keep`.

    Left-overs of a killed write are removed at the start. To only read, use `latest(folder)`.
    """

    def __init__(self, folder: str | Path, keep: int = 2) -> None:
        if keep < 1:
            raise StoreError(f"{folder}: keep = {keep}: at least one checkpoint must be kept")
        self.folder, self.keep = Path(folder), keep
        self._clean()

    def latest(self) -> Checkpoint | None:
        """The newest whole checkpoint; damaged ones are passed over."""
        return latest(self.folder)

    def write(self, step: int, save: Callable[[Path], None], data: dict[str, Any]) -> Path:
        """Write the checkpoint of a step: `save` fills the folder it is given, `data` is JSON.

        Raises `StoreError` when the disk fails (full, say); the checkpoints before it stay, and
        nothing of the failed one does. Other errors of `save` pass through, with the same care.
        """
        temp, path = self.folder / _TEMP.format(step), self.folder / _NAME.format(step)
        try:
            temp.mkdir(parents=True)
            save(temp)
            _seal(temp, {"step": step, "data": data})
            self._put(temp, path, step)
        except BaseException as error:
            shutil.rmtree(temp, ignore_errors=True)
            if not _of_the_disk(error):
                raise
            last = self.latest()
            stays = f"the last good one (step {last.step}) stays" if last else "there is none yet"
            raise StoreError(
                f"checkpoint of step {step} in {self.folder} failed: {_reason(error)}; {stays}"
            ) from error
        self._prune()
        return path

    def _put(self, temp: Path, path: Path, step: int) -> None:
        """Rename into place; one of the same step steps aside first."""
        old = self.folder / _OLD.format(step)
        if path.exists():
            path.rename(old)
        temp.rename(path)
        sync(self.folder)
        shutil.rmtree(old, ignore_errors=True)

    def _clean(self) -> None:
        """Remove what a killed process left; a checkpoint that had stepped aside comes back."""
        for old in self.folder.glob(".old-*"):
            path = self.folder / _NAME.format(int(old.name.removeprefix(".old-")))
            if not path.exists():
                old.rename(path)
        for left in [*self.folder.glob(".old-*"), *self.folder.glob(".new-*")]:
            shutil.rmtree(left, ignore_errors=True)
        if len(_whole(self.folder)) >= self.keep:  # killed while it removed what is too old
            self._prune()

    def _prune(self) -> None:
        whole = sorted(found.step for found in _whole(self.folder))[-self.keep :]
        kept = {_NAME.format(step) for step in whole}
        for path in self.folder.glob("step-*"):
            if path.name not in kept:  # what cannot be removed now is tried again the next time
                shutil.rmtree(path, ignore_errors=True)


def _whole(folder: Path) -> list[Checkpoint]:
    found = []
    for path in folder.glob("step-*"):
        try:
            manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
            sizes = manifest["files"]
            if all((path / name).stat().st_size == size for name, size in sizes.items()):
                found.append(Checkpoint(manifest["step"], path, manifest["data"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # not whole
    return found


def _seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Bring all files to the disk and write the manifest behind them."""
    paths = sorted(folder.rglob("*"))
    for path in paths:
        sync(path)
    sizes = {str(p.relative_to(folder)): p.stat().st_size for p in paths if p.is_file()}
    text = json.dumps({**manifest, "files": sizes}, indent=1)
    (folder / _MANIFEST).write_text(text + "\n", encoding="utf-8")
    sync(folder / _MANIFEST)
    sync(folder)


def _of_the_disk(error: BaseException) -> bool:
    """Whether the disk failed: safetensors and torch report that in errors of their own."""
    signs = ("(os error ", "PytorchStreamWriter", "inline_container")
    return isinstance(error, OSError) or any(sign in str(error) for sign in signs)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().splitlines()[0]
