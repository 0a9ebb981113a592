"""The sinks of a run that trains.

Of several processes that train one policy each, that of the first policy tells rows; trees are told
by the process that grew them. Actors and the other ranks have no sinks: the driver tells.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hornbeam.assembly.run_folder import Folder
from hornbeam.assembly.sink_makers import sink_makers
from hornbeam.errors import HornbeamError, RecipeError
from hornbeam.grow.call_times import Grown
from hornbeam.jobs.train.metrics_log import Listener, nobody
from hornbeam.sinks import RunFacts, SinkThread, TimedCall, without_passwords
from hornbeam.store.database import TreeKey
from hornbeam.tree.nodes import Tree


class RunSinks:
    """The sinks of a run that has begun, each in a thread of its own."""

    def __init__(self, folder: Folder, base: Path, warn: Callable[[str], None]) -> None:
        recipe = folder.recipe
        self.leads = folder.policy in ("", recipe.names[0])
        self.threads: list[SinkThread] = []
        self._folder: Folder | None = None
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
        self._folder, rows = folder, folder.store.metrics()
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
            self.listener(row)

    @property
    def listener(self) -> Listener:
        """What hears of rows of metrics."""
        return self._row if self.leads and self.threads else nobody

    def _row(self, row: Mapping[str, Any]) -> None:
        for thread in self.threads:
            thread.row(row)

    @property
    def grown(self) -> Grown | None:
        """What hears of trees that are grown, where a sink wants them."""
        return self._tree if any(thread.wants_trees for thread in self.threads) else None

    def _tree(self, key: TreeKey, tree: Tree, calls: Sequence[TimedCall]) -> None:
        for thread in self.threads:
            if thread.wants_trees:
                thread.tell("tree", key, tree, calls)

    def close(self) -> None:
        """Tell what only others have written, as a trainer its warm start, and close them."""
        if self._folder is not None and self._folder.policy:
            with suppress(HornbeamError):
                for row in self._folder.store.metrics():
                    self.listener(row)
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
