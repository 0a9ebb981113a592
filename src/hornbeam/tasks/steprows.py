"""Rows of the step-label formats, read: each is a solution, its steps with their labels.

A label is true or false, 1 or -1, or a word for one of these; null is no label. 0 is neutral in
PRM800K, and in TRL's rows where any row of the set writes -1; else it is false (`settle`). A
likelihood is refused: where it turns is not ours to say. What a row holds of a step that cannot be
read is told, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from hornbeam.errors import DataError
from hornbeam.settings import nearest

Format = Literal["trl", "math-shepherd", "prm800k"]
Record = Mapping[str, Any]
MARK = "ки"
NO_STEP = "without a step, left out"
EMPTY = "ended early, at a step that is empty or goes on from nowhere"
UNMARKED = f"with a step without {MARK}, which has no label"

_GOOD = frozenset(["true", "yes", "+", "good", "correct", "right", "positive", "1", "1.0"])
_BAD = frozenset(["false", "no", "-", "−", "bad", "incorrect", "wrong", "negative", "-1", "-1.0"])
_SIGNED = frozenset(["-", "−", "-1", "-1.0", "neutral"])  # beside these 0 is neutral
_HEAD = re.compile(r"(?m)^\s*Step \d+: ?")


@dataclass(slots=True)
class LabelledStep:
    """Candidates of one step with their labels, and which of them the solution goes on from."""

    choices: list[tuple[str, float | None]]
    chosen: int | None = 0


@dataclass(slots=True)
class LabelledSolution:
    """One labelled solution: what a row holds. `odd` says what was met in it, "" for nothing.

    `signed`: 0 is neutral in it, whatever other rows say.
    """

    question: str
    steps: list[LabelledStep]
    id: str = ""
    answer: Any = None
    ended: bool = True  # it came to an answer
    extra: dict[str, Any] = field(default_factory=dict)
    odd: str = ""
    signed: bool = True


def reader(kind: str) -> Callable[[Record], LabelledSolution]:
    """What reads a row of that format."""
    readers = {"trl": _from_trl, "math-shepherd": _from_shepherd, "prm800k": _from_prm800k}
    if kind not in readers:
        raise DataError(
            f"unknown format of step labels {kind!r}: {nearest(kind, get_args(Format))}"
        )
    return readers[kind]


# --- TRL -----------------------------------------------------------------------------------------


def _from_trl(row: Record) -> LabelledSolution:
    prompt, texts, labels = row.get("prompt"), row.get("completions"), row.get("labels")
    if isinstance(prompt, list) and prompt:  # conversational: messages
        prompt = text_of(prompt[-1])
    if not isinstance(prompt, str) or not isinstance(texts, list) or not isinstance(labels, list):
        raise DataError("'prompt', 'completions' and 'labels' are expected: a text and two lists")
    if len(texts) != len(labels):
        raise DataError(f"{len(texts)} completions but {len(labels)} labels")
    if not texts:
        raise DataError("a solution without steps")
    said = [text_of(text) for text in texts]
    for number, (text, given) in enumerate(zip(said, texts), 1):
        if text is None or not text.strip():
            raise DataError(f"step {number} is no text: {given!r:.80}")
    values = [label_of(value, f"step {number}") for number, value in enumerate(labels, 1)]
    steps = [LabelledStep([(str(text), value)]) for text, value in zip(said, values)]
    return LabelledSolution(prompt, steps, signed=any(map(_is_signed, labels)))


def _is_signed(label: Any) -> bool:
    if isinstance(label, str):
        return label.strip().lower() in _SIGNED
    return not isinstance(label, bool) and label == -1


def settle(solutions: Sequence[LabelledSolution]) -> None:
    """Make 0 false in the labels of a set where no row says that it is neutral."""
    if any(solution.signed for solution in solutions):
        return
    for solution in solutions:
        for step in solution.steps:
            step.choices = [
                (text, -1.0 if rating == 0 else rating) for text, rating in step.choices
            ]


def text_of(given: Any) -> str | None:
    """The text of a step, or of a message that is one: its content, or its only text part."""
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if isinstance(given, Mapping) and {"role", "content"} <= set(given):
        given = given["content"]
        if isinstance(given, list) and len(given) == 1 and isinstance(given[0], Mapping):
            given = given[0].get("text")
    return given if isinstance(given, str) else None


def label_of(value: Any, where: str) -> float | None:
    """1, -1 or 0 (not said yet whether neutral or false) of a label; None for null."""
    if value is None:
        return None
    if isinstance(value, bool):
        return 1.0 if value else -1.0
    if isinstance(value, (int, float)) and value in (-1, 0, 1):
        return float(value)
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in _GOOD or word in _BAD:
        return 1.0 if word in _GOOD else -1.0
    if word in ("0", "0.0", "neutral"):
        return 0.0
    raise DataError(
        f"{where}: a label is true, false, 1, -1, 0 or null, not {value!r:.80}; of likelihoods make"
        " labels first, at a threshold of your own"
    )


# --- Math-Shepherd -------------------------------------------------------------------------------


def _from_shepherd(row: Record) -> LabelledSolution:
    given, label = row.get("input"), row.get("label")
    if not isinstance(given, str) or not isinstance(label, str):
        raise DataError("'input' and 'label' are expected, both texts")
    parts, at, signs = re.split(rf"{MARK}(?: ?\?)?", given), 0, []
    for number, part in enumerate(parts[:-1], 1):
        found = re.compile(rf"{re.escape(part)}(?:{MARK} ?)?([+-])").match(label, at)
        if not found:
            raise DataError(f"step {number}: 'label' is not 'input' with + or - for {MARK!r}")
        at = found.end()
        signs.append(found[1])
    if not signs:
        raise DataError(f"no step: 'input' holds no {MARK!r}")
    cut = parts[0].rfind("Step 1:")
    question, first = (parts[0][:cut], parts[0][cut:]) if cut >= 0 else ("", parts[0])
    steps: list[LabelledStep] = []
    for number, (text, sign) in enumerate(zip([first, *parts[1:]], [*signs, ""]), 1):
        pieces = [piece.strip() for piece in _HEAD.split(text)]
        if sign and not pieces[-1]:
            raise DataError(f"step {number} is empty")
        kept: list[tuple[str, float | None]] = [(piece, None) for piece in pieces if piece]
        if sign:
            kept[-1] = (pieces[-1], 1.0 if sign == "+" else -1.0)
        steps += [LabelledStep([choice]) for choice in kept]
    extra = {"source": row["task"]} if "task" in row else {}
    odd = UNMARKED if len(steps) > len(signs) else ""
    return LabelledSolution(question.strip(), steps, extra=extra, odd=odd)


# --- PRM800K -------------------------------------------------------------------------------------


def _from_prm800k(row: Record) -> LabelledSolution:
    question: Any = row.get("question")
    label: Any = row.get("label")
    if isinstance(question, str):
        return _from_ratings(row)
    try:
        if not isinstance(question["problem"], str):
            raise TypeError("'problem' is no text")
        solution = LabelledSolution(
            question["problem"], [], answer=question.get("ground_truth_answer")
        )
        given = label["steps"]
        solution.ended = label.get("finish_reason") == "solution"
        for number, each in enumerate(given or [], 1):
            step = _candidates(each, f"step {number}")
            nowhere = step is not None and step.chosen is None and number < len(given)
            if step is None or nowhere:
                solution.odd, solution.ended = EMPTY, False
            if step is not None:
                solution.steps.append(step)
            if step is None or nowhere:
                break
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            "'question' with a 'problem' and 'label' with 'steps' of 'completions' are expected"
            f" ({type(error).__name__}: {error})"
        ) from error
    return _with_steps(solution)


def _candidates(given: Any, where: str) -> LabelledStep | None:
    """A step's candidates; None where there are none, or the one to go on from is empty."""
    if not given:
        return None
    kept: list[tuple[str, float | None]] = []
    chosen, human, at = given.get("chosen_completion"), given.get("human_completion"), None
    candidates = given["completions"] or []
    if chosen is not None and not 0 <= chosen < len(candidates):
        raise DataError(f"{where} has no candidate {chosen}")
    for number, each in enumerate(candidates):
        if not each or not str(each["text"] or "").strip():
            if number == chosen:
                return None
            continue
        at = len(kept) if number == chosen else at
        kept.append((str(each["text"]), _rating(each.get("rating"), where)))
    if chosen is None and human:
        step = human if isinstance(human, dict) else {"text": human, "rating": 1}
        if str(step["text"] or "").strip():
            kept.append((str(step["text"]), _rating(step.get("rating", 1), where)))
            at = len(kept) - 1
    return LabelledStep(kept, at) if kept else None


