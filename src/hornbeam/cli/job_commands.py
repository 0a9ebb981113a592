"""The commands that run a job of a recipe or a bench, in the order of the help."""

from __future__ import annotations

from collections.abc import Callable

from hornbeam.cli.anchor_command import anchor_command
from hornbeam.cli.chunks_command import chunks_command, select_command
from hornbeam.cli.eval_command import eval_command
from hornbeam.cli.fit_command import fit_command
from hornbeam.cli.label_command import label_command
from hornbeam.cli.prmbench_command import prmbench_command
from hornbeam.cli.processbench_command import processbench_command
from hornbeam.cli.search_command import search_command
from hornbeam.cli.train_command import train_command

JOBS: dict[str, Callable[..., None]] = {
    "train": train_command,
    "eval": eval_command,
    "eval processbench": processbench_command,
    "eval prmbench": prmbench_command,
    "search": search_command,
    "label": label_command,
    "anchor": anchor_command,
    "fit": fit_command,
    "chunks": chunks_command,
    "select": select_command,
}
