"""The Python blocks of the pages on programs, run from top to bottom."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["own-program.md", "pitfalls.md"])
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
