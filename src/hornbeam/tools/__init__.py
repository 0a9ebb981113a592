"""Tools that agents may call, by name. A tool of one's own is one more entry in `tools`.

`toolsets` are several at once: one table of a recipe gives them all.
"""

from collections.abc import Callable
from typing import Any

from hornbeam.protocols import Tool
from hornbeam.settings import build
from hornbeam.tools.calculator import CalculatorSettings, calculate
from hornbeam.tools.file_tools import file_tools
from hornbeam.tools.game_tools import key_door_tools, spreadsheet_tools
from hornbeam.tools.lookup_tool import LookupSettings
from hornbeam.tools.repair_tools import repair_tools
from hornbeam.tools.retrieval import Retrieval, RetrievalSettings
from hornbeam.tools.tool_settings import ToolSettings

tools: dict[str, type[ToolSettings]] = {
    "calculator": CalculatorSettings,
    "lookup": LookupSettings,
    "retrieval": RetrievalSettings,
}


toolsets: dict[str, Callable[[], dict[str, Tool]]] = {
    "files": file_tools,
    "repair": repair_tools,
    "key_door": key_door_tools,
    "spreadsheet": spreadsheet_tools,
}


def tool_settings(name: str, **settings: Any) -> ToolSettings:
    """The settings of the tool of that name; `RecipeError` if there is none such."""
    return build("tool", tools, name, settings)


def make_tool(name: str, **settings: Any) -> Tool:
    """The tool of that name with these settings; `RecipeError` if there is none such."""
    return tool_settings(name, **settings).make()


__all__ = [
    "CalculatorSettings",
    "LookupSettings",
    "Retrieval",
    "RetrievalSettings",
    "Tool",
    "ToolSettings",
    "calculate",
    "make_tool",
    "tool_settings",
    "tools",
    "toolsets",
]
