"""The page on TRL: names and defaults are those of both, and its example is longer than ours."""

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from hornbeam.api.job_calls import train
from hornbeam.credit.methods import GRPO
from hornbeam.recipe.recipe import Recipe
from hornbeam.search import Independent
from hornbeam.train.train_settings import ImportanceSettings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "coming-from-trl.md").read_text("utf-8")
VERSION = re.search(r"of TRL ([\d.]+),", PAGE)[1]
CLASSES = {kind.__name__: kind for kind in (Independent, GRPO, ImportanceSettings)}


def rows(head):
    """The rows of the table with this head, as lists of cells."""
    lines = PAGE[PAGE.index(head) :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def value(cell):
    """What a cell in backticks says."""
    return ast.literal_eval(cell.strip("`"))


def ours(name):
    """The default that a dotted name of ours has."""
    first, *rest = name.split(".")
    if first in CLASSES:
        return CLASSES[first].model_fields[rest[0]].get_default(call_default_factory=True)
    found = Recipe().model_dump()
    for key in name.split("."):
        found = found[key]
    return found


SETTINGS = rows("| `GRPOConfig` |")
ARGUMENTS = rows("| `GRPOTrainer` |")


def test_the_tables_are_read():
    assert len(SETTINGS) > 35 and len(ARGUMENTS) == 8


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row[2])
def test_our_names_and_defaults(row):
    assert ours(row[2].strip("`")) == value(row[3])


def test_our_arguments():
    import inspect

    known = {*inspect.signature(train).parameters, *Recipe.model_fields}
    assert {row[1].strip("`") for row in ARGUMENTS} <= known


def test_names_and_defaults_of_trl():
    trl = pytest.importorskip("trl")
    assert trl.__version__ == VERSION
    fields = {field.name: field for field in dataclasses.fields(trl.GRPOConfig)}
    for name, default, *_ in SETTINGS:
        assert fields[name.strip("`")].default == value(default), name
    import inspect

    known = inspect.signature(trl.GRPOTrainer.__init__).parameters
    assert {row[0].strip("`") for row in ARGUMENTS} <= set(known)
    without = re.search(r"Without a counterpart: (.*)\.", PAGE)[1]
    assert set(re.findall(r"`(\w+)`", without)) <= set(fields)


def test_our_example_is_shorter():
    (theirs,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    readme = (ROOT / "README.md").read_text("utf-8")
    mine = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[1]
    assert "GRPOTrainer" in theirs and "hb.train" in mine
    count = [len([line for line in code.splitlines() if line.strip()]) for code in (mine, theirs)]
    assert count[0] < count[1]
