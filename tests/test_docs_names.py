"""Modules and files of the repository that pages, recipes, findings and sources name are there."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from hornbeam.own.own_parts import GROUPS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "AGENTS.md", "Makefile", "pyproject.toml")] + [
    path
    for folder in ("docs", "recipes", "findings")
    for path in sorted((ROOT / folder).iterdir())
    if path.is_file()
]
DOTTED = re.compile(r"(?<![\w.-])hornbeam(?:\.[A-Za-z_]\w*)+")
IMPORTED = re.compile(r"^\s*from (hornbeam[\w.]*) import ([\w, ]+?)(?:\s+#.*)?$", re.MULTILINE)
# Folders of the repository; and, in sources and docs, the rooms of the package.
ROOMS = [path.name for path in (ROOT / "src" / "hornbeam").iterdir() if path.is_dir()]
FILES = re.compile(
    r"(?<![\w./-])(?:src/hornbeam|tests|bench|findings)/[\w./-]+\.(?:py|js|sh|toml)\b"
)
INSIDE = re.compile(rf"(?<![\w./-])(?:{'|'.join(ROOMS)})/[\w/]+\.py\b")
SUFFIXES = ("md", "py", "toml", "js", "json", "html", "css", "db", "svg", "sh", "yaml", "jsonl")
OTHERS = {"tests/test_rewards.py"}  # of TRL's repository


def there(dotted: str) -> bool:
    """Whether a dotted name is a module of ours, or what one holds."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            if not hasattr(thing, name):
                return False
            thing = getattr(thing, name)
        return True
    return False


def lost(text: str) -> set[str]:
    """Files of the repository that a text names and that are not there."""
    lost = {name for name in FILES.findall(text) if not (ROOT / name).exists()}
    return lost | {n for n in INSIDE.findall(text) if not (ROOT / "src/hornbeam" / n).exists()}


def dotted(text: str) -> set[str]:
    """Dotted names of ours, less those of files such as hornbeam.svg, and of entry points."""
    others = {f"hornbeam.{suffix}" for suffix in SUFFIXES} | {*GROUPS.values()}
    return set(DOTTED.findall(text)) - others


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    named = dotted(text) | {
        f"{module}.{name.strip().split(' as ')[0]}"
        for module, names in IMPORTED.findall(text)
        for name in names.split(",")
        if name.strip()
    }
    assert [name for name in sorted(named) if not there(name)] == []
    assert lost(text) - OTHERS == set()


def test_what_sources_name_is_there() -> None:
    gone = []
    for path in [p for top in ("src", "bench", "tests") for p in (ROOT / top).rglob("*.py")]:
        text, where = path.read_text("utf-8"), path.relative_to(ROOT).as_posix()
        gone += [f"{where}: {name}" for name in lost(text) - OTHERS]
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                named = dotted(ast.get_docstring(node) or "")
                gone += [f"{where}: {name}" for name in named if not there(name)]
    assert gone == []


@pytest.mark.parametrize("name", ["hornbeam.tree", "hornbeam.tree.nodes.Tree", "hornbeam.Tree"])
def test_a_name_is_found(name: str) -> None:
    assert there(name) and not there(f"{name}.gone") and not there("hornbeam.treefile")
