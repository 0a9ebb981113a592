"""The run: a recipe wired up and run to its end, resumable; the only place that knows all.

What the door names is imported when it is asked for: a recipe is read and checked without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hornbeam.assembly.loading import load_policies, model_folder, say_templates
    from hornbeam.assembly.plan import Plan, plan
    from hornbeam.assembly.policies import Policies
    from hornbeam.assembly.progress import Progress
    from hornbeam.assembly.run_folder import Folder, report
    from hornbeam.assembly.world import World
    from hornbeam.recipe.recipe import Recipe, load_recipe
    from hornbeam.run.figures import measure
    from hornbeam.run.loop import TrainingLoop
    from hornbeam.run.training import Run, Trainer

__all__ = [
    "Folder",
    "Plan",
    "Policies",
    "Progress",
    "Recipe",
    "Run",
    "Trainer",
    "TrainingLoop",
    "World",
    "load_policies",
    "load_recipe",
    "measure",
    "model_folder",
    "plan",
    "report",
    "say_templates",
]

_ROOMS = {
    "figures": ("measure",),
    "folder": ("Folder", "report"),
    "loop": ("TrainingLoop",),
    "policies": ("Policies",),
    "recipe": ("Recipe", "load_recipe"),
    "training": ("Run", "Trainer"),
    "watch": ("Progress",),
    "loading": ("load_policies", "model_folder", "say_templates"),
    "wire": ("Plan", "plan"),
    "world": ("World",),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
