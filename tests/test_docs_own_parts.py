"""docs/own-parts.md: its file and its recipe are made, and its table has every kind of part."""

import re
from pathlib import Path

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.jobs.recipe_checks import check
from hornbeam.own.own_parts import GROUPS
from hornbeam.recipe.own_names import own_names
from hornbeam.recipe.recipe import load_recipe

PAGE = (Path(__file__).parents[1] / "docs" / "own-parts.md").read_text("utf-8")
REST = """
[model]
name = "tiny"

[reward]
rule = "numeric"
"""


@pytest.fixture
def recipe(tmp_path):
    (code,) = re.findall(r"```python\n(# mine\.py\n.*?)```", PAGE, re.DOTALL)
    toml, _ = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "mine.toml").write_text(REST + toml)
    return load_recipe(tmp_path / "mine.toml")


def test_the_recipe_of_the_page_can_be_made(recipe):
    check(recipe)
    made = plan(recipe, recipe.base)
    assert (made.strategy.leaves(), made.credit.bar, made.tools["count"]()) == (4, 0.2, 4)
    assert [task.answer for task in made.train.tasks] == ["0", "2", "4", "6", "8"]
    assert recipe.loss.beside(recipe.base).own_objective.settings == {"eps": 0.1}


def test_every_name_of_the_file_is_used(recipe):
    named = {name.partition(":")[2] for name in own_names(recipe).values()} | {"centred"}
    defined = re.findall(r"(?m)^(?:class|def) (\w+)", (recipe.base / "mine.py").read_text())
    assert named == set(defined)


def test_the_table_has_every_group():
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    assert {f"hornbeam.{row[3]}" for row in rows[1:] if len(row) == 4} == set(GROUPS.values())
