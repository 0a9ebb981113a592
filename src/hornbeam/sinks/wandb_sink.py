"""Metrics to Weights & Biases; the only import of it (extra `wandb`).

The key comes from `wandb login` or WANDB_API_KEY. Not sent: the command line, which may hold a
password, and what is printed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from hornbeam.errors import RecipeError
from hornbeam.protocols import RunFacts, Sink
from hornbeam.sinks.sink_settings import SinkSettings, numbers


class WandbSettings(SinkSettings):
    """`mode`: "online", or "offline" for a folder that `wandb sync` sends later.

    Without it WANDB_MODE says so, else it is online. `name` is the run's title by default.
    """

    extra = "wandb"
    needs = ("wandb",)

    project: str = "hornbeam"
    entity: str = ""
    name: str = ""
    group: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""
    mode: Literal["", "online", "offline"] = ""

    def where(self) -> str:
        """The mode that holds here."""
        return self.mode or os.environ.get("WANDB_MODE") or "online"

    def check(self, name: str) -> None:
        """Raise `RecipeError` without the extra, or online without a key: nobody is asked."""
        super().check(name)
        if self.where() != "online":
            return
        import wandb

        if not wandb.login(prompt=False, verify=False):
            raise RecipeError(
                f"sinks.{name}: no key of Weights & Biases is found: run `wandb login`, or set"
                f' sinks.{name}.mode = "offline"'
            )

    def make(self) -> Sink:
        """The sink."""
        return WandbSink(self)


class WandbSink(Sink):
    """One run there for a run here, over resumes."""

    def __init__(self, settings: WandbSettings) -> None:
        self.settings = settings

    def start(self, run: RunFacts) -> None:
        """Begin the run there, or go on with it."""
        import wandb

        settings = self.settings
        quiet = {"console": "off", "silent": True, "x_disable_meta": True}
        self._run: Any = wandb.init(
            project=settings.project,
            entity=settings.entity or None,
            name=settings.name or run.title,
            group=settings.group or None,
            tags=settings.tags,
            notes=settings.notes or None,
            id=run.id,
            resume="allow",
            dir=str(run.folder),
            mode=settings.where(),  # type: ignore[arg-type]
            config=dict(run.recipe),
            settings=wandb.Settings(**quiet),
        )
        self._run.define_metric("*", step_metric="step")
        self._run.define_metric("sft/*", step_metric="sft/step")
        self._rows = run.told

    def row(self, kind: str, step: int, figures: Mapping[str, Any]) -> None:
        """One row of metrics; what its figures stand over is `step`, or of a warm start sft/step.

        W&B's own step counts all rows: it ignores a row of a smaller one than came before.
        """
        found = {f"{kind}/{name}": value for name, value in numbers(figures).items()}
        axis = "sft/step" if kind == "sft" else "step"
        self._run.log({axis: step, **found}, step=self._rows)
        self._rows += 1

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()
