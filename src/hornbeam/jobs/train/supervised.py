"""The supervised warm start of a run: each policy is fitted to what its agents are to say."""

from __future__ import annotations

from collections.abc import Sequence

from hornbeam.assembly.policies import Member
from hornbeam.assembly.sft_set import Numbered
from hornbeam.assembly.step_costs import trainer_costs
from hornbeam.jobs.train.run_context import RunContext
from hornbeam.jobs.train.warm_start import WarmStart, warm_start
from hornbeam.store.ledger import lost
from hornbeam.train.sft import Example


class SupervisedStart:
    """The warm start of a recipe, on the rows of a set or on demonstrations; none without [sft]."""

    def __init__(self, context: RunContext, rows: Sequence[Numbered] | None) -> None:
        self._context, self._rows = context, rows
        self._examples: WarmStart | None = None

    def prepare(self) -> bool:
        """Make the examples. Raises `DataError` naming the row that cannot be taught."""
        run = self._context
        self._examples = warm_start(run.recipe, run.plan, self._rows, run.policies)
        return self._examples is not None

    def fit(self) -> None:
        """Fit the policies to them, one after the other."""
        assert self._examples is not None
        self._context.progress.say(self._examples.line)
        for member, given in self._examples.given:
            self._fit(member, given)

    def _fit(self, member: Member, given: Sequence[Example]) -> None:
        """Fit one policy; a row of metrics for every update."""
        context, stage = self._context, self._context.recipe.sft
        metrics, progress = context.metrics, context.progress
        assert stage is not None
        total = stage.updates(len(given))
        name, losses = f"warm start {member.name}".strip(), list[float]()
        kept = {"kind": "sft", **({"stage": member.name} if member.name else {})}
        progress.begin(name, total)
        for number, update in enumerate(member.policy.fit(given, stage)):
            costs = trainer_costs(-1, update)
            again = metrics.has("sft", member.name, number)
            row = {**kept, "step": number, "seconds": context.ledger.seconds, **update}
            with context.folder.store.all_or_none():  # the row says that its costs are entered
                context.ledger.enter([lost(entry) for entry in costs] if again else costs)
                metrics.add(row)
            progress.step(number + 1, f"loss {update['loss']:.3f}")
            losses.append(update["loss"])
        progress.end()
        if losses:
            progress.say(f"{name}: {len(losses)} updates, loss {losses[0]:.3f} to {losses[-1]:.3f}")
