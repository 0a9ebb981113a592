"""The data sets that are known by name: their files, where the hub keeps them, their own fields.

A family's file for a split is `DATA/<source>/<stem>.jsonl` or `.jsonl.gz`; its rows have
`question`, `answer` or `answers`, mostly `id`, and what else the set knows. Rows of the hub are
brought into that form by `from_hub`.

Left out: where a family is looked for first (load), shuffling and cutting (load).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hornbeam.answers.arithmetic import ArithmeticProblem, evaluate, operations, spaced
from hornbeam.answers.latex import boxed
from hornbeam.errors import DataError
from hornbeam.tasks.gold import compose
from hornbeam.tasks.records import read_records
from hornbeam.tree.task import SCORING, Task

Row = dict[str, Any]


def _same(row: Row) -> Row:
    return row


@dataclass(frozen=True, slots=True)
class Family:
    """`files`: split -> stem of its file; `hub`: split -> (repository, config, split there)."""

    files: Mapping[str, str]
    hub: Mapping[str, tuple[str, str | None, str]] = field(default_factory=dict)
    from_hub: Callable[[Row], Row] = _same
    enrich: Callable[[Row], Row] = _same  # adds what can be worked out from a row


# --- rows -> tasks -------------------------------------------------------------------------------


def to_tasks(
    rows: Iterable[tuple[int, Row]],
    prefix: str,
    where: str,
    fields: Mapping[str, str] = {},
    unit: str = "line",
) -> Iterator[Task]:
    """Tasks of numbered rows, each a `unit` of `where`; `fields` maps our field names to theirs.

    `id` falls back on `prefix-number`. Raises `DataError` naming `where` and the row's number.
    """
    for number, row in rows:
        missing = [theirs for theirs in fields.values() if theirs not in row]
        if missing:
            turned = next((o for o in fields if fields[o] == missing[0] and o in row), "")
            raise DataError(
                f"{where}, {unit} {number}: no field {missing[0]!r}; it has {', '.join(row)}"
                + (f" (fields: {missing[0]} = {turned!r} is meant?)" if turned else "")
            )
        row = _renamed(row, fields)
        question = row.pop("question", None)
        if not isinstance(question, str) or not question.strip():
            raise DataError(
                f"{where}, {unit} {number}: no 'question'; name the field that holds it in `fields`"
            )
        answers = row.pop("answers", None)
        answer = row.pop("answer", answers)
        name = str(row.pop("id", f"{prefix}-{number}"))
        yield Task(name, question, answer, row, f"{where}, {unit} {number}")


def _renamed(row: Row, fields: Mapping[str, str]) -> Row:
    """The row under our names; what is not mapped and stands under one of them gives way."""
    rest = {k: v for k, v in row.items() if k not in fields and k not in fields.values()}
    return rest | {ours: row[theirs] for ours, theirs in fields.items()}


def family_tasks(name: str, split: str, rows: Iterable[tuple[int, Row]], where: str) -> list[Task]:
    """Tasks of a known family out of rows in its own form."""
    enrich = families[name].enrich
    return list(to_tasks(((n, enrich(row)) for n, row in rows), f"{name}-{split}", where))


def family_splits(name: str) -> set[str]:
    """The splits that a family has somewhere."""
    return {*families[name].files, *families[name].hub}


def family_file(name: str, split: str, data: Path) -> Path | None:
    """The file of that split in a data directory, if it is there."""
    stem = families[name].files.get(split)
    paths = [data / name / f"{stem}{end}" for end in (".jsonl", ".jsonl.gz")] if stem else []
    return next((path for path in paths if path.is_file()), None)


def read_family(name: str, split: str, path: Path) -> list[Task]:
    """Tasks of a family's file."""
    return family_tasks(name, split, read_records(path), str(path))


# --- what each family knows ----------------------------------------------------------------------


def _with_expression(row: Row, expression: str) -> Row:
    """The row with its gold expression, if that gives the gold answer, and its operations."""
    row = {key: value for key, value in row.items() if key != "expression"}
    try:
        if expression and evaluate(expression) == evaluate(str(row.get("answer"))):
            return row | {"expression": spaced(expression), "operations": operations(expression)}
    except ArithmeticProblem:
        pass
    return row


