"""Fitting a value model on labelled trees: held-out figures before and after, then the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hornbeam.assembly.endpoints import chat_of, own_template, template_marks
from hornbeam.assembly.judges import content
from hornbeam.assembly.policies import device
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.task_records import mark_of
from hornbeam.chat.rendered import has_ids, has_text, with_ids
from hornbeam.errors import DataError, ModelError, StoreError, how_to_write
from hornbeam.jobs.search.missing import largest_id
from hornbeam.models import catalogue
from hornbeam.recipe.recipe import Recipe
from hornbeam.tasks.word_problems import held_out
from hornbeam.train.value import ValueModel
from hornbeam.train.value_rows import targets
from hornbeam.tree.jsonl import to_json
from hornbeam.tree.nodes import Tree, answered

FIT = "fit.json"  # what was fitted, and what was told of it


def fit(
    recipe: Recipe, trees: Sequence[Tree], column: str, out: Path, progress: Progress
) -> dict[str, Any]:
    """Fit `recipe.fit` on a column, write the model to `out`; figures on held-out tasks.

    A fifth of the tasks, drawn by their ids, is held out. Where `out` holds the very fit it is not
    made again. Raises `StoreError` where `out` holds something else and `DataError` where nothing
    is left to fit on.
    """
    filled = out.exists() and any(out.iterdir())
    if filled and not (out / FIT).is_file():
        raise StoreError(f"{out} is not empty: choose another --out")
    folder = catalogue.obtain(recipe.folder(recipe.model.name), progress.say)
    mark = _mark(recipe, folder, trees, column)
    if filled:
        return _made(out, mark, progress)
    given = _with_ids(trees, folder, recipe, progress)
    usable = [tree for tree in given if _usable(tree, column, recipe)]
    if not usable:
        raise DataError(f"no tree holds a target in column {column!r}{how_to_write(column)}")
    kept_out = [tree for tree in usable if held_out(json.dumps(tree.task["id"]))]
    given = [tree for tree in usable if not held_out(json.dumps(tree.task["id"]))]
    if not given:
        raise DataError(f"{len(usable)} trees are too few: all of their tasks are held out")
    model = ValueModel.load(
        folder,
        optim=recipe.optim,
        lora=recipe.lora,
        seed=recipe.run.seed,
        device=device(recipe),
    )
    if template_marks(recipe):
        model.read_as(own_template(recipe, model.tokenizer))
    if (largest := largest_id(usable)) >= model.vocabulary:
        raise DataError(
            f"the trees hold ids of another tokenizer ({largest}, and {model.name} knows"
            f" {model.vocabulary}): grow them with this model, or on a server that chats with"
            " engine.tokenizer = its folder"
        )
    before = model.evaluate(kept_out, column, recipe.fit) if kept_out else {}
    updates = recipe.fit.epochs * -(-len(given) // recipe.fit.batch_size)
    progress.begin("fitting", updates)
    for number, metrics in enumerate(model.fit(given, column, recipe.fit)):
        loss = f"loss {metrics['loss']:.4f}"
        progress.step(number + 1, loss, f"update {number + 1}/{updates}  {loss}")
    progress.end()
    after = model.evaluate(kept_out, column, recipe.fit) if kept_out else {}
    figures: dict[str, Any] = {"before": before, "after": after}
    figures |= {"trees": len(given), "held_out": len(kept_out)}
    model.save(out, after, {FIT: json.dumps({"mark": mark, **figures}, indent=1) + "\n"})
    return figures


def _with_ids(
    trees: Sequence[Tree], folder: Path, recipe: Recipe, progress: Progress
) -> list[Tree]:
    """The trees, those of text alone in the ids of the model's own chat template.

    Raises `DataError` where the template refuses one.
    """
    texts = [not has_ids(tree) and has_text(tree) for tree in trees]
    if not any(texts):
        return list(trees)
    name, out = recipe.model.name, []
    chat = chat_of(name, folder, recipe)
    progress.say(f"{sum(texts)} of {len(trees)} trees are text: read in the ids of {name}")
    for tree, text in zip(trees, texts):
        try:
            out.append(_ended(with_ids(tree, chat)) if text else tree)
        except ModelError as error:
            raise DataError(f"task {tree.task.get('id')!r}: {error}") from error
    return out


def _ended(tree: Tree) -> Tree:
    """The tree with ends at its answers, where it does not tell where episodes ended."""
    ends = set(answered(tree))
    nodes = [replace(node, done=i in ends) for i, node in enumerate(tree.nodes)]
    return Tree(tree.task, nodes, tree.columns, tree.seed)


def _mark(recipe: Recipe, folder: Path, trees: Sequence[Tree], column: str) -> str:
    """What tells fits apart: the weights, the recipe's parts that one reads, the column, trees."""
    data = recipe.model_dump(mode="json", include={"fit", "optim", "lora"})
    base = content(folder) or str(folder.resolve())
    marks = [mark_of(to_json(tree)) for tree in trees]
    return mark_of([data, base, recipe.run.seed, column, marks, *template_marks(recipe)])


def _made(out: Path, mark: str, progress: Progress) -> dict[str, Any]:
    """What was told of the fit in a folder. `StoreError` where it is not this one."""
    try:
        record: dict[str, Any] = json.loads((out / FIT).read_text(encoding="utf-8"))
        same = record.pop("mark") == mark
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        same = False
    if not same:
        raise StoreError(f"{out} is not empty, and holds another fit: choose another --out")
    progress.say(f"{out} holds this very fit already")
    return record


def _usable(tree: Tree, column: str, recipe: Recipe) -> bool:
    """Whether a tree has a target; trees of tasks where all failed have none."""
    values = tree.columns.get(column)
    if values is not None and all(value is None for value in values[1:]):
        return False
    targets(tree, column, recipe.fit)
    return True
