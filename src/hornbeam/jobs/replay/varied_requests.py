"""What differs between the requests of two runs of an agent, of which kind it is, what mends it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from hornbeam.gateway.session import Arrival
from hornbeam.gateway.volatile import Volatile

AROUND = 12  # characters before a number by which it is known again
LONGEST = 60  # characters of what is shown
SEED = "another PYTHONHASHSEED"

# Kinds of what varies, with the pattern that masks them; the first that fits both runs is meant.
CLOCK = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"
KINDS = (
    ("a clock", CLOCK),
    ("a clock", r"\b\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?\b"),
    ("a clock", r"\b1[6-9]\d{8}(?:\.\d+|\d{3}|\d{6}|\d{9})?\b"),
    ("a duration", r"\b\d+(?:\.\d+)?(?:e-?\d+)? ?(?:ns|us|µs|ms|s|sec|seconds)\b"),
    ("an id", r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"),
    ("a passing folder", r"/(?:private/)?(?:tmp|var/folders)/[^\s\"'`<>|:;,)\]}]+"),
    ("an address in memory", r"\b0x[0-9a-fA-F]{6,}\b"),
    ("an id", r"\b(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{12,}\b"),
    ("an id", r"\b(?=\w*\d)(?=\w*[a-zA-Z])\w{10,}\b"),
)
WORD = re.compile(r"[\w./:+-]+|\W")


@dataclass(frozen=True, slots=True)
class Variation:
    """One thing that varies: where, its kind, what was there in two runs, what masks it ("": none).

    `when`: "" between equal runs, or under what else it did.
    """

    request: int
    where: str
    kind: str
    one: str
    other: str
    volatile: str = ""
    when: str = ""

    def line(self) -> str:
        """In words."""
        when = f", under {self.when}" if self.when else ""
        both = f": {self.one!r}, then {self.other!r}" if self.one or self.other else ""
        return f"request {self.request}, {self.where}{when}: {self.kind}{both}"


def variations(
    first: Sequence[Arrival], other: Sequence[Arrival], volatile: Volatile, when: str = ""
) -> Iterator[Variation]:
    """What two runs asked otherwise, each kind at its first place; what is masked is the same."""
    ones, others = [_said(a, volatile) for a in first], [_said(a, volatile) for a in other]
    left = [n for n, said in enumerate(ones) if not _take(others, said)]
    rest = [said for said in others if said is not None]
    for n, said in zip(left, rest):
        yield from _differences(n + 1, ones[n], said, when)
    if len(first) != len(other):
        ends = min(len(first), len(other)) + 1
        counts = f"{len(first)} requests", f"{len(other)} requests"
        yield Variation(ends, "the run", "another course", *counts, "", when)


def _said(arrival: Arrival, volatile: Volatile) -> dict[str, Any]:
    """What a request says, by its parts."""
    asked = arrival.asked
    parts: dict[str, Any] = {"the agent that is asked": arrival.agent}
    for n, message in enumerate(asked.messages):
        # The ids of calls are made here, of what was asked: they are not the agent's own.
        told = {key: value for key, value in message.items() if key != "tool_call_id"}
        if calls := message.get("tool_calls"):
            told["tool_calls"] = [{**call, "id": ""} for call in calls]
        parts[f"message {n + 1} ({message['role']})"] = told
    parts |= {"the tools": list(asked.tools), "the settings": dict(asked.sampling)}
    masked = volatile.masked(parts)
    assert isinstance(masked, dict)
    return masked


def _take(others: list[Any], said: Any) -> bool:
    """Whether an equal request is among the others, which it is taken from."""
    for n, each in enumerate(others):
        if each == said:
            others[n] = None
            return True
    return False


def _differences(number: int, one: Any, other: Any, when: str) -> Iterator[Variation]:
    for where in dict.fromkeys([*one, *other]):
        if one.get(where) != other.get(where):
            yield from _found(number, where, one.get(where), other.get(where), when)
            return  # what comes behind may follow from it


def _found(number: int, where: str, one: Any, other: Any, when: str) -> Iterator[Variation]:
    if one is None or other is None:
        what = "a message more or less"
        yield Variation(number, where, what, _short(one), _short(other), "", when)
        return
    if _sorted(one) == _sorted(other):
        yield Variation(number, where, "the order of a list", "", "", "", when)
        return
    left, right = list(_texts(one)), list(_texts(other))
    seen = set()
    for a, b in zip(left, right):
        if a == b:
            continue
        for kind, was, now, pattern in _parts(a, b):
            if (kind, pattern) not in seen:
                seen.add((kind, pattern))
                yield Variation(number, where, kind, was[:LONGEST], now[:LONGEST], pattern, when)
    if not seen:
        yield Variation(number, where, "a text", _short(one), _short(other), "", when)


def _parts(a: str, b: str) -> Iterator[tuple[str, str, str, str]]:
    """(kind, in one run, in the other, what masks it) of the parts in which two texts differ."""
    known = False
    for kind, pattern in KINDS:
        those: list[tuple[str, str]] = list(zip(re.findall(pattern, a), re.findall(pattern, b)))
        pairs = [(x, y) for x, y in those if x != y]
        if pairs and len(those) == len(re.findall(pattern, a)) == len(re.findall(pattern, b)):
            known = True
            yield (kind, *pairs[0], pattern)
            a, b = re.sub(pattern, "\x00", a), re.sub(pattern, "\x00", b)
    if a == b and known:
        return
    if sorted(WORD.findall(a)) == sorted(WORD.findall(b)):
        yield "the order of a set or of keys", a, b, ""
        return
    ones: list[str] = WORD.findall(a)
    others: list[str] = WORD.findall(b)
    for tag, i, j, k, m in SequenceMatcher(None, ones, others, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        was, now = "".join(ones[i:j]), "".join(others[k:m])
        if re.fullmatch(r"[-+]?\d+(?:\.\d+)?", was) and re.fullmatch(r"[-+]?\d+(?:\.\d+)?", now):
            before = "".join(ones[:i])[-AROUND:].rpartition("\x00")[2]
            lead = f"(?<={re.escape(before)})" if before else r"\A"
            yield "a number", was, now, rf"{lead}[-+]?\d+(?:\.\d+)?"
        else:
            yield "a text", was, now, ""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from _texts(value[key])
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)
    else:
        yield json.dumps(value)


def _sorted(value: Any) -> Any:
    """A value that does not hang on the order of its lists."""
    if isinstance(value, dict):
        return {key: _sorted(each) for key, each in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return sorted(map(_sorted, value), key=lambda v: json.dumps(v, sort_keys=True))
    return value


def _short(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text[:LONGEST]


def masks(found: Iterable[Variation]) -> list[str]:
    """The patterns that mask what varies, each once."""
    return list(dict.fromkeys(each.volatile for each in found if each.volatile))


def unmasked(found: Iterable[Variation]) -> list[Variation]:
    """What no pattern masks."""
    return [each for each in found if not each.volatile]
