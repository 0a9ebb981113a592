"""What a tool is: a callable that agents reach by name, made from frozen settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from hornbeam.settings import Settings

Tool = Callable[..., Any]


class ToolSettings(Settings, ABC):
    """Settings of one kind of tool."""

    @abstractmethod
    def make(self) -> Tool:
        """The tool with these settings, ready to be called."""
