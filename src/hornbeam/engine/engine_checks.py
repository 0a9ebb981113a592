"""What an engine is good for: whether a value is one, can be trained on, gives log-probs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hornbeam.arguments import wrong
from hornbeam.engine.request import Sampling
from hornbeam.errors import EngineError
from hornbeam.protocols import Engine


def check_engine(value: Any, where: str) -> Engine:
    """The value, if it is an engine."""
    parts = "generate", "chat", "barrier", "version"
    if isinstance(value, type) or not all(hasattr(value, name) for name in parts):
        error = wrong(where, "an engine", value)
        raise error.hint("make one, as Scripted, LocalEngine and HttpEngine are (docs/engines.md)")
    engine: Engine = value
    return engine


def check_trainable(engine: Engine, sampling: Sampling) -> None:
    """Raise `EngineError` where what an engine says, sampled like this, is for search only.

    Engines that may be so have `only_search(sampling)`: why, or "" where it can be trained on.
    """
    only_search: Callable[[Sampling], str] | None = getattr(engine, "only_search", None)
    if only_search is not None and (why := only_search(sampling)):
        raise EngineError(f"what this engine says is for search only: {why}")


def gives_logprobs(engine: Engine, sampling: Sampling) -> bool:
    """Whether an engine gives log-probs of what it samples like this. After `load`.

    Engines that may give none have `tells_logprobs(sampling)`.
    """
    tells: Callable[[Sampling], bool] | None = getattr(engine, "gives_logprobs", None)
    return tells is None or tells(sampling)
