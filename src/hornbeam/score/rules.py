"""Rules: an outcome in [0, 1] from an answer and the accepted ones, minus a penalty for bad form.

    reward = outcome - penalty * [the format check fails]        (Tree-GRPO, arXiv 2509.21240)
                     + factor * R_length                         (DAPO, arXiv 2503.14476)

`None` stands where there is nothing to judge (the episode failed, or has not ended) and where the
checker gave no verdict in time: those are counted, never taken for wrong.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticKnownError

from hornbeam.answers.latex import boxed
from hornbeam.answers.numerals import Number, same_number
from hornbeam.answers.reading import last_number, whole
from hornbeam.errors import ScoreError
from hornbeam.programs.talk import Answer
from hornbeam.score.checker_pool import NoVerdict, Pool
from hornbeam.score.normalise import exact_match, normalise, token_f1
from hornbeam.score.overlong import OverlongPenalty, penalty
from hornbeam.score.reward_function import RewardFunction, Warn, is_function, to_stderr
from hornbeam.score.spelling import (
    accepted_readings,
    core,
    decided,
    in_words,
    plain_number,
    readings,
    spelled,
)
from hornbeam.settings import Settings
from hornbeam.tree.nodes import Column, Tree, cut_off
from hornbeam.tree.task import SCORING, Task

RuleName = Literal["exact", "numeric", "symbolic", "em", "f1", "reasoning_gym"]
Rule = Callable[[str, str], float]


def _named(rule: str) -> str:
    """The rule. Raises what an unknown one of a `Literal` raises."""
    names = [repr(name) for name in get_args(RuleName)]
    if is_function(rule) or repr(rule) in names:
        return rule
    listed = f"{', '.join(names[:-1])} or {names[-1]}"
    raise PydanticKnownError("literal_error", {"expected": listed})


class DelegationReward(Settings):
    """What delegations and the main agent are rewarded for, as weights (M-GRPO, arXiv 2511.13288).

    A delegation: `format` for a whole reply in which `answer` finds something, `correct` for the
    main agent's outcome, `expert` for what it found: by `rule` its answer ("reply") or the last
    result of its tools ("result"), whichever it `reads`, against the task's `data[gold]` (by
    default its answer); or by the guide that writes `column`. The main agent: `main_format` for an
    answer that was not cut off, `main_correct` for the outcome.
    """

    format: float = Field(0.1, ge=0)
    correct: float = Field(0.4, ge=0)
    expert: float = Field(0.5, ge=0)
    main_format: float = Field(0.1, ge=0)
    main_correct: float = Field(0.9, ge=0)
    answer: Answer = ""
    rule: Literal["contains", "exact", "numeric", "em", "f1"] = "contains"
    reads: Literal["reply", "result"] = "reply"
    gold: str = ""
    column: str = ""


class RewardSettings(Settings):
    r"""How outcomes are judged.

    `rule`: "exact" (the same text), "numeric" (the same last number), "symbolic" (equal by
    math-verify), "em" and "f1" (words, normalised as for SQuAD; F1 as the
    script of HotpotQA has it for tasks of its sets), "reasoning_gym" (its own scorer), or
    "mine.py:score", a function of one's own (`reward_function`).
    `format` is a regular expression searched for in all that was said on the way to the answer
    (turns joined by line ends, `.` matches those too); where it is not found `format_penalty` is
    taken off. Third-party checkers and functions run in `workers` processes, `seconds` at most for
    one answer.
    `cut_off` says what an answer is worth that was cut off at max_tokens: what the rule makes of
    its beginning ("judged"), or 0 ("wrong"); `overlong` lets long runs pay.
    `delegation`, where given, makes the rewards that credit reads out of outcomes (`delegation`).
    """

    rule: Annotated[str, AfterValidator(_named)] = "numeric"
    format: str | None = None
    format_penalty: float = Field(0.2, ge=0)
    seconds: float = Field(5.0, gt=0)
    workers: int = Field(1, gt=0)
    cut_off: Literal["judged", "wrong"] = "judged"
    overlong: OverlongPenalty | None = None
    delegation: DelegationReward | None = None

    @field_validator("format")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from error
        return pattern


PARTS = ("correct", "format")  # what a reward is made of


def reward_parts(tree: Tree, how: RewardSettings) -> dict[str, Column]:
    """Columns `correct` (the outcome) and `format` (1 or 0) at the leaves that have a reward.

    For a credit that sets several rewards against the group one by one (`gdpo`).
    """
    given = tree.columns.get("outcome", tree.columns["reward"])
    correct: Column = [None] * len(tree)
    good: Column = [None] * len(tree)
    for leaf in tree.leaves():
        reward = given[leaf]
        if reward is None:
            continue
        fits = how.format is None or re.search(how.format, said(tree, leaf), re.DOTALL) is not None
        correct[leaf] = reward if fits else reward + how.format_penalty
        good[leaf] = float(fits)
    return dict(zip(PARTS, (correct, good)))


# --- rules: (answer, accepted answer) -> outcome -------------------------------------------------


def exact(answer: str, accepted: str) -> float:
    """1 where the texts are equal, blanks around them left out."""
    return float(answer.strip() == accepted.strip())


def numeric(answer: str, accepted: str) -> float:
    """1 where the answer ends on the number that is accepted, as far as both were written down."""
    left, right = last_number(answer), accepted_number(accepted)
    return float(left is not None and right is not None and same_number(left, right))


def accepted_number(accepted: str) -> Number | None:
    """The one number that an accepted answer is; of a worked solution the one that it ends on."""
    if "####" in accepted or boxed(accepted) is not None:
        return last_number(accepted)
    return whole(accepted)


CLOSED = frozenset(("yes", "no", "noanswer"))


def hotpot_f1(answer: str, accepted: str) -> float:
    """`token_f1`, but 0 where one of the two is yes, no or noanswer and the other is not.

    HotpotQA's script (arXiv 1809.09600), which 2WikiMultihopQA's repeats; MuSiQue's is SQuAD's.
    """
    left, right = normalise(answer), normalise(accepted)
    return 0.0 if left != right and {left, right} & CLOSED else token_f1(answer, accepted)


def rule_of(rule: str, data: Mapping[str, Any]) -> Rule:
    """The rule for a task with these data: F1 as its set defines it, SQuAD's for the rest."""
    scoring = data.get(SCORING)
    how = scoring.get("f1") if rule == "f1" and isinstance(scoring, Mapping) else None
    if how not in (None, "squad", "hotpotqa"):
        raise ScoreError(f"data.{SCORING}.f1 = {how!r}: 'squad' and 'hotpotqa' are known")
    return hotpot_f1 if how == "hotpotqa" else rules[rule]


