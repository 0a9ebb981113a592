"""docs/methods.md holds: each function and test it names is in the file it links to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from hornbeam.credit import methods
from hornbeam.search import strategies
from hornbeam.search.choose import choosers
from hornbeam.train.train_settings import FitSettings

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
    from hornbeam.train.train_settings import LossSettings

    missing = {name for name in LossSettings.model_fields if f"`{name}" not in PAGE}
    assert missing == set()


def test_every_way_to_choose_and_every_objective_of_a_fit_is_named() -> None:
    assert {name for name in choosers if f"`{name}`" not in PAGE} == set()
    objectives = get_args(FitSettings.model_fields["objective"].annotation)
    assert {name for name in objectives if f'`objective = "{name}"`' not in PAGE} == set()