def _from_ratings(row: Record) -> LabelledSolution:
    steps, ratings = row.get("steps"), row.get("ratings")
    steps = [] if steps is None and "steps" in row else steps
    if not isinstance(steps, list):
        raise DataError("'question' as text needs 'steps' and 'ratings', two lists")
    ratings = [] if ratings is None and not steps else ratings
    if not isinstance(ratings, list) or len(ratings) != len(steps):
        raise DataError(f"{len(steps)} steps need as many 'ratings'")
    texts = [text_of(step) if step is not None else "" for step in steps]
    solution = LabelledSolution(row["question"], [], str(row.get("id", "")), row.get("answer"))
    for number, (text, rating) in enumerate(zip(texts, ratings), 1):
        if text is None:
            raise DataError(f"step {number} is no text: {steps[number - 1]!r:.80}")
        if not text.strip():
            solution.odd, solution.ended = EMPTY, False
            break
        solution.steps.append(LabelledStep([(text, _rating(rating, f"step {number}"))]))
    return _with_steps(solution)


def _with_steps(solution: LabelledSolution) -> LabelledSolution:
    """The solution, told where no step is left of it."""
    if not solution.steps:
        solution.odd = NO_STEP
    return solution


def _rating(value: Any, where: str) -> float | None:
    try:
        return label_of(value, where)
    except DataError as error:
        raise DataError(f"{where}: a rating is -1, 0, 1 or null, not {value!r:.80}") from error
