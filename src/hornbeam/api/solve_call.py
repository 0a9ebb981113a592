"""One question answered by a search, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from hornbeam.api.job_results import SolveResult
from hornbeam.api.python_recipe import Sections, recipe_from
from hornbeam.api.run_call import folder_given, run_job
from hornbeam.arguments import wrong
from hornbeam.assembly.progress import Progress
from hornbeam.recipe.recipe import Recipe


def solve(
    question: str,
    program: Any = None,
    *,
    by: str = "greedy",
    model: Any = None,
    reward: Any = None,
    tools: Any = None,
    out: str | Path | None = None,
    progress: bool = True,
    **sections: Unpack[Sections],
) -> SolveResult:
    """Answer one question by a search: `hornbeam solve` from Python.

    `by` is a name of section `serve`, as in serve={"wide": {"strategy": "vote", "n": 32}}, or a
    ready-made one ("majority-8", with a guide "mcts-16"). Without a program the bare model answers.
    With `out` the tree is kept there, and the same question goes on where it was stopped.
    """
    from hornbeam.jobs.recipe_checks import check
    from hornbeam.jobs.service.solve_job import solve as solve_here

    if not isinstance(question, str):
        raise wrong("hornbeam.solve: question", "a text", question)
    given: dict[str, Any] = {"program": program, "model": model, "reward": reward, "tools": tools}
    asked = recipe_from("hornbeam.solve", {**given, **sections})
    folder = None if out is None else folder_given("hornbeam.solve: out", out)

    def job(recipe: Recipe, base: Path, seen: Progress) -> SolveResult:
        check(recipe)
        return SolveResult(*solve_here(recipe, base, folder, by, question, seen, seen.say))

    return run_job(job, asked, folder, progress)
