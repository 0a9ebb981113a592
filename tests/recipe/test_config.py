import math
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, field_validator, model_validator

from hornbeam.errors import RecipeError
from hornbeam.recipe.toml import override, parse, read_toml, show, to_toml
from hornbeam.settings import Settings


class Branch(Settings):
    kind: Literal["branch"] = "branch"
    trunks: int = Field(2, gt=0)
    pick: Literal["random", "entropy"] = "random"


class Independent(Settings):
    kind: Literal["independent"] = "independent"
    n: int = 8


class Source(Settings):
    name: str
    count: int | None = None
    fields: dict[str, str] = {}


class Tasks(Settings):
    train: list[Source] = []
    held_out: tuple[Source, ...] = ()


class Optim(Settings):
    lr: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.999)
    packed: bool = True
    layers: int | Literal["all"] = "all"
    limit: float = math.inf


class Recipe(Settings):
    title: str = ""
    grow: Annotated[Branch | Independent, Field(discriminator="kind")] = Branch()
    search: Branch | Independent = Branch()
    tasks: Tasks = Tasks()
    policies: dict[str, Optim] = {"main": Optim()}
    warm: Optim | None = None
    out: Path | None = None

    @model_validator(mode="after")
    def _fit(self) -> "Recipe":
        if self.title == "bad":
            raise ValueError("title and grow do not go together")
        return self

    @field_validator("title")
    @classmethod
    def _known(cls, title: str) -> str:
        if title == "unknown":
            raise RecipeError("unknown title 'unknown'")
        return title


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("grow.trunk = 1", "[grow] needs key 'kind'"),
        (
            "grow = {kind = 'branch', trunk = 1}",
            "[grow] has no key 'trunk': did you mean 'trunks'?",
        ),
        ("grow.kind = 'brunch'", "[grow] kind = 'brunch': did you mean 'branch'?"),
        (
            "search = {kind = 'independent', trunks = 3}",
            "[search] has no key 'trunks': did you mean 'trunks' of [grow]?",
        ),
        ("search.trunk = 3", "[search] has no key 'trunk': did you mean 'trunks'?"),
        ("grwo.kind = 'branch'", "no key 'grwo': did you mean 'grow'?"),
        (
            "policies.main.learning = 1",
            "[policies.main] has no key 'learning': known: betas, layers, limit, lr, packed",
        ),
        (
            "[[tasks.train]]\nname = 'a'\n[[tasks.train]]\nname = 'b'\ncuont = 3",
            "[tasks.train.1] has no key 'cuont': did you mean 'count'?",
        ),
        ("[[tasks.train]]\ncount = 3", "[tasks.train.0] needs key 'name'"),
        (
            "grow = {kind = 'branch', trunks = '4'}",
            '[grow] trunks = "4": expected a whole number',
        ),
        (
            "grow = {kind = 'branch', trunks = 2.0}",
            "[grow] trunks = 2.0: expected a whole number",
        ),
        ("grow = {kind = 'branch', trunks = 0}", "[grow] trunks = 0: expected greater than 0"),
        (
            "grow = {kind = 'branch', pick = 'entropi'}",
            "[grow] pick = \"entropi\": expected 'random' or 'entropy' (did you mean 'entropy'?)",
        ),
        ("grow = 3", "grow = 3: expected a table"),
        ("tasks.train = 3", "[tasks] train = 3: expected a list"),
        ("title = 7", "title = 7: expected a string"),
        ("title = 2026-01-01\ntasks = 1", "tasks = 1: expected a table"),
        ("policies.main.packed = 1", "[policies.main] packed = 1: expected true or false"),
        ("policies.main.lr = 'fast'", '[policies.main] lr = "fast": expected a number'),
        (
            "policies.main.layers = 'some'",
            "[policies.main] layers = \"some\": expected a whole number or 'all'",
        ),
        ("policies.main.betas = [0.9, 'x']", '[policies.main.betas] 1 = "x": expected a number'),
        ("warm.lrr = 1", "[warm] has no key 'lrr': did you mean 'lr'?"),
        ("title = 'bad'", "title and grow do not go together"),
        ("title = 'unknown'", "unknown title 'unknown'"),
    ],
)
def test_each_mistake_is_one_line(text: str, result: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse(Recipe, tomllib.loads(text), "recipe.toml")
    assert str(error.value) == f"recipe.toml: {result}"


def test_a_recipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        "out = 'runs/a'\n[grow]\nkind = 'independent'\nn = 4\n[policies.main]\nlr = 1\n"
        "betas = [0.5, 1]\nlimit = inf\n[[tasks.held_out]]\nname = 'svamp'\n"
    )
    recipe = parse(Recipe, read_toml(path), str(path))
    assert recipe.grow == Independent(n=4)
    assert recipe.policies["main"] == Optim(lr=1.0, betas=(0.5, 1.0))
    assert recipe.tasks.held_out == (Source(name="svamp"),)
    assert recipe.out == Path("runs/a")


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    with pytest.raises(RecipeError, match=r"recipe.toml: cannot be read: No such file"):
        read_toml(path)
    path.write_text("[grow]\ntrunks = \n")
    with pytest.raises(RecipeError, match=r"recipe.toml: not TOML: .*line 2"):
        read_toml(path)
    path.write_bytes(b"title = '\xff'")
    with pytest.raises(RecipeError, match="not UTF-8"):
        read_toml(path)


