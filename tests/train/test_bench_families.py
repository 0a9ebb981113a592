"""A sample of bench/families.py: `make families` runs, and says what it has to."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "families.py"


@pytest.fixture(scope="module")
def families():
    spec = importlib.util.spec_from_file_location("families", BENCH)
    module = importlib.util.module_from_spec(spec)
    before = [*sys.path]
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


WANTED = {  # packed, flat, engine, value head
    "qwen2": ("right", "right", "right", "right"),
    "mpt": ("refused", "right", "right", "refused"),
    "bert, sees both ways": ("refused", "refused", "refused", "refused"),
}


@pytest.mark.parametrize("name", WANTED)
def test_a_sample_of_the_table(families, name):
    ((_, kind, more),) = [case for case in families.cases([]) if case[0] == name]
    row = families.family(kind, more)
    assert tuple(row[column][0] for column in families.COLUMNS) == WANTED[name], row
    table = {name: row}
    counts = {c: {row[c][0]: 1} for c in families.COLUMNS}
    page = families.page(table, counts, {"transformers": "5", "torch": "2"})
    assert f"| {name} | " + " | ".join(WANTED[name]) + " |" in page


def test_a_wrong_gradient_is_seen(families):
    def make():
        return families.made("qwen2", 4, {})

    def other():
        model, drawn = make(), next(makes)
        return families.loud(model, drawn)

    makes = iter([0, 1])  # the second is another model
    assert families.tried(lambda: families.trained(other, True))[0] == "wrong"
