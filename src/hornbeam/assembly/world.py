"""Policies and scorer of a run, and the growers that share them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hornbeam.assembly.loading import Say, load_policies, say_templates
from hornbeam.assembly.plan import Plan
from hornbeam.assembly.tool_templates import check_tool_templates
from hornbeam.files.terminal import to_stderr
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.protocols import Keeper
from hornbeam.recipe.recipe import Recipe
from hornbeam.score.rules import RuleScorer, make_scorer
from hornbeam.search import Independent
from hornbeam.store.ledger import Ledger
from hornbeam.workers.local_workers import LocalWorkers, servers_of
from hornbeam.worlds import Snapshots

if TYPE_CHECKING:
    from hornbeam.assembly.policies import Policies


@dataclass(slots=True)
class World:
    """Policies and scorer of a run, and growers that share them."""

    recipe: Recipe
    plan: Plan
    policies: Policies
    scorer: RuleScorer
    snapshots: Snapshots | None = None  # of what tools act on

    @classmethod
    def build(cls, recipe: Recipe, plan: Plan, policies: Policies, warn: Say = to_stderr) -> World:
        """A world in which agents speak with these policies; `warn` hears what rewards lack."""
        for server in servers_of(plan.tools.values()):
            server.warn = warn
        if tell := getattr(plan.program, "tell", None):
            tell(warn)
        check_tool_templates(recipe, plan, policies.chats)
        snapshots = None if plan.world is None else Snapshots(plan.world)
        scorer = make_scorer(recipe.reward, plan.base, warn)
        return cls(recipe, plan, policies, scorer, snapshots)

    def grower(
        self, ledger: Ledger, keeper: Keeper | None, greedy: bool = False, trained: bool = True
    ) -> Grower:
        """A grower for training, or a greedy one of single episodes for evaluation.

        What a greedy one grows, or one that is not `trained`, is not trained on.
        """
        trained = trained and not greedy
        agents = {
            name: Speaker(
                self.policies.engine(name),
                agent.sampling(greedy),
                agent.segment and agent.segment.beside(self.plan.base),
                trained,
                agent.tags,
            )
            for name, agent in self.recipe.agents.items()
        }
        return Grower(
            self.plan.program,
            agents,
            Independent(n=1) if greedy else self.plan.strategy,
            self.scorer,
            LocalWorkers(self.plan.tools, self.recipe.limits.tool_seconds),
            ledger,
            self.recipe.limits,
            keeper,
            worlds=self.snapshots,
            states=None if greedy else self.plan.states,
        )

    @classmethod
    def load(cls, recipe: Recipe, plan: Plan, folder: Path, say: Say) -> World:
        """A world with the recipe's own policies, told of their templates; `folder` as there."""
        policies = load_policies(recipe, folder, say)
        say_templates(policies, say)
        return cls.build(recipe, plan, policies, say)

    async def aclose(self) -> None:
        """Give back what engines, scorer and servers of tools hold."""
        await self.policies.aclose()
        for server in servers_of(self.plan.tools.values()):
            await server.aclose()
        close = getattr(self.plan.program, "aclose", None)
        if close is not None:
            await close()
        await self.scorer.aclose()
