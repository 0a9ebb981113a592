"""The tool of the tiny world: looks up a key among the rooms of the task."""

from __future__ import annotations

from hornbeam.protocols import Tool
from hornbeam.tasks.lookup_world import lookup
from hornbeam.tools.tool_settings import ToolSettings
from hornbeam.workers.local_workers import inline, pure


class LookupSettings(ToolSettings):
    """The lookup has no settings."""

    def make(self) -> Tool:
        """The tool."""
        return pure(inline(lookup))
