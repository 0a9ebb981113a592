"""`hornbeam models`: pull a small model by name, list what is here; `serve`: one by vLLM."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hornbeam.cli.credit_command import assignments
from hornbeam.cli.job_setup import Sets
from hornbeam.errors import HornbeamError
from hornbeam.files.terminal import as_markup, tell
from hornbeam.models import catalogue

LOOPBACK = ("127.0.0.1", "localhost", "::1")

app = typer.Typer(help="Pull small models by name, list them.", no_args_is_help=True)


@app.command("pull")
def pull_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A known name, or owner/name.")],
) -> None:
    """Fetch a model into the cache and print its folder; at once where it is there already."""
    console = Console(stderr=True)
    try:
        with console.status(f"Pulling {name}"):
            folder = catalogue.pull(
                name, lambda stage: console.print(as_markup(stage), style="dim")
            )
    except HornbeamError as error:
        tell(f"hornbeam: {error}", err=True)
        raise typer.Exit(2) from error
    tell(str(folder))


@app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the names that can be pulled and the models that are here."""
    try:
        rows = table()
    except HornbeamError as error:
        tell(f"hornbeam: {error}", err=True)
        raise typer.Exit(2) from error
    if as_json:
        tell(json.dumps(rows, indent=2))
        return
    shown = Table("name", "size", "licence", "here", "source", box=None, pad_edge=False)
    for row in rows:
        here = f"{row['megabytes']:,} MB" if row["folder"] else "no"
        cells = row["name"], row["size"], row["licence"], here, row["source"]
        shown.add_row(*(as_markup(cell) for cell in cells))
    Console().print(shown)
    place = as_markup(str(catalogue.cache() / "models"))
    Console().print(f"\nModels lie in {place}", style="dim", soft_wrap=True)


def table() -> list[dict[str, Any]]:
    """One row a known or pulled model; `folder` is empty where it is not here."""
    here = catalogue.pulled()
    rows = []
    for name in dict.fromkeys([*catalogue.known(), *here]):
        known = catalogue.SOURCES.get(name)
        folder = catalogue.folder(name) if name in here else None
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


def serve_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, or a known name.")],
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port there.")] = 8000,
    sets: Sets = None,
) -> None:
    """Serve MODEL by vLLM for engine.kind = "http" and "vllm_server"; --set gives its settings."""
    from hornbeam.engine.vllm import serve_process
    from hornbeam.engine.vllm.vllm_engine import ENVIRONMENT, INSTALL, VllmSettings
    from hornbeam.errors import EngineError
    from hornbeam.settings import build

    settings = build("engine", {"vllm": VllmSettings}, "vllm", assignments(sets or []))
    if find_spec("vllm") is None:
        raise EngineError(f"serve needs vLLM: {INSTALL}")
    if host not in LOOPBACK:
        tell(f"Who reaches {host}:{port} can change the weights that it serves.", err=True)
    command = serve_process.serve_command(catalogue.obtain(model), settings, host=host, port=port)
    environment = {**ENVIRONMENT, **os.environ, "VLLM_SERVER_DEV_MODE": "1"}
    tell(f"Serving at http://{host}:{port}/v1 once vLLM is up; Ctrl-C ends it.", err=True)
    os.execve(command[0], command, environment)
