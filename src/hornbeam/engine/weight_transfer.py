"""Weights on their way to an engine that holds a copy: safetensors in a folder, best in memory.

Whether they arrived is seen in log-probs: an update may go wrong in silence.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from hornbeam.chat import Chat, user
from hornbeam.engine.request import Probe, Weights
from hornbeam.errors import EngineError

SHARED = Path("/dev/shm")  # files in memory, where the system has them
SHARD = 2**31  # bytes of weights in one file
BOUNDS = {"float32": 0.01, "float16": 0.05, "bfloat16": 0.15}  # mean |dlogp| of a good update
SEEN_TOKENS = 256  # how long a sample may be that is looked at

Row = tuple["array[int]", "array[int]"]  # a context and the tokens after it
Score = Callable[["array[int]", "array[int]"], Awaitable[list[float]]]  # their log-probs there


def place() -> str:
    """Where files are quickest."""
    return str(SHARED) if os.access(SHARED, os.W_OK) else gettempdir()


def write_weights(weights: Weights, folder: Path, dtype: str) -> None:
    """Write tensors in that precision; what is tied, under its first name only.

    Raises `EngineError` where they do not fit.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: set[tuple[int, Any]] = set()
    part: dict[str, Any] = {}
    size = number = 0
    try:
        for name, tensor in weights():
            key = (tensor.data_ptr(), tensor.shape)
            if key in seen:
                continue
            seen.add(key)
            part[name] = tensor.detach().to("cpu", getattr(torch, dtype)).contiguous()
            size += part[name].nbytes
            if size >= SHARD:
                save_file(part, folder / f"{number:04}.safetensors")
                part, size, number = {}, 0, number + 1
        if part:
            save_file(part, folder / f"{number:04}.safetensors")
    except (OSError, SafetensorError) as error:
        raise EngineError(
            f"the weights cannot be written to {folder} ({error}): set engine.transfer to a folder"
            " with room for a copy of them"
        ) from error


def read_weights(folder: Path) -> Iterator[tuple[str, Any]]:
    """What `write_weights` or a checkpoint put there, one tensor at a time."""
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise EngineError(f"{folder}: no *.safetensors there")
    for path in files:
        with safe_open(path, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118  (it is no dict)
                yield name, stored.get_tensor(name)


def looked_at(chat: Chat, seen: Sequence[Row]) -> list[Row]:
    """Of what log-probs are compared: a fixed answer, and some that were sampled."""
    prompt = chat.render([user("Count to ten.")])
    return [(prompt, chat.encode("one two three four five six seven")), *seen]


async def arrived(
    score: Score, probe: Probe, rows: Sequence[Row], version: int, bound: float
) -> float:
    """Mean difference of the engine's log-probs from the trainer's. `EngineError` above `bound`."""
    gaps: list[float] = []
    for context, tokens in rows:
        ours, theirs = await score(context, tokens), probe(context, tokens)
        gaps += [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    gap = sum(gaps) / len(gaps)
    if not gap <= bound:
        raise EngineError(
            f"with version {version} vLLM's log-probs are {gap:.3g} from the trainer's on"
            f" average (engine.bound = {bound:g}): the weights did not arrive as they are"
        )
    return gap
