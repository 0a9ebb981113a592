"""What comes before every job: what its recipe names is made, models are pulled, torch imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hornbeam.assembly.engines import AWAY
from hornbeam.assembly.plan import Plan, plan
from hornbeam.jobs.recipe_checks import fetch
from hornbeam.recipe.recipe import Recipe

Say = Callable[[str], None]
UNTRAINED = (
    'model.name = "tiny" is untrained: its weights are random, and so are the results; name'
    " trained ones, as --model runs/tiny/final"
)


def planned(
    recipe: Recipe,
    base: Path,
    say: Say,
    reference: str | None = None,
    tasks: Sequence[str] = ("train",),
) -> Plan:
    """What the recipe names, made, its models pulled; only then comes what is slow to import.

    `reference` names the weights that speak, where those are not the recipe's; it is not pulled.
    `tasks` are those that the job cannot do without.
    """
    made = plan(recipe, base, tasks)
    names = weights_of(recipe) if reference is None else [reference]
    if reference is None:
        fetch(recipe, say)
        if "tiny" in names:
            say(f"warning: {UNTRAINED}")
    loading(say, *names)
    threads(recipe.run.threads)
    return made


def threads(count: int | None) -> None:
    """Let torch use so many threads."""
    if count is not None:
        import torch

        torch.set_num_threads(count)


def weights_of(recipe: Recipe) -> list[str]:
    """The names of the models by which policies speak here; none where a server has its own."""
    names = (
        [] if recipe.engine.kind in AWAY else [recipe.of(name).model.name for name in recipe.names]
    )
    return list(dict.fromkeys(names))


def loading(say: Say, *names: str) -> None:
    """Import what is slow to import; a line says so first, and whose weights follow."""
    if "torch" not in sys.modules:
        what = f"{', '.join(names)} (torch, transformers)" if names else "torch, transformers"
        say(f"loading {what}")
    quiet()


def quiet() -> None:
    """Keep the bars and hints of transformers off the screen."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
