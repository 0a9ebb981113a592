"""Weights on their way to an engine that holds a copy: safetensors in a folder, best in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from hornbeam.engine.base import Weights
from hornbeam.errors import EngineError

SHARED = Path("/dev/shm")  # files in memory, where the system has them
SHARD = 2**31  # bytes of weights in one file


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
