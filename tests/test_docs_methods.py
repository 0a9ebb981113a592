"""docs/methods.md holds: each function and test it names is in the file it links to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hornbeam.credit import methods
from hornbeam.search import strategies

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "methods.md").read_text(encoding="utf-8")
LINKS = sorted(set(re.findall(r"\[([\w ]+)\]\((\.\./[\w/]+\.py)\)", PAGE)))


@pytest.mark.parametrize("name, file", LINKS)
def test_what_is_named_is_there(name: str, file: str) -> None:
    text = (DOCS / file).read_text(encoding="utf-8")
    if " " not in name:
        assert re.search(rf"^(async )?(def|class) {name}\b", text, re.MULTILINE)


def test_every_method_and_strategy_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert [name for name in rows if name in methods] == list(methods)
    assert [name for name in rows if name in strategies] == list(strategies)


def test_every_setting_of_the_loss_is_named() -> None:
    from hornbeam.train.settings import LossSettings

    missing = {name for name in LossSettings.model_fields if f"`{name}" not in PAGE}
    assert missing == set()
