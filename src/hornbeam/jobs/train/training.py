"""A training run by its recipe: the loop with the parts that the recipe asks for."""

from __future__ import annotations

from pathlib import Path

from hornbeam.assembly.loading import Load, load_policies
from hornbeam.assembly.plan import Plan
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.run_folder import Folder
from hornbeam.jobs.recipe_checks import check_training
from hornbeam.jobs.train.build import build
from hornbeam.jobs.train.decoupled.decoupled_run import build_decoupled
from hornbeam.jobs.train.loop import TrainingLoop
from hornbeam.recipe.recipe import Recipe
from hornbeam.train.ranks import Ranks


class Run(TrainingLoop):
    """One training run in its folder. `go` runs what is left of it."""

    def __init__(
        self, recipe: Recipe, plan: Plan, path: Path, progress: Progress, load: Load = load_policies
    ) -> None:
        check_training(recipe, None)
        super().__init__(build(plan, Folder(path, recipe), progress, load))


class Trainer(TrainingLoop):
    """The run of one policy, in the folder `path` / policy; final weights in `path` / final."""

    def __init__(
        self,
        recipe: Recipe,
        plan: Plan,
        path: Path,
        progress: Progress,
        policy: str,
        ranks: Ranks | None = None,
    ) -> None:
        check_training(recipe, policy)
        super().__init__(build_decoupled(recipe, plan, path, progress, policy, ranks))
