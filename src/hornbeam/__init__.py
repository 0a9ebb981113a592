"""Hornbeam grows trees of LLM-agent runs, credits their steps, trains and searches with them."""

from hornbeam.chat import assistant, system, user
from hornbeam.engine.request import Sampling
from hornbeam.engine.scripted import Scripted
from hornbeam.episode.program import Episode, Reply, program
from hornbeam.errors import HornbeamError
from hornbeam.grow.effects import Speaker
from hornbeam.notebook import credit_trees, grow_trees
from hornbeam.search import Branch, Independent
from hornbeam.store.ledger import Budget
from hornbeam.tools.calculator import calculate
from hornbeam.tree.jsonl import read_trees, write_trees
from hornbeam.tree.nodes import Node, Tree
from hornbeam.tree.task import Task
from hornbeam.view import tree_svg, tree_text

__version__: str  # that of the installed distribution, looked up when it is asked for

__all__ = [
    "Branch",
    "Budget",
    "Episode",
    "HornbeamError",
    "Independent",
    "Node",
    "Reply",
    "Sampling",
    "Scripted",
    "Speaker",
    "Task",
    "Tree",
    "assistant",
    "calculate",
    "credit_trees",
    "grow_trees",
    "program",
    "read_trees",
    "system",
    "tree_svg",
    "tree_text",
    "user",
    "write_trees",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib import metadata

        return metadata.version(__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
