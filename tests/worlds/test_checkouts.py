"""Folders that are checkouts of a git repository, which stays as it is."""

import os
import shutil

import pytest

from hornbeam.errors import RecipeError, WorldError
from hornbeam.tree.task import Task
from hornbeam.worlds import FolderWorld, SandboxWorld

from .repository import git, make_repository
from .test_case import grown

TASK = Task("t", "?")


@pytest.fixture
def there(tmp_path):
    """A repository with changes of its owner that are not committed."""
    place = make_repository(tmp_path / "r")
    (place / "text").write_text("mine\n")
    (place / "new").write_text("mine\n")
    return place


def everything(place):
    """All files of a repository, its .git included, with their times."""
    files = (path for path in sorted(place.rglob("*")) if path.is_file())
    return [(str(path), path.read_bytes(), path.stat().st_mtime_ns) for path in files]


def said(world, command):
    ran = world.run(command)
    assert ran.code == 0, ran.output
    return ran.output.split()


def test_a_fork_has_commits_branches_stash_and_files_of_its_own(there):
    before = everything(there)
    kind = FolderWorld(folder=str(there), copies="worktree")
    world = kind.open(Task("t", "?", data={"world": {"deep/more": "more\n"}}))
    assert said(world, "cat text deep/more") == ["two", "more"]
    assert said(world, "git status --porcelain") == ["??", "deep/"]
    assert said(world, "git branch --format='%(refname:short)' | grep -v HEAD") == ["main", "side"]
    said(world, "echo three > text; git commit -qam three; git branch third; echo 4 > text")
    taken = kind.snapshot(world)
    said(world, "git stash; git branch -D main side; git tag -d first")
    other = kind.restore(taken.data, TASK)
    assert said(other, "cat text; git log --format=%s") == ["4", "three", "two", "one"]
    assert said(other, "git status --porcelain") == ["M", "text", "??", "deep/"]
    assert said(other, "git stash list; git branch --format='%(refname:short)' | grep -v HEAD") == [
        *("main", "side", "third")
    ]
    assert said(other, "git remote; git tag") == ["first"]
    for each in (world, other):
        kind.close(each)
        assert not each.path.exists()
    kind.drop(taken.data)
    assert everything(there) == before


def test_equal_commands_make_equal_commits(there):
    kind = FolderWorld(folder=str(there), copies="worktree")
    names = []
    for _ in range(2):
        world = kind.open(TASK)
        names.append(said(world, "echo x > text; git commit -qam x; git rev-parse HEAD"))
        kind.close(world)
    assert names[0] == names[1]


def test_a_task_names_a_repository_and_a_commit(there):
    kind = SandboxWorld(folder=str(there.parent), copies="worktree", network=True)
    for data, text in [
        ({"repository": "r"}, "two"),
        ({"repository": "r", "commit": "side"}, "one"),
        ({"repository": str(there), "commit": git(there, "rev-parse", "HEAD~1")}, "one"),
    ]:
        world = kind.open(Task("t", "?", data=data))
        assert (world / "text").read_text().split() == [text]
        kind.close(world)
    bare = there.parent / "bare.git"
    git(there, "clone", "-q", "--bare", "--depth=1", f"file://{there}", str(bare))
    world = kind.open(Task("t", "?", data={"repository": "bare.git"}))
    assert said(world, "git log --format=%s; git fsck") == ["two"]
    kind.close(world)


def test_its_hooks_and_filters_are_not_run(there):
    hook = there / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {there.parent}/hooked\n")
    hook.chmod(0o755)
    git(there, "config", "filter.x.smudge", f"touch {there.parent}/hooked; cat")
    (there / ".git/info").mkdir(exist_ok=True)
    (there / ".git/info/attributes").write_text("* filter=x\n")
    kind = FolderWorld(folder=str(there), copies="worktree")
    kind.close(kind.open(TASK))
    assert not (there.parent / "hooked").exists()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"repository": "gone"}, r"repository '.*gone': no such folder$"),
        ({"repository": "plain"}, r"git rev-parse in .*plain: fatal: not a git repository"),
        ({"repository": "r/sub"}, r"git rev-parse in .*sub: fatal: not a git repository"),
        ({"repository": "r", "commit": "gone"}, r"repository '.*' has no commit 'gone'$"),
        ({"repository": "r", "commit": "--all"}, r"has no commit '--all'$"),
        ({"repository": "r", "commit": "HEAD:text"}, r"has no commit 'HEAD:text'$"),
        ({"repository": "empty"}, r"repository '.*empty' has no commit yet$"),
    ],
)
def test_what_cannot_be_checked_out_is_one_line(there, data, line):
    for name in ("plain", "empty", "r/sub", "scratch"):
        (there.parent / name).mkdir()
    git(there.parent / "empty", "init", "-q")
    scratch = there.parent / "scratch"
    kind = FolderWorld(folder=str(there.parent), copies="worktree", scratch=str(scratch))
    with pytest.raises(WorldError, match=line) as error:
        kind.open(Task("t", "?", data=data))
    assert "\n" not in str(error.value)
    assert not [*scratch.glob("*/*/w")]


def test_without_a_repository_or_git(there, monkeypatch):
    with pytest.raises(WorldError, match=r"wants a repository: world\.folder, or the task"):
        FolderWorld(copies="worktree").open(TASK)
    with pytest.raises(RecipeError, match='commit is of copies = "worktree"'):
        FolderWorld(commit="main")
    kind = FolderWorld(folder=str(there), copies="worktree", commit="gone")
    with pytest.raises(RecipeError, match=r"world\.commit = 'gone': .* has no commit 'gone'"):
        kind.beside(there)
    monkeypatch.setenv("PATH", str(there))
    assert shutil.which("git") is None
    with pytest.raises(WorldError, match='"worktree" needs git, which is not installed'):
        FolderWorld(folder=str(there), copies="worktree").open(TASK)


def test_variables_of_git_lead_nowhere_else(there, monkeypatch):
    monkeypatch.setenv("GIT_DIR", os.devnull)
    kind = FolderWorld(folder=str(there), copies="worktree")
    world = kind.open(TASK)
    assert said(world, "cat text") == ["two"]
    kind.close(world)


def test_a_tree_grows_on_commits(there):
    def note(text, world):
        return said(world, f"echo {text} >> text; git commit -qam x; git rev-list --count HEAD")

    before = everything(there)
    world = FolderWorld(folder=str(there), copies="worktree", commit="first").beside(there)
    (tree,) = grown({"note": note}, world=world)
    answers = [tree.nodes[leaf].answer for leaf in tree.leaves()]
    assert answers == [[["2"], ["3"], ["4"]]] * 3
    assert everything(there) == before
