"""What readers of tool calls share: a scan for calls, and the values that schemas type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hornbeam.chat.json_spans import value_at


class Found(NamedTuple):
    """One call in a text: what was read, and where it begins and ends."""

    name: str
    arguments: dict[str, Any]
    raw: str
    problem: str
    start: int
    stop: int
    id: str = ""  # as the model wrote it, in families that do


Schemas = Mapping[str, Mapping[str, Any]]  # a tool's name -> its parameters
Body = tuple[str, dict[str, Any], str, str, int]  # name, arguments, raw, problem, where it ends
ReadBody = Callable[[str, int, str, Schemas], Body]  # (text, place, name, schemas)


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How a family writes calls.

    A call begins with `begins`, of which `opens` is all that stands before its arguments (or its
    body): a group `name` may hold the name, `id` the id. `body` reads what follows, and `closes`
    stands behind; `joins` between two calls that need not begin anew. A whole call without
    `closes` counts unless it is `closed`; else it was cut off.
    """

    name: str
    begins: re.Pattern[str]
    opens: re.Pattern[str]
    body: ReadBody
    closes: re.Pattern[str]
    arguments: Callable[[str, Mapping[str, Any]], dict[str, Any]]  # (raw, parameters)
    joins: re.Pattern[str] | None = None
    closed: bool = False

    def find(self, text: str, schemas: Schemas) -> list[Found]:
        """The calls of a text, in order."""
        out, at = list[Found](), 0
        while (begun := self.begins.search(text, at)) is not None:
            call = self._call(text, begun.start(), schemas)
            if call is None:  # a text that begins as calls do
                at = begun.end()
                continue
            out.append(call)
            at = max(call.stop, begun.end())
            while self.joins and not call.problem and (join := self.joins.match(text, at)):
                call = self._body(text, at, join, schemas)
                out.append(call)
                at = call.stop
        return out

    def _call(self, text: str, start: int, schemas: Schemas) -> Found | None:
        opened = self.opens.match(text, start)
        if opened is None:
            return self._broken(
                text, start, "", "the call has not the form that the chat template writes"
            )
        return self._body(text, start, opened, schemas)

    def _body(self, text: str, start: int, opened: re.Match[str], schemas: Schemas) -> Found:
        groups = opened.groupdict()
        name = (groups.get("name") or "").strip()
        try:
            name, arguments, raw, problem, stop = self.body(text, opened.end(), name, schemas)
        except ValueError as error:
            return self._broken(text, start, name, f"no JSON: {error}", opened.end())
        end = self.closes.match(text, stop)
        if end is None and self.closed:
            return self._broken(text, start, name, "the call is cut off", opened.end())
        at = end.end() if end else stop
        if not name and not problem:
            problem = "the call has no name"
        return Found(
            name, {} if problem else arguments, raw, problem, start, at, groups.get("id") or ""
        )

    def _broken(self, text: str, start: int, name: str, why: str, at: int | None = None) -> Found:
        """A call that cannot be read; it goes on to where one may end, or to the text's end."""
        at = start if at is None else at
        end = next((m for m in self.closes.finditer(text, at) if m.group().strip()), None)
        stop, held = (end.end(), end.start()) if end else (len(text), len(text))
        cut = "" if end or "cut off" in why else "; it may be cut off"
        line = " ".join(f"{why}{cut}".split())
        return Found(name, {}, text[at:held].strip(), line, start, stop)


def typed(value: str, schema: Mapping[str, Any]) -> Any:
    """A value that was written without quotes, as its schema wants it: text stays text."""
    kinds = schema.get("type")
    kinds = {*kinds} if isinstance(kinds, list) else {kinds} - {None}
    for each in schema.get("anyOf", ()):
        kinds |= {each.get("type")} if isinstance(each, Mapping) else set()
    bare = value.strip()
    if "string" in kinds and not (bare == "null" and "null" in kinds):
        return value
    try:
        found = value_at(bare)
    except ValueError:
        return value
    return found.value if found.stop == len(bare) else value


def schemas_of(tools: Sequence[Any]) -> Schemas:
    """The parameters of tools by their names."""
    out = dict[str, Mapping[str, Any]]()
    for tool in tools:
        held = tool.get("function", tool)
        out[held["name"]] = held.get("parameters") or {}
    return out


def properties(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The schema of one argument; an empty one where none is told."""
    found = schema.get("properties", {}).get(name, {})
    return found if isinstance(found, Mapping) else {}
