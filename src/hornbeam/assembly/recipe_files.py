"""Every file and folder that a recipe names, looked at before anything heavy.

Those that the job reads are refused together, a line each; those of other commands (the model of a
guide that only a search reads) are told. With `deep` files are read by their own readers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hornbeam.assembly.endpoints import folder_of
from hornbeam.assembly.engines import needs_folder
from hornbeam.assembly.needed_columns import read_in_training
from hornbeam.assembly.sft_set import read_set
from hornbeam.chat.ready_templates import template_text
from hornbeam.credit import method
from hornbeam.errors import HornbeamError, RecipeError
from hornbeam.files import paths
from hornbeam.models import catalogue
from hornbeam.own.given_objects import is_given, missing_object
from hornbeam.recipe.own_names import check_code, own_names, template_names
from hornbeam.recipe.recipe import Recipe
from hornbeam.tasks.corpus import find_passages
from hornbeam.tasks.task_sources import data_directory, load_tasks


class NamedFile(NamedTuple):
    """A file or folder: the key that names it, its name, what says what is wrong ("": nothing).

    `by` is who reads it: "" every command, "weights" those that load the policy's own, "train"
    training, "search" and "anchor" those commands.
    """

    key: str
    name: str
    wrong: Callable[[], str]
    by: str = ""


def check_files(recipe: Recipe, base: Path, *by: str, deep: bool = False) -> list[str]:
    """Raise `RecipeError`, a line for each file that is read `by` these jobs and cannot be.

    `base` is the recipe's own folder. Returns lines on those that others would read.
    """
    lines: dict[bool, list[str]] = {True: [], False: []}
    for each in named(recipe, base, deep):
        try:
            wrong = each.wrong()
        except (HornbeamError, OSError) as error:
            wrong = str(error)
        if wrong:
            wrong = wrong.removeprefix(f"{each.name}: ")
            lines[each.by in ("", *by)].append(f"{each.key} = {json.dumps(each.name)}: {wrong}")
    if lines[True]:
        raise RecipeError("\n".join(lines[True]))
    check_code(recipe, base)
    return lines[False]


def named(recipe: Recipe, base: Path, deep: bool = False) -> Iterator[NamedFile]:
    """All that a recipe names, in the order of its sections."""
    yield from _models(recipe)
    yield from _code(recipe, base)
    data = data_directory()
    for part in ("train", "eval"):
        for number, source in enumerate(getattr(recipe.tasks, part)):
            if source.path:
                key = f"tasks.{part}.{number}.path"
                yield NamedFile(key, source.path, partial(_tasks, source, base, data, deep))
    for name, choice in recipe.tools.items():
        corpus = choice.rest().get("corpus")
        if isinstance(corpus, str) and not choice.rest().get("fallback"):
            where = choice.rest().get("data")
            yield NamedFile(f"tools.{name}.corpus", corpus, partial(_corpus, corpus, base, where))
    if recipe.sft is not None and recipe.sft.data:
        yield NamedFile(
            "sft.data", recipe.sft.data, partial(_set, recipe.sft.data, base, deep), "train"
        )
    yield from _guides(recipe)


def _models(recipe: Recipe) -> Iterator[NamedFile]:
    """The weights of policies, references, teachers, and tokenizers of servers."""
    seen = {"model.name": recipe.model.name}
    seen |= {f"policies.{n}.model": p.model for n, p in recipe.policies.items() if p.model}
    for key, name in template_names(recipe).items():
        yield NamedFile(key, name, partial(_template, name, recipe.base))
    for key, name in seen.items() if needs_folder(recipe) else ():
        if name != "tiny":
            yield NamedFile(key, name, partial(_pullable, recipe, name), "weights")
    reads = recipe.engine.rest().get("tokenizer")
    if isinstance(reads, str) and reads:
        yield NamedFile("engine.tokenizer", reads, partial(_folder, recipe, reads), "weights")
    if recipe.anchor is not None:
        how, by = recipe.anchor, "train" if trains_on_anchors(recipe) else "anchor"
        more = {"anchor.model": how.model, "anchor.teacher": how.teacher}
        more["anchor.endpoint.tokenizer"] = str(how.endpoint.get("tokenizer") or "")
        for key, name in more.items():
            if name and name != "tiny" and "://" not in name:
                yield NamedFile(key, name, partial(_folder, recipe, name), by)


def _code(recipe: Recipe, base: Path) -> Iterator[NamedFile]:
    """What is named out of files of code."""
    for key, name in own_names(recipe).items():
        file, colon, _ = name.rpartition(":")
        if colon:
            look = partial(missing_object, name) if is_given(name) else partial(_file, file, base)
            yield NamedFile(key, name, look)


def trains_on_anchors(recipe: Recipe) -> bool:
    """Whether training uses anchors."""
    if recipe.anchor is None or not recipe.run.steps:
        return False
    return (
        recipe.anchor.inject
        or method(recipe.credit.method, recipe.base, **recipe.credit.rest()).anchored
    )


def _guides(recipe: Recipe) -> Iterator[NamedFile]:
    """The models of guides; training reads those whose columns it needs."""
    read = read_in_training(recipe)
    for column, choice in recipe.guides.items():
        name = choice.rest().get("model")
        if isinstance(name, str) and "://" not in name:
            check = _fitted if choice.kind in ("prm", "orm") else _folder
            by = "train" if column in read else "search"
            yield NamedFile(f"guides.{column}.model", name, partial(check, recipe, name), by)
        reads = (choice.rest().get("endpoint") or {}).get("tokenizer")
        if isinstance(reads, str) and reads:
            by = "train" if column in read else "search"
            key = f"guides.{column}.endpoint.tokenizer"
            yield NamedFile(key, reads, partial(_folder, recipe, reads), by)


# --- what is wrong -------------------------------------------------------------------------------


def _file(name: str, base: Path, *more: Path | None) -> str:
    path = paths.find(name, base, *more)
    if not path.exists() or path.is_dir():
        return paths.missing(name, base, *more)
    with path.open("rb") as stream:
        stream.read(1)
    return ""


def _tasks(source: Any, base: Path, data: Path | None, deep: bool) -> str:
    wrong = _file(source.path, base, data)
    if deep and not wrong:
        load_tasks([source], base=base)
    return wrong


def _set(name: str, base: Path, deep: bool) -> str:
    wrong = _file(name, base)
    if deep and not wrong:
        read_set(paths.find(name, base))
    return wrong


def _corpus(name: str, base: Path, data: Any) -> str:
    path = paths.find(name, base)
    folder = paths.find(data, base, folder=True) if data else None
    if find_passages(path, folder) is not None:
        return ""
    return f"{paths.missing(name, base)}, and no corpus of that name in a data directory"


def _pullable(recipe: Recipe, name: str) -> str:
    """A model that may be pulled; a name in a folder that is here is meant as a folder."""
    folder = recipe.folder(name)
    if not folder.is_dir() and catalogue.pullable(name) and not catalogue.here(name):
        return catalogue.misnamed(name, recipe.base)
    catalogue.resolve(folder, made=("tiny",))
    return ""


def _folder(recipe: Recipe, name: str) -> str:
    """A model that has to be here."""
    folder = recipe.folder(name)
    if not folder.is_dir() and not catalogue.here(name) and name not in catalogue.known():
        return paths.missing(name, recipe.base, folder=True)
    catalogue.resolve(folder)
    return ""


def _template(name: str, base: Path) -> str:
    """A chat template, which Jinja can read."""
    from jinja2 import Environment, TemplateError

    text = template_text(name, base)
    if "generation" in text:  # a tag of transformers' own
        return ""
    try:
        Environment(extensions=["jinja2.ext.loopcontrols"]).parse(text)
    except TemplateError as error:
        return f"no template can be read: {error}, line {getattr(error, 'lineno', '?')}"
    return ""


def _fitted(recipe: Recipe, name: str) -> str:
    """A model that `hornbeam fit` made."""
    wrong = _folder(recipe, name)
    if wrong:
        return f"{wrong}: `hornbeam fit` makes one"
    card = folder_of(name, recipe.base) / catalogue.VALUE_CARD
    return "" if card.is_file() else "is no fitted value model: `hornbeam fit` makes one"
