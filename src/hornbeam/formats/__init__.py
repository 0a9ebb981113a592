"""Runs that others recorded, read into trees: chats and the logs of other libraries.

Each format is one small file that gives `ImportedRun`s; `trees` puts runs of one task into one
tree. What a format holds is told in docs/formats.md. Nothing of these libraries is imported.
"""

from hornbeam.formats.as_text import as_text, tree_as_text
from hornbeam.formats.imported_trees import ImportedTrees
from hornbeam.formats.recorded_run import ImportedRun, Options, Sampled
from hornbeam.formats.run_files import FORMATS, holds_trees, read_runs

__all__ = [
    "FORMATS",
    "ImportedRun",
    "ImportedTrees",
    "Options",
    "Sampled",
    "as_text",
    "holds_trees",
    "read_runs",
    "tree_as_text",
]
