"""What a start brings in: the package is light, its names come when they are asked for."""

import ast
import inspect
import json
import subprocess
import sys
from types import ModuleType

import pytest
import typer

import hornbeam
from hornbeam.cli.commands import COMMANDS
from hornbeam.cli.main import app

HEAVY = {
    "accelerate",
    "bm25s",
    "datasets",
    "gguf",
    "httpx2",
    "huggingface_hub",
    "math_verify",
    "numpy",
    "peft",
    "pyarrow",
    "pydantic",
    "ray",
    "reasoning_gym",
    "rich",
    "safetensors",
    "sqlalchemy",
    "sympy",
    "tokenizers",
    "torch",
    "transformers",
    "typer",
    "vllm",
}


def fresh(code, *words):
    """What a process of its own prints as JSON."""
    command = [sys.executable, "-c", f"import json, sys\n{code}", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def loaded(code, *words):
    """The top names of all modules that the code brings in."""
    return set(
        fresh(f"{code}\nprint(json.dumps([*{{m.partition('.')[0] for m in sys.modules}}]))", *words)
    )


def test_the_import_of_the_package_brings_no_heavy_party():
    assert not loaded("import hornbeam; hornbeam.Tree, dir(hornbeam)") & HEAVY


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_the_command_says_what_it_is_without_heavy_parties(words):
    code = """
from hornbeam.cli.main import main
try:
    main()
except SystemExit as stop:
    assert stop.code in (0, 2)"""
    brought = loaded(code, *words)
    assert brought & HEAVY == {"typer"}


def test_a_command_brings_its_own_file_only():
    code = """
from hornbeam.cli.main import app
from typer.testing import CliRunner
assert CliRunner().invoke(app, ["recipes", "list"]).exit_code == 0
print(json.dumps([m for m in sys.modules if m.endswith("_command")]))"""
    assert fresh(code) == ["hornbeam.cli.recipes_command"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_a_command_says_of_itself(name):
    command = typer.main.get_command(app).commands[name]
    assert COMMANDS[name].line == command.help.partition("\n\n")[0].replace("\n", " ")
    assert command.name == name


def test_names_are_those_that_type_checkers_see():
    source = ast.parse(inspect.getsource(hornbeam))
    (typed,) = (n for n in source.body if isinstance(n, ast.If))
    seen = {
        alias.name: node.module.removeprefix("hornbeam.")
        for node in typed.body
        for alias in node.names
    }
    assert seen == hornbeam._HOME and list(seen) and set(seen) < set(hornbeam.__all__)


def test_a_name_is_the_thing_of_its_home_and_stays():
    code = """
import hornbeam
from importlib import import_module
homes = {name: import_module(f"hornbeam.{home}") for name, home in hornbeam._HOME.items()}
same = [getattr(hornbeam, name) is getattr(home, name) for name, home in homes.items()]
print(json.dumps([all(same), sorted(set(hornbeam.__all__) - set(dir(hornbeam)))]))"""
    assert fresh(code) == [True, []]


def test_a_star_import_gives_the_door():
    names = {}
    exec("from hornbeam import *", names)
    assert set(hornbeam.__all__) <= set(names)


def test_a_room_does_not_take_the_name_of_the_door():
    door = type(hornbeam)("door")
    door.grow_trees = ModuleType("hornbeam.grow_trees")
    door.credit = ModuleType("hornbeam.credit")
    assert not hasattr(door, "grow_trees") and door.credit.__name__ == "hornbeam.credit"


def test_a_tree_shows_itself_when_nothing_else_was_asked_for():
    code = """
from hornbeam.tree.nodes import Tree
print(json.dumps(Tree({"id": "t"})._repr_svg_()[:4]))"""
    assert fresh(code) == "<svg"


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'hornbeam' has no attribute 'grow_tres'"):
        hornbeam.grow_tres
