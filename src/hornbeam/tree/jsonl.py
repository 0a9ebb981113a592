"""Trees as JSON lines, one tree a line: the format of docs/tree-format.md, both ways.

Fields that stand at their defaults are not written and need not be there: a tree of bare parents
and a reward column is valid. Unknown fields are errors. Wrong input names the file and the line.
"""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from pathlib import Path
from reprlib import repr as short
from typing import Any, NamedTuple, TextIO

from hornbeam.arguments import one_of, wrong
from hornbeam.errors import DataError
from hornbeam.files.atomic import whole_file
from hornbeam.files.json_text import parse_json, spelled
from hornbeam.files.paths import check_file
from hornbeam.settings import nearest
from hornbeam.tree.facts import StepReward
from hornbeam.tree.nodes import Call, Column, Node, Origin, Tree, floats, ids

VERSION = 1

FIELDS = (  # of a node, in the order in which they are written
    *("parent", "agent", "scope", "prefix", "keep", "prompt", "tokens", "logprobs", "text"),
    *("calls", "version", "finish", "episode", "step", "turn", "seed", "ask", "messages"),
    *("done", "answer", "error", "rewards", "state"),
)


class Fact(NamedTuple):
    """A field of a node that is not written where it stands at its default."""

    name: str
    read: Callable[[Node], Any]
    default: Any


def _fact(name: str) -> Fact:
    read = attrgetter(f"origin.{name}" if name in Origin.__slots__ else name)
    return Fact(name, read, read(Node(-1)))


FACTS = [_fact(name) for name in FIELDS[1:]]
_ORIGIN = frozenset(Origin.__slots__)
_CALL, _REWARD = Call("", {}), StepReward(0.0)
# How an ask ended; "" where that is not known.
FINISHES = frozenset(("", "stop", "length", "chunk", "error", "too long", "end", "ready"))
ROUNDED = 1e-3  # a log-prob above 0 by no more is one that was rounded
_LEAST = {"version": -1, "episode": 0, "step": 0, "turn": 0, "seed": 0}
_NUMBERS = "parent", "prefix", "keep", "version", "episode", "step", "turn", "seed"
_TEXTS = "agent", "scope", "text", "finish", "ask", "error", "state"
_LISTS = "prompt", "tokens", "logprobs", "calls", "messages", "rewards"
_KINDS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(_NUMBERS, (int, "an integer")),
    **dict.fromkeys(_TEXTS, (str, "a string")),
    **dict.fromkeys(_LISTS, (list, "a list")),
    "done": (bool, "true or false"),
}
_CALL_KINDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("tool", "error", "scope"), (str, "a string")),
    "arguments": (dict, "an object"),
    "result": (object, ""),
    "reward": (int | float, "a number"),
}
_REWARD_KINDS: dict[str, tuple[Any, str]] = {
    "value": (int | float, "a number"),
    **dict.fromkeys(("name", "scope"), (str, "a string")),
    "calls": (int, "an integer"),
}


def to_json(tree: Tree) -> dict[str, Any]:
    """The tree as plain JSON data."""
    out: dict[str, Any] = {"version": VERSION, "task": tree.task}
    if tree.seed:
        out["seed"] = tree.seed
    out["nodes"] = [node_to_json(node) for node in tree.nodes]
    if tree.columns:
        out["columns"] = tree.columns
    return out


def node_to_json(node: Node) -> dict[str, Any]:
    """The node as plain JSON data, without what stands at its default (parent always stands)."""
    out: dict[str, Any] = {"parent": node.parent}
    for name, read, default in FACTS:
        value = read(node)
        if value == default:
            continue
        if name == "logprobs":  # nine digits give a float32 back exactly
            value = [float(f"{x:.9g}") for x in value]
        elif name == "calls":
            value = [_stated(call, _CALL) for call in value]
        elif name == "rewards":
            value = [_stated(reward, _REWARD) for reward in value]
        out[name] = list(value) if isinstance(value, (array, tuple)) else value
    return out


def _stated(fact: Call | StepReward, default: Call | StepReward) -> dict[str, Any]:
    """A call or a reward without what stands at its default; the first field always stands."""
    first, *_ = fact.__slots__
    values = ((name, getattr(fact, name)) for name in fact.__slots__)
    return {k: v for k, v in values if k == first or v != getattr(default, k)}