rules: dict[str, Rule] = {
    "exact": exact,
    "numeric": numeric,
    "em": exact_match,
    "f1": token_f1,
}


# --- the scorer ----------------------------------------------------------------------------------


class RuleScorer:
    """Judges leaves by a rule into the column "reward".

    `counts` says what was met: "judged", "unanswered" (the program returned nothing: outcome 0),
    "cut_off" (where that is wrong), "unformatted" (the format check failed), "timeouts" and
    "crashes" of the checker, "errors" and "none" of a function (no entry).
    """

    column = "reward"

    def __init__(
        self, settings: RewardSettings, base: Path = Path(), warn: Warn = to_stderr
    ) -> None:
        self.settings = settings
        self.counts: Counter[str] = Counter()
        self._format = re.compile(settings.format, re.DOTALL) if settings.format else None
        self._pool = Pool(settings.rule, settings.workers, settings.seconds)
        self._own: RewardFunction | None = None
        if is_function(settings.rule):
            self._own = RewardFunction(settings.rule, base, self._pool, warn)

    async def score(self, tree: Tree, nodes: Sequence[int]) -> list[float | None]:
        """One reward a node; None for nodes that do not end an episode or whose episode failed.

        Raises `ScoreError` where the task has no answer that the rule could hold for
        (`check_task` finds that out beforehand).
        """
        return await asyncio.gather(*(self._judge(tree, i) for i in nodes))

    async def aclose(self) -> None:
        """End the checker's processes."""
        await self._pool.aclose()

    async def _judge(self, tree: Tree, i: int) -> float | None:
        node = tree.nodes[i]
        if node.error or not node.done:
            return None
        answer, outcome = answer_text(node.answer), None
        if answer is None and self._own is None:
            self.counts["unanswered"] += 1
            outcome = 0.0
        elif self.settings.cut_off == "wrong" and cut_off(tree, i):
            self.counts["cut_off"] += 1
            outcome = 0.0
        else:
            try:
                if self._own is not None:
                    said_all = said(tree, i)
                    outcome = await self._own.reward(tree.task, node.answer, tree, i, said_all)
                else:
                    outcome = await self._outcome(str(answer), Task.from_json(tree.task))
            except NoVerdict as reason:
                self.counts[reason.kind] += 1
                return None
        if outcome is None:
            self.counts["none"] += 1
            return None
        self.counts["judged"] += 1
        if self._format and not self._format.search(said(tree, i)):
            self.counts["unformatted"] += 1
            outcome -= self.settings.format_penalty
        how = self.settings.overlong
        return outcome if how is None else outcome + penalty(tree, i, how)

    async def _outcome(self, answer: str, task: Task) -> float:
        rule = self.settings.rule
        accepted = check_task(rule, task)
        if rule == "reasoning_gym":
            return await self._pool.check({"answer": answer, "task": task.to_json()})
        if rule != "symbolic":
            holds = rule_of(rule, task.data)
            return max(holds(answer, each) for each in accepted)
        verdicts = {each: decided(answer, each) for each in accepted}
        if True in verdicts.values():
            return 1.0
        open_ = [each for each, known in verdicts.items() if known is None]
        left = [reading for each in open_ for reading in accepted_readings(each)]
        if not left:
            return 0.0
        return await self._pool.check({"readings": readings(answer), "accepted": left})


