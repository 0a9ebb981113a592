"""Strategies: where a tree grows next. Pure ask and tell; they hold settings only."""

from typing import Any

from hornbeam.own.own_classes import build_part
from hornbeam.own.own_parts import Base
from hornbeam.protocols import Fork, State, Strategy
from hornbeam.search.beam import Beam, Dvts
from hornbeam.search.branch import Branch
from hornbeam.search.choose import Chooser, chooser
from hornbeam.search.independent import Independent
from hornbeam.search.mcts import Mcts
from hornbeam.search.particle import Particle
from hornbeam.search.reset import Reset
from hornbeam.search.rollouts import Rollouts
from hornbeam.search.strategy import restore
from hornbeam.search.vote import Vote

strategies: dict[str, type[Strategy]] = {
    "independent": Independent,
    "branch": Branch,
    "vote": Vote,
    "beam": Beam,
    "dvts": Dvts,
    "particle": Particle,
    "mcts": Mcts,
    "rollouts": Rollouts,
    "reset": Reset,
}


def strategy(name: str, base: Base = "", /, **settings: Any) -> Strategy:
    """The strategy of that name with these settings; `RecipeError` if there is none such.

    A class of one's own is "file.py:name", its file in `base` (a recipe's folder) or here.
    """
    return build_part("strategy", strategies, (Strategy,), name, settings, base)


__all__ = [
    "Beam",
    "Branch",
    "Chooser",
    "Dvts",
    "Fork",
    "Independent",
    "Mcts",
    "Particle",
    "Reset",
    "Rollouts",
    "State",
    "Strategy",
    "Vote",
    "chooser",
    "restore",
    "strategies",
    "strategy",
]
