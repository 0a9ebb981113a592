"""What a run will take, before it is run: the resolved recipe, tokens at most, memory."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hornbeam import models
from hornbeam.config import show
from hornbeam.errors import ModelError
from hornbeam.run.recipe import Recipe
from hornbeam.run.wire import plan


def estimate(recipe: Recipe, base: Path) -> str:
    """The resolved recipe as TOML, and comment lines on tasks, tokens and memory."""
    made = plan(recipe, base)
    run = recipe.run
    asks = int(recipe.program.rest().get("max_turns", 0)) or recipe.limits.turns
    longest = max(agent.max_tokens for agent in recipe.agents.values())
    leaves = made.strategy.leaves()
    each = min(asks * longest, recipe.limits.tokens)
    sampled = run.steps * run.tasks * leaves * each
    looks = (run.steps // run.eval_every if run.eval_every else 1) + 1 + bool(recipe.sft)
    held = looks * len(made.eval.tasks) * each
    lines = [
        *made.train.sources,
        *(f"held out: {source}" for source in made.eval.sources),
        f"{run.steps} steps x {run.tasks} trees x {leaves} episodes"
        f" = {run.steps * run.tasks * leaves:,} episodes, at most {asks} asks each",
        f"sampled tokens: at most {sampled:,} in training ({asks} asks of {longest} tokens each)"
        f" and {held:,} in {looks} evaluations; usually a small part of it",
        *(_memory(recipe.of(name), name) for name in recipe.names),
    ]
    return show(recipe) + "\n" + "\n".join(f"# {line}" for line in lines)


def _memory(recipe: Recipe, name: str) -> str:
    """Weights, gradients, AdamW's moments and the reference, in bytes."""
    memory = f"memory of policy {name}" if name else "memory"
    if recipe.model.name == "tiny":
        return f"{memory}: a tiny model, next to nothing"
    try:
        folder = models.resolve(recipe.model.name)
    except ModelError:
        return f"{memory}: the model is not on this machine yet, so its size is not known"
    count = parameters(folder)
    trained = 0.02 if recipe.lora else 1.0
    size = count * 4 * (1 + trained * (3 + bool(recipe.loss.kl)))
    return (
        f"{memory}: about {size / 2**30:.1f} GiB for {count / 1e6:,.0f} M parameters (weights,"
        " gradients, moments), besides activations and prefixes"
    )


def parameters(folder: Path) -> int:
    """How many weights the safetensors files of a folder hold; read off their headers."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            header: dict[str, Any] = json.loads(
                stream.read(int.from_bytes(stream.read(8), "little"))
            )
        for name, tensor in header.items():
            if name != "__metadata__":
                total += math.prod(tensor["shape"])
    return total
