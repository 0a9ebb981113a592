"""`hornbeam gateway check`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hornbeam.cli.job_setup import Sets, recipe_from_options
from hornbeam.errors import ProgramError
from hornbeam.files.terminal import tell

if TYPE_CHECKING:
    from hornbeam.gateway.agent_settings import AgentCommand
    from hornbeam.jobs.replay.agent_check import AgentCheck
    from hornbeam.tree.task import Task

QUESTION = "What is 6*7?"
MENDS = {
    "the order of a set or of keys": "sort what a set or a dictionary brings into a prompt",
    "the order of a list": "sort it, or await what runs at once in its order",
    "another course": "what decides its course varies: a clock, a random number, what is outside",
}


def gateway_check_command(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECIPE]",
            help="A recipe whose program is an agent outside.",
            show_default="--agent",
        ),
    ] = None,
    agent: Annotated[
        str,
        typer.Option(
            "--agent",
            help="Its command instead, or file.py:function.",
            show_default="the recipe's",
        ),
    ] = "",
    task: Annotated[
        str,
        typer.Option("--task", help="The question.", show_default="the recipe's first, or 6*7"),
    ] = "",
    runs: Annotated[int, typer.Option("--runs", min=2, help="Runs that are compared.")] = 3,
    python: Annotated[
        str,
        typer.Option("--python", help="Interpreter of --agent.", show_default="that of hornbeam"),
    ] = "",
    sets: Sets = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run an agent several times against a scripted model: does it replay, and what varies?"""
    if bool(recipe) == bool(agent):
        raise ProgramError('give a RECIPE or --agent "COMMAND", one of the two')
    from hornbeam.jobs.replay.agent_check import check_agent, settings_of
    from hornbeam.tree.task import Task

    names: tuple[str, ...] = ("solver",)
    asked = Task("check", task or QUESTION)
    if recipe:
        how, first, names = _of_recipe(recipe, sets)
        asked = first if first is not None and not task else asked
    else:
        how = settings_of(agent, python=python)
    check = asyncio.run(check_agent(how, asked, runs, names))
    if as_json:
        tell(json.dumps({**asdict(check), "replays": check.replays}))
    else:
        for line in lines_of(check):
            tell(line)
    if not check.replays:
        raise typer.Exit(1)


def _of_recipe(
    recipe: str, sets: list[str] | None
) -> tuple[AgentCommand, Task | None, tuple[str, ...]]:
    """(agent, first training task, names of agents) of a recipe."""
    loaded, base, _ = recipe_from_options(recipe, None, None, sets, "check")
    if loaded.program.name != "agent":
        raise ProgramError(
            f"program {loaded.program.name!r} is no agent outside: `hornbeam replay` checks it"
        )
    from hornbeam.assembly.plan import plan
    from hornbeam.gateway.agent_settings import AgentCommand

    made = plan(loaded, base, ())
    how = AgentCommand(**loaded.program.rest()).beside(base)
    first = next(iter(made.train.tasks), None)
    return how, first, tuple(loaded.agents)


def lines_of(check: AgentCheck) -> list[str]:
    """What was seen, in words."""
    if check.failure:
        return [f"Run {check.runs} failed after {check.requests} requests: {check.failure}"]
    assert check.figures is not None
    out = [
        f"{check.runs} runs of {check.requests} requests, the last under another PYTHONHASHSEED;"
        f" {check.figures.forks} forks, {check.figures.diverged} diverged"
    ]
    out += [f"  {each.line()}" for each in check.found]
    out += [
        f"    {MENDS[kind]}" for kind in dict.fromkeys(v.kind for v in check.found) if kind in MENDS
    ]
    out += [f"  {line}" for line in (check.figures.kept(), check.figures.ignored()) if line]
    if check.figures.first is not None:
        _, step, error = check.figures.first
        out.append(f"  fork behind step {step}: {error}")
    if check.volatile and check.masked is not None:
        well = "it replays" if not check.masked.diverged else "still does not"
        out += [f"With these patterns in [program] {well} ({check.masked.diverged} diverged):"]
        out += ["volatile = [", *(f"    {_toml(pattern)}," for pattern in check.volatile), "]"]
    if check.replays:
        out.append("It replays." if not check.found else "It replays; what varies is told above.")
    elif not check.volatile or (check.masked is not None and check.masked.diverged):
        out.append(
            'It does not replay. What no pattern masks: mend it, or set on_divergence = "branch".'
        )
    else:
        out.append("It does not replay as it is set.")
    return out


def _toml(pattern: str) -> str:
    return f"'{pattern}'" if "'" not in pattern and pattern.isprintable() else json.dumps(pattern)
