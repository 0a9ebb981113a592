"""One question answered by a search, from its recipe to its answer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hornbeam.assembly.progress import Progress
from hornbeam.assembly.tree_growth import FolderGrower
from hornbeam.chat import user
from hornbeam.errors import DataError
from hornbeam.jobs.event_loop import run_loop
from hornbeam.jobs.preparation import Say, planned
from hornbeam.jobs.service.outcome import Outcome
from hornbeam.jobs.service.search_service import SearchService
from hornbeam.recipe.recipe import Recipe, TaskSection
from hornbeam.tree.jsonl import write_trees
from hornbeam.tree.nodes import Tree
from hornbeam.view.report import write_trees_page


def solve(
    recipe: Recipe,
    base: Path,
    folder: Path | None,
    search: str,
    question: str,
    progress: Progress,
    say: Say,
) -> tuple[Outcome, Tree]:
    """The outcome of the search of that name on a question, and its tree, kept in a `folder`.

    The folder is a run folder: the same question goes on where it was stopped, and is told without
    a search where it was answered. Raises as its parts do.
    """
    if not question.strip():
        raise DataError("there is no question: give it as an argument, or on standard input")
    recipe = recipe.model_copy(update={"tasks": TaskSection()})  # no other question is looked at
    plan = planned(recipe, base, say, tasks=())

    async def answered(path: Path) -> tuple[Outcome, Tree]:
        grower = FolderGrower(recipe, plan, path, progress, "served")
        service = SearchService(recipe, grower)
        try:
            await service.open(search)
            found = await service.answer(search, [user(question)])
            tree = service.tree(found.tree)
            assert tree is not None
            return found, tree
        finally:
            await service.aclose()
            await grower.aclose()

    with _kept(folder) as path:
        found, tree = run_loop(answered(path))
        if folder is not None:
            write_trees([tree], folder / f"{found.tree}.jsonl")
            page = write_trees_page(folder / f"{found.tree}.html", question[:80], [tree])
            progress.say(f"Tree: {page}")
        return found, tree


@contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    """The folder, or one that passes."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="hornbeam-solve-") as passing:
        yield Path(passing) / "run"
