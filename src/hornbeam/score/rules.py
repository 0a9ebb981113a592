"""Rules: an outcome in [0, 1] from an answer and the accepted ones, minus a penalty for bad form.

    reward = outcome - penalty * [the format check fails]        (Tree-GRPO, arXiv 2509.21240)
                     + factor * R_length                         (DAPO, arXiv 2503.14476)

`None` stands where there is nothing to judge (the episode failed, or has not ended) and where the
checker gave no verdict in time: those are counted, never taken for wrong.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.answers.latex import boxed
from hornbeam.answers.numerals import Number, same_number
from hornbeam.answers.reading import last_number, whole
from hornbeam.errors import ScoreError
from hornbeam.files.terminal import to_stderr
from hornbeam.score.checker_pool import NoVerdict, Pool
from hornbeam.score.normalise import exact_match, normalise, token_f1
from hornbeam.score.overlong import penalty
from hornbeam.score.recorded_reward import RECORDED, recorded_reward
from hornbeam.score.reward_function import RewardFunction, Warn, is_function
from hornbeam.score.reward_settings import DelegationReward, RewardPart, RewardSettings
from hornbeam.score.spelling import (
    accepted_readings,
    core,
    decided,
    in_words,
    plain_number,
    readings,
    spelled,
)
from hornbeam.score.verdict import FIGURE, PART, Judgement
from hornbeam.tree.nodes import Column, Tree, cut_off
from hornbeam.tree.task import SCORING, Task

__all__ = ["PARTS", "DelegationReward", "RewardSettings", "RuleScorer", "make_scorer", "rules"]

Rule = Callable[[str, str], float]

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


class RuleJudge:
    """One rule, in a pool of its own where it runs elsewhere. `counts` as for `RuleScorer`."""

    def __init__(
        self, part: RewardPart, how: RewardSettings, base: Path, warn: Warn, counts: Counter[str]
    ) -> None:
        self.rule, self.weight, self._counts = part.rule, part.weight, counts
        self.pool = Pool(part.rule, how.workers, how.seconds)
        self.own: RewardFunction | None = None
        if is_function(part.rule):
            self.own = RewardFunction(part.rule, part.rest(), base, self.pool, warn)

    async def verdict(self, tree: Tree, i: int) -> Judgement:
        """What it says of the answer at node i, no reward where it has no verdict."""
        answer = answer_text(tree.nodes[i].answer)
        if self.rule == "none":
            return Judgement(0.0)
        if answer is None and self.own is None and self.rule not in RECORDED:
            self._counts["unanswered"] += 1
            return Judgement(0.0)
        try:
            if self.rule in RECORDED:
                return recorded_reward(self.rule, tree, i)
            if self.own is not None:
                found = await self.own.reward(tree, i, tree.nodes[i].answer, said(tree, i))
                if found.reward is None:
                    self._counts["none"] += 1
                return found
            return Judgement(await self._outcome(str(answer), Task.from_json(tree.task)))
        except NoVerdict as reason:
            self._counts[reason.kind] += 1
            return Judgement(None)

    async def _outcome(self, answer: str, task: Task) -> float:
        accepted = check_task(self.rule, task)
        if self.rule == "reasoning_gym":
            return await self.pool.check({"answer": answer, "task": task.to_json()})
        if self.rule != "symbolic":
            holds = rule_of(self.rule, task.data)
            return max(holds(answer, each) for each in accepted)
        verdicts = {each: decided(answer, each) for each in accepted}
        if True in verdicts.values():
            return 1.0
        open_ = [each for each, known in verdicts.items() if known is None]
        left = [reading for each in open_ for reading in accepted_readings(each)]
        if not left:
            return 0.0
        return await self.pool.check({"readings": readings(answer), "accepted": left})


class RuleScorer:
    """Judges leaves by a rule, or the weighted sum of several, into the column "reward".

    Each part stands in "reward.NAME" too, the figures of a function in "figure.FIGURE", of a part's
    function in "figure.NAME.FIGURE". `counts` says what was met: "judged", "unanswered" (the
    program returned nothing: outcome 0), "cut_off" (where that is wrong), "unformatted" (the format
    check failed), and of each part "timeouts" and "crashes" of the checker, "errors" and "none" of
    a function (no entry).
    """

    column = "reward"

    def __init__(
        self, settings: RewardSettings, base: Path = Path(), warn: Warn = to_stderr
    ) -> None:
        self.settings = settings
        self.counts: Counter[str] = Counter()
        self._format = re.compile(settings.format, re.DOTALL) if settings.format else None
        self._judges = {
            name: RuleJudge(part, settings, base, warn, self.counts)
            for name, part in settings.judged.items()
        }

    async def score(self, tree: Tree, nodes: Sequence[int]) -> list[float | None]:
        """One reward a node; None for nodes that do not end an episode or whose episode failed.

        Raises `ScoreError` where the task has no answer that the rule could hold for
        (`check_task` finds that out beforehand).
        """
        return [each[self.column] for each in await self.verdicts(tree, nodes)]

    async def verdicts(self, tree: Tree, nodes: Sequence[int]) -> list[dict[str, float | None]]:
        """As `score`, all columns of each node by name."""
        return await asyncio.gather(*(self._judge(tree, i) for i in nodes))

    async def aclose(self) -> None:
        """End the checkers' processes."""
        for judge in self._judges.values():
            await judge.pool.aclose()

    @property
    def failed(self) -> str:
        """What the first function that failed did, "" where none has."""
        return next((own.failure for own in self._functions() if own.failure), "")

    @property
    def silent(self) -> str:
        """Why no answer has a reward; "" where no function gives rewards."""
        owns = self._functions()
        return self.failed or next((f"reward {own.rule}: it gave none" for own in owns), "")

    def _functions(self) -> list[RewardFunction]:
        return [judge.own for judge in self._judges.values() if judge.own is not None]

    def heard(self, failure: str) -> None:
        """Take over the failure of a scorer in another process, which told nobody here."""
        for own in self._functions():
            if failure.startswith(f"reward {own.rule}: "):
                own.fail(failure)
                return

    async def _judge(self, tree: Tree, i: int) -> dict[str, float | None]:
        node = tree.nodes[i]
        if node.error or not node.done:
            return {self.column: None}
        answer = answer_text(node.answer)
        judged = answer is not None or any(judge.own for judge in self._judges.values())
        if judged and self.settings.cut_off == "wrong" and cut_off(tree, i):
            self.counts["cut_off"] += 1
            found = [Judgement(0.0)] * len(self._judges)
        else:
            found = await asyncio.gather(*(j.verdict(tree, i) for j in self._judges.values()))
        out: dict[str, float | None] = {self.column: self._reward(tree, i, found)}
        for name, verdict in zip(self._judges, found):
            if name:
                out[PART + name] = verdict.reward
            lead = f"{FIGURE}{name}." if name else FIGURE
            out |= {lead + figure: value for figure, value in verdict.figures.items()}
        return out

    def _reward(self, tree: Tree, i: int, found: Sequence[Judgement]) -> float | None:
        """The sum of the parts, less what bad form and length cost; None where a part is none."""
        weights = [judge.weight for judge in self._judges.values()]
        pairs = [(w, v.reward) for w, v in zip(weights, found) if w]  # others are looked at only
        rewards = [w * reward for w, reward in pairs if reward is not None]
        if len(rewards) < len(pairs):
            return None
        outcome = sum(rewards[1:], rewards[0])
        if not math.isfinite(outcome):  # weights and rewards that no float holds
            self.counts["errors"] += 1
            return None
        self.counts["judged"] += 1
        if self._format and not self._format.search(said(tree, i)):
            self.counts["unformatted"] += 1
            outcome -= self.settings.format_penalty
        how = self.settings.overlong
        return outcome if how is None else outcome + penalty(tree, i, how)


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
    if is_function(rule) or rule == "none":
        return []
    if rule in RECORDED:
        if rule == "verifiers" and rule not in task.data:
            raise ScoreError(f"{_place(task)} is not of source {rule!r}, whose rule wants those")
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
