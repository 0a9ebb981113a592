"""Hornbeam grows trees of LLM-agent runs, credits their steps, trains and searches with them.

Names come from where they are made when they are first asked for: the import of the package costs
little and brings no torch. A new name goes into `_HOME`, into `__all__`, and into the imports that
type checkers read.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hornbeam.errors import HornbeamError, ToolError
from hornbeam.tree.nodes import Node, Tree
from hornbeam.tree.task import Task

if TYPE_CHECKING:
    from hornbeam.api.job_calls import evaluate, fit, label, search, sft, train
    from hornbeam.api.ready_engines import VLLM, Local, OpenAI
    from hornbeam.api.recipe_text import recipe_of
    from hornbeam.api.solve_call import solve
    from hornbeam.chat import assistant, system, user
    from hornbeam.engine.request import Sampling
    from hornbeam.engine.scripted import Scripted
    from hornbeam.episode.program import Episode, Reply, program
    from hornbeam.gateway.openai_transport import openai_client
    from hornbeam.grow.effects import Speaker
    from hornbeam.notebook import blame, credit_trees, grow_trees
    from hornbeam.search import Branch, Independent
    from hornbeam.store.ledger import Budget
    from hornbeam.tools.calculator import calculate
    from hornbeam.tools.mcp_tools import mcp
    from hornbeam.tree.facts import Result
    from hornbeam.tree.jsonl import read_trees, write_trees
    from hornbeam.view import tree_svg, tree_text
    from hornbeam.workers.local_workers import pure

__version__: str  # that of the installed distribution, looked up when it is asked for

__all__ = [
    "VLLM",
    "Branch",
    "Budget",
    "Episode",
    "HornbeamError",
    "Independent",
    "Local",
    "Node",
    "OpenAI",
    "Reply",
    "Result",
    "Sampling",
    "Scripted",
    "Speaker",
    "Task",
    "ToolError",
    "Tree",
    "assistant",
    "blame",
    "calculate",
    "credit_trees",
    "evaluate",
    "fit",
    "grow_trees",
    "label",
    "mcp",
    "openai_client",
    "program",
    "pure",
    "read_trees",
    "recipe_of",
    "search",
    "sft",
    "solve",
    "system",
    "train",
    "tree_svg",
    "tree_text",
    "user",
    "write_trees",
]

# Where each name that is not imported above comes from, as in the imports for type checkers.
_HOME = {
    "Branch": "search",
    "Budget": "store.ledger",
    "Episode": "episode.program",
    "Independent": "search",
    "Local": "api.ready_engines",
    "OpenAI": "api.ready_engines",
    "Reply": "episode.program",
    "Result": "tree.facts",
    "Sampling": "engine.request",
    "Scripted": "engine.scripted",
    "Speaker": "grow.effects",
    "VLLM": "api.ready_engines",
    "assistant": "chat",
    "blame": "notebook",
    "calculate": "tools.calculator",
    "credit_trees": "notebook",
    "evaluate": "api.job_calls",
    "fit": "api.job_calls",
    "grow_trees": "notebook",
    "label": "api.job_calls",
    "mcp": "tools.mcp_tools",
    "openai_client": "gateway.openai_transport",
    "program": "episode.program",
    "pure": "workers.local_workers",
    "read_trees": "tree.jsonl",
    "recipe_of": "api.recipe_text",
    "search": "api.job_calls",
    "sft": "api.job_calls",
    "solve": "api.solve_call",
    "system": "chat",
    "train": "api.job_calls",
    "tree_svg": "view",
    "tree_text": "view",
    "user": "chat",
    "write_trees": "tree.jsonl",
}


class _Door(ModuleType):
    """The package: a name of the door stays that, whichever room is called the same.

    The import of a room, `hornbeam.train` say, binds its name in the package; `from hornbeam.train
    import ...` finds the room without it.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in _HOME):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Door


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version(__name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _picture(tree: Tree) -> str | None:
    """What a notebook shows of a tree."""
    from hornbeam.notebook import picture

    return picture(tree)


def _page(tree: Tree) -> str | None:
    """The same as HTML, which scrolls where it is wide: what a notebook takes first."""
    drawn = _picture(tree)
    return None if drawn is None else f'<div style="overflow:auto">{drawn}</div>'


# Set from here, as what draws stands on what is drawn.
Tree._repr_svg_ = _picture  # type: ignore[attr-defined]
Tree._repr_html_ = _page  # type: ignore[attr-defined]
