"""What a warm start shows to each policy, in its own ids: made before anything is paid for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hornbeam.errors import DataError, ModelError
from hornbeam.run.policies import Member, Policies
from hornbeam.run.recipe import Recipe
from hornbeam.run.sftset import Shown
from hornbeam.run.wire import Plan, demonstrations, examples, spoken
from hornbeam.train.sft import Example


class WarmStart(NamedTuple):
    """The examples of each policy, and a line on where they are from."""

    told: str
    given: list[tuple[Member, list[Example]]]


def warm_start(
    recipe: Recipe, plan: Plan, shown: Sequence[Shown] | None, policies: Policies
) -> WarmStart | None:
    """The warm start of a recipe: demonstrations of the first training tasks, or a set's rows.

    None where there is to be none. Raises `DataError` naming the row that cannot be taught.
    """
    stage = recipe.sft
    if stage is None:
        return None
    if shown is not None:
        taken, what = [*shown[: stage.count]], f"answers of {stage.data}"
    else:
        assert plan.demonstration is not None
        taken = [*demonstrations(plan.train.tasks, plan.demonstration, stage.count)]
        what = "demonstrated tasks"
    where = stage.data if shown is not None else "[sft]"
    given = [(m, list(_examples(taken, m, len(policies) == 1, where))) for m in policies]
    return WarmStart(f"Warm start on {len(taken)} {what}", given)


def _examples(shown: Sequence[Shown], member: Member, alone: bool, where: str) -> Iterator[Example]:
    """What is shown of each row to a policy, on what its agents are to say."""
    for number, row in enumerate(shown, 1):
        try:
            yield from examples(spoken(row, member, alone), member.engine.chat)
        except ModelError as error:
            raise DataError(f"{where}, row {number}: {error}") from error
        except DataError as error:
            told = str(error).removeprefix("[sft]: ")
            raise DataError(f"{where}, row {number}: {told}") from error
