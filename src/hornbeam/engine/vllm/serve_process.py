"""A `vllm serve` beside us: how to start one whose weights can change, and how to change them."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Literal

from hornbeam.engine.remote.http_client import LARGEST
from hornbeam.engine.remote.server_errors import message
from hornbeam.engine.vllm.vllm_engine import DEFAULT, WEIGHT_RECEIVER, VllmSettings
from hornbeam.errors import EngineError


def serve_command(
    model: str | Path, settings: VllmSettings = DEFAULT, *, host: str = "127.0.0.1", port: int
) -> list[str]:
    """The command line of a server that `update_server` can update.

    Run it with the variables of `engine.vllm.ENVIRONMENT` and VLLM_SERVER_DEV_MODE=1, on a network
    of friends only: who reaches its port can change its weights.
    """
    options = {
        "model": model,
        "host": host,
        "port": port,
        "dtype": settings.dtype,
        "max-num-seqs": settings.max_batch,
        "tensor-parallel-size": settings.devices,
        "kv-cache-memory-bytes": settings.cache_bytes,
        "logprobs-mode": "processed_logprobs",
        "generation-config": "vllm",
        "worker-extension-cls": WEIGHT_RECEIVER,
    }
    if settings.context:
        options["max-model-len"] = settings.context
    command = [
        sys.executable,
        "-P",
        "-m",
        "vllm.entrypoints.openai.api_server",
    ]  # what `serve` starts
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return command if settings.compiled else [*command, "--enforce-eager"]


def update_calls(
    folder: str, label: str, in_flight: Literal["finish", "abort"] = "finish"
) -> list[tuple[str, dict[str, Any]]]:
    """(path, body) of what a server is told of new weights, in order; "resume" must follow."""
    return [
        (f"pause?mode={'wait' if in_flight == 'finish' else 'abort'}", {}),
        ("collective_rpc", {"method": "hornbeam_load", "args": [folder]}),
        ("update_weight_version", {"new_version": label}),
    ]


def update_server(
    url: str, folder: str | Path, version: int, in_flight: Literal["finish", "abort"] = "finish"
) -> float:
    """Load a checkpoint folder, which the server must see, in place; the seconds it took.

    Requests in flight are finished, or broken off (their finish_reason is then "abort"). Raises
    `EngineError` where the server does not do it.
    """
    start = time.perf_counter()
    try:
        for path, body in update_calls(str(Path(folder).resolve()), str(version), in_flight):
            _post(f"{url}/{path}", **body)
    finally:
        _post(f"{url}/resume")
    return time.perf_counter() - start


def _post(url: str, **body: Any) -> None:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            data = answer.read(LARGEST)
    except urllib.error.HTTPError as error:
        hint = "; start the server as serve_command says" if error.code == 404 else ""
        raise EngineError(f"{url}: {error.code} {error.reason}{hint}") from error
    except OSError as error:
        raise EngineError(f"{url}: no answer: {error}") from error
    try:
        said = json.loads(data or "{}")
    except ValueError:
        return
    if isinstance(said, dict) and said.get("error"):
        raise EngineError(f"{url}: {message(said)}")
