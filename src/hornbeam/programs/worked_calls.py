"""The tool calls that a task's own data work out, for demonstrations.

`data["expression"]` is one call of a calculator. `data["plan"]` are rounds of queries with what is
found (`delegate_demonstration`). `data["rooms"]` are keys of the tiny world, one after the other.
"""

from __future__ import annotations

from typing import NamedTuple

from hornbeam.errors import DataError
from hornbeam.tasks.lookup_world import doors
from hornbeam.tools.calculator import calculate
from hornbeam.tree.task import Task


class Worked(NamedTuple):
    """Rounds of (what goes into the tool, what it says), and the answer behind them.

    `tool` and `argument` are the names that go with the data.
    """

    tool: str
    argument: str
    rounds: list[list[tuple[str, str]]]
    answer: str

    @property
    def steps(self) -> list[tuple[str, str]]:
        """The calls one by one."""
        return [step for together in self.rounds for step in together]


def worked_calls(task: Task) -> Worked:
    """The calls of a task by whatever its data has. Raises `DataError` where it has nothing."""
    if "plan" in task.data:
        return planned(task)
    return walked(task) if "rooms" in task.data else summed(task)


def summed(task: Task) -> Worked:
    """One call with the task's expression, whose result is the answer."""
    expression = task.data.get("expression")
    if not expression:
        raise DataError(f"task {task.id} has no data.expression to make a demonstration from")
    result = calculate(expression)
    if result.startswith("error:"):
        raise DataError(f"task {task.id}, data.expression = {expression!r}: {result}")
    return Worked("calculator", "expression", [[(expression, result)]], result)


def planned(task: Task) -> Worked:
    """The queries of the task's plan."""
    if "plan" not in task.data:
        raise DataError(f"task {task.id} has no data.plan to make a demonstration from")
    gold = task.answer[0] if isinstance(task.answer, list) else task.answer
    rounds = [[(s["query"], s["found"]) for s in together] for together in task.data["plan"]]
    return Worked("retrieval", "query", rounds, str(gold))


def walked(task: Task) -> Worked:
    """The keys behind the doors that the tiny world's demonstrator takes, to a treasure."""
    note, rounds = task.question, list[list[tuple[str, str]]]()
    for door in task.data["demonstration"]:
        key = doors(note)[door]
        note = task.data["rooms"][key]
        rounds.append([(key, note)])
    return Worked("lookup", "key", rounds, note)
