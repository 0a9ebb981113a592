"""When a run writes checkpoints, and how it goes on from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from hornbeam.recipe.recipe import RunSettings
from hornbeam.store.checkpoints import Checkpoints


class CheckpointedStates(Protocol):
    """What a checkpoint keeps: policies, or more than these."""

    @property
    def versions(self) -> Any:
        """Those of the weights."""
        ...

    def save_states(self, folder: Path) -> None:
        """Write all that the next step depends on."""
        ...

    def load_states(self, folder: Path) -> None:
        """Go on from that."""
        ...


class Checkpointer:
    """The checkpoints of the policies, one every so many steps, as the run's settings say."""

    def __init__(self, folder: Path, run: RunSettings, policies: CheckpointedStates) -> None:
        self.checkpoints, self.policies = Checkpoints(folder, run.keep), policies
        self.every = run.checkpoint_every

    def restore(self) -> int | None:
        """Load the last checkpoint; the step after which it was written, None for none."""
        found = self.checkpoints.latest()
        if found is None:
            return None
        self.policies.load_states(found.path)
        return found.step

    def save(self, step: int) -> None:
        """Write the checkpoint after so many steps, unless there is one."""
        found = self.checkpoints.latest()
        if found is None or found.step < step:
            data = {"step": step, "version": self.policies.versions}
            self.checkpoints.write(step, self.policies.save_states, data)

    def save_when_due(self, step: int) -> None:
        """Write it where one is due after so many steps."""
        if step % self.every == 0:
            self.save(step)
