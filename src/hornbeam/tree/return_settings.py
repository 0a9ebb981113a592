"""How rewards of steps count with the outcome: settings that every credit has."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from hornbeam.settings import Settings


class ReturnSettings(Settings):
    """`returns`: "sum" (which it is where programs or tools gave rewards of steps), "discounted" by
    `discount` a step, or not ("outcome"); formulas in credit/step_rewards.
    """

    returns: Literal["sum", "discounted", "outcome"] | None = None
    discount: float = Field(1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _counts_steps(self) -> Self:
        if self.outcome_only and self.returns not in (None, "outcome"):
            raise ValueError(f"returns = {self.returns!r}: {self.outcome_only}")
        if (self.returns == "discounted") != ("discount" in self.model_fields_set):
            raise ValueError("returns = 'discounted' and discount go together: set both or neither")
        return self

    @property
    def outcome_only(self) -> str:
        """Why rewards of steps have no meaning here, or ""."""
        return ""
