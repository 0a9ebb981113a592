"""The `hornbeam` command. Every error of ours is one line on stderr and exit code 2."""

from __future__ import annotations

import sys
import threading
from typing import Annotated

import typer

from hornbeam.cli.commands import AllCommands
from hornbeam.errors import HornbeamError
from hornbeam.files.terminal import tell
from hornbeam.own.own_code import place_of
from hornbeam.workers.left_behind import end_threads

app = typer.Typer(
    cls=AllCommands,
    help="Grow trees of LLM-agent runs, credit their steps, train with them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        tell(f"hornbeam {metadata.version('hornbeam')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry point. The command ends when it is done, whatever threads it has left."""
    before = threading.enumerate()
    try:
        _command()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        end_threads(code, before)
        raise


def _command() -> None:
    try:
        app()
    except HornbeamError as error:
        for line in str(error).split("\n"):  # one, or one for each file that is not there
            tell(f"hornbeam: {line}", err=True)
        sys.exit(2)
    except Exception as error:  # of a file that the recipe names, or a fault of ours
        if not (place := place_of(error)):
            raise
        text = f"{type(error).__name__}: {error}".split("\n", 1)[0]
        tell(f"hornbeam: {place}: {text}", err=True)
        sys.exit(2)
    except BrokenPipeError:  # `hornbeam ... | head`
        sys.stderr.close()
        sys.exit(1)


if __name__ == "__main__":
    main()
