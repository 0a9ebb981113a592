"""Schemas of tools: made of functions, given and checked; arguments held against them."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from hornbeam.errors import ProgramError
from hornbeam.tasks.lookup_world import lookup
from hornbeam.tools import calculate, make_tool
from hornbeam.tools.argument_check import wrong_arguments
from hornbeam.tools.schema import check_schema, offered, read_docstring, schema_of, with_schema


class Point(BaseModel):
    x: int
    title: str = "a"


class Search:
    def __call__(self, query: str, k: int = 3) -> str:
        """Find passages.

        Best first.

        Args:
            query: what to
                look for
            k (int): how many

        Returns:
            text: the passages
        """
        return query * k


def many(
    task,
    a: int | None,
    b: list[Point],
    c: Literal["x", "y"] = "x",
    *,
    d: Annotated[float, Field(ge=0, description="a size")] = 1.0,
    e=None,
):
    return a, b, c, d, e


def parameters(tool) -> dict[str, Any]:
    return schema_of("it", tool)["function"]["parameters"]


def test_a_schema_of_a_signature_and_a_docstring() -> None:
    assert schema_of("search", Search()) == {
        "type": "function",
        "function": {
            "name": "search",
            "description": "Find passages. Best first.",
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"description": "what to look for", "type": "string"},
                    "k": {"description": "how many", "type": "integer", "default": 3},
                },
                "required": ["query"],
            },
        },
    }


def test_types_by_annotation_the_task_left_out() -> None:
    assert parameters(many) == {
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "b": {"type": "array", "items": {"$ref": "#/$defs/Point"}},
            "c": {"enum": ["x", "y"], "type": "string", "default": "x"},
            "d": {"type": "number", "minimum": 0, "description": "a size", "default": 1.0},
            "e": {},
        },
        "required": ["a", "b"],
        "$defs": {
            "Point": {
                "type": "object",
                "properties": {
                    "x": {"type": "integer"},
                    "title": {"type": "string", "default": "a"},
                },
                "required": ["x"],
            }
        },
    }
    assert parameters(lambda world, key: key)["required"] == ["key"]
    assert parameters(lambda key, world: key)["required"] == ["key"]  # wherever it stands
    assert parameters(lambda key, task: key)["required"] == ["key", "task"]
    assert parameters(lambda **any_: any_)["additionalProperties"] is True


@pytest.mark.parametrize(
    ("tool", "takes"),
    [
        (calculate, ["expression"]),
        (lookup, ["key"]),
        (make_tool("lookup"), ["key"]),
        (functools.partial(many, a=1), ["b"]),
    ],
)
def test_ready_tools_and_partials_tell_what_they_take(tool, takes) -> None:
    assert parameters(tool)["required"] == takes


def unfit(x: Search): ...
def unknown(x: Nowhere): ...  # noqa: F821
def odd_default(x=Search()): ...
def endless(x: float = float("inf")): ...
def by_place(x, /): ...
def by_number(*x): ...


@pytest.mark.parametrize(
    ("tool", "line"),
    [
        (unfit, "tool 'it', parameter 'x': no JSON schema holds"),
        (unknown, "tool 'it', parameter 'x': no JSON schema holds 'Nowhere'"),
        (odd_default, "tool 'it', parameter 'x': its default a Search is no JSON value"),
        (endless, "tool 'it', parameter 'x': its default inf is no JSON value"),
        (by_place, "tool 'it', parameter 'x' has no name in a call"),
        (by_number, "tool 'it', parameter 'x' has no name in a call"),
    ],
)
def test_what_no_json_schema_can_hold_is_one_line(tool, line) -> None:
    with pytest.raises(ProgramError) as told:
        schema_of("it", tool)
    assert str(told.value).startswith(line) and "\n" not in str(told.value)


def test_given_schemas_are_checked() -> None:
    given = {"name": "go", "parameters": {"type": "object", "properties": {"to": {}}}}
    whole = {"type": "function", "function": given}
    assert check_schema(given, "here") == check_schema(whole, "here") == whole
    for wrong, line in [
        ({"parameters": {}}, 'here: a schema needs {"function": {"name": ...}}'),
        ({"name": "go", "parameters": {"type": "string"}}, "here: the parameters of 'go' must be"),
        ({"name": "go", "parameters": {"properties": []}}, "here: the parameters of 'go' must be"),
        ({"name": "go", "strange": {1, 2}}, "here: a schema must be JSON data"),
    ]:
        with pytest.raises(ProgramError) as told:
            check_schema(wrong, "here")
        assert str(told.value).startswith(line)
    tool = with_schema(lambda **arguments: arguments, given)
    assert schema_of("walk", tool)["function"] == {**given, "name": "walk"}


def test_what_is_offered_comes_by_name_as_a_function_or_as_a_schema() -> None:
    known = {"calculator": calculate, "search": Search()}
    both = [schema_of(name, tool) for name, tool in known.items()]
    assert offered("*", known) == both == offered([calculate, "search"], known)
    own = {"name": "go", "parameters": {"type": "object", "properties": {}}}
    assert offered([own], {}) == [{"type": "function", "function": own}]
    one, other = (
        (lambda a: a),
        (
            lambda b: b  # on a line of its own
        ),
    )
    assert offered([other], {"one": one, "other": other}) == [schema_of("other", other)]
    with pytest.raises(ProgramError, match="is no tool of this run"):
        offered([other], {"one": one})
    for wrong, line in [
        (["calculate"], "there is no tool 'calculate' in this run: did you mean 'calculator'"),
        ([many], "many is no tool of this run"),
        ([3], "takes names, functions or schemas, not 3"),
        (7, "takes a list of tools, not 7"),
        (["search", "search"], "'search' is there twice"),
    ]:
        with pytest.raises(ProgramError) as told:
            offered(wrong, known)
        assert line in str(told.value)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"a": 1, "b": []}, ""),
        ({"a": None, "b": [{"x": 1}], "c": "y", "d": 2, "e": [1]}, ""),
        ({"a": "1", "b": []}, 'a must be integer or null, not "1"'),
        ({"a": True, "b": []}, "a must be integer or null, not true"),
        ({"a": 1}, "the argument 'b' is missing"),
        ({"a": 1, "b": [{"x": 1.5}]}, "b[0].x must be integer, not 1.5"),
        ({"a": 1, "b": [{"y": 1}]}, "there is no argument 'b[0].y': known: title, x"),
        ({"a": 1, "b": [], "dd": 1}, "there is no argument 'dd': did you mean 'd'?"),
        ({"a": 1, "b": [], "c": "z"}, 'c must be one of "x", "y", not "z"'),
        ({"a": 1, "b": [], "d": -1}, "d must be at least 0, not -1"),
        ({"a": 1, "b": [], "d": float("nan")}, "d must be a finite number"),
    ],
)
def test_arguments_are_held_against_the_schema(arguments, line) -> None:
    assert wrong_arguments(schema_of("it", many), arguments) == line


def test_a_docstring_without_arguments_is_all_description() -> None:
    assert read_docstring("One.\nTwo.") == ("One. Two.", {})
    assert read_docstring("") == ("", {})
