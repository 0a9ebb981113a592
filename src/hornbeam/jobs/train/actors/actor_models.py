"""The models and engines of an actor: the driver's own folders, or what their names lead to."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from hornbeam.assembly.engines import engine_of
from hornbeam.assembly.judges import content
from hornbeam.assembly.loading import model_folders
from hornbeam.assembly.policies import base_of, device
from hornbeam.errors import ModelError, WorkerError
from hornbeam.jobs.train.actors.actor_engine import ActorEngine
from hornbeam.recipe.recipe import Recipe
from hornbeam.train import weights

Folders = Mapping[str, tuple[Path, str]]  # by policy: where its model lies, what its weights are


def check_release(release: str) -> None:
    """Raise `WorkerError` where the driver has another release than this machine; "" fits all."""
    here = release_here()
    if release and release != here:
        raise WorkerError(
            f"{socket.gethostname()} has hornbeam {here or 'of no release'}, the driver"
            f" {release}: install the same on all machines"
        )


def release_here() -> str:
    """The release of Hornbeam that is installed here, "" where none is."""
    try:
        return metadata.version("hornbeam")
    except metadata.PackageNotFoundError:
        return ""


def _folders(recipe: Recipe, folders: Folders, scratch: Path) -> dict[str, Path]:
    """The driver's model folders where they lie here too, else those that the names lead to.

    Raises `ModelError` where adapters would stand on other weights than the driver's.
    """
    if all(path.is_dir() and content(path) == mark for path, mark in folders.values()):
        return {name: path for name, (path, _) in folders.items()}
    found = model_folders(recipe, scratch, lambda text: None)
    for name, (path, mark) in folders.items():
        if recipe.of(name).lora is not None and content(found[name]) != mark:
            raise ModelError(f"{found[name]}: other weights than the driver's in {path}")
    return found


def load_engines(recipe: Recipe, folders: Folders) -> tuple[dict[str, ActorEngine], Any]:
    """(the engine of each policy by name, the tokenizer of the last)."""
    bases: dict[Path, tuple[Any, Any]] = {}
    engines: dict[str, ActorEngine] = {}
    tokenizer: Any = None
    with tempfile.TemporaryDirectory() as scratch:
        found = _folders(recipe, folders, Path(scratch) / "model")
        for name in recipe.names:
            part = recipe.of(name)
            model, tokenizer = base_of(part, found[name], bases)
            model = model.to(device(recipe)).eval()
            weights.without_noise(model)
            if part.lora is not None:
                model = weights.add_lora(model, part.lora, part.run.seed).eval()
            engine = engine_of(recipe, name, model, tokenizer, found[name])
            engines[name] = ActorEngine(engine, model)
    return engines, tokenizer
