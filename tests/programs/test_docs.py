"""The blocks of the pages on programs: Python is run from top to bottom, recipes are made."""

import inspect
import re
from pathlib import Path

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.recipe.recipe import load_recipe

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["own-program.md", "pitfalls.md", "tool-calls.md"])
def test_the_blocks_of_a_page_run(page: str, tmp_path: Path, monkeypatch) -> None:
    text = (DOCS / page).read_text()
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "page"}
    blocks = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert blocks
    for block in blocks:
        code = block[1]
        if file := re.match(r"# (\w+\.py)\n", code):
            (tmp_path / file[1]).write_text(code)
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + code, page, "exec"), names)


def test_the_recipe_of_the_guide_can_be_made(tmp_path: Path) -> None:
    text = (DOCS / "own-program.md").read_text()
    (code,) = re.findall(r"```python\n(# team\.py\n.*?)```", text, re.DOTALL)
    (tmp_path / "team.py").write_text(code)
    toml, parts, steps = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "team.toml").write_text(toml)
    made = plan(load_recipe(tmp_path / "team.toml"), tmp_path)
    assert inspect.signature(made.program).parameters["rounds"].default == 3
    assert set(made.tools) == {"calculator"}
    assert len(made.train.tasks) == 200
    (tmp_path / "team.py").write_text(code + "\ndef brief(answer, most: int): return 1.0\n")
    (tmp_path / "team.toml").write_text(toml.partition("[reward]")[0] + parts + steps)
    recipe = load_recipe(tmp_path / "team.toml")
    assert plan(recipe, tmp_path).credit.discount == 0.95 and recipe.reward.parts[
        "brief"
    ].rest() == {"most": 400}
