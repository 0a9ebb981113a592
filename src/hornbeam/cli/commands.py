"""The commands by name, in the order of the help; each is imported when it is asked for.

The help of all of them reads none of their files: what stands for each in its list is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup


class CommandEntry(NamedTuple):
    """A command: its file, the function or the group in it, and its line in the list."""

    file: str
    made_by: str
    line: str


COMMANDS = {
    "train": CommandEntry(
        "train_command",
        "train_command",
        "Train by RECIPE: grow, credit, step, until done; goes on where it was stopped.",
    ),
    "eval": CommandEntry(
        "eval_command",
        "eval_command",
        "Measure RECIPE on its held-out tasks, greedily: accuracy, or the mean reward.",
    ),
    "eval processbench": CommandEntry(
        "processbench_command",
        "processbench_command",
        "Find the first wrong step, scored as ProcessBench does; null is never right.",
    ),
    "eval prmbench": CommandEntry(
        "prmbench_command",
        "prmbench_command",
        "Say of every step whether it is right, scored as PRMBench does; null is left out, as"
        " there.",
    ),
    "replay": CommandEntry(
        "replay_command",
        "replay_command",
        "Run the program of RECIPE and fork it at every step: does it repeat its own path?",
    ),
    "search": CommandEntry(
        "search_command",
        "search_command",
        "Search the held-out tasks of RECIPE by its methods; accuracy against cost, as a page.",
    ),
    "solve": CommandEntry(
        "solve_command",
        "solve_command",
        "Answer a question by a search: with the program of a recipe, an agent, or a bare model.",
    ),
    "gateway": CommandEntry(
        "gateway_command",
        "gateway_command",
        "Serve the agents of RECIPE to agents that you start; their sessions become trees.",
    ),
    "gateway check": CommandEntry(
        "gateway_check_command",
        "gateway_check_command",
        "Run an agent several times against a scripted model: does it replay, and what varies?",
    ),
    "label": CommandEntry(
        "label_command",
        "label_command",
        "Search the training tasks of RECIPE for values of steps; writes trees with Q columns.",
    ),
    "blame": CommandEntry(
        "blame_command",
        "blame_command",
        "Find the step that lost a failed run, by forks where they tell most; what did better.",
    ),
    "anchor": CommandEntry(
        "anchor_command",
        "anchor_command",
        "Run the reference policy on the training tasks of RECIPE: what it can and what that cost.",
    ),
    "fit": CommandEntry(
        "fit_command",
        "fit_command",
        "Fit a value head on labelled trees by section fit of RECIPE.",
    ),
    "chunks": CommandEntry(
        "chunks_command",
        "chunks_command",
        "Answer the training tasks of RECIPE; write the correct answers cut into tagged chunks.",
    ),
    "select": CommandEntry(
        "chunks_command",
        "select_command",
        "Choose correct answers, one a task by the mean score of its steps, and write an SFT set.",
    ),
    "score": CommandEntry(
        "score_command",
        "score_command",
        "Write a column on trees from anywhere: rewards by a rule, values by a model or a judge.",
    ),
    "import": CommandEntry(
        "import_command",
        "import_command",
        "Read runs that others recorded; write them as trees, one a task, and as an SFT set.",
    ),
    "serve": CommandEntry(
        "models_command",
        "serve_command",
        'Serve MODEL by vLLM for engine.kind = "http" and "vllm_server"; --set gives its settings.',
    ),
    "credit": CommandEntry(
        "credit_command",
        "credit_command",
        "Add the credit of METHOD to the trees of FILE; lines of one task id form one group.",
    ),
    "steps": CommandEntry(
        "steps_command",
        "steps_command",
        "Write labelled trees as rows of steps (--to), or rows of steps as trees (--from).",
    ),
    "view": CommandEntry(
        "view_command",
        "view_command",
        "Write the page of a run, a search or a file of trees anew, or print one of its trees.",
    ),
    "export": CommandEntry(
        "view_command", "export_command", "Write the trees of a run as JSON lines."
    ),
    "doctor": CommandEntry(
        "doctor_command",
        "doctor_command",
        "Say what is installed, what this machine can do, what is missing and how to get it.",
    ),
    "models": CommandEntry("models_command", "app", "Pull small models by name, list them."),
    "recipes": CommandEntry(
        "recipes_command", "app", "List, print and copy the recipes that ship."
    ),
}


class CommandGroup(TyperGroup):
    """Commands whose list says all of what each is for, however narrow the screen.

    Help has no markup: brackets, stars and backticks are text.
    """

    def lines(self) -> Mapping[str, str]:
        """What each command is for, by its name."""
        return {name: (c.help or "").partition("\n\n")[0] for name, c in self.commands.items()}

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names in order; none is imported for that."""
        return [*self.commands]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in the help."""
        with formatter.section("Commands"):
            formatter.write_dl([*self.lines().items()])


class AllCommands(CommandGroup):
    """Commands of one word, and of two: `eval processbench` beside `eval RECIPE`."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = _OnDemand()

    def lines(self) -> Mapping[str, str]:
        """What each command is for, by its name."""
        return {name: entry.line for name, entry in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the words name, and the words left."""
        pair = " ".join(args[:2])
        if pair in self.commands:
            args = [pair, *args[2:]]
        return super().resolve_command(ctx, args)


class _OnDemand(Mapping[str, Any]):
    """The commands, each imported and made when it is asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _command(name, COMMANDS[name])
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _command(name: str, entry: CommandEntry) -> Any:
    """The command of a function, or the group of an app."""
    found = getattr(import_module(f"hornbeam.cli.{entry.file}"), entry.made_by)
    alone = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name, cls=CommandGroup)
    else:
        alone.command(name)(found)
    return typer.main.get_group(alone).commands[name]
