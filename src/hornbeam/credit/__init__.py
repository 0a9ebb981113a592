"""Credit has two moves: up the tree (returns), and against whom (baselines).

A method is a named pair of them; `credit` writes what it says into columns. No torch, no I/O.
"""

from hornbeam.credit.apply import Mixed, by_task, credit, method, mixed, outcome
from hornbeam.credit.methods import methods
from hornbeam.credit.step_rewards import is_step
from hornbeam.protocols import CreditMethod, Leaf, Method, NodeMethod, PathMethod, ScopeMethod

__all__ = [
    "CreditMethod",
    "Leaf",
    "Method",
    "Mixed",
    "NodeMethod",
    "PathMethod",
    "ScopeMethod",
    "by_task",
    "credit",
    "is_step",
    "method",
    "methods",
    "mixed",
    "outcome",
]
