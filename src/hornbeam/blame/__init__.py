"""Which step lost a run: the largest drop of its chance of success, by forks spent adaptively."""

from hornbeam.blame.find_drop import Forker, find_drop
from hornbeam.blame.result import Blame, Said, Value, blame_of
from hornbeam.blame.run_blame import blame_forks, blame_run
from hornbeam.blame.search import BlameSettings, DropSearch, ForkOutcome, Step
from hornbeam.blame.tree_forks import BlameForks, run_of

__all__ = [
    "Blame",
    "BlameForks",
    "BlameSettings",
    "DropSearch",
    "ForkOutcome",
    "Forker",
    "Said",
    "Step",
    "Value",
    "blame_forks",
    "blame_of",
    "blame_run",
    "find_drop",
    "run_of",
]
