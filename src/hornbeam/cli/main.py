"""The `hornbeam` command. Every error of ours is one line on stderr and exit code 2."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hornbeam.cli import models_command, recipes_command
from hornbeam.cli.credit_command import credit_command
from hornbeam.cli.doctor_command import doctor_command
from hornbeam.cli.import_command import import_command
from hornbeam.cli.job_commands import JOBS
from hornbeam.cli.score_command import score_command
from hornbeam.cli.steps_command import steps_command
from hornbeam.cli.view_command import export_command, view_command
from hornbeam.errors import HornbeamError


class Commands(TyperGroup):
    """Commands of one word, and of two: `eval processbench` beside `eval RECIPE`.

    Help has no markup: brackets, stars and backticks are text. A list of commands says all of what
    each is for, however narrow the screen.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in self.commands.values():
            command.short_help = (command.help or "").partition("\n\n")[0]

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the words name, and the words left."""
        pair = " ".join(args[:2])
        if pair in self.commands:
            args = [pair, *args[2:]]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Commands,
    help="Grow trees of LLM-agent runs, credit their steps, train with them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _command in JOBS.items():
    app.command(_name)(_command)
app.command("score")(score_command)
app.command("import")(import_command)
app.command("serve")(models_command.serve_command)
app.command("credit")(credit_command)
app.command("steps")(steps_command)
app.command("view")(view_command)
app.command("export")(export_command)
app.command("doctor")(doctor_command)
app.add_typer(models_command.app, name="models", cls=Commands)
app.add_typer(recipes_command.app, name="recipes", cls=Commands)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hornbeam {metadata.version('hornbeam')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry point."""
    try:
        app()
    except HornbeamError as error:
        for line in str(error).splitlines():  # one, or one for each file that is not there
            typer.echo(f"hornbeam: {line}", err=True)
        sys.exit(2)
    except BrokenPipeError:  # `hornbeam ... | head`
        sys.stderr.close()
        sys.exit(1)


if __name__ == "__main__":
    main()
