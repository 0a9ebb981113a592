"""How much work a piece of Python is, counted rather than timed."""

import sys
from collections.abc import Callable


def lines_run(work: Callable[[], object]) -> int:
    """Lines of Python that `work` runs through, loops and libraries counted in."""
    count = 0

    def trace(frame: object, event: str, arg: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
