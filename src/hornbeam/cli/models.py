"""`hornbeam models`: pull a small model by name, list what is known and what is here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hornbeam import models
from hornbeam.errors import HornbeamError

app = typer.Typer(help="Pull small models by name, list them.", no_args_is_help=True)


@app.command("pull")
def pull_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A known name, or owner/name.")],
) -> None:
    """Fetch a model into the cache and print its folder; at once where it is there already."""
    console = Console(stderr=True)
    try:
        with console.status(f"Pulling {name}"):
            folder = models.pull(name, lambda stage: console.print(stage, style="dim"))
    except HornbeamError as error:
        typer.echo(f"hornbeam: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(str(folder))


@app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the names that can be pulled and the models that are here."""
    try:
        rows = table()
    except HornbeamError as error:
        typer.echo(f"hornbeam: {error}", err=True)
        raise typer.Exit(2) from error
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    shown = Table("name", "size", "licence", "here", "source", box=None, pad_edge=False)
    for row in rows:
        here = f"{row['megabytes']:,} MB" if row["folder"] else "no"
        shown.add_row(row["name"], row["size"], row["licence"], here, row["source"])
    Console().print(shown)
    Console().print(f"\nModels lie in {models.cache() / 'models'}", style="dim", soft_wrap=True)


def table() -> list[dict[str, Any]]:
    """One row a known or pulled model; `folder` is empty where it is not here."""
    here = models.pulled()
    rows = []
    for name in dict.fromkeys([*models.known(), *here]):
        known = models.SOURCES.get(name)
        folder = models.folder(name) if name in here else None
        rows.append(
            {
                "name": name,
                "size": known.size if known else "",
                "licence": known.licence if known else "",
                "source": here[name]["source"] if folder else f"hub:{known.repo}" if known else "",
                "folder": str(folder) if folder else "",
                "megabytes": _megabytes(folder) if folder else 0,
            }
        )
    return rows


def _megabytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 10**6
