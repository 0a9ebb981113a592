"""Step labels: labelled trees to and from the formats in use.

- "trl": `prompt`, `completions` (steps: texts or messages), `labels` (true or false), a row a path.
  Hub sets for TRL's step-wise supervision have it.
- "math-shepherd" (arXiv 2312.08935): `input` is the question and "Step 1: ... ки" lines, `label`
  the same with + or - in place of each mark, `task` names the set.
- "prm800k" (arXiv 2305.20050): a question and steps of rated candidates, one of them chosen;
  ratings 1, 0, -1. The short form with `question`, `steps` and `ratings` is read as well. A row
  ends where a step is null or empty.

A step is a node below the step before it, its label a column: 1 good, -1 bad, 0 neutral. Rows of
one question make one tree, and steps that begin alike (same texts and labels) are one node. With a
chat the nodes have token ids: each step's text is encoded by itself and what stands between two
steps is put between their ids, so a value is read at a step's own last token, never at a separator.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.chat import Chat, end_of_answer, user
from hornbeam.errors import DataError, how_to_write
from hornbeam.files.atomic import whole_file
from hornbeam.tasks.records import read_records
from hornbeam.tasks.steprows import MARK, Format, LabelledSolution, Record, reader, settle
from hornbeam.tree.nodes import Node, Origin, Tree, ids
from hornbeam.tree.task import Task

BETWEEN = "\n"  # stands between the ids of two steps


# --- solutions -> trees --------------------------------------------------------------------------


def read_steps(
    path: str | Path,
    kind: Format,
    *,
    column: str = "label",
    chat: Chat | None = None,
    odd: Counter[str] | None = None,
) -> list[Tree]:
    """Trees of a JSON-lines file (plain or gzip) of that format, in order of their questions.

    `odd` counts rows that were read in part, or left out, by what was met in them. Raises
    `DataError` naming file and line.
    """
    read, trees, name = reader(kind), _Trees(column, chat, odd), Path(path).name.split(".")[0]
    found: list[tuple[str, LabelledSolution]] = []
    for number, row in read_records(Path(path)):
        try:
            found.append((f"{name}-{number}", read(row)))
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
    trees.add_all(found)
    if not trees.by_question:
        raise DataError(f"{path}: no row has a step")
    return list(trees.by_question.values())


def from_rows(
    rows: Iterable[Record],
    kind: Format,
    *,
    column: str = "label",
    chat: Chat | None = None,
    odd: Counter[str] | None = None,
) -> list[Tree]:
    """Trees of rows of that format, in order of their questions; `odd` as for `read_steps`."""
    read, trees = reader(kind), _Trees(column, chat, odd)
    trees.add_all([(f"{kind}-{number}", read(row)) for number, row in enumerate(rows, 1)])
    return list(trees.by_question.values())


def odd_line(odd: Mapping[str, int]) -> str:
    """What was met in rows, in words: "; 2 rows ended early, at ..."."""
    return "".join(f"; {n} {'row' if n == 1 else 'rows'} {what}" for what, n in odd.items())


class _Trees:
    """Trees by question, growing with every solution."""

    def __init__(self, column: str, chat: Chat | None, odd: Counter[str] | None) -> None:
        self.column, self.chat, self.odd = column, chat, Counter() if odd is None else odd
        self.by_question: dict[str, Tree] = {}
        self.episodes: dict[str, int] = {}

    def add_all(self, found: Sequence[tuple[str, LabelledSolution]]) -> None:
        """All solutions of a set, each with its name."""
        settle([solution for _, solution in found])
        for name, solution in found:
            self.add(solution, name)

    def add(self, solution: LabelledSolution, name: str) -> None:
        """One more solution; its task is named so where the row has no id."""
        if solution.odd:
            self.odd[solution.odd] += 1
        if not solution.steps:
            return
        question = solution.question
        tree = self.by_question.get(question)
        if tree is None:
            task = Task(solution.id or name, question, solution.answer, solution.extra)
            tree = self.by_question[question] = Tree(task.to_json())
            tree.column(self.column)
        parent, fresh = 0, 0  # nodes that this episode grew so far
        for number, step in enumerate(solution.steps):
            last = number == len(solution.steps) - 1
            goes_on = parent
            for k, (text, label) in enumerate(step.choices):
                main = k == step.chosen
                done = last and solution.ended and main
                at = self._known(tree, parent, text, label, done)
                if at is None:
                    episode = self.episodes.setdefault(question, 0)
                    place = (episode, fresh) if main else (episode + 1, 0)
                    at = self._append(tree, parent, text, label, place, done)
                    fresh += main
                    self.episodes[question] += not main
                goes_on = at if main else goes_on
            parent = goes_on
        self.episodes[question] = self.episodes.get(question, 0) + 1

    def _known(
        self, tree: Tree, parent: int, text: str, label: float | None, done: bool
    ) -> int | None:
        column = tree.columns[self.column]
        for i in tree.children(parent):
            if (tree.nodes[i].text, column[i], tree.nodes[i].done) == (text, label, done):
                return i
        return None

    def _append(
        self,
        tree: Tree,
        parent: int,
        text: str,
        label: float | None,
        place: tuple[int, int],
        done: bool,
    ) -> int:
        prompt, tokens = ids(), ids()
        if self.chat is not None:
            asked = [user(str(tree.task["question"]))]
            prompt = self.chat.encode(BETWEEN) if parent else self.chat.render(asked)
            tokens = self.chat.quote(text)
            if done:
                tokens = tokens + ids([end_of_answer(self.chat)])
        finish = "stop" if done else "chunk"
        node = Node(
            parent, "solver", prompt=prompt, tokens=tokens, text=text, finish=finish,
            origin=Origin(*place), done=done,
        )  # fmt: skip
        index = tree.append(node)
        tree.columns[self.column][index] = label
        return index


# --- trees -> rows -------------------------------------------------------------------------------


def to_rows(tree: Tree, kind: Format, *, column: str = "label") -> list[dict[str, Any]]:
    """Rows of one labelled tree. A step without a label ends the row above it.

    A step is good where its label is over 0; PRM800K's ratings are labels rounded. Raises
    `DataError` naming the task where there is nothing to write or the format cannot hold it.
    """
    if column not in tree.columns:
        raise DataError(f"{_task(tree)}: no column {column!r} of step labels{how_to_write(column)}")
    reader(kind)
    values = tree.columns[column]
    below = {
        i: [c for c in tree.children(i) if values[c] is not None and not tree.nodes[c].error]
        for i in range(len(tree))
    }
    rows = list(
        _prm800k(tree, values, below) if kind == "prm800k" else _paths(tree, values, below, kind)
    )
    if not rows:
        raise DataError(f"{_task(tree)}: no step has a label in column {column!r}")
    return rows


def write_steps(
    trees: Iterable[Tree], path: str | Path, kind: Format, *, column: str = "label"
) -> int:
    """Write rows of that format as JSON lines; returns how many."""
    count = 0
    with whole_file(path) as stream:
        for tree in trees:
            for row in to_rows(tree, kind, column=column):
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
    return count


def _reached(below: Mapping[int, Sequence[int]]) -> Iterator[tuple[int, list[int]]]:
    """(node, labelled path to it) of all that labelled steps lead to, children in order."""
    stack: list[tuple[int, list[int]]] = [(0, [])]
    while stack:
        i, path = stack.pop()
        yield i, path
        stack += [(c, [*path, c]) for c in reversed(below[i])]


def _paths(
    tree: Tree,
    values: Sequence[float | None],
    below: Mapping[int, Sequence[int]],
    kind: str,
) -> Iterator[dict[str, Any]]:
    """A row for every labelled path that no longer one holds."""
    for i, path in _reached(below):
        if i and not below[i]:
            texts = [tree.nodes[k].text for k in path]
            labels = [(values[k] or 0) > 0 for k in path]
            yield (
                _to_trl(tree, texts, labels) if kind == "trl" else _to_shepherd(tree, texts, labels)
            )


def _to_trl(tree: Tree, texts: list[str], labels: list[bool]) -> dict[str, Any]:
    return {"prompt": tree.task.get("question", ""), "completions": texts, "labels": labels}


def _to_shepherd(tree: Tree, texts: list[str], labels: list[bool]) -> dict[str, Any]:
    question = str(tree.task.get("question", ""))
    for text in [question, *texts]:
        if MARK in text or (text in (question, texts[0]) and "Step 1:" in text):
            raise DataError(
                f"{_task(tree)}: a text holds {MARK!r} or 'Step 1:', which Math-Shepherd's format"
                " needs for itself: write 'trl'"
            )
    lines = [f"Step {n}: {text.strip()}" for n, text in enumerate(texts, 1)]
    signs = ["+" if good else "-" for good in labels]
    data = tree.task.get("data") or {}
    return {
        "input": f"{question} " + "\n".join(f"{line} {MARK}" for line in lines),
        "label": f"{question} " + "\n".join(f"{line} {s}" for line, s in zip(lines, signs)),
        "task": data.get("source", ""),
    }


def _prm800k(
    tree: Tree, values: Sequence[float | None], below: Mapping[int, Sequence[int]]
) -> Iterator[dict[str, Any]]:
    """A row for every step whose candidates lead no further; other candidates are told once."""
    seen: set[int] = set()
    for i, path in _reached(below):
        if not below[i] or any(below[c] for c in below[i]):
            continue
        steps = []
        for parent, goes_on in zip([0, *path], path):
            kept = [c for c in below[parent] if c == goes_on or (not below[c] and c not in seen)]
            seen.update(c for c in kept if not below[c])
            steps.append(_candidates(tree, values, kept, kept.index(goes_on)))
        last = below[i]
        ends = next((k for k, c in enumerate(last) if tree.nodes[c].done), None)
        steps.append(_candidates(tree, values, last, ends))
        worst = min(values[c] or 0.0 for c in last)
        stop = "found_error" if round(worst) < 0 else "give_up"
        yield {
            "question": {
                "problem": tree.task.get("question", ""),
                "ground_truth_answer": tree.task.get("answer"),
            },
            "label": {"steps": steps, "finish_reason": stop if ends is None else "solution"},
        }


def _candidates(
    tree: Tree, values: Sequence[float | None], nodes: Sequence[int], chosen: int | None
) -> dict[str, Any]:
    rated = [
        {"text": tree.nodes[c].text, "rating": round(values[c] or 0.0), "flagged": None}
        for c in nodes
    ]
    return {"completions": rated, "human_completion": None, "chosen_completion": chosen}


def _task(tree: Tree) -> str:
    return f"task {tree.task.get('id')!r}"
