"""Tasks: what is asked and what is known of its answer, read from data or made."""

from hornbeam.tasks.corpus import Passage, load_passages
from hornbeam.tasks.families import families
from hornbeam.tasks.generated import generators
from hornbeam.tasks.task_sources import Loaded, TaskSettings, check_disjoint, load_tasks, sources
from hornbeam.tree.task import Task

__all__ = [
    "Loaded",
    "Passage",
    "Task",
    "TaskSettings",
    "check_disjoint",
    "families",
    "generators",
    "load_passages",
    "load_tasks",
    "sources",
]