def _svamp(row: Row) -> Row:
    return _with_expression(row, str(row.get("expression", "")))


def _svamp_hub(row: Row) -> Row:
    text = row.get("question_concat") or f"{row['Body'].strip()} {row['Question'].strip()}"
    answer = f"{float(row['Answer']):.10g}"
    return {
        "id": row["ID"],
        "question": text,
        "answer": answer,
        "expression": re.sub(r"\.0\b", "", row["Equation"]),
        "type": row["Type"],
    }


def _gsm8k(row: Row) -> Row:
    question, solution, answer = (str(row.get(k, "")) for k in ("question", "solution", "answer"))
    return _with_expression(row, compose(question, solution, answer) or "")


def _gsm8k_hub(row: Row) -> Row:
    solution, _, answer = row["answer"].rpartition("####")
    return {
        "question": row["question"],
        "answer": answer.strip().replace(",", ""),
        "solution": solution.strip(),
    }


def _math_hub(row: Row) -> Row:
    answer = row.get("answer") or boxed(row["solution"]) or ""
    kept = {key: row[key] for key in ("solution", "level") if key in row}
    own = {"id": row["unique_id"]} if "unique_id" in row else {}
    subject = row.get("subject") or row.get("type", "")
    return {"question": row["problem"], "answer": answer, "subject": subject} | kept | own


def _flash_rag(row: Row) -> Row:
    return {"id": row["id"], "question": row["question"], "answers": list(row["golden_answers"])}


def _closed_questions(row: Row) -> Row:
    """The row of a set whose script gives words of "yes" and "no" no F1: HotpotQA's and its kin."""
    return row | {SCORING: {"f1": "hotpotqa"}}


def _same_names(*splits: str) -> dict[str, str]:
    return {split: split for split in splits}


def _question_answering(
    name: str,
    *splits: str,
    only_hub: tuple[str, ...] = (),
    enrich: Callable[[Row], Row] = _same,
) -> Family:
    """Questions with lists of accepted answers; on the hub in the FlashRAG collection."""
    hub = {s: ("RUC-NLPIR/FlashRAG_datasets", name, s) for s in (*splits, *only_hub)}
    return Family(_same_names(*splits), hub, _flash_rag, enrich)


families: dict[str, Family] = {
    "svamp": Family(
        _same_names("train", "test"),
        {split: ("ChilleD/SVAMP", None, split) for split in ("train", "test")},
        _svamp_hub,
        _svamp,
    ),
    "gsm8k": Family(
        _same_names("train", "test"),
        {split: ("openai/gsm8k", "main", split) for split in ("train", "test")},
        _gsm8k_hub,
        _gsm8k,
    ),
    "math": Family(
        {"train": "train", "test": "test_minus_math500"},
        {s: ("DigitalLearningGmbH/MATH-lighteval", "default", s) for s in ("train", "test")},
        _math_hub,
    ),
    "math500": Family(
        _same_names("test"), {"test": ("HuggingFaceH4/MATH-500", None, "test")}, _math_hub
    ),
    "aime": Family({"test": "aime_2022_2025"}),
    "amc": Family({"test": "amc_2022_2023"}),
    "olympiadbench": Family(_same_names("test")),
    "hotpotqa": _question_answering("hotpotqa", "train", "dev", enrich=_closed_questions),
    "2wikimultihopqa": _question_answering(
        "2wikimultihopqa", "train", "dev", enrich=_closed_questions
    ),
    "musique": _question_answering("musique", "train", "dev"),
    "nq": _question_answering("nq", "test", only_hub=("train", "dev")),
    "triviaqa": _question_answering("triviaqa", "test", only_hub=("train", "dev")),
    "popqa": _question_answering("popqa", "test"),
    "bamboogle": _question_answering("bamboogle", "test"),
    "simpleqa": Family({"test": "sample500"}),
    "frames": Family(_same_names("test")),
}
