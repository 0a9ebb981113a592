"""ProcessBench (arXiv 2412.06559): find the first wrong step of a solution, or say there is none.

Steps are counted from 0; -1 says that no step is wrong. The figures are those of the official
script: accuracy on the items with an error, accuracy on those without, and their harmonic mean.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from hornbeam.chat import Chat, end_of_answer, user
from hornbeam.errors import DataError
from hornbeam.protocols import Guide
from hornbeam.tasks.records import read_records
from hornbeam.tree.nodes import Node, Origin, Tree, ids

NONE_WRONG = -1
SPLITS = ("gsm8k", "math", "olympiadbench", "omnimath")


# --- figures -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was predicted for an item; `None` is no verdict, which is never right.

    `correct` says whether the solution's final answer is right, where the line told.
    """

    id: str
    split: str
    label: int
    prediction: int | None
    correct: bool | None = None

    @property
    def match(self) -> bool:
        """Whether it names the very step, or rightly says that there is none."""
        return self.prediction == self.label

    def to_json(self) -> dict[str, Any]:
        """The line that `read_predictions` reads."""
        row = {"id": self.id, "split": self.split, "label": self.label}
        right = {} if self.correct is None else {"final_answer_correct": self.correct}
        return {**row, "prediction": self.prediction, **right}


@dataclass(frozen=True, slots=True)
class ProcessBenchMetrics:
    """Percentages over two groups of items; `None` where a group has no item."""

    errors: int
    corrects: int
    error_accuracy: float | None
    correct_accuracy: float | None

    @property
    def f1(self) -> float | None:
        """2 e c / (e + c); 0 where both are 0 (the official script has no number there)."""
        e, c = self.error_accuracy, self.correct_accuracy
        if e is None or c is None:
            return None
        return 2 * e * c / (e + c) if e + c else 0.0

    def to_json(self) -> dict[str, Any]:
        """All figures by name."""
        return {
            "errors": self.errors,
            "corrects": self.corrects,
            "error_accuracy": self.error_accuracy,
            "correct_accuracy": self.correct_accuracy,
            "f1": self.f1,
        }


def official(item: Prediction) -> bool | None:
    """The benchmark's own grouping: an item has an error when a step is labelled wrong."""
    return item.label != NONE_WRONG


def by_final_answer(item: Prediction) -> bool | None:
    """StepWiser's grouping (arXiv 2508.19229): it has an error when its final answer is wrong."""
    return None if item.correct is None else not item.correct


def figures(
    items: Iterable[Prediction], has_error: Callable[[Prediction], bool | None] = official
) -> ProcessBenchMetrics:
    """Exact-match accuracies, in percent, of items with an error and of those without."""
    matches: dict[bool, list[bool]] = {True: [], False: []}
    for item in items:
        group = has_error(item)
        if group is not None:
            matches[group].append(item.match)
    wrong, right = matches[True], matches[False]
    return ProcessBenchMetrics(len(wrong), len(right), _percent(wrong), _percent(right))


def _percent(matches: Sequence[bool]) -> float | None:
    return sum(matches) / len(matches) * 100 if matches else None


def by_split(
    items: Sequence[Prediction], has_error: Callable[[Prediction], bool | None] = official
) -> dict[str, ProcessBenchMetrics]:
    """Figures of every split, in the benchmark's order, then as they come."""
    found = dict.fromkeys([*SPLITS, *(item.split for item in items)])
    groups = {name: [item for item in items if item.split == name] for name in found}
    return {name: figures(group, has_error) for name, group in groups.items() if group}


def mean_f1(splits: Mapping[str, ProcessBenchMetrics]) -> float | None:
    """Mean F1 over splits, each weighing the same; `None` where one has none."""
    all_f1 = [each.f1 for each in splits.values()]
    known = [f1 for f1 in all_f1 if f1 is not None]
    return sum(known) / len(known) if known and len(known) == len(all_f1) else None


