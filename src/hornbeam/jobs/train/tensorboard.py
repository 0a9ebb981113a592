"""Metrics to TensorBoard; the only import of it (extra `tensorboard`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hornbeam.errors import RecipeError, how_to_get


class TensorboardWriter:
    """Writes every number of a row under its kind and name."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise RecipeError(
                f"run.tensorboard needs the extra; {how_to_get('tensorboard')}"
            ) from error
        self._writer: Any = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]

    def add(self, row: Mapping[str, Any]) -> None:
        """One row of metrics."""
        for name, value in row.items():
            if isinstance(value, (int, float)) and name not in ("step", "seconds"):
                self._writer.add_scalar(f"{row['kind']}/{name}", value, row.get("step", 0))

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
