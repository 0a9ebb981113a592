"""The run: a recipe wired up and run to its end, resumable; the only place that knows all."""

from hornbeam.run.figures import measure
from hornbeam.run.folder import Folder, report
from hornbeam.run.loop import Run
from hornbeam.run.policies import Policies
from hornbeam.run.recipe import Recipe, load_recipe
from hornbeam.run.watch import Watch
from hornbeam.run.wire import Plan, World, load_policies, model_folder, plan

__all__ = [
    "Folder",
    "Plan",
    "Policies",
    "Recipe",
    "Run",
    "Watch",
    "World",
    "load_policies",
    "load_recipe",
    "measure",
    "model_folder",
    "plan",
    "report",
]
