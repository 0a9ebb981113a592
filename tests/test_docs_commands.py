"""Commands of docs/ and README.md are there, with the options that stand beside them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from hornbeam.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").glob("*.md"))]
LINE = re.compile(r"(?:^    |`)(?:\.venv/bin/)?hornbeam ([a-z][^`]*?)(?:\s{3,}|\s#|`|$)", re.M)


def find(words: list[str], group: Any) -> Any:
    """The command that begins a line, the longest name first, or None."""
    for length in (2, 1):
        if command := group.commands.get(" ".join(words[:length])):
            if hasattr(command, "commands"):
                return find(words[length:], command) or command
            return command
    return None


def lines() -> list[tuple[str, str]]:
    """(page, what follows `hornbeam`) of every command in the pages."""
    found = []
    for page in PAGES:
        text = re.sub(r" \\\n *", " ", page.read_text("utf-8"))
        found += [(page.name, " ".join(match[1].split())) for match in LINE.finditer(text)]
    return found


def test_there_are_commands() -> None:
    assert len(lines()) > 100


@pytest.mark.parametrize("page, line", sorted(set(lines())))
def test_a_command_has_the_options_it_is_shown_with(page: str, line: str) -> None:
    command = find(line.split(), typer.main.get_command(app))
    assert command is not None, f"{page}: no command: {line}"
    known = {name for param in command.params for name in param.opts} | {"--help"}
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", line))
    assert shown <= known, f"{page}: {line}"