def test_changes_from_the_command_line() -> None:
    data = {"grow": {"trunks": 2}, "tasks": {"train": [{"count": 1}, {"count": 2}]}}
    changed = override(
        data,
        [
            "grow.trunks = 4",
            "grow.pick=entropy",
            "tasks.train.1.count=20",
            "policies.main.lr=1e-5",
            "policies.main.betas=[0.9, 0.95]",
            'title="a = b"',
            "out=runs/a-1",
            "packed=true",
            "empty=",
        ],
    )
    assert changed == {
        "grow": {"trunks": 4, "pick": "entropy"},
        "tasks": {"train": [{"count": 1}, {"count": 20}]},
        "policies": {"main": {"lr": 1e-5, "betas": [0.9, 0.95]}},
        "title": "a = b",
        "out": "runs/a-1",
        "packed": True,
        "empty": "",
    }
    assert data == {"grow": {"trunks": 2}, "tasks": {"train": [{"count": 1}, {"count": 2}]}}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("grow.trunks", "--set grow.trunks: write it as key=value"),
        ("=4", "--set =4: write it as key=value"),
        ("a..b=4", "--set a..b=4: write it as key=value"),
        ("title.x=1", "--set title.x=1: 'title' is \"t\", not a table"),
        ("tasks.2.count=1", "--set tasks.2.count=1: list 'tasks' has no entry '2': 0 to 1"),
        ("tasks.first=1", "--set tasks.first=1: list 'tasks' has no entry 'first': 0 to 1"),
    ],
)
def test_changes_that_cannot_be_made(change: str, text: str) -> None:
    with pytest.raises(RecipeError) as error:
        override({"title": "t", "tasks": [{}, {}]}, [change])
    assert str(error.value).startswith(text)


def test_a_resolved_recipe_is_shown() -> None:
    recipe = Recipe(title='say "hi"', tasks=Tasks(train=[Source(name="a", count=3)]))
    text = show(recipe)
    assert text.startswith(
        'title = "say \\"hi\\""\n\n[grow]\nkind = "branch"\ntrunks = 2\npick = "random"\n'
    )
    assert '\n[[tasks.train]]\nname = "a"\ncount = 3\n\n[tasks.train.fields]\n' in text
    assert parse(Recipe, tomllib.loads(text), "shown") == recipe
    assert recipe.policies["main"].limit == math.inf


keys = st.text(st.characters(codec="utf-8"), max_size=6)
plain = (
    st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=12)
)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
)


@given(st.dictionaries(keys, values, max_size=5))
def test_toml_comes_back(data: dict[str, object]) -> None:
    assert tomllib.loads(to_toml(data)) == data


def test_a_table_of_tables_has_no_header():
    assert to_toml({"a": {"b": {"c": 1}}, "d": {}}) == "[a.b]\nc = 1\n\n[d]\n"
