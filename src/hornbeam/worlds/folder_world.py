"""Worlds that are folders: files, and what commands make of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from hornbeam.arguments import described
from hornbeam.errors import RecipeError, WorldError
from hornbeam.files import paths
from hornbeam.tree.task import Task
from hornbeam.worlds.folder_copy import Copies, copy_folder, folder_state
from hornbeam.worlds.git_checkout import check_out, commit_of
from hornbeam.worlds.scratch import delete_folder, new_place
from hornbeam.worlds.shell_commands import NO_LIMITS, CommandLimits, Ran, run_command
from hornbeam.worlds.world_kind import START, Snapshot, WorldKind


class WorkFolder:
    """What tools of a folder world get. `path` is the folder, for this episode alone.

    Its own path is said as "." in results, so that equal runs say equal things.
    """

    def __init__(self, path: Path, limits: CommandLimits = NO_LIMITS) -> None:
        self.path, self.limits = path, limits

    def __repr__(self) -> str:
        return f"<WorkFolder {self.path}>"

    def __truediv__(self, name: str) -> Path:
        """The path of a file in it. `PermissionError` for one outside, by links too."""
        found = self.path / name
        if not found.resolve().is_relative_to(self.path.resolve()):
            raise PermissionError(f"{name!r} is outside of the folder")
        return found

    def run(self, command: str, stdin: str = "", seconds: float | None = None) -> Ran:
        """Run a command of the shell in it; what it leaves running is ended.

        Raises `ToolError` where it takes longer than `seconds` (the world's `seconds`).
        """
        return run_command(command, self.path, self.limits, stdin, seconds)


class FolderWorld(WorldKind):
    """A folder of its own for each episode, with what lies in `folder` and in the task.

    `task.data["world"]` is texts by path ({"src/a.py": "..."}). `copies` says how a fork is made:
    "safe" shares blocks where the file system can and copies else; "links" links files, which is
    right only where no tool writes into a file in place (folder_copy). "worktree" checks `commit`
    out of the repository `folder` (git_checkout); the task's own `repository` lies in it, and its
    `commit` comes first. `scratch` is where the folders lie, the system's own by default. A command
    may take `seconds`.
    """

    folder: str = ""
    copies: Copies = "safe"
    commit: str = ""
    scratch: str = ""
    seconds: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _commit_is_checked_out(self) -> Self:
        if self.commit and self.copies != "worktree":
            raise ValueError('commit is of copies = "worktree"')
        return self

    def beside(self, base: Path) -> Self:
        """With its folder found, and its commit. Raises `RecipeError`."""
        if not self.folder:
            return self
        found = paths.find(self.folder, base, folder=True)
        if not found.is_dir():
            raise RecipeError(f"world.folder = {self.folder!r}: {paths.missing(self.folder, base)}")
        if self.commit:
            try:
                commit_of(found, self.commit)
            except WorldError as error:
                raise RecipeError(f"world.commit = {self.commit!r}: {error}") from error
        return self.model_copy(update={"folder": str(found.resolve())})

    def limits(self) -> CommandLimits:
        """What commands may use."""
        return CommandLimits(seconds=self.seconds)

    def open(self, task: Task) -> WorkFolder:
        """A new folder. Raises `WorldError`."""
        files = task.data.get(START) or {}
        if not isinstance(files, Mapping):
            raise WorldError(f'task.data["world"] is {described(files)}: texts by path are due')
        place = self._place()
        world = WorkFolder(place, self.limits())
        try:
            if self.copies == "worktree":
                check_out(*self._repository(task), place)
            elif self.folder:
                copy_folder(Path(self.folder), place, self.most)
            else:
                place.mkdir()
            for name, text in files.items():
                path = world / str(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(str(text), "utf-8", newline="")
        except BaseException:
            self.close(world)
            raise
        return world

    def _repository(self, task: Task) -> tuple[Path, str]:
        """A task's repository, and the commit. Raises `WorldError` where there is none."""
        own = str(task.data.get("repository") or "")
        if not (self.folder or own):
            raise WorldError(
                'world.copies = "worktree" wants a repository: world.folder, or the task\'s own in'
                ' task.data["repository"]'
            )
        return Path(self.folder) / own, str(task.data.get("commit") or self.commit)

    def snapshot(self, world: WorkFolder) -> Snapshot:
        """A copy. Raises `WorldError`."""
        if not world.path.is_dir():
            raise WorldError("the world's folder is gone: a tool has deleted it")
        place = self._place()
        return Snapshot(place, copy_folder(world.path, place, self.most, self.copies))

    def restore(self, data: Path, task: Task) -> WorkFolder:
        """Another copy."""
        place = self._place()
        copy_folder(data, place, self.most, self.copies)
        return WorkFolder(place, self.limits())

    def state(self, world: WorkFolder) -> dict[str, str]:
        """Digests of its files and links by path, and its folders; not what git keeps."""
        return folder_state(world.path)

    def drop(self, data: Path) -> None:
        """Delete the copy."""
        delete_folder(data.parent)

    def close(self, world: WorkFolder) -> None:
        """Delete the folder."""
        delete_folder(world.path.parent)

    def portable(self, world: WorkFolder, text: str) -> str:
        """The folder's own path as "."."""
        return text.replace(str(world.path), ".")

    def _place(self) -> Path:
        """Where a new folder may come, in one of its own."""
        return new_place(self.scratch) / "w"
