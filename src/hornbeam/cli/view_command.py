"""`hornbeam view` and `export`: pages of runs, searches and trees, one tree as text, JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from hornbeam.cli.options import Shared
from hornbeam.errors import DataError, ModelError, StoreError
from hornbeam.files.links import check_link, check_links
from hornbeam.files.terminal import tell, to_stderr
from hornbeam.settings import nearest

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")]


def view_command(
    run: Annotated[
        Path, typer.Argument(metavar="DIR|FILE", help="A run folder, or trees as JSON lines.")
    ],
    tree: Annotated[
        str | None,
        typer.Option("--tree", help="Print one tree: train/12/0; of a file its number or task id."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Of a file: the page.", show_default="FILE.html beside it"),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--column", help="Of --tree: the column to show.", show_default="reward"),
    ] = None,
    store: Shared = None,
    live: Annotated[
        bool, typer.Option("--live", help="Serve the page here; it follows the run as it goes on.")
    ] = False,
    port: Annotated[
        int | None, typer.Option("--port", help="Of --live: its port.", show_default="a free one")
    ] = None,
) -> None:
    """Write the page of a run, a search or a file of trees anew, or print one of its trees."""
    if column is not None and tree is None:
        raise DataError(f"--column {column}: is of --tree KEY, which prints one tree")
    if live:
        _serve(run, store, port, {"--tree": tree, "--out": out, "--column": column})
        return
    if port is not None:
        raise StoreError(f"--port {port}: is of --live, which serves the page")
    if run.is_file() or (run.suffix in (".jsonl", ".json") and not run.is_dir()):
        if store is not None:
            raise StoreError(f"--store {store}: is of run folders, and {run} is a file")
        _view_file(run, tree, out, column)
        return
    if out is not None:
        raise StoreError(
            f"--out {out}: is of a file of trees; the page of a run lies in its folder"
        )
    _view_run(run, tree, column, store)


def _view_run(run: Path, tree: str | None, column: str | None, store: str | None) -> None:
    """The page of a run or a search, or one of its trees as text."""
    from hornbeam.assembly.run_folder import report
    from hornbeam.store.database import Store, TreeKey
    from hornbeam.tree.nodes import canonical

    if tree is None:
        check_links(run)
    with Store(store or run, read_only=True) as held:
        if tree is None and (run / "search.json").is_file():
            from hornbeam.view import write_search

            result = json.loads((run / "search.json").read_text(encoding="utf-8"))
            tell(f"Report: {write_search(result, run / 'search.html')}")
            return
        if tree is None:
            run.mkdir(parents=True, exist_ok=True)
            title = str(held.kept_recipe().get("run", {}).get("title") or run.resolve().name)
            tell(f"Report: {report(run, held, title, _chats(run, held))}")
            return
        stage, _, rest = tree.partition("/")
        numbers = rest.split("/")
        if len(numbers) != 2 or not all(part.isdecimal() for part in numbers):
            raise StoreError(f"--tree {tree}: write stage/step/number, as train/12/0")
        key = TreeKey(stage, int(numbers[0]), int(numbers[1]))
        tell(_as_text(canonical(held.read(key).tree), column))


def _serve(run: Path, store: str | None, port: int | None, others: dict[str, Any]) -> None:
    """Serve the page of a run that is there, or will be."""
    for option, value in others.items():
        if value is not None:
            raise StoreError(f"{option} {value}: leave it out with --live, which shows all")
    if run.is_file() or (run / "search.json").is_file():
        raise StoreError(f"{run}: --live follows a run that trains: leave it out")
    from hornbeam.cli.live_server import serve

    serve(run, store, port or 0, tell)


def _as_text(tree: Any, column: str | None) -> str:
    """A tree as text, and a line of its columns."""
    from hornbeam.view.text import column_names, tree_text

    name = column or "reward"
    columns = column_names(tree, name)
    return f"{tree_text(tree, column=name, calls=True)}\n{columns}"


def _view_file(path: Path, which: str | None, out: Path | None, column: str | None) -> None:
    """The page of a file of trees, or those of its trees that are asked for as text."""
    from hornbeam.tree.jsonl import read_trees
    from hornbeam.view import write_trees_page

    trees = list(read_trees(path))
    if which is not None:
        tell("\n\n".join(_as_text(tree, column) for tree in _chosen(path, trees, which)))
        return
    page = out or path.with_suffix(".html")
    if out is None:
        check_link(page)
    try:
        write_trees_page(page, path.name, trees)
    except StoreError:
        if out is not None:
            raise
        page = Path(f"{path.stem}.html")  # its folder is read-only
        check_link(page)
        write_trees_page(page, path.name, trees)
    tell(f"Report: {page}")


def _chosen(path: Path, trees: list[Any], which: str) -> list[Any]:
    """The tree of that number, counted from 1, or all of a task's."""
    if which.isdecimal() and 0 < int(which) <= len(trees):
        return [trees[int(which) - 1]]
    found = [tree for tree in trees if str(tree.task["id"]) == which]
    if not found:
        raise DataError(
            f"{path}: --tree {which}: write a number from 1 to {len(trees)}, or the id of a task"
            f" (the first is {str(trees[0].task['id'])!r})"
        )
    return found


def _chats(run: Path, store: Any) -> dict[str, Any]:
    """The chats of the agents of a run by its final weights, where they are there."""
    from hornbeam.recipe.recipe import Recipe

    found: dict[str, Any] = {}
    try:
        recipe = Recipe.model_validate(store.kept_recipe())
    except ValidationError:  # of an earlier version: its page goes without prompts
        return found
    for name in recipe.names:
        folder = run / "final" / name
        if (folder / "tokenizer_config.json").is_file():
            from hornbeam.assembly.endpoints import chat_of
            from hornbeam.jobs.preparation import quiet

            quiet()
            try:
                chat = chat_of(str(folder), folder)
            except ModelError as error:
                to_stderr(f"prompts are left out: {error}")
                continue
            found |= dict.fromkeys(recipe.of(name).agents, chat)
    return found


def export_command(
    run: Folder,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write.", show_default="DIR/trees.jsonl")
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage", help="Only trees of train, start, warm start or eval.", show_default="all"
        ),
    ] = None,
    store: Shared = None,
) -> None:
    """Write the trees of a run as JSON lines."""
    from hornbeam.store.database import Store, export

    path = out or run / "trees.jsonl"
    if out is None:
        check_links(run)
    with Store(store or run, read_only=True) as held:
        stages = dict.fromkeys(key.stage for key in held.keys(stage=None))
        if not stages:
            raise DataError(f"{store or run} holds no tree yet: nothing is written")
        if stage is not None and stage not in stages:
            raise DataError(f"--stage {stage}: no trees of that stage: {nearest(stage, stages)}")
        run.mkdir(parents=True, exist_ok=True)
        count = export(held, path, stage)
    tell(f"{count} trees: {path}")
