"""How trees grow in an actor: what of a grower goes with each tree that is handed out."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from hornbeam.engine.request import Sampling
from hornbeam.episode.program import Limits
from hornbeam.episode.segmenters import Segmenter
from hornbeam.grow.grower import Grower
from hornbeam.grow.step_states import StepStates
from hornbeam.search import Strategy

# By policy: how often weights were sent, their version, and the weights on their way.
Present = Mapping[str, tuple[int, int, Awaitable[Mapping[str, Any]]]]


@dataclass(frozen=True, slots=True)
class GrowthSettings:
    """What of a grower is told with each tree; the rest is in the actor's own world."""

    strategy: Strategy
    agents: dict[str, tuple[Sampling, Segmenter | None, bool, bool]]
    scored: bool
    limits: Limits
    guides: tuple[str, ...]
    episodes: int | None
    timed: bool  # whether the driver wants to know when calls were made
    states: StepStates | None = None

    @classmethod
    def of(cls, grower: Grower) -> GrowthSettings:
        """How a grower grows."""
        agents = {n: (s.sampling, s.segment, s.trained, s.tags) for n, s in grower.agents.items()}
        guides = tuple(guide.column for guide in grower.guides)
        scored = grower.scorer is not None
        how = grower.limits, guides, grower.episodes, grower.grown is not None, grower.states
        return cls(grower.strategy, agents, scored, *how)
