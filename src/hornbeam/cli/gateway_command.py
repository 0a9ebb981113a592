"""`hornbeam gateway`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hornbeam.cli.job_setup import Model, RecipeArgument, Sets, recipe_from_options
from hornbeam.files.terminal import tell, to_stderr


def gateway_command(
    recipe: RecipeArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder.", show_default="runs/NAME-gateway")
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port.", show_default="a free one")
    ] = 0,
    host: Annotated[
        str,
        typer.Option(
            "--host", help="Address to listen on; others than this machine's: with a token."
        ),
    ] = "127.0.0.1",
    token: Annotated[
        str,
        typer.Option(
            "--token",
            envvar="HORNBEAM_GATEWAY_TOKEN",
            help="Key of who opens sessions, or asks without one; else HORNBEAM_GATEWAY_TOKEN.",
            show_envvar=False,
            show_default="none: this machine only",
        ),
    ] = "",
    idle: Annotated[
        float,
        typer.Option(
            "--idle", min=0.001, help="Seconds without a request after which a session is ended."
        ),
    ] = 3600.0,
    model: Model = None,
    sets: Sets = None,
) -> None:
    """Serve the agents of RECIPE to agents that you start; their sessions become trees."""
    from hornbeam.jobs.gateway.gateway_options import GatewayOptions

    how = GatewayOptions(port, host, token, idle)
    loaded, base, folder = recipe_from_options(recipe, out, model, sets, "gateway")
    from rich.console import Console

    from hornbeam.assembly.progress import Progress
    from hornbeam.jobs.gateway.gateway_job import serve_gateway

    def ready(address: str) -> None:
        tell(f"Gateway: {address}/v1 (Ctrl-C ends it)")
        tell(f"Run folder: {folder}")

    progress = Progress(Console(stderr=True))
    serve_gateway(loaded, base, folder, how, progress, to_stderr, ready)
    tell(f"Stopped. Sessions: {folder}/trees.jsonl; the same command goes on from here.")
