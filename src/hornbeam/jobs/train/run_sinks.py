"""The sinks of a run that trains.

Of several processes that train one policy each, that of the first policy tells rows; trees are told
by the process that grew them. Actors and the other ranks have no sinks: the driver tells.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hornbeam.assembly.run_folder import Folder
from hornbeam.assembly.sink_makers import sink_makers
from hornbeam.errors import RecipeError
from hornbeam.sinks import RunFacts, SinkThread, without_passwords


class RunSinks:
    """The sinks of a run that has begun, each in a thread of its own."""

    def __init__(self, folder: Folder, base: Path, warn: Callable[[str], None]) -> None:
        recipe = folder.recipe
        self.leads = folder.policy in ("", recipe.names[0])
        self.threads: list[SinkThread] = []
        for name, make in sink_makers(recipe, base).items():
            try:
                sink = make()
            except Exception as error:
                raise RecipeError(f"sinks.{name}: {type(error).__name__}: {error}") from error
            thread = SinkThread(name, sink, folder.path / "sinks" / f"{name}.json", warn)
            if self.leads or thread.wants_trees:
                self.threads.append(thread)

    def start(self, folder: Folder) -> None:
        """Start them, and tell what was not told before a stop."""
        if not self.threads:
            return
        rows = folder.store.metrics()
        facts = _facts(folder)
        for thread in self.threads:
            if (
                thread.fresh
                and thread.name == "tensorboard"
                and (folder.path / thread.name).is_dir()
            ):
                thread.skip(rows)  # of a run that began before there were notes
            thread.start(facts)
        for row in rows:
            self.row(row)

    def row(self, row: Mapping[str, Any]) -> None:
        """A row of metrics was kept."""
        for thread in self.threads if self.leads else ():
            thread.row(row)

    def close(self) -> None:
        """Close them, each within a time."""
        for thread in self.threads:
            thread.close()


def _facts(folder: Folder) -> RunFacts:
    recipe, store = folder.recipe, folder.store
    if store.get("run id") is None:
        store.set("run id", secrets.token_hex(4))
        store.flush()
    return RunFacts(
        id=str(store.get("run id")),
        title=recipe.run.title or (folder.path.parent if folder.policy else folder.path).name,
        folder=folder.path,
        recipe=without_passwords(recipe.model_dump(mode="json")),
        policy=folder.policy,
    )
