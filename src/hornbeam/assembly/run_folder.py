"""A run folder: the database, checkpoints, metrics as JSON lines, the report, the final weights."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hornbeam.assembly.sft_set import Exact, Numbered, numbered_set
from hornbeam.assembly.step_costs import account
from hornbeam.chat import Chat
from hornbeam.chat.ready_templates import template_text
from hornbeam.errors import StoreError
from hornbeam.files import paths
from hornbeam.files.atomic import whole_file
from hornbeam.own.given_objects import is_given
from hornbeam.recipe.own_names import command_files, held_names, template_names
from hornbeam.recipe.recipe import Recipe, differences, filled
from hornbeam.recipe.toml import show
from hornbeam.store.database import Store, TreeKey
from hornbeam.tree.nodes import Tree, canonical
from hornbeam.tree.task import Task
from hornbeam.view import ReportData, write_report

NO_CHATS: Mapping[str, Chat] = MappingProxyType({})
FILES_IN = "recipe_folder"  # where the files lie that the recipe names
ReadTree = Callable[[TreeKey], Tree]
STAGES = ("train", "start", "warm start", "eval")  # of trees in the store


class Folder:
    """The files of a run beside its database; whoever opens it may write.

    With a `store` they are those of one process of several that share it, which trains `policy`.
    """

    def __init__(
        self, path: Path, recipe: Recipe, store: Store | None = None, policy: str = ""
    ) -> None:
        self.path, self.recipe, self.policy = path, recipe, policy
        self.fresh = store is None and not (path / "run.db").exists()
        if (
            self.fresh and path.is_dir() and {*os.listdir(path)} - {"lock", paths.GIVEN_FILES}
        ):  # killed at once
            raise StoreError(
                f"{path} is not empty and holds no run: choose another --out, or empty it"
            )
        self.store = store or Store(path)
        try:
            self._settle(recipe)
        except BaseException:
            self.store.close()
            raise

    def _settle(self, recipe: Recipe) -> None:
        """Keep the recipe, or hold it against the one that the run began with.

        A run that failed before anything was grown has not begun: a mended recipe takes its place.
        """
        now = recipe.model_dump(mode="json")
        before = self.store.kept_recipe()
        if before and (self.store.keys() or self.store.metrics()):
            changed = differences(filled(before), now)
            if changed:
                raise StoreError(
                    f"{self.path}: this run began with another recipe ({', '.join(changed[:3])}"
                    " differ): choose another --out, or set them back"
                )
        self.store.set("recipe", now)
        self.store.set(FILES_IN, str(recipe.base))
        self.store.flush()
        self.write("recipe.toml", show(recipe))
        self.rewrite_metrics()

    def hold_tasks(self, name: str, tasks: Sequence[Task]) -> None:
        """Keep what tasks the run is about, or hold them against those that it began with.

        The same recipe finds others where the data directory is not set, or another.
        """
        ids = [[task.id, task.question] for task in tasks]
        self._hold(f"tasks/{name}", ids, f"{name} tasks than are found now: set HORNBEAM_DATA")

    def hold_code(self, base: Path, guides: Collection[str] = ()) -> None:
        """Keep the files of the recipe's own parts and chat templates, held like tasks.

        `base` is the recipe's folder; of guides those of these columns are held. What the files
        import themselves is not looked at.
        """
        for key, what, shown in held_code(self.recipe, base, guides):
            self._hold(key, what, shown)

    def hold_set(self, path: Path, say: Callable[[str], None]) -> list[Numbered]:
        """The rows of an SFT set, held like tasks; what is not read is said. Raises as `read_set`
        does.
        """
        shown = [*numbered_set(path, odd := Counter[str]())]
        if odd:
            say(f"Not read of {path}: columns {', '.join(sorted(odd))}")
        said = [
            [list(row)] if isinstance(row, Exact) else [list(t) for t in row] for _, row in shown
        ]
        self._hold("sft.data", said, f"answers than {path} has now: put it back")
        return shown

    def _hold(self, name: str, what: Any, shown: str) -> None:
        now, before = _mark(what), self.store.get(name)
        if before not in (None, now) and (self.store.keys() or self.store.metrics()):
            raise StoreError(
                f"{self.path}: this run began with other {shown} as it was, or choose another --out"
            )
        self.store.set(name, now)

    def write(self, name: str, text: str) -> None:
        """Write a small file whole or not at all."""
        target = self.path / name
        try:
            with whole_file(target) as stream:
                stream.write(text)
        except OSError as error:
            raise StoreError(f"{target}: cannot be written: {error.strerror or error}") from error

    # --- metrics -----------------------------------------------------------------------------

    def metric(self, row: Mapping[str, Any], again: bool = False) -> None:
        """Keep a row in the database and, once it is there, in metrics.jsonl.

        `again`: it takes the place of one that is there.
        """
        self.store.metric(row)
        self.store.flush()
        if again:
            self.rewrite_metrics()
            return
        try:
            with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
        except OSError as error:
            raise StoreError(f"metrics.jsonl: cannot be written: {error}") from error

    def rewrite_metrics(self) -> None:
        """Write metrics.jsonl again from the database: a killed run left it half-written."""
        rows = self.store.metrics()
        self.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def costs(self) -> dict[str, float]:
        """What the run paid, by kind; what was done again after a stop stands apart."""
        return account(self.store)

    # --- the report --------------------------------------------------------------------------

    def report(self, chats: Mapping[str, Chat] = NO_CHATS) -> Path:
        """Write the report page from what the database holds."""
        return report(self.path, self.store, self.recipe.run.title or self.path.name, chats)


def held_code(
    recipe: Recipe, base: Path, guides: Collection[str] = ()
) -> Iterator[tuple[str, str, str]]:
    """(key, text, words for a message) of the code that a run is held to (`Folder.hold_code`)."""
    for key, name in held_names(recipe, guides).items():
        if is_given(name):  # its name tells its code
            continue
        shown = f"code of {key} than {name} has now: put the file back"
        yield key, paths.find(name.rpartition(":")[0], base).read_text("utf-8"), shown
    for file, path in command_files(recipe, base).items():
        shown = f"code of the agent than {file} has now: put the file back"
        yield f"agent/{file}", path.read_text("utf-8", "replace"), shown
    for key, name in template_names(recipe).items():
        shown = f"text of {key} than {name} has now: put that back"
        yield key, template_text(name, base), shown


def changed_code(store: Store, recipe: Recipe, base: Path) -> list[str]:
    """What of the code that a run in `store` began with is other now, in words."""
    found = held_code(recipe, base)
    return [shown for key, what, shown in found if store.get(key) not in (None, _mark(what))]


def _mark(what: Any) -> str:
    """What tells a value from others."""
    text = json.dumps(what).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).hexdigest()


class StoredTrees(Mapping[int, Sequence[Tree]]):
    """Trees of a run by step, read when they are looked up; below zero, those of evaluations.

    -1 is the last evaluation, -2 the one before. `read` reads one.
    """

    def __init__(self, store: Store, read: ReadTree | None = None) -> None:
        self._read = read or (lambda key: canonical(store.read(key).tree))
        self._places: dict[int, list[TreeKey]] = {}
        looks: dict[tuple[int, int], list[TreeKey]] = {}
        for key in store.keys(None):
            if key.stage == "train":
                self._places.setdefault(key.step, []).append(key)
            elif key.stage in STAGES:
                looks.setdefault((STAGES.index(key.stage), key.step), []).append(key)
        for number, (_, keys) in enumerate(sorted(looks.items(), reverse=True), 1):
            self._places[-number] = keys

    def __getitem__(self, step: int) -> Sequence[Tree]:
        return [self._read(key) for key in self._places[step]]

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._places))

    def __len__(self) -> int:
        return len(self._places)


def report(path: Path, store: Store, title: str, chats: Mapping[str, Chat] = NO_CHATS) -> Path:
    """Write `report.html` of a run folder; prompts are shown of agents whose chat is at hand."""
    return write_report(path / "report.html", report_data(path, store, title, chats))


def report_data(
    path: Path,
    store: Store,
    title: str,
    chats: Mapping[str, Chat] = NO_CHATS,
    read: ReadTree | None = None,
) -> ReportData:
    """What the page of a run folder shows; `read` reads a tree where the store does not."""

    def prompts(tree: Tree, i: int) -> str:
        chat = chats.get(tree.nodes[i].agent)
        return chat.decode(tree.nodes[i].prompt) if chat else ""

    recipe = path / "recipe.toml"
    return ReportData(
        title=title,
        recipe=recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
        metrics=store.metrics(),
        costs=account(store),
        trees=StoredTrees(store, read),
        prompts=prompts if chats else None,
    )
