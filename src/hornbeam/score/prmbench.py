"""PRMBench (arXiv 2501.03124): say of every step of a solution whether it is right.

Its solutions had errors of nine classes put in. The figures are those of the official script, in
percent: right steps are the positives of F1, wrong ones those of the negative F1, and the PRM score
is the mean of both. Steps are counted from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from hornbeam.errors import DataError
from hornbeam.score.processbench import BenchSolution
from hornbeam.tasks.records import read_records, sample

CATEGORIES = {
    "simplicity": ("redundency", "circular"),  # the benchmark's own spelling
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
CLASSES = tuple(name for names in CATEGORIES.values() for name in names)
ORIGINAL = "correct"  # the class of solutions as they were before errors were put in
ORIGINALS_OF = "redundency"  # the class whose originals are judged too


# --- figures -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of a solution: `right` step by step, `None` where there is no verdict.

    `split` is its class, `wrong` the steps that are. Solutions made from one have one `id`.
    """

    id: str
    split: str
    wrong: tuple[int, ...]
    right: tuple[bool, ...] | None

    def to_json(self) -> dict[str, Any]:
        """The line that `read_verdicts` reads."""
        right = None if self.right is None else list(self.right)
        kind = {"id": self.id, "classification": self.split}
        return {**kind, "error_steps": list(self.wrong), "right": right}

    @property
    def share(self) -> float:
        """The share of steps that are said to be right."""
        return fmean(self.right or [0.0])