def make_scorer(
    settings: RewardSettings, base: Path = Path(), warn: Warn = to_stderr
) -> RuleScorer:
    """The scorer; processes start when first needed. `base`: the recipe's folder; `warn`: hears
    of the first reward that a function failed to give.
    """
    return RuleScorer(settings, base, warn)


def answer_text(answer: Any) -> str | None:
    """What a program returned, as text: of a mapping its "answer"; None for nothing."""
    if isinstance(answer, Mapping):
        answer = answer.get("answer")
    return None if answer is None else str(answer)


def answer_key(rule: str) -> Callable[[Any], Hashable]:
    """What answers have in common that are equal for certain; None for no answer.

    Numbers by their value where the rule is about numbers, words as the rule normalises them, else
    the text. Answers of two keys may still be equal: `alike.Alike` tells.
    """

    def key(answer: Any) -> Hashable:
        text = answer_text(answer)
        return None if text is None else _key(rule, text)

    return key


def _key(rule: str, text: str) -> Hashable:
    number = number_of(rule, text)
    if number is not None:
        return f"{number.value}%" if number.percent else str(number.value)
    if rule == "symbolic":
        return in_words(core(text)) or ("=", "".join(spelled(core(text)).split()))
    if rule in ("em", "f1"):
        words = normalise(text)
        if not words:
            return ("=", text.strip().lower())
        return words if rule == "em" else tuple(sorted(words.split()))
    return ("=", " ".join(text.split())) if rule == "numeric" else text.strip()


def number_of(rule: str, text: str) -> Number | None:
    """The number that a rule reads in an answer, if it is a rule that reads numbers."""
    if rule == "numeric":
        return last_number(text)
    return plain_number(text) if rule == "symbolic" else None


def accepted_answers(task: Task) -> list[str]:
    """The answers that a task accepts, at least one. Raises `ScoreError` where there is none."""
    given = task.answer if isinstance(task.answer, list | tuple) else [task.answer]
    accepted = [str(each) for each in given if each is not None and str(each).strip()]
    if not accepted:
        raise ScoreError(
            f"{_place(task)}: no answer to compare with; give tasks an `answer`, or map the field"
            " that holds it with `fields`"
        )
    return accepted


def check_task(rule: str, task: Task) -> list[str]:
    """The answers that the task accepts; `ScoreError` where the rule could never hold for it."""
    if is_function(rule):
        return []
    if rule == "reasoning_gym":
        return _check_gym(task)
    accepted = accepted_answers(task)
    if rule == "numeric" and all(accepted_number(each) is None for each in accepted):
        raise ScoreError(
            f"{_place(task)}: the answer {accepted[0]!r} is not one number; take the rule"
            " 'symbolic' for mathematics, 'em' or 'f1' for words"
        )
    return accepted


def _check_gym(task: Task) -> list[str]:
    """The same for reasoning-gym, some of whose sets have no answer to compare with."""
    if not {"dataset", "metadata"} <= set(task.data):
        raise ScoreError(
            f"{_place(task)} is not of source 'reasoning_gym', whose own rule cannot score it; take"
            " another rule"
        )
    return [] if task.answer is None else accepted_answers(task)


def _place(task: Task) -> str:
    """A task by its file, line and id."""
    return f"{task.origin}: task {task.id}".removeprefix(": ")


def said(tree: Tree, i: int) -> str:
    """All that was said from the task down to node i, turns joined by line ends, chunks as one."""
    parts: list[str] = []
    for index in tree.path(i):
        node = tree.nodes[index]
        parts += [node.text, "" if node.finish == "chunk" else "\n"]
    return "".join(parts[:-1])
