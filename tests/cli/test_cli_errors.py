"""Wrong words on the command line and in recipes: one line that names the place and what is near.

No line has its lead-in twice ("label: label.most ..."), and no part of it is in pydantic's words.
"""

import copy
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.cli.main import main
from hornbeam.cli.recipes_command import shipped
from hornbeam.errors import HornbeamError
from hornbeam.jobs.recipe_checks import check
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.toml import parse, show
from hornbeam.search import Mcts
from hornbeam.settings import led

Place = tuple[str | int, ...]


@pytest.fixture
def report(tmp_path, monkeypatch, capsys):
    """The line on stderr of a command that is refused."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adir").mkdir()
    (tmp_path / "trees.jsonl").write_text('{"task": {"id": 1}, "nodes": [{"parent": -1}]}\n')

    def run(words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["hornbeam", *words.split()])
        with pytest.raises(SystemExit) as end:
            main()
        (line,) = capsys.readouterr().err.splitlines()
        assert end.value.code == 2 and line.startswith("hornbeam: "), line
        assert not twice(line), line
        return line.removeprefix("hornbeam: ")

    return run


def twice(line: str) -> bool:
    """Whether a part of the line says again, at its beginning, what the part before ended with."""
    parts = [part.strip().casefold() for part in line.split(": ")]
    for before, after in pairwise(parts):
        ends = {before.strip("[]"), before.split()[-1].strip("[]") if before else ""} - {""}
        if any(re.match(rf"""(hornbeam )?['"\[]?{re.escape(end)}\b""", after) for end in ends):
            return True
    return False


@pytest.mark.parametrize(
    "line", ["error: error: no", "r.toml: label: label.most is", "recipe: recipe x", "a: 'a' has"]
)
def test_a_lead_in_that_comes_twice_is_seen(line: str) -> None:
    assert twice(line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("train adir", "adir: is a folder, a recipe is a TOML file"),
        ("train tny", "no recipe 'tny': did you mean 'tiny'?"),
        ("train tiny.tom", "no recipe 'tiny.tom': did you mean 'tiny'?"),
        ("train elsewhere/tiny", "no recipe 'elsewhere/tiny': did you mean 'tiny'?"),
        (
            "train tiny --set run.stratgy=1",
            "tiny.toml: [run] has no key 'stratgy': did you mean 'strategy' of [grow] or [label]"
            " or [serve]?",
        ),
        (
            "train tiny --set stratgy=1",
            "tiny.toml: no key 'stratgy': did you mean 'strategy' of [grow] or [label] or [serve]?",
        ),
        (
            "train tiny --set grow.stratgy=branch --set grow.trunks=2",
            "[grow] has no key 'stratgy': did you mean 'strategy'?",
        ),
        ("train tiny --set seed=1", "tiny.toml: no key 'seed': did you mean 'seed' of [run]?"),
        ("train tiny --set tools.lookup.use=lokup", "unknown tool 'lokup': did you mean 'lookup'?"),
        (
            "train tiny --set tools.mine.ues=lookup",
            "[tools.mine] has no key 'ues': did you mean 'use'?",
        ),
        (
            "label search_tiny --set label.stratgy=rollouts --set label.chunk_label=abs_q",
            "[label] has no key 'stratgy': did you mean 'strategy'?",
        ),
        ("label abs_qq trees.jsonl", "unknown chunk label 'abs_qq': did you mean 'abs_q'?"),
        ("label abs_q adir", "adir: is a folder, a file is expected"),
        (
            "search search_tiny --set search.baseline=beem",
            "search_tiny.toml: search.baseline = 'beem': no such method: did you mean 'beam'?",
        ),
        (
            "search search_tiny --pool adir",
            "adir: is a folder, a file is expected: `hornbeam export` writes one",
        ),
        (
            "fit tiny --trees adir --out fitted",
            "adir: is a folder, a file is expected: `hornbeam label` writes trees.jsonl",
        ),
        ("select adir --by outcome --out set.jsonl", "adir: is a folder, a file is expected"),
        ("steps adir --to trl --out rows.jsonl", "adir: is a folder, a file is expected"),
        (
            "steps trees.jsonl --from tlr --out rows.jsonl",
            "unknown format of step labels 'tlr': did you mean 'trl'?",
        ),
        ("view adir/trees.jsonl", "adir/trees.jsonl: no such file in {here}/adir"),
        ("view tres.jsonl", "tres.jsonl: no such file in {here}; did you mean 'trees.jsonl'?"),
        ("credit grpo adir", "adir: is a folder, a file is expected"),
        (
            "credit grpo trees.jsonl --set stt=1",
            "credit method 'grpo' has no setting 'stt': did you mean 'std'?",
        ),
        ("eval processbench --predictions adir", "adir: is a folder, a file is expected"),
        ("eval prmbench --predictions adir", "adir: is a folder, a file is expected"),
        (
            "models pull smolm2-135m",
            "smolm2-135m: cannot be pulled, no model of that name or owner/name;"
            " did you mean 'smollm2-135m'?",
        ),
        ("recipes print tinny", "no recipe 'tinny': did you mean 'tiny'?"),
        (
            "recipes copy tiny adir/no/tiny.toml",
            "adir/no/tiny.toml: cannot be written: No such file or directory",
        ),
    ],
)
def test_wrong_words_are_told_in_one_line(
    report: Any, words: str, line: str, tmp_path: Path
) -> None:
    assert report(words) == line.format(here=tmp_path)


