"""`hornbeam credit METHOD FILE`: a filter that adds the credit columns to tree lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from hornbeam.credit import credit, method, methods, outcome
from hornbeam.errors import DataError, HornbeamError, RecipeError
from hornbeam.files.atomic import whole_file
from hornbeam.files.terminal import tell
from hornbeam.recipe.toml import toml_value
from hornbeam.tree.jsonl import from_json, json_line, read_records
from hornbeam.tree.nodes import Tree


def credit_command(
    name: Annotated[str, typer.Argument(metavar="METHOD", help=f"One of {', '.join(methods)}.")],
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Tree lines; - reads them from stdin.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting of the method, such as std=population."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write.", show_default="stdout")
    ] = None,
) -> None:
    """Add the credit of METHOD to the trees of FILE; lines of one task id form one group."""
    try:
        lines = credited(name, sys.stdin if file == "-" else file, assignments(settings or []))
        write(lines, out)
    except HornbeamError as error:
        tell(f"hornbeam: {error}", err=True)
        raise typer.Exit(2) from error


def credited(name: str, source: str | TextIO, settings: Mapping[str, Any]) -> list[str]:
    """The lines of `source` with the columns of a credit method added; nothing else changes."""
    how = method(name, **settings)
    records: list[dict[str, Any]] = []
    trees: list[Tree] = []
    for where, record in read_records(source):
        try:
            tree = from_json(record)
            outcome(tree)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        records.append(record)
        trees.append(tree)
    credit(trees, how)
    bare = sum(not tree.columns["leaves"][0] for tree in trees)
    if bare:
        line = f"{bare} of {len(trees)} trees have no scored leaf and get no credit"
        tell(f"hornbeam: {line}", err=True)
    if how.stateful and not any(node.state for tree in trees for node in tree.nodes):
        line = "no step has a state: each counts as seen once; give nodes the field 'state'"
        tell(f"hornbeam: {line}", err=True)
    return [json_line({**record, "columns": tree.columns}) for record, tree in zip(records, trees)]


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs, values as TOML; what is no TOML value is text."""
    out: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key.strip():
            raise RecipeError(f"--set {pair!r}: write it as key=value")
        out[key.strip()] = toml_value(text.strip())
    return out


def write(lines: Sequence[str], out: Path | None) -> None:
    """Write all lines to stdout, or to a file that is put in place when it is whole."""
    if out is None:
        for line in lines:
            tell(line, end="")
        return
    try:
        with whole_file(out) as stream:
            stream.writelines(lines)
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror or error}") from error
