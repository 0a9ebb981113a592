"""What a tool is: a callable that agents reach by name, made from frozen settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from hornbeam.protocols import Tool
from hornbeam.settings import Settings


class ToolSettings(Settings, ABC):
    """Settings of one kind of tool."""

    def beside(self, base: Path) -> Self:
        """The settings with their files found, `base` being the recipe's own folder."""
        return self

    @abstractmethod
    def make(self) -> Tool:
        """The tool with these settings, ready to be called."""