# --- files ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BenchSolution:
    """One item of the benchmark: a solution in steps and its first wrong one."""

    id: str
    split: str
    problem: str
    steps: tuple[str, ...]
    label: int
    correct: bool | None = None


def read_predictions(path: Path) -> list[Prediction]:
    """Predictions of a file of lines `{"id", "split", "label", "prediction"}`.

    `final_answer_correct` is read where a line has it; other fields are passed over. Raises
    `DataError` naming file and line.
    """
    out: list[Prediction] = []
    seen: dict[tuple[str, str], int] = {}
    for number, record in read_records(path):
        where = f"{path}, line {number}"
        item = Prediction(
            _name(record, "id", where),
            _name(record, "split", where),
            _step(record, "label", where),
            _predicted(record, where),
            _correct(record, where),
        )
        if (first := seen.setdefault((item.split, item.id), number)) != number:
            raise DataError(
                f"{where}: {item.split} {item.id} was predicted in line {first} already"
            )
        out.append(item)
    return out


def read_solutions(path: Path) -> list[BenchSolution]:
    """Items of a file of the benchmark's own form, plain or gzip; `split` defaults to its name."""
    return [
        _solution(record, path.name.split(".")[0], f"{path}, line {number}")
        for number, record in read_records(path)
    ]


def _solution(record: Mapping[str, Any], split: str, where: str) -> BenchSolution:
    steps = _has(record, "steps", where)
    if not (isinstance(steps, list) and steps and all(isinstance(s, str) and s for s in steps)):
        raise DataError(f"{where}: 'steps' must be a list of texts")
    label = _step(record, "label", where)
    if label >= len(steps):
        raise DataError(f"{where}: 'label' is {label}, and there are {len(steps)} steps")
    return BenchSolution(
        _name(record, "id", where),
        _name({"split": split, **record}, "split", where),
        _name(record, "problem", where),
        tuple(steps),
        label,
        _correct(record, where),
    )


