"""Settings of parts of the loss: bounds, importance weights, gates, a teacher. No torch here."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from hornbeam.settings import Settings


class BoundSettings(Settings):
    """What exponents and divergences are held to, so that one lost token spoils no step.

    `ratio`: |log(pi/pi_old)| of what is clipped as one; `kl`: |log(pi_ref/pi)| in k3; `kl_most`: k3
    itself. What is held has no gradient. verl's code has 20, 20 and 10.
    """

    ratio: float = Field(20.0, gt=0, le=80)  # e^80 is a float32 still
    kl: float = Field(20.0, gt=0, le=80)
    kl_most: float | None = Field(None, gt=0)


class ImportanceSettings(Settings):
    """Weights pi_old / pi_engine where engine and trainer differ, held constant.

    `level`: each token's own, or one for a sequence, the product over all trained tokens of a
    leaf's path. Outside [low, high] a weight is cut to the bound ("truncate") or is 0 ("mask").
    """

    level: Literal["token", "sequence"] = "token"
    outside: Literal["truncate", "mask"] = "truncate"
    low: float = Field(0.0, ge=0)
    high: float = Field(2.0, gt=0)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low = {self.low:g} is above high = {self.high:g}")
        return self


class GateSettings(Settings):
    """Bounds past which a leaf, or an update, is left out and counted; at least one is given.

    A leaf's terms: where log(pi_engine/pi), averaged over its trained tokens, is above `kl`, or the
    exponential of that mean outside [1/ratio, ratio], or a token's pi/pi_engine below `veto`. That
    goes for terms of negative advantage
    (what one does not want to be pushed further away from), or for `of` = "all".

    An update, and what is left of its step: where the mean over tokens, weighed as the loss is, of
    (r - 1) - log r, r = pi/pi_old, is above `stop_kl`, or a token's r outside
    [1/stop_ratio, stop_ratio].
    """

    kl: float | None = Field(None, gt=0)
    ratio: float | None = Field(None, gt=1)
    veto: float | None = Field(None, gt=0, lt=1)
    of: Literal["negative", "all"] = "negative"
    stop_kl: float | None = Field(None, gt=0)
    stop_ratio: float | None = Field(None, gt=1)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not (self.leaves or self.stops):
            raise ValueError("give at least one of kl, ratio, veto, stop_kl, stop_ratio")
        if self.of == "all" and not self.leaves:
            raise ValueError("of = 'all' is about leaves: give kl, ratio or veto")
        return self

    @property
    def leaves(self) -> bool:
        """Whether it leaves out terms of leaves."""
        return any(bound is not None for bound in (self.kl, self.ratio, self.veto))

    @property
    def stops(self) -> bool:
        """Whether it stops a step."""
        return self.stop_kl is not None or self.stop_ratio is not None


class DistillSettings(Settings):
    """A teacher's log-probs of what the policy sampled, in the loss (`distillation`).

    `teacher` is a known model or a folder, whose tokenizer is the policy's. `form`: "sampled", the
    reverse KL by log p - log pi of each sampled token as its advantage, or "full", a divergence
    over the whole vocabulary: `beta` 1 is the reverse KL, 0 the forward one, between them
    Jensen-Shannon's. `weight` times that is added to the objective, or `alone` stands in its place.
    """

    teacher: str = Field(min_length=1)
    form: Literal["sampled", "full"] = "sampled"
    beta: float = Field(1.0, ge=0, le=1)
    weight: float = Field(1.0, gt=0)
    alone: bool = False

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.beta != 1 and self.form != "full":
            raise ValueError(
                "beta is of the whole distribution: set form = 'full', or leave it out"
            )
        return self
