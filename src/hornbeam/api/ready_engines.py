"""Engines by a line each, for `grow_trees`: a model in this process, by vLLM, or behind a server.

with hb.Local("smollm2-135m") as engine:
trees = hb.grow_trees(solver, tasks, agents={"solver": engine})
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.arguments import one_of
from hornbeam.errors import ArgumentError
from hornbeam.files import paths
from hornbeam.settings import build

if TYPE_CHECKING:
    from hornbeam.engine.local.local_engine import LocalEngine
    from hornbeam.engine.remote.remote_engine import ServerEngine
    from hornbeam.engine.vllm.vllm_engine import VllmEngine

TINY = "tiny"  # made from nothing, with random weights
WANTS = "the name or folder of a model"


def Local(model: str | Path, *, device: str = "cpu", seed: int = 0, **settings: Any) -> LocalEngine:
    """A model that samples in this process; it is pulled where it is not here.

    `settings` are those of kind "local" (docs/engines.md), `seed` is that of "tiny".
    Raises `ArgumentError`, `RecipeError`, `ModelError`.
    """
    from hornbeam.engine.request import LocalSettings

    name = str(one_of(model, (str, Path), "Local", WANTS))
    how: Any = build("engine", {"local": LocalSettings}, "local", settings)
    with tempfile.TemporaryDirectory() as scratch:
        folder = _folder(name, Path(scratch), seed)
        from hornbeam.chat import TemplateChat
        from hornbeam.engine.local.local_engine import LocalEngine
        from hornbeam.jobs.preparation import quiet
        from hornbeam.train import weights

        quiet()
        network, tokenizer = weights.load(folder)
        return LocalEngine(_placed(network, device), TemplateChat(tokenizer, name), how)


def VLLM(model: str | Path, *, seed: int = 0, **settings: Any) -> VllmEngine:
    """A model by vLLM, which is an extra. `settings` are those of its engine (docs/engines.md)."""
    from hornbeam.engine.vllm.vllm_engine import VllmEngine, VllmSettings

    name = str(one_of(model, (str, Path), "VLLM", WANTS))
    how: Any = build("engine", {"vllm": VllmSettings}, "vllm", settings)
    if how.lora_rank:
        raise ArgumentError("VLLM: lora_rank is of what is trained: leave it out")
    folder = _folder(name, Path(), seed)
    from hornbeam.assembly.endpoints import chat_of

    return VllmEngine(folder, chat_of(name, folder), how, seed=seed)


def OpenAI(base_url: str, model: str = "", **settings: Any) -> ServerEngine[Any]:
    """What a server with OpenAI's API serves, asked at /chat/completions.

    `base_url` ends before that ("http://localhost:8000/v1"). `settings` are those of engine "chat"
    (docs/engines.md): key_env="OPENAI_API_KEY", say. With kind="http" and a `tokenizer` it is asked
    at /completions, in token ids.
    """
    from hornbeam.assembly.endpoints import engine_at, server_of

    url = one_of(base_url, str, "OpenAI", "the address of a server: http://localhost:8000/v1")
    given = {"kind": "chat", "model": one_of(model, str, "OpenAI: model", "a name"), **settings}
    server = server_of("settings", url, given) if "://" in url else None
    if server is None:
        raise ArgumentError(
            f"OpenAI takes the address of a server, as http://localhost:8000/v1, not {url!r}"
        )
    return engine_at(server)


def _folder(name: str, scratch: Path, seed: int) -> Path:
    """Where a model lies. Raises `ModelError` where nobody has one."""
    from hornbeam.models import catalogue

    found = paths.find(name, folder=True)
    if name == TINY and not found.is_dir():
        if scratch == Path():
            raise ArgumentError('model "tiny" is made for Local')
        from hornbeam.models import tiny_model

        return tiny_model.make(scratch / name, seed)
    if wrong := catalogue.misnamed(name, Path()):
        raise ArgumentError(f"model {name!r}: {wrong}")
    return catalogue.obtain(found, print)


def _placed(network: Any, device: str) -> Any:
    """The network on a device. `ArgumentError` where this machine has none such."""
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:
        line = str(error).strip().partition("\n")[0]
        raise ArgumentError(f"device = {device!r} cannot be used here: {line}") from error
