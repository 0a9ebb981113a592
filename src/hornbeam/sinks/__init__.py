"""Sinks: where a run that trains is shown elsewhere, one file each; the table is `sinks`.

Secrets are no settings: a run keeps its recipe, and its page shows it. The libraries read theirs
from the environment.
"""

from collections.abc import Mapping
from typing import Any

from hornbeam.protocols import RunFacts, Sink, TimedCall
from hornbeam.settings import build
from hornbeam.sinks.otel_sink import OtelSettings
from hornbeam.sinks.sink_settings import SinkSettings, check_no_secret, without_passwords
from hornbeam.sinks.sink_thread import SinkThread
from hornbeam.sinks.tensorboard_sink import TensorboardSettings
from hornbeam.sinks.trackio_sink import TrackioSettings
from hornbeam.sinks.wandb_sink import WandbSettings

sinks: dict[str, type[SinkSettings]] = {
    "otel": OtelSettings,
    "tensorboard": TensorboardSettings,
    "trackio": TrackioSettings,
    "wandb": WandbSettings,
}


def sink_settings(name: str, settings: Mapping[str, Any]) -> SinkSettings:
    """The settings of the sink of that name; `RecipeError` if there is none such."""
    return build("sink", sinks, name, settings)


__all__ = [
    "RunFacts",
    "Sink",
    "SinkSettings",
    "SinkThread",
    "TimedCall",
    "check_no_secret",
    "sink_settings",
    "sinks",
    "without_passwords",
]
