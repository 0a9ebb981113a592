"""`hornbeam steps`: labelled trees to the step-label formats in use, and back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from hornbeam.errors import DataError
from hornbeam.files.paths import check_file
from hornbeam.files.terminal import tell

KINDS = "trl, math-shepherd or prm800k"


def steps_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Trees, or rows of steps.")],
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    to: Annotated[str | None, typer.Option("--to", help=f"Trees to rows: {KINDS}.")] = None,
    kind: Annotated[str | None, typer.Option("--from", help=f"Rows to trees: {KINDS}.")] = None,
    column: Annotated[str, typer.Option("--column", help="The labels' column.")] = "q",
    model: Annotated[
        str | None, typer.Option("--model", help="With --from: whose token ids the trees get.")
    ] = None,
) -> None:
    """Write labelled trees as rows of steps (--to), or rows of steps as trees (--from)."""
    from hornbeam.tasks.steplabels import odd_line, read_steps, write_steps
    from hornbeam.tree.jsonl import read_trees, write_trees

    if (to is None) == (kind is None):
        raise DataError(f"say --to or --from, and one of {KINDS}")
    check_file(file)
    if kind is not None:
        chat = chat_of(model) if model else None
        odd: Counter[str] = Counter()
        trees = read_steps(file, kind, column=column, chat=chat, odd=odd)  # type: ignore[arg-type]
        tell(f"{write_trees(trees, out)} trees: {out}{odd_line(odd)}")
    else:
        rows = write_steps(read_trees(file), out, to, column=column)  # type: ignore[arg-type]
        tell(f"{rows} rows: {out}")


def chat_of(model: str) -> Any:
    """The chat of a model's tokenizer. Raises `ModelError` where there is none."""
    from hornbeam.assembly import endpoints
    from hornbeam.cli.job_setup import loading

    folder = endpoints.folder_of(model)
    loading(model)
    return endpoints.chat_of(folder.name, folder)
