"""Options of `hornbeam train`; each says what holds without it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[
    Path | None, typer.Option("--out", help="Run folder.", show_default="runs/NAME")
]
Resume = Annotated[
    bool, typer.Option("--resume/--no-resume", help="Go on in a folder that exists.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what the run takes; stop.")]
AllSettings = Annotated[
    bool, typer.Option("--all", help="Of a dry run: the resolved recipe too, every setting.")
]
Gpu = Annotated[
    str,
    typer.Option(
        "--gpu",
        help="Of a dry run: this GPU, as h100.",
        show_default="h200 where the recipe names a GPU",
    ),
]
Gpus = Annotated[
    int, typer.Option("--gpus", help="Of a dry run: so many.", show_default="1, 8, 64")
]
Episode = Annotated[
    int | None,
    typer.Option(
        "--episode",
        help="Of a dry run: tokens of an episode.",
        show_default="the most there are",
    ),
]
Policy = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help="Train this policy only, beside processes for the others.",
        show_default="all",
    ),
]
Workers = Annotated[
    str | None,
    typer.Option(
        "--workers",
        metavar="KIND",
        help="local, or ray: a cluster's.",
        show_default="the recipe's",
    ),
]
Growers = Annotated[
    int | None,
    typer.Option("--growers", help="Ray actors that grow trees.", show_default="the recipe's"),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="Ray's: auto, HOST:6379.",
        show_default="the recipe's, else a cluster of its own",
    ),
]
Ranks = Annotated[
    int, typer.Option("--ranks", min=1, help="Shard the weights over so many processes.")
]
Shared = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URL", help="Database of several trainers.", show_default="DIR/run.db"
    ),
]
