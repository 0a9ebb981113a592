r"""The judge: is the newest step of a solution right? It reasons, then says so in a box.

StepWiser (arXiv 2508.19229); the texts are ours. `judge_messages` is the one place that knows how a
judge is asked, `verdict` the one that knows how it answers: the program trains by them, the guide
(score.judge) searches and credits by them.

Without `cot` the verdict comes at once. To train that by demonstrations alone is the discriminative
baseline.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import model_validator

from hornbeam.chat import Message, system, user
from hornbeam.episode.program import Episode
from hornbeam.errors import DataError, ProgramError
from hornbeam.programs.talk import Demonstration, Turn
from hornbeam.protocols import Program
from hornbeam.settings import Settings, nearest
from hornbeam.tree.task import Task

ANSWERS = {True: "Positive", False: "Negative"}  # what tasks and episodes call the verdicts
FIELDS = ("problem", "history", "chunk", "last", "ask", "positive", "negative")
PROMPT = (
    "Below are a problem, a solution to it as far as it has come, and the step that comes next."
    " Judge the next step alone.\n\n"
    "Problem:\n{problem}\n\nSolution so far:\n{history}\n\nNext step:\n{chunk}\n\n{ask}"
)
REASON = (
    "Check what the next step says and works out, line by line, against the problem and the"
    " solution so far, and whether it brings the solution further. Then end with {positive} if the"
    " step is right, or with {negative} if it holds a mistake or leads astray."
)
AT_ONCE = "Answer {positive} if the next step is right, {negative} if it is not, and nothing else."

PRESETS: dict[str, dict[str, Any]] = {
    "": {},
    "tiny": {  # words that the tiny model has ids for, and two signs
        "prompt": "{problem} {history} : {chunk}",
        "start": "",
        "mark": "{}",
        "positive": "+",
        "negative": "-",
        "analysis": "{last} {chunk}",
        "flat": True,
    },
}
_FIELD = re.compile(r"(?<!\w)\{(\w+)\}")  # \boxed{this} is none


class JudgeTexts(Settings):
    r"""How a judge is asked and how it answers; what stands beside a `preset` replaces its parts.

    `prompt` may hold {problem}, {history}, {chunk} and {ask}: `reason` with `cot`, else `at_once`,
    in which {positive} and {negative} are the verdicts in their `mark`. `start` stands for the
    history of a first step. `drop` are texts that are left out of what is judged; `flat` makes all
    blanks one space. With `cot` a demonstration says the task's `data.analysis`, or the text
    `analysis`, which may hold {last} too: the last word before the chunk.
    """

    preset: Literal["", "tiny"] = ""
    cot: bool = True
    system: str = ""
    prompt: str = PROMPT
    reason: str = REASON
    at_once: str = AT_ONCE
    start: str = "(nothing yet)"
    mark: str = r"\boxed{{}}"
    positive: str = "Positive"
    negative: str = "Negative"
    analysis: str = ""
    drop: tuple[str, ...] = ("<chunk>", "</chunk>")
    flat: bool = False

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return {**PRESETS.get(str(given.get("preset", "")), {}), **given}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key in ("prompt", "reason", "at_once", "analysis"):
            for name in _FIELD.findall(getattr(self, key)):
                if name not in FIELDS:
                    raise ValueError(f"{key} asks for {{{name}}}: {nearest(name, FIELDS)}")
        if "{chunk}" not in self.prompt:
            raise ValueError("prompt: {chunk} is missing, where the step to judge stands")
        if self.mark.count("{}") != 1:
            raise ValueError(f"mark = {self.mark!r} needs one {{}}, where the verdict stands")
        words = [self.positive.strip().casefold(), self.negative.strip().casefold()]
        if words[0] == words[1] or not all(words):
            raise ValueError("positive and negative: two different words are expected")
        return self

    def word(self, positive: bool) -> str:
        """A verdict in its mark."""
        return self.mark.replace("{}", self.positive if positive else self.negative)


class Judge(JudgeTexts):
    """A judge as a program: one reply, whose verdict is the answer."""

    agent: str = "judge"


TEXTS = JudgeTexts()


def judge_messages(texts: JudgeTexts, problem: str, history: str, chunk: str) -> list[Message]:
    """What a judge is told of a step: the problem, what was said before, the step itself."""
    values = _values(texts, problem, history, chunk)
    ask = _fill(texts.reason if texts.cot else texts.at_once, values)
    prompt = _fill(texts.prompt, {**values, "ask": ask})
    if texts.flat:
        prompt = " ".join(prompt.split())
    return [system(texts.system), user(prompt)] if texts.system else [user(prompt)]


def _values(texts: JudgeTexts, problem: str, history: str, chunk: str) -> dict[str, str]:
    for mark in texts.drop:
        history, chunk = history.replace(mark, ""), chunk.replace(mark, "")
    words = (history.split() or problem.split() or [""])[-1]
    return {
        "problem": problem.strip(),
        "history": history.strip() or texts.start,
        "chunk": chunk.strip(),
        "last": words,
        "positive": texts.word(True),
        "negative": texts.word(False),
    }


def _fill(text: str, values: Mapping[str, str]) -> str:
    """All fields at once: what stands in a value is no field."""
    return _FIELD.sub(lambda found: values.get(found[1], found[0]), text)


def verdict(text: str, texts: JudgeTexts = TEXTS) -> bool | None:
    r"""Whether a judge found the step right; None where it gave no verdict. The last one counts.

    >>> verdict(r"So not \boxed{Negative} but \boxed{Positive}.")
    True
    """
    span = verdict_span(text, texts)
    return None if span is None else _same(text[slice(*span)], texts.positive)


def verdict_span(text: str, texts: JudgeTexts) -> tuple[int, int] | None:
    """Where the word of the last verdict stands in a text."""
    found = list(_pattern(texts.mark, texts.positive, texts.negative).finditer(text))
    return found[-1].span(1) if found else None


def _same(said: str, word: str) -> bool:
    return said.casefold() == word.strip().casefold()


@functools.cache
def _pattern(mark: str, *words: str) -> re.Pattern[str]:
    r"""The mark around a word, in any case; inside a mark also with blanks and as \text{word}."""
    before, after = map(re.escape, mark.split("{}"))
    either = "|".join(_whole(word.strip()) for word in words)
    if before or after:
        return re.compile(rf"{before}\s*(?:\\\w+\{{\s*)?({either})\s*\}}?\s*{after}", re.IGNORECASE)
    return re.compile(f"({either})", re.IGNORECASE)


def _whole(word: str) -> str:
    """A word that is no part of a longer one."""
    start = r"(?<!\w)" if word[0].isalnum() else ""
    return start + re.escape(word) + (r"(?!\w)" if word[-1].isalnum() else "")


def judge(settings: Judge) -> Program:
    """The program: ask once; the answer is "Positive", "Negative", or None for no verdict."""

    async def run(task: Task, ep: Episode) -> str | None:
        reply = await ep.ask(settings.agent, judge_messages(settings, *_parts(task, ProgramError)))
        said = verdict(reply.text, settings)
        return None if said is None else ANSWERS[said]

    return run


def judge_demonstration(settings: Judge) -> Demonstration:
    """Says the right verdict, with `cot` behind an analysis."""

    def turns(task: Task) -> list[Turn]:
        parts = _parts(task, DataError)
        if task.answer not in ANSWERS.values():
            raise DataError(f"task {task.id}: its answer is neither 'Positive' nor 'Negative'")
        said = settings.word(task.answer == ANSWERS[True])
        if settings.cot:
            given = task.data.get("analysis") or _fill(settings.analysis, _values(settings, *parts))
            if not given:
                raise DataError(
                    f"task {task.id} has no data.analysis for the judge to say before its verdict:"
                    " set program.analysis, or program.cot = false"
                )
            said = f"{given}{' ' if settings.flat else chr(10)}{said}"
        return [Turn(judge_messages(settings, *parts), said, settings.agent)]

    return turns


def _parts(task: Task, error: type[ProgramError | DataError]) -> tuple[str, str, str]:
    """(problem, history, chunk) of a task."""
    if not isinstance(task.data.get("chunk"), str):
        raise error(f"task {task.id} has no data.chunk to judge: tasks of source 'judge' have")
    return task.question, str(task.data.get("history") or ""), task.data["chunk"]
