"""Metrics to TensorBoard; the only import of it (extra `tensorboard`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hornbeam.protocols import RunFacts, Sink
from hornbeam.sinks.sink_settings import SinkSettings, numbers

FOLDER = "tensorboard"  # in the run folder


class TensorboardSettings(SinkSettings):
    """Writes every number of a row under its kind and name."""

    extra = "tensorboard"
    needs = ("tensorboard",)

    def make(self) -> Sink:
        """The sink."""
        return TensorboardSink()


class TensorboardSink(Sink):
    """An event file in the run folder."""

    def start(self, run: RunFacts) -> None:
        """Open the file."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(run.folder / FOLDER))  # type: ignore[no-untyped-call]

    def row(self, kind: str, step: int, figures: Mapping[str, Any]) -> None:
        """One row of metrics."""
        for name, value in numbers(figures).items():
            if name != "seconds":
                self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