def from_json(data: Any) -> Tree:
    """A tree from plain JSON data; `DataError` says what is wrong with it."""
    if not isinstance(data, dict):
        raise DataError("a tree is a JSON object with 'task' and 'nodes'")
    if data.get("version", VERSION) != VERSION:
        raise DataError(f"version {short(data['version'])}: this Hornbeam reads version {VERSION}")
    task, rows = data.get("task"), data.get("nodes")
    if not isinstance(task, dict) or "id" not in task:
        raise DataError("'task' must be an object with an 'id'")
    for name, kind, wanted in (("question", str, "a text"), ("data", dict, "an object")):
        if not isinstance(task.get(name, kind()), kind):
            raise DataError(f"task.{name} must be {wanted}, not {short(task[name])}")
    if not isinstance(rows, list) or not rows:
        raise DataError("'nodes' must be a list that begins with the task's own node")
    extra = sorted(set(data) - {"version", "task", "nodes", "columns", "seed"})
    if extra:
        raise DataError(f"unknown key {extra[0]!r}: opinions of nodes belong in 'columns'")
    seed = data.get("seed", 0)
    if not _is(seed, int) or seed < 0:
        raise DataError(f"'seed' must be an integer from 0, not {short(seed)}")
    nodes = [_node(i, row) for i, row in enumerate(rows)]
    columns = data.get("columns", {})
    if not isinstance(columns, dict):
        raise DataError("'columns' must be an object of lists")
    checked = {name: checked_column(name, values, len(nodes)) for name, values in columns.items()}
    return Tree(task, nodes, checked, seed)


def node_from_json(row: Any) -> Node:
    """One node from plain JSON data."""
    if not isinstance(row, dict) or "parent" not in row:
        raise DataError("a node is an object with an integer 'parent'")
    given = dict(row)
    for name, value in row.items():
        if name not in FIELDS:
            raise DataError(f"unknown field {name!r}: {nearest(name, FIELDS)}")
        kind, wanted = _KINDS.get(name, (object, ""))
        if not _is(value, kind) and not (value is None and name in ("prefix", "keep")):
            raise DataError(f"{name!r} must be {wanted}, not {short(value)}")
        if name in _LEAST and value < _LEAST[name]:
            raise DataError(f"{name!r} must be {_LEAST[name]} or more, not {short(value)}")
        if name == "finish" and value not in FINISHES:
            raise DataError(f"unknown 'finish' {short(value)}: {nearest(value, FINISHES)}")
        if name in ("prompt", "tokens"):
            given[name] = _ids(name, value)
        elif name == "logprobs":
            given[name] = _logprobs(value)
        elif name == "calls":
            given[name] = tuple(_call(call) for call in value)
        elif name == "rewards":
            given[name] = tuple(_reward(reward) for reward in value)
        elif name == "messages":
            given[name] = tuple(_message(message) for message in value)
    came = {name: given.pop(name) for name in _ORIGIN & given.keys()}
    node = Node(**given, origin=Origin(**came)) if came else Node(**given)
    if len(node.logprobs) not in (0, len(node.tokens)):
        raise DataError(f"{len(node.tokens)} tokens but {len(node.logprobs)} log-probs")
    return node


def _is(value: Any, kind: Any) -> bool:
    """`isinstance`, but true and false are no numbers."""
    numbers = kind in (int, int | float)
    return isinstance(value, kind) and not (numbers and isinstance(value, bool))


def _ids(name: str, values: list[Any]) -> array[int]:
    try:
        out = ids(values)
    except (TypeError, OverflowError) as error:
        raise DataError(f"{name!r} must hold token ids: {error}") from error
    if out and min(out) < 0:
        raise DataError(f"{name!r} must hold token ids, not {min(out)}")
    if any(type(value) is bool for value in values):
        raise DataError(f"{name!r} must hold token ids, not true or false")
    return out


def _logprobs(values: list[Any]) -> array[float]:
    try:
        out = floats(values)
    except (TypeError, OverflowError) as error:
        raise DataError(f"'logprobs' must hold numbers: {error}") from error
    if not all(map(math.isfinite, out)):
        raise DataError("'logprobs' must hold finite numbers")
    if any(type(value) is bool for value in values) or (out and max(out) > ROUNDED):
        wrong = next(v for v in values if type(v) is bool or v > ROUNDED)
        raise DataError(f"'logprobs' must hold log-probs, 0 at most, not {short(wrong)}")
    return out


def _call(call: Any) -> Call:
    if not isinstance(call, dict) or not isinstance(call.get("tool"), str):
        raise DataError("a call is an object with the name of a 'tool'")
    _check_fields("a call", call, _CALL_KINDS)
    return Call(**{"arguments": {}, **call})


def _reward(reward: Any) -> StepReward:
    if not isinstance(reward, dict) or "value" not in reward:
        raise DataError("a reward of a step is an object with a 'value'")
    _check_fields("a reward", reward, _REWARD_KINDS)
    return StepReward(**reward)


