"""Rows of metrics of several trainers: that of a step is joined out of those of all policies."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from hornbeam.assembly.run_folder import Folder
from hornbeam.assembly.step_costs import PAID, paid
from hornbeam.jobs.train.decoupled.decoupled_policies import DecoupledPolicies
from hornbeam.jobs.train.metrics_log import Listener, MetricsLog, nobody
from hornbeam.jobs.train.parts import Learner
from hornbeam.store.request_queue import RequestQueue
from hornbeam.tree.nodes import Tree

WAIT, TRIES = 0.1, 100  # seconds between two looks at what others have learned, and how many


class SharedMetrics(MetricsLog):
    """Keeps a step's row when all policies have learned from it, as a joint run writes it."""

    def __init__(
        self, folder: Folder, listen: Listener, queue: RequestQueue, policies: DecoupledPolicies
    ) -> None:
        super().__init__(folder, listen)
        self.queue, self.policies, self.recipe = queue, policies, folder.recipe
        self._joined_to = 0  # steps of which rows are joined

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, that of a step as one of those to be joined."""
        if row["kind"] != "train":
            super().add(row)
            return
        self.queue.train(row["step"], self.policies.own.policy.version, row)
        self._join()

    def amend(self, step: int, more: Mapping[str, Any]) -> None:
        """The row of a step stays as it was joined."""

    @property
    def trained(self) -> int:
        """How many steps this policy has learned from."""
        return len(self.queue.versions())

    async def complete(self) -> None:
        """Join the last rows too: what another has learned may be kept a moment after it spoke."""
        for _ in range(TRIES):
            self._join()
            if self._joined_to >= self.recipe.run.steps:
                return
            await asyncio.sleep(WAIT)

    def _join(self) -> None:
        """The rows of steps from which all policies have learned and that are not joined yet.

        Who listens hears of them in the order of the steps, whoever joined them.
        """
        trained = {name: self.queue.trained(name, self._joined_to) for name in self.recipe.names}
        there, others = self.queue.reported(self._joined_to), set[int]()
        while all(self._joined_to in each for each in trained.values()):
            if self._joined_to not in there:
                rows = {name: each[self._joined_to].row for name, each in trained.items()}
                self._tell(others)
                others.clear()
                super().add(self._joined(rows))
            else:
                others.add(self._joined_to)
            self._joined_to += 1
        self._tell(others)

    def _tell(self, steps: set[int]) -> None:
        """Let who listens hear of rows that others have joined."""
        heard = steps and self.listen is not nobody
        for row in self.folder.store.metrics() if heard else ():
            if row["kind"] == "train" and row["step"] in steps:
                self.listen(row)

    def _joined(self, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """One row of a step out of those of all policies."""
        out = dict(rows[self.policies.own.name])
        for name, row in rows.items():
            out |= {key: value for key, value in row.items() if key.startswith(f"{name}/")}
        own = [
            {key.removeprefix(f"{name}/"): row[key] for key in row if key.startswith(f"{name}/")}
            for name in self.recipe.names
            if self.recipe.policies[name].due(out["step"]) and (row := rows[name])
        ]
        updates = [{k: v for k, v in each.items() if "staleness" not in k} for each in own]
        out |= self.policies.joined(updates)
        out |= paid(self.folder.store, PAID, out["step"])
        return out | {
            k: max(r[k] for r in rows.values()) for k in ("seconds_grow", "seconds_train")
        }


class AgedLearner:
    """A learner that measures how old the own nodes are that it learns from, in steps."""

    def __init__(self, learner: Learner, queue: RequestQueue, policies: DecoupledPolicies) -> None:
        self.learner, self.queue, self.own = learner, queue, policies.own

    async def learn(self, trees: Sequence[Tree], step: int) -> dict[str, Any]:
        """As `learner`, with the mean and the greatest age."""
        update = await self.learner.learn(trees, step)
        versions, own = self.queue.versions()[:step], self.own
        ages = [
            step - sum(version <= node.origin.version for version in versions)
            for tree in trees
            for node in tree.nodes[1:]
            if own.sampled(node) and node.tokens
        ]
        mean, most = sum(ages) / max(1, len(ages)), float(max(ages, default=0))
        return update | {f"{own.name}/staleness": mean, f"{own.name}/staleness_most": most}
