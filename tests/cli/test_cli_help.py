"""The help of every command says every option's default, once, and shows its text as written."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from hornbeam.cli.job_setup import recipe_from_options
from hornbeam.cli.main import app

# What is left out means nothing is asked for; of every other option that has no default in the
# code, show_default says what happens without it.
NOTHING = {
    "--set",
    "--pool",
    "--predictions",
    "--judge",
    "--data",
    "--count",
    "--tune",
    "--to",
    "--from",
    "--tree",
    "label FILE",
    "eval --out",
    "eval processbench --model",
    "eval prmbench --model",
    "steps --model",
    "select --column",
    "score --rule",
    "score --model",
    "import --sft",
    "import --model",
    "import --where",
}


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(words, command) of every command there is."""
    group = group or typer.main.get_command(app)
    yield " ".join(path), group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


COMMANDS = dict(commands())


def bare(text: str) -> str:
    """A text without white space: lines break at spaces and at hyphens."""
    return re.sub(r"\s", "", text)


def help_of(words: str, width: int) -> str:
    done = CliRunner().invoke(app, [*words.split(), "--help"], terminal_width=width)
    assert done.exit_code == 0, done.output
    return done.output


def name_of(param: Any) -> str:
    return param.opts[0] if param.opts[0].startswith("-") else param.metavar


def part_of(shown: str, param: Any) -> str:
    """What the help says of one option: from its name to the next one's, at the same margin."""
    starts = list(re.finditer(r"^  (\S+).*$", shown, re.MULTILINE))
    at = [m for m in starts if m[1].rstrip(",") == name_of(param)]
    assert len(at) == 1, (name_of(param), shown)
    after = [m.start() for m in starts if m.start() > at[0].start()]
    return shown[at[0].start() : min(after, default=len(shown))]


def default_of(words: str, param: Any) -> str | None:
    """What is to be read of an option's default; `None` where there is none to tell."""
    if isinstance(param.show_default, str):
        return f"({param.show_default})"
    flag = getattr(param, "is_flag", False)
    if param.required or (flag and not param.secondary_opts):
        return None
    if param.default is None:
        name = name_of(param)
        result = {name, f"{words} {name}"} & NOTHING
        assert result, f"hornbeam {words} {name}: say by show_default what holds without it"
        return None
    if flag:
        return (param.opts if param.default else param.secondary_opts)[0].removeprefix("--")
    return str(param.default)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("words", COMMANDS)
def test_every_default_is_shown_once(words: str, width: int) -> None:
    shown = help_of(words, width)
    assert max(map(len, shown.splitlines())) <= width
    for param in COMMANDS[words].params:
        if name_of(param) in ("--help", "--version"):
            continue
        part = bare(part_of(shown, param))
        assert param.help and bare(param.help) in part
        assert "[" not in param.help  # a default told by hand
        default = default_of(words, param)
        if default is None:
            assert "default" not in part
        else:
            result = bare(f"[default: {default}")
            assert part.count(result) == part.count("default") == 1


@pytest.mark.parametrize("words", COMMANDS)
def test_the_text_of_a_command_is_shown_as_written(words: str) -> None:
    assert bare(COMMANDS[words].help) in bare(help_of(words, 80))


def test_the_list_of_commands_says_all_that_each_is_for() -> None:
    for words, group in COMMANDS.items():
        for name, command in getattr(group, "commands", {}).items():
            first = command.help.partition("\n\n")[0]
            assert bare(name + first) in bare(help_of(words, 60))


@pytest.mark.parametrize("command", ["search", "label", "chunks"])
def test_the_run_folder_is_the_one_that_help_says(command: str) -> None:
    _, _, folder = recipe_from_options("tiny", None, None, None, command)
    option = "--run" if command == "chunks" else "--out"
    (param,) = (p for p in COMMANDS[command].params if option in p.opts)
    assert param.show_default.partition(";")[0] == str(folder).replace("tiny", "NAME")