def _check_fields(what: str, given: dict[str, Any], kinds: dict[str, tuple[Any, str]]) -> None:
    for name, value in given.items():
        if name not in kinds:
            raise DataError(f"unknown field {name!r} of {what}: {nearest(name, kinds)}")
        kind, wanted = kinds[name]
        number = kind == int | float
        fits = abs(value) <= sys.float_info.max if number and _is(value, kind) else not number
        if not _is(value, kind) or not fits:
            raise DataError(f"{name!r} of {what} must be {wanted}, not {short(value)}")


def _message(message: Any) -> dict[str, Any]:
    texts = isinstance(message, dict) and [message.get("role"), message.get("content")]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(f"a message is an object with texts 'role' and 'content': {short(message)}")
    return dict(message)


def _node(i: int, row: Any) -> Node:
    try:
        return node_from_json(row)
    except DataError as error:
        raise DataError(f"node {i}: {error}") from error


def checked_column(name: str, values: Any, length: int) -> Column:
    """A column of a tree of so many nodes. Raises `DataError`."""
    if not isinstance(values, list) or len(values) != length:
        found = len(values) if isinstance(values, list) else type(values).__name__
        raise DataError(f"column {name!r} must have {length} entries, one a node, not {found}")
    for i, value in enumerate(values):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and abs(value) <= sys.float_info.max):
            raise DataError(
                f"column {name!r}, node {i}: {short(value)} is neither a number nor null"
            )
    return values


def read_trees(source: str | Path | TextIO) -> Iterator[Tree]:
    """Trees of a JSON-lines file or stream, one at a time; blank lines are passed over.

    Raises `DataError` with file and line number at the first line that is no tree, and when the
    file holds none at all.
    """
    for where, data in read_records(source):
        try:
            tree = from_json(data)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        yield tree


def read_records(source: str | Path | TextIO) -> Iterator[tuple[str, Any]]:
    """Where each line of a JSON-lines file stands ("file, line 3") and the JSON data it holds."""
    if isinstance(source, (str, Path)):
        try:
            with open(check_file(source), encoding="utf-8") as stream:
                yield from read_records(stream)
        except OSError as error:
            raise DataError(f"{source}: cannot be read: {error.strerror or error}") from error
        return
    if not hasattr(source, "read"):
        raise wrong("read_trees", "a path or an open file", source)
    name, count = getattr(source, "name", "<stream>"), 0
    try:
        for number, line in enumerate(source, 1):
            if not line.strip():
                continue
            where, count = f"{name}, line {number}", count + 1
            try:
                data = parse_json(line)
            except ValueError as error:  # also a number of 5,000 digits
                raise DataError(f"{where}: not JSON: {error}") from error
            yield where, data
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: cannot be read: not UTF-8: {error.reason}") from error
    if not count:
        raise DataError(f"{name}: holds no tree")


def write_trees(trees: Iterable[Tree], target: str | Path | TextIO) -> int:
    """Write trees as JSON lines, a file whole or not at all; returns how many."""
    if isinstance(trees, (Tree, str, bytes, Mapping)) or not isinstance(trees, Iterable):
        raise wrong("write_trees", "a list of trees, then where to", trees)
    if isinstance(target, (str, Path)):
        with whole_file(target) as stream:
            return write_trees(trees, stream)
    if not hasattr(target, "write"):
        raise wrong("write_trees", "a path or an open file to write to", target)
    count = 0
    for count, tree in enumerate(trees, 1):
        one_of(tree, Tree, f"write_trees, number {count}", "trees")
        try:
            line = json_line(to_json(tree))
        except (TypeError, ValueError, RecursionError) as error:
            name = short(tree.task.get("id"))
            raise DataError(f"the tree of task {name} holds what is no JSON: {error}") from error
        target.write(line)
    return count


def json_line(data: Any) -> str:
    """JSON data as one line, its line feed included."""
    try:
        line = _compact(data, ensure_ascii=False)
    except ValueError:  # a number that no JSON holds, or what nothing holds: told where it is
        data = _in_words(data)
        line = _compact(data, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # half a surrogate pair has no UTF-8, but it has an escape
        line = _compact(data)
    return line + "\n"


_compact = partial(json.dumps, allow_nan=False, separators=(",", ":"))


def _in_words(data: Any) -> Any:
    """Data with NaN and infinities as texts, but for a tree's numbers, which have to be finite."""
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        return spelled(data)
    nodes = [
        {k: v if k == "logprobs" else spelled(v) for k, v in node.items()} for node in data["nodes"]
    ]
    return {k: v if k == "columns" else spelled(v) for k, v in data.items()} | {"nodes": nodes}
