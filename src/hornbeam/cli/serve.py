"""`hornbeam serve`: a vLLM server that trainers can send new weights to, and others can ask."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Annotated

import typer

from hornbeam.cli.credit import assignments
from hornbeam.cli.runs import Sets

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, or a known name.")],
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port there.")] = 8000,
    sets: Sets = None,
) -> None:
    """Serve MODEL by vLLM for engine.kind = "http" and "vllm_server"; --set gives its settings."""
    from hornbeam import models
    from hornbeam.engine import serve
    from hornbeam.engine.vllm import ENVIRONMENT, INSTALL, VllmSettings
    from hornbeam.errors import EngineError
    from hornbeam.settings import build

    settings = build("engine", {"vllm": VllmSettings}, "vllm", assignments(sets or []))
    if find_spec("vllm") is None:
        raise EngineError(f"serve needs vLLM: {INSTALL}")
    if host not in LOOPBACK:
        typer.echo(f"Who reaches {host}:{port} can change the weights that it serves.", err=True)
    command = serve.serve_command(models.obtain(model), settings, host=host, port=port)
    environment = {**ENVIRONMENT, **os.environ, "VLLM_SERVER_DEV_MODE": "1"}
    typer.echo(f"Serving at http://{host}:{port}/v1 once vLLM is up; Ctrl-C ends it.", err=True)
    os.execve(command[0], command, environment)
