"""Checkouts of a commit with branches and a stash of their own, on the objects of a repository.

Git's own worktrees share branches, tags and the stash: a fork would hear of another one's `git
stash`, and a command could delete the branches of whoever owns the repository. Here each world has
copies of them, and the repository is only read: its objects by git's alternates. It is no remote,
and its hooks, filters and submodules are left out. A fork is a copy of the folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from hornbeam.errors import WorldError

REFS = ("refs/heads", "refs/tags", "refs/remotes")
CONFIG = """[core]
\tcheckStat = minimal
\ttrustctime = false
[user]
\tname = agent
\temail = agent@localhost
[gc]
\tauto = 0
"""  # files of copies have other numbers; objects that are borrowed are not packed


def commit_of(repository: Path, commit: str) -> str:
    """The whole name of a commit ("": the one that is checked out there).

    Raises `WorldError` of one line, for what is no repository too.
    """
    if shutil.which("git") is None:
        raise WorldError('world.copies = "worktree" needs git, which is not installed')
    if not repository.is_dir():
        raise WorldError(f"the world's repository {str(repository)!r}: no such folder")
    _git(repository, "rev-parse", "--git-dir")
    name = f"{commit or 'HEAD'}^{{commit}}"
    try:
        found = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", name)
    except WorldError:
        which = f"commit {commit!r}" if commit else "commit yet"
        raise WorldError(f"the world's repository {str(repository)!r} has no {which}") from None
    return found.strip()


def check_out(repository: Path, commit: str, place: Path) -> None:
    """A new folder at `place` with the files of a commit; branches and tags are those of now.

    Raises `WorldError` of one line.
    """
    at = commit_of(repository, commit)
    found = _git(repository, "rev-parse", "--git-path", "objects", "--git-path", "shallow")
    objects, shallow = (repository / line for line in found.splitlines())
    refs = _git(repository, "for-each-ref", "--format=%(objectname) %(refname)", *REFS)
    kind = "sha256" if len(at) == 64 else "sha1"
    _git(place.parent, "init", "--quiet", "--template=", f"--object-format={kind}", place.name)
    own = place / ".git"
    for name, text in (
        ("objects/info/alternates", f"{objects.resolve()}\n"),
        ("packed-refs", refs),
        ("info/exclude", ".tmp\n"),
        ("config", (own / "config").read_text("utf-8") + CONFIG),
    ):
        (own / name).parent.mkdir(exist_ok=True)
        (own / name).write_text(text, "utf-8")
    if shallow.is_file():
        shutil.copyfile(shallow, own / "shallow")
    _git(place, "checkout", "--quiet", "--detach", at)


def _git(folder: Path, *words: str) -> str:
    """What git says in the repository that this folder is. Raises `WorldError` of one line."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    own = {"GIT_CEILING_DIRECTORIES": str(folder.resolve().parent), "LC_ALL": "C"}
    if words[0] in ("init", "checkout"):  # settings of the user, filters too, are not of the world
        own |= {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=folder,
            env={**kept, **own},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise WorldError(f"git cannot be run in {folder}: {error.strerror}") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it failed"]
        line = next((line for line in said if line.startswith(("fatal:", "error:"))), said[-1])
        raise WorldError(f"the world's repository, git {words[0]} in {folder}: {line}")
    return done.stdout
