"""A small git repository, made once a process, with two commits, a branch and a tag."""

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path


def git(folder, *words):
    """What git says there."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    for who in ("AUTHOR", "COMMITTER"):
        environment |= {
            f"GIT_{who}_NAME": "a",
            f"GIT_{who}_EMAIL": "a@b",
            f"GIT_{who}_DATE": "@0 +0000",
        }
    done = subprocess.run(
        ["git", "-C", str(folder), *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_repository(folder):
    """Commits "one" and "two" of a file, a branch `side` and a tag `first` at the first."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for number, text in enumerate(("one", "two")):
        (folder / "text").write_text(f"{text}\n")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", text)
        if not number:
            git(folder, "tag", "first")
            git(folder, "branch", "side")
    return folder


@functools.cache
def repository():
    """That of this process."""
    place = Path(tempfile.mkdtemp(prefix="repository-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return make_repository(place / "r")
