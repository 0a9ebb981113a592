"""The tools of the worlds that are made: the key-and-door game, the spreadsheet."""

from __future__ import annotations

from hornbeam.protocols import Tool
from hornbeam.tasks.key_door_game import GAME_TOOLS
from hornbeam.tasks.sheet import SHEET_TOOLS
from hornbeam.workers.local_workers import inline


def key_door_tools() -> dict[str, Tool]:
    """The tools of the game by name."""
    return {name: inline(tool) for name, tool in GAME_TOOLS.items()}


def spreadsheet_tools() -> dict[str, Tool]:
    """The tools of the spreadsheet by name."""
    return {name: inline(tool) for name, tool in SHEET_TOOLS.items()}
