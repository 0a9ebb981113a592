"""Settings of section [reward]: one rule, or several with weights, and what is taken off."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic import model_validator as check
from pydantic_core import InitErrorDetails, PydanticKnownError

from hornbeam.programs.talk import Answer
from hornbeam.score.overlong import OverlongPenalty
from hornbeam.score.reward_function import is_function
from hornbeam.settings import Settings

RuleName = Literal[
    "exact", "numeric", "symbolic", "em", "f1", "reasoning_gym", "verifiers", "test", "none"
]
Expert = Literal["contains", "exact", "numeric", "em", "f1"]
PARTS = "parts"  # the rule of a reward that has parts


def _one_of(rule: str, known: Any) -> str:
    """The rule. Raises what an unknown one of a `Literal` raises."""
    names = [repr(name) for name in get_args(known)]
    if is_function(rule) or repr(rule) in names:
        return rule
    listed = f"{', '.join(names[:-1])} or {names[-1]}"
    raise PydanticKnownError("literal_error", {"expected": listed})


def _rule(rule: str) -> str:
    return _one_of(rule, RuleName)


def _rule_or_parts(rule: str) -> str:
    return rule if rule == PARTS else _rule(rule)


def _expert(rule: str) -> str:
    return _one_of(rule, Expert)


class _Ruled(Settings):
    """A rule, and beside it the settings of the function that it names, where it names one."""

    model_config = ConfigDict(frozen=True, extra="allow")

    rule: str

    @check(mode="after")
    def _known(self) -> Self:
        if self.model_extra and not is_function(self.rule):
            strange: list[InitErrorDetails] = [
                {"type": "extra_forbidden", "loc": (key,), "input": value}
                for key, value in self.model_extra.items()
            ]
            raise ValidationError.from_exception_data(type(self).__name__, strange)
        return self

    def rest(self) -> dict[str, Any]:
        """The settings of the function."""
        return dict(self.model_extra or {})


class RewardPart(_Ruled):
    """One of several rewards: its rule, as in section reward, and its weight in their sum.

    One of weight 0 is only looked at.
    """

    rule: Annotated[str, AfterValidator(_rule)]
    weight: float = Field(1.0, allow_inf_nan=False)


class DelegationReward(_Ruled):
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
    rule: Annotated[str, AfterValidator(_expert)] = "contains"
    reads: Literal["reply", "result"] = "reply"
    gold: str = ""
    column: str = ""


class RewardSettings(_Ruled):
    r"""How outcomes are judged.

    `rule`: "exact" (the same text), "numeric" (the same last number), "symbolic" (equal by
    math-verify), "em" and "f1" (words, normalised as for SQuAD; F1 as the
    script of HotpotQA has it for tasks of its sets), "reasoning_gym" (its own scorer), "none" (0:
    what the run itself gives, by `ep.reward`, tools or an agent outside, counts alone), "verifiers"
    (what the rewards of an environment gave while it ran), "test" (what `program.test` says of an
    agent outside), or
    "mine.py:score", a function of one's own (`reward_function`), its settings beside it.
    `parts` are several rewards by name, each with a rule; the reward is their weighted sum.
    `format` is a regular expression searched for in all that was said on the way to the answer
    (turns joined by line ends, `.` matches those too); where it is not found `format_penalty` is
    taken off. Third-party checkers and functions run in `workers` processes (of each part),
    `seconds` at most for one answer.
    `cut_off` says what an answer is worth that was cut off at max_tokens: what the rule makes of
    its beginning ("judged"), or 0 ("wrong"); `overlong` lets long runs pay.
    `delegation`, where given, makes the rewards that credit reads out of outcomes (`delegation`).
    """

    rule: Annotated[str, AfterValidator(_rule_or_parts)] = "numeric"
    parts: dict[str, RewardPart] = {}
    format: str | None = None
    format_penalty: float = Field(0.2, ge=0)
    seconds: float = Field(5.0, gt=0)
    workers: int = Field(1, gt=0)
    cut_off: Literal["judged", "wrong"] = "judged"
    overlong: OverlongPenalty | None = None
    delegation: DelegationReward | None = None

    @check(mode="before")
    @classmethod
    def _summed(cls, data: Any) -> Any:
        unsaid = isinstance(data, Mapping) and data.get("parts") and "rule" not in data
        return {**data, "rule": PARTS} if unsaid else data

    @check(mode="after")
    def _either(self) -> Self:
        if (self.rule == PARTS) != bool(self.parts):
            raise ValueError(
                f"rule = {self.rule!r}: leave it out where there are parts, each has its own"
                if self.parts
                else "rule = 'parts': there are none: give tables as [reward.parts.correct]"
            )
        for name in self.parts:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise ValueError(f"parts.{name}: a name of letters, digits, _ and - is expected")
        if self.parts and not any(part.weight for part in self.parts.values()):
            raise ValueError("parts: one at least needs a weight that is not 0")
        return self

    @field_validator("format")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    @property
    def judged(self) -> dict[str, RewardPart]:
        """All rewards by name; one without a name where there are no parts."""
        return self.parts or {"": RewardPart(rule=self.rule, **self.rest())}

    @property
    def compares(self) -> str:
        """The rule by which answers are called equal: of parts the first that is ready-made."""
        rules = [part.rule for part in self.judged.values()]
        return next((rule for rule in rules if not is_function(rule)), rules[0])

    @property
    def own(self) -> dict[str, _Ruled]:
        """Tables whose rule is a function of a file, by their place in the recipe."""
        tables: dict[str, _Ruled] = {"reward": self}
        tables |= {f"reward.parts.{name}": part for name, part in self.parts.items()}
        if self.delegation is not None:
            tables["reward.delegation"] = self.delegation
        return {place: table for place, table in tables.items() if is_function(table.rule)}