@dataclass(frozen=True, slots=True)
class PrmBenchMetrics:
    """Steps of some solutions by what they are and what was said; `None` where none is.

    `first`: share of solutions whose first wrong step is said to be wrong. `similarity`: mean
    difference between the share of steps said to be right and that of the original solution.
    """

    items: int
    true_right: int  # right and said so
    false_right: int  # wrong, and said to be right
    true_wrong: int
    false_wrong: int
    first: float | None
    similarity: float | None

    @property
    def correct_step_acc(self) -> float | None:
        """Recall of right steps."""
        return _percent(self.true_right, self.true_right + self.false_wrong)

    @property
    def wrong_step_acc(self) -> float | None:
        """Recall of wrong steps."""
        return _percent(self.true_wrong, self.true_wrong + self.false_right)

    @property
    def total_step_acc(self) -> float | None:
        """Steps of which the truth is said."""
        said = self.true_right + self.true_wrong
        return _percent(said, said + self.false_right + self.false_wrong)

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN) of right steps; `None` where there is no right step."""
        return self._f1(self.true_right, self.correct_step_acc)

    @property
    def negative_f1(self) -> float | None:
        """The same of wrong steps."""
        return self._f1(self.true_wrong, self.wrong_step_acc)

    @property
    def prm_score(self) -> float | None:
        """(F1 + negative F1) / 2; where no step is wrong (class multi_solutions) F1 alone."""
        known = [f1 for f1 in (self.f1, self.negative_f1) if f1 is not None]
        return fmean(known) if known else None

    def _f1(self, hits: int, recall: float | None) -> float | None:
        missed = self.false_right + self.false_wrong
        return None if recall is None else _percent(2 * hits, 2 * hits + missed)

    def to_json(self) -> dict[str, Any]:
        """All figures, under the names of the official script."""
        return {
            "items": self.items,
            "prm_score": self.prm_score,
            "f1": self.f1,
            "negative_f1": self.negative_f1,
            "precision": _percent(self.true_right, self.true_right + self.false_right),
            "recall": self.correct_step_acc,
            "negative_precision": _percent(self.true_wrong, self.true_wrong + self.false_wrong),
            "negative_recall": self.wrong_step_acc,
            "correct_step_acc": self.correct_step_acc,
            "wrong_step_acc": self.wrong_step_acc,
            "total_step_acc": self.total_step_acc,
            "first_error_acc": self.first,
            "similarity": self.similarity,
        }


def figures(items: Iterable[Verdict], originals: Mapping[str, float]) -> PrmBenchMetrics:
    """Figures of these solutions, pooled over their steps; those without a verdict are left out.

    `originals`: id -> share of steps said to be right in the original. One of which none is counts
    for no similarity, as in the official script.
    """
    counts = dict.fromkeys([(w, r) for w in (False, True) for r in (False, True)], 0)
    first, differences, many = [], [], 0
    for item in items:
        if item.right is None:
            continue
        many += 1
        wrong = set(item.wrong)
        for step, said in enumerate(item.right):
            counts[step in wrong, said] += 1
        if wrong and min(wrong) < len(item.right):
            first.append(not item.right[min(wrong)])
        if item.right and originals.get(item.id):
            differences.append(abs(item.share - originals[item.id]))
    return PrmBenchMetrics(
        many,
        counts[False, True],
        counts[True, True],
        counts[True, False],
        counts[False, False],
        _percent(sum(first), len(first)),
        fmean(differences) * 100 if differences else None,
    )


def _percent(hits: float, of: int) -> float | None:
    return hits / of * 100 if of else None


def report(items: Sequence[Verdict]) -> tuple[PrmBenchMetrics, dict[str, PrmBenchMetrics]]:
    """(figures over all classes, figures of each, in the benchmark's order and then as they come).

    Original solutions are in no figure of all classes; they are a class of their own at the end.
    """
    originals = {i.id: i.share for i in items if i.split == ORIGINAL and i.right is not None}
    found = dict.fromkeys([*CLASSES, *(item.split for item in items if item.split != ORIGINAL)])
    groups = {name: [item for item in items if item.split == name] for name in (*found, ORIGINAL)}
    total = figures((item for item in items if item.split != ORIGINAL), originals)
    by_class = {
        name: figures(group, {} if name == ORIGINAL else originals)
        for name, group in groups.items()
        if group
    }
    return total, by_class


def categories(by_class: Mapping[str, PrmBenchMetrics]) -> dict[str, float | None]:
    """Mean PRM score of the classes of each category; `None` where one of them has none."""
    out: dict[str, float | None] = {}
    for name, classes in CATEGORIES.items():
        scores = [by_class[k].prm_score if k in by_class else None for k in classes]
        known = [score for score in scores if score is not None]
        out[name] = fmean(known) if len(known) == len(scores) else None
    return out


# --- files ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Marked:
    """A solution of the benchmark and the steps of it that are wrong."""

    solution: BenchSolution
    wrong: tuple[int, ...]

    def said(self, values: Sequence[float | None], threshold: float) -> Verdict:
        """What values say: a step below the threshold is wrong; an empty one without value is not.

        No verdict where another step has no value (it is longer than the model's context).
        """
        steps = self.solution.steps
        scored = [v is not None or not step.strip() for v, step in zip(values, steps, strict=True)]
        right = tuple(v is None or v >= threshold for v in values) if all(scored) else None
        return Verdict(self.solution.id, self.solution.split, self.wrong, right)


def read_marked(
    paths: Sequence[Path], count: int | None = None, seed: int = 0
) -> tuple[list[Marked], list[str]]:
    """(solutions of files of the benchmark, plain or gzip; what was passed over, a line each).

    A line has `modified_process` and `error_steps` from 1, as it is published, or `steps` and
    `error_steps` from 0. Passed over, as the official script does: a second solution of one class
    and id, and wrong steps that the solution does not have. `count`: so many of each class, drawn
    from `seed`, with their originals. Raises `DataError` naming file and line.
    """
    read: dict[tuple[str, str], tuple[Marked, Marked, int]] = {}
    classes: dict[str, list[tuple[str, str]]] = {}
    twice = 0
    for path in paths:
        for number, record in read_records(path):
            row = _marked(record, f"{path}, line {number}")
            key = row[0].solution.split, row[0].solution.id
            if key in read:
                twice += 1
                continue
            read[key] = row
            classes.setdefault(key[0], []).append(key)
    kept = {key for keys in classes.values() for key in sample(keys, count, seed)}
    found: dict[tuple[str, str], Marked] = {}
    for key in (key for key in read if key in kept):
        item, original, _ = read[key]
        found[key] = item
        if key[0] == ORIGINALS_OF:
            found.setdefault((ORIGINAL, key[1]), original)
    beyond = sum(bool(read[key][2]) for key in kept)
    notes = [
        f"{twice} solutions of a class and id that came before were passed over" * bool(twice),
        f"{beyond} solutions name a wrong step that they do not have" * bool(beyond),
    ]
    return list(found.values()), [note for note in notes if note]


def _marked(record: Mapping[str, Any], where: str) -> tuple[Marked, Marked, int]:
    """(the solution, its original, how many wrong steps it does not have)."""
    published = "modified_process" in record
    text, steps = ("modified_question", "modified_process") if published else ("question", "steps")
    kind = _text(record, "classification", where)
    name = _text(record, "idx" if published else "id", where).removesuffix(f"-{kind}")
    said = _steps(record, steps, where)
    wrong = [i - published for i in _indices(record, where)]
    there = tuple(sorted({i for i in wrong if 0 <= i < len(said)}))
    item = Marked(BenchSolution(name, kind, _text(record, text, where), said, -1), there)
    if kind != ORIGINALS_OF:
        return item, item, len(set(wrong)) - len(there)
    before = _steps(record, "original_process" if published else "original_steps", where)
    asked = _text(record, "original_question", where)
    return (
        item,
        Marked(BenchSolution(name, ORIGINAL, asked, before, -1), ()),
        len(set(wrong) - {*there}),
    )


def _has(record: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in record:
        raise DataError(f"{where}: no {key!r}; it has {', '.join(record) or 'nothing'}")
    return record[key]


def _text(record: Mapping[str, Any], key: str, where: str) -> str:
    value = _has(record, key, where)
    if not isinstance(value, str) or not value:
        raise DataError(f"{where}: {key!r} must be a text, it is {value!r}"[:300])
    return value


def _steps(record: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = _has(record, key, where)
    if not (isinstance(value, list) and value and all(isinstance(step, str) for step in value)):
        raise DataError(f"{where}: {key!r} must be a list of texts")
    return tuple(value)


def _indices(record: Mapping[str, Any], where: str) -> list[int]:
    value = _has(record, "error_steps", where)
    sound = isinstance(value, list) and all(type(step) is int for step in value)
    if not sound:
        raise DataError(f"{where}: 'error_steps' must be a list of steps, it is {value!r}"[:300])
    return list(value)


def read_verdicts(path: Path) -> list[Verdict]:
    """Verdicts of lines `{"id", "classification", "error_steps": from 0, "right": [...] or null}`.

    Raises `DataError` naming file and line.
    """
    out: list[Verdict] = []
    seen: dict[tuple[str, str], int] = {}
    for number, record in read_records(path):
        where = f"{path}, line {number}"
        name, kind = _text(record, "id", where), _text(record, "classification", where)
        right, wrong = _has(record, "right", where), _indices(record, where)
        sound = isinstance(right, list) and right and all(type(said) is bool for said in right)
        if right is not None and not sound:
            raise DataError(f"{where}: 'right' must be true or false a step, or null")
        if wrong and (min(wrong) < 0 or (right and max(wrong) >= len(right))):
            raise DataError(f"{where}: 'error_steps' are {wrong}: steps from 0 are expected"[:300])
        if (first := seen.setdefault((kind, name), number)) != number:
            raise DataError(f"{where}: {kind} {name} was judged in line {first} already")
        out.append(Verdict(name, kind, tuple(wrong), None if right is None else tuple(right)))
    return out
