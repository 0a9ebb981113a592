"""`hornbeam solve`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hornbeam.cli.job_setup import Model, Sets, results_alone, stopped
from hornbeam.errors import HornbeamError, RecipeError
from hornbeam.files.terminal import tell, to_stderr


def solve_command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORDS",
            help="A recipe, file or name, and the question.",
            show_default="no recipe; standard input",
        ),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option("--agent", help="An agent's command.", show_default="the recipe's program"),
    ] = None,
    search: Annotated[
        str, typer.Option("--search", metavar="NAME", help="Of a table serve.NAME, or mcts-16 ...")
    ] = "greedy",
    guide: Annotated[
        str | None,
        typer.Option(
            "--guide", metavar="DIR", help="A value model.", show_default="the recipe's guides"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder.", show_default="nothing is kept")
    ] = None,
    model: Model = None,
    sets: Sets = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: answer, cost, tree.")
    ] = False,
) -> None:
    """Answer a question by a search: with the program of a recipe, an agent, or a bare model."""
    recipe, question = _words(words or [])
    loaded, base = _recipe(recipe, agent, guide, model, sets or [])
    if question is None:
        if sys.stdin.isatty():
            raise HornbeamError("there is no question: give it behind the recipe, or pipe it in")
        question = sys.stdin.read().strip()
    from rich.console import Console

    from hornbeam.assembly.progress import Progress
    from hornbeam.jobs.service.served_names import served_search
    from hornbeam.jobs.service.solve_job import solve

    served_search(loaded, search)
    progress = Progress(Console(stderr=True))
    with stopped(), results_alone():
        found, _ = solve(loaded, base, out, search, question, progress, to_stderr)
    if as_json:
        usage = {"prompt_tokens": found.prompt, "completion_tokens": found.sampled}
        usage["total_tokens"] = found.prompt + found.sampled
        text = {"text": found.text, "finish": found.finish, "usage": usage}
        tell(json.dumps({**text, **found.to_json()}, ensure_ascii=False))
    elif found.text:
        tell(found.text)
    if not found.text:
        raise HornbeamError(
            f"search {search!r} found no answer: {found.episodes} runs, {_why(found)}"
        )


def _why(found: Any) -> str:
    return "its budget is spent" if found.spent else f"{found.failed} of them failed"


def _words(words: list[str]) -> tuple[str | None, str | None]:
    """(recipe, question) of what was given: one word that names no recipe is the question."""
    from hornbeam.cli.recipes_command import find

    if len(words) > 2:
        raise HornbeamError("more than a recipe and a question: put the question in quotes")
    if len(words) == 2:
        return words[0], words[1]
    if not words:
        return None, None
    try:
        find(words[0])
    except RecipeError:
        if not words[0].endswith(".toml"):
            return None, words[0]
        raise
    return words[0], None


def _recipe(
    name: str | None, agent: str | None, guide: str | None, model: str | None, sets: list[str]
) -> tuple[Any, Path]:
    """(the recipe with what the options say, the folder that its files lie in)."""
    from hornbeam.cli.recipes_command import find
    from hornbeam.jobs.recipe_checks import check
    from hornbeam.recipe import toml
    from hornbeam.recipe.recipe import recipe_from_data

    path = None if name is None else find(name)
    data = {} if path is None else toml.read_toml(path)
    data = toml.override(data, sets)
    if agent is not None:
        data["program"] = {"agent": agent}
    if guide is not None:
        data["guides"] = {**data.get("guides", {}), "value": {"kind": "prm", "model": guide}}
    where, base = ("hornbeam solve", Path()) if path is None else (path.name, path.parent)
    recipe = recipe_from_data(data, where, base)
    recipe = recipe.with_weights(model) if model else recipe
    check(recipe)
    return recipe, recipe.base