# --- every key of the recipes that ship ----------------------------------------------------------

SMALL = {"tasks": {"train": [{"source": "lookup", "split": "train", "count": 4}]}}
RECIPES = ("tiny", "delegate_tiny", "search_tiny", "reset_tiny")


def recipe_of(name: str) -> dict[str, Any]:
    """A recipe with all of its defaults written out, and little to read."""
    data = tomllib.loads(shipped()[name].read_text(encoding="utf-8"))
    return {**tomllib.loads(show(parse(Recipe, data, name))), **SMALL}


def places(data: Any, above: Place = ()) -> Iterator[Place]:
    """The keys of the data, at any depth."""
    inner = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in inner:
        yield (*above, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*above, key))


def refusal(data: dict[str, Any]) -> str:
    """What is told of a recipe; "" where nothing is wrong with it."""
    try:
        recipe = parse(Recipe, json.loads(json.dumps(data)), "r.toml")
        check(recipe)
        plan(recipe, Path())
    except HornbeamError as error:
        return str(error)
    return ""


def inside(data: Any, place: Place) -> Any:
    for key in place[:-1]:
        data = data[key]
    return data


@pytest.mark.parametrize("name", RECIPES)
def test_every_misspelt_key_suggests_the_right_one(name: str) -> None:
    whole = recipe_of(name)
    tried = 0
    for place in places(whole):
        key = place[-1]
        free = place[0] in ("agents", "tools", "guides", "policies") and len(place) == 2
        free = free or place[-2:-1] == ("tools",)  # names that a user gives
        if isinstance(key, int) or len(key) < 4 or free:
            continue
        wrong = key[: len(key) // 2] + key[len(key) // 2 + 1 :]
        data = copy.deepcopy(whole)
        table = inside(data, place)
        if place[:2] == ("search", "methods") and key == "name":
            table[wrong] = table[key]  # a method without a name is told as such
        else:
            table[wrong] = table.pop(key)
        line = refusal(data)
        assert f"'{wrong}'" in line and f"did you mean '{key}'?" in line, (place, line)
        assert not twice(line), line
        tried += 1
    assert tried > 100


@pytest.mark.parametrize("name", RECIPES)
def test_every_wrong_value_is_told_in_our_words_and_once(name: str) -> None:
    whole = recipe_of(name)
    refused = 0
    for place in places(whole):
        for value in ("xyz", -1, 0.5, {}, [], ["a"], {"a": 1}):
            data = copy.deepcopy(whole)
            inside(data, place)[place[-1]] = value
            line = refusal(data)
            assert "Input should" not in line and "Value error" not in line, (place, value, line)
            assert not twice(line), (place, value, line)
            refused += bool(line)
    assert refused > 500


def test_a_place_that_a_message_begins_with_is_said_once() -> None:
    assert led("label", "label.most = 3 is much") == "label.most = 3 is much"
    assert led("agents.a.segment", "segment.regex: no") == "agents.a.segment.regex: no"
    assert led("sub", "subject is unknown") == "sub: subject is unknown"
    assert led("", "nothing: at all") == "nothing: at all"


def test_a_wrong_value_of_what_a_section_names_is_told_in_our_words() -> None:
    from hornbeam.search import strategy

    with pytest.raises(HornbeamError) as result:
        strategy("mcts", simulations="many")
    assert str(result.value) == "strategy 'mcts': simulations = 'many': expected a whole number"
    assert "simulations" in Mcts.model_fields
