"""What can be wrong with a recipe whatever its data and weights are, told before torch is imported.

What the program, its tools and its tasks come to is looked at as they are made (`assembly.plan`).
"""

from __future__ import annotations

from importlib.metadata import entry_points

from hornbeam.assembly.engines import check_trains, needs_folder
from hornbeam.assembly.guides import check_guide, check_guides
from hornbeam.assembly.needed_columns import check_heads
from hornbeam.assembly.sink_makers import check_sinks, sink_makers
from hornbeam.assembly.teacher import endpoint
from hornbeam.assembly.teachers import check_names
from hornbeam.errors import ModelError, RecipeError
from hornbeam.jobs.train.ahead import check_ahead
from hornbeam.models import catalogue
from hornbeam.models.tiny_model import TinyShape
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import keys_of, label_strategy
from hornbeam.search import strategy
from hornbeam.settings import build, nearest

# Kinds of devices that torch knows by itself; an extension of it brings its own.
DEVICES = ("cpu", "cuda", "xpu", "mps", "hpu", "mtia", "xla", "maia", "vulkan", "meta")


def check(recipe: Recipe) -> None:
    """Raise `RecipeError` or `ModelError` where a section names what is not known."""
    kind = recipe.run.device.partition(":")[0]
    if kind not in DEVICES and not entry_points(group="torch.backends"):
        raise RecipeError(f"run.device = {recipe.run.device!r}: {nearest(kind, DEVICES)}")
    for name in recipe.names if needs_folder(recipe) else ():
        own = recipe.of(name).model
        if wrong := catalogue.misnamed(own.name, recipe.base):
            raise ModelError(f"{own.name}: {wrong}")
        catalogue.check(recipe.folder(own.name), made=("tiny",))
        if own.name == "tiny":
            build("model", {"tiny": TinyShape}, "tiny", own.options)
        elif own.options:
            raise RecipeError("model.options are settings of the model 'tiny' only")
    for column, choice in recipe.guides.items():
        check_guide(column, choice, recipe)
    check_test(recipe)
    check_methods(recipe)
    check_serve(recipe)
    sink_makers(recipe, recipe.base)
    label_strategy(recipe.label, recipe.base)
    if recipe.anchor is not None:
        endpoint(recipe.anchor)


def check_test(recipe: Recipe) -> None:
    """`RecipeError` where the test of an agent is run for nothing, or a rule reads none."""
    section, rules = recipe.program, [part.rule for part in recipe.reward.judged.values()]
    has = section.name == "agent" and bool(section.rest().get("test"))
    if "test" in rules and not has:
        raise RecipeError(
            'reward.rule = "test" reads what program.test says, the test of an agent outside: set'
            ' it, or take a function of a file ("mine.py:score") for any other program'
        )
    if has and "test" not in rules:
        raise RecipeError('program.test is read by reward.rule = "test" alone: set that')


def fetch(recipe: Recipe, say: catalogue.Say) -> None:
    """Pull the models that are not here, or raise `ModelError` where nobody has one."""
    if needs_folder(recipe):
        for name in recipe.names:
            own = recipe.of(name).model.name
            if own != "tiny":
                catalogue.obtain(recipe.folder(own), say)


def check_methods(recipe: Recipe) -> None:
    """`RecipeError` naming the method whose strategy, choice or settings are not known.

    What it reads may be in a pool of trees already: `jobs` tells of that.
    """
    for method in recipe.search.methods:
        for _, settings in method.points():
            try:
                with keys_of(method):
                    how = strategy(method.strategy, recipe.base, **settings)
                method.choice(recipe.base)
                if getattr(how, "spread", False):
                    raise RecipeError("spread is over the tasks of a training step: leave it out")
            except RecipeError as error:
                raise RecipeError(f"search method {method.name!r}: {error}") from error


def check_serve(recipe: Recipe) -> None:
    """`RecipeError` naming the section of a served search that cannot be."""
    from hornbeam.jobs.service.served_names import served_search

    for name in recipe.serve:
        served_search(recipe, name)


def check_training(recipe: Recipe, policy: str | None) -> None:
    """`RecipeError` where a recipe cannot be trained, or not by a process a `policy`."""
    check_trains(recipe)
    check_names(recipe)
    check_sinks(recipe)
    check_ahead(recipe, decoupled=policy is not None)
    check_heads(recipe, decoupled=policy is not None)
    if policy is not None:
        check_decoupled(recipe, policy)


def check_search(recipe: Recipe) -> None:
    """Raise `RecipeError` or `ModelError` where the recipe's methods cannot search."""
    from hornbeam.jobs.search.search_jobs import jobs

    columns = [column for job in jobs(recipe) for column in job.reads]
    if not recipe.tasks.eval:
        raise RecipeError("tasks.eval is empty: name a source, as in [[tasks.eval]]")
    check_guides(recipe, columns)


def check_decoupled(recipe: Recipe, policy: str) -> None:
    """`RecipeError` for a recipe whose policies cannot be trained by several processes."""
    if policy not in recipe.policies:
        known = ", ".join(recipe.policies) or "none: give it tables [policies.NAME]"
        raise RecipeError(f"--policy {policy}: the recipe's policies are {known}")
    if any(value is not None for value in recipe.budget.model_dump().values()):
        raise RecipeError("[budget] is kept by one process: leave it out with --policy")
    if recipe.stages:
        raise RecipeError("[[stages]] are measured by one process: leave them out with --policy")
    if recipe.workers.kind != "local":
        raise RecipeError('workers.kind = "ray" with --policy: its trees grow beside the trainer')
    engine = recipe.engine
    if recipe.run.resume == "exact" and (engine.max_batch > 1 or engine.cache_tokens):
        raise RecipeError(
            'run.resume = "exact" with --policy: which requests share a batch depends on arrival;'
            ' set engine.max_batch = 1 and engine.cache_tokens = 0, or run.resume = "keep"'
        )
