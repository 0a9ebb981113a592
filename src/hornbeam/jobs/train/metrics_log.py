"""The rows of metrics of a run: in its store, in metrics.jsonl, and told to who listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hornbeam.assembly.run_folder import Folder

Listener = Callable[[Mapping[str, Any]], None]
Where = tuple[str, str, int]  # kind, stage and step of a row


def nobody(row: Mapping[str, Any]) -> None:
    """Hears a row, and does nothing."""


class MetricsLog:
    """One row a kind, stage and step. `listen` hears of each row the first time."""

    def __init__(self, folder: Folder, listen: Listener = nobody) -> None:
        self.folder, self.listen = folder, listen
        self.rows: dict[Where, dict[str, Any]] = {_where(r): r for r in folder.store.metrics()}

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, in the place of one of the same kind, stage and step."""
        where = _where(row)
        self.folder.metric(row, again := where in self.rows)
        self.rows[where] = row
        if not again:
            self.listen(row)

    def amend(self, step: int, more: Mapping[str, Any]) -> None:
        """Change figures of a trained step's row."""
        self.add({**self.rows["train", "", step], **more})

    def has(self, kind: str, stage: str = "", step: int = -1) -> bool:
        """Whether there is such a row."""
        return (kind, stage, step) in self.rows

    async def complete(self) -> None:
        """Wait for rows that others keep: there are none."""

    @property
    def trained(self) -> int:
        """How many steps have been trained."""
        return sum(kind == "train" for kind, _, _ in self.rows)

    @property
    def begun(self) -> bool:
        """Whether anything was evaluated or trained."""
        return any(kind in ("eval", "train") for kind, _, _ in self.rows)


def _where(row: Mapping[str, Any]) -> Where:
    return row["kind"], str(row.get("stage", "")), row.get("step", -1)
