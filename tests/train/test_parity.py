"""Packed = flat: a subset of bench/parity.py, which says what is compared and how."""

import importlib.util
from pathlib import Path

import pytest

from hornbeam.credit import methods

spec = importlib.util.spec_from_file_location(
    "parity", Path(__file__).parents[2] / "bench" / "parity.py"
)
parity = importlib.util.module_from_spec(spec)
spec.loader.exec_module(parity)


def cover():
    """Quick cases that between them hold every choice of every key."""
    seen, out = set(), []
    for case in parity.cases(quick=True):
        if set(case.items()) - seen:
            out.append(case)
            seen |= set(case.items())
    return out


CASES = cover()


def test_the_cases_cover_every_choice():
    for key, wanted in {
        "credit": set(methods),
        "aggregation": {"token_mean", "sequence_mean", "constant"},
        "ratio": {"token", "turn", "sequence"},
        "clip": set(parity.CLIPS),
        "extra": set(parity.EXTRAS),
        "family": set(parity.FAMILIES),
        "heads": {1, 2, 4},
        "lora": {False, True},
        "cut": {False, True},
    }.items():
        assert {case[key] for case in CASES} == wanted, key


@pytest.mark.parametrize("seed", range(len(CASES)))
def test_packed_is_flat(seed):
    case = CASES[seed]
    found = parity.compare(case, seed)
    assert found.pop("clipped") > 0 or case["extra"] in parity.AT_ONE
    assert max(found.values()) < parity.TOLERANCE, found