def _has(record: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in record:
        raise DataError(f"{where}: no {key!r}; it has {', '.join(record) or 'nothing'}")
    return record[key]


def _name(record: Mapping[str, Any], key: str, where: str) -> str:
    value = _has(record, key, where)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise DataError(f"{where}: {key!r} must be a text, it is {value!r}"[:300])
    return str(value)


def _step(record: Mapping[str, Any], key: str, where: str) -> int:
    value = _has(record, key, where)
    if isinstance(value, bool) or not isinstance(value, int) or value < NONE_WRONG:
        also = " (or null)" if key == "prediction" else ""
        wrong = f"{key!r} must be a step from 0 or -1 for none{also}, it is {value!r}"
        raise DataError(f"{where}: {wrong}"[:300])
    return value


def _predicted(record: Mapping[str, Any], where: str) -> int | None:
    value = _has(record, "prediction", where)
    return None if value is None else _step(record, "prediction", where)


def _correct(record: Mapping[str, Any], where: str) -> bool | None:
    value = record.get("final_answer_correct")
    if value is not None and not isinstance(value, bool):
        raise DataError(f"{where}: 'final_answer_correct' must be true or false, it is {value!r}")
    return value


# --- values of steps -----------------------------------------------------------------------------


def step_tree(
    item: BenchSolution, chat: Chat, agent: str = "solver", separator: str = "\n\n"
) -> Tree:
    """The solution as a tree of one path: one node a step, all chunks of one answer.

    The separator belongs to the step that it ends, as when growth cuts an answer into chunks; the
    last step ends as an answer does. `tree.columns` is empty: no outcome is told.
    """
    task = {"id": item.id, "question": item.problem, "data": {"split": item.split}}
    tree = Tree(task)
    prompt = chat.render([user(item.problem)])
    last = len(item.steps) - 1
    for number, step in enumerate(item.steps):
        end = number == last
        tokens = chat.quote(step if end else step + separator)
        if end:
            tokens.append(end_of_answer(chat))
        tree.append(
            Node(
                number,
                agent,
                prompt=ids() if number else prompt,
                tokens=tokens,
                text=chat.text(tokens),
                finish="stop" if end else "chunk",
                origin=Origin(step=number),
                done=end,
            )
        )
    return tree


async def step_values(guide: Guide, tree: Tree) -> list[float | None]:
    """What a guide thinks of every step of a tree of `step_tree`, shape [steps]."""
    try:
        return (await guide.judge(tree, range(1, len(tree)))).values
    finally:
        guide.forget(tree)


async def judge_all(
    guide: Guide, chat: Chat, items: Sequence[BenchSolution], at_once: int = 16
) -> list[list[float | None]]:
    """Values of the steps of every item, shape [items][steps]; so many items share a pass."""
    out: list[list[float | None]] = []
    for start in range(0, len(items), at_once):
        trees = [step_tree(item, chat) for item in items[start : start + at_once]]
        out += await asyncio.gather(*(step_values(guide, tree) for tree in trees))
    return out


def predict(values: Sequence[float | None], threshold: float) -> int:
    """The first step whose value is below the threshold, else -1; `None` is below nothing."""
    for step, value in enumerate(values):
        if value is not None and value < threshold:
            return step
    return NONE_WRONG


def best_threshold(values: Sequence[Sequence[float | None]], labels: Sequence[int]) -> float:
    """The threshold at which `predict` has the highest official F1 on these items.

    An item is right for thresholds in one interval (low, high]: steps before the labelled one must
    not be below, the labelled one must be. So one pass over the sorted ends is enough. Tried are
    the middles between neighbouring ends; of equals the lowest is taken. Raises `DataError` where
    items have no value, or all or none of them an error: F1 has no meaning there.
    """
    if len(values) != len(labels):
        raise DataError(f"{len(values)} items have values, {len(labels)} have labels")
    if len({label == NONE_WRONG for label in labels}) < 2:
        raise DataError("a threshold is chosen on items with an error and items without one")
    lows = [list(accumulate(map(_or_above, each), min)) for each in values]
    ends = sorted({low for each in lows for low in each} - {math.inf})
    if not ends:
        raise DataError("no step has a value to choose a threshold on")
    tries = [ends[0], *((a + b) / 2 for a, b in pairwise(ends)), ends[-1] + 1]
    place = {end: number for number, end in enumerate(ends)}  # end < tries[number + 1]
    gains = {True: [0] * (len(tries) + 1), False: [0] * (len(tries) + 1)}
    for low, label in zip(lows, labels):
        first, stop = _right_for(low, label, place, len(tries))
        if first < stop:
            gains[label != NONE_WRONG][first] += 1
            gains[label != NONE_WRONG][stop] -= 1
    errors = sum(label != NONE_WRONG for label in labels)
    wrong, right = accumulate(gains[True]), accumulate(gains[False])
    f1 = [_f1(e / errors, c / (len(labels) - errors)) for e, c in zip(wrong, right)]
    return tries[max(range(len(tries)), key=lambda n: (f1[n], -n))]


def _or_above(value: float | None) -> float:
    if value is not None and math.isnan(value):
        raise DataError("a step's value is NaN: fix the guide")
    return math.inf if value is None else value


def _right_for(
    low: Sequence[float], label: int, place: Mapping[float, int], many: int
) -> tuple[int, int]:
    """Numbers [first, stop) of the thresholds tried at which an item is predicted right.

    `low` are the running minima of its values: step j is the first below t iff low[j] < t and
    t <= low[j - 1].
    """

    def over(minimum: float) -> int:
        """The first threshold above a minimum."""
        return place[minimum] + 1 if minimum in place else many

    if label == NONE_WRONG:
        return 0, over(low[-1]) if low else many
    before = over(low[label - 1]) if label else many
    return over(low[label]), before


def _f1(e: float, c: float) -> float:
    return 2 * e * c / (e + c) if e + c else 0.0
