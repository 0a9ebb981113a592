"""Metrics to Trackio; the only import of it (extra `trackio`).

They stay on this machine, where `trackio show` finds them (TRACKIO_DIR), unless a `space` of the
Hugging Face hub is named. Trackio keeps what it is told: a step told twice stands there twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from hornbeam.protocols import RunFacts, Sink
from hornbeam.sinks.sink_settings import SinkSettings, numbers


class TrackioSettings(SinkSettings):
    """`name` is the run's title and id by default; `space` is one of the hub, as "me/runs"."""

    extra = "trackio"
    needs = ("trackio",)

    project: str = "hornbeam"
    name: str = ""
    group: str = ""
    space: str = ""

    def make(self) -> Sink:
        """The sink."""
        return TrackioSink(self)


class TrackioSink(Sink):
    """One run there for a run here, over resumes."""

    def __init__(self, settings: TrackioSettings) -> None:
        self.settings = settings

    def start(self, run: RunFacts) -> None:
        """Begin the run there, or go on with it, which Trackio finds by its name."""
        import trackio

        settings = self.settings
        with redirect_stdout(StringIO()):  # it prints how to look at it; training waits meanwhile
            self._run: Any = trackio.init(
                project=settings.project,
                name=settings.name or f"{run.title} {run.id}",
                group=settings.group or None,
                space_id=settings.space or None,
                config=dict(run.recipe),
                resume="allow" if run.told else "never",
                embed=False,
            )

    def row(self, kind: str, step: int, figures: Mapping[str, Any]) -> None:
        """One row of metrics."""
        found = {f"{kind}/{name}": value for name, value in numbers(figures).items()}
        self._run.log(found, step=step)

    def close(self) -> None:
        """Write what is left."""
        with redirect_stdout(StringIO()):
            self._run.finish()
