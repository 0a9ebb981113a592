"""The table of the search page: a row a point, every figure that was measured, and what they say.

Cells carry their number for sorting; what was not measured is a dash.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from hornbeam.view.search_data import Point, listed, number

Ranked = tuple[str, Point]  # the name of its method, and a point of it

# group -> (key, head, how it is told); "free.x" is looked up in the part "free"
GROUPS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "{Figure}": (("accuracy", "{figure}", "interval"), ("hit_k", "Hit@{k}", "share"),
                 ("oracle", "oracle", "share"), ("gap", "gap", "points")),
    "Against {baseline}": (("against.difference", "difference", "against"),
                           ("against.p", "McNemar p", "p")),
    "Same pool, free": (("free.first", "first", "share"), ("free.majority", "majority", "share"),
                        ("free.likelihood", "likelihood", "share"),
                        ("free.best", "best-of-n", "share")),
    "Cost a question": (("policy_tokens", "policy tokens", "amount"),
                        ("prompt_tokens", "prompt tokens", "amount"),
                        ("scorer_tokens", "scorer tokens", "amount"),
                        ("total_tokens", "total tokens", "amount"), ("calls", "calls", "amount"),
                        ("seconds", "seconds", "amount")),
    "Counts": (("questions", "questions", "amount"), ("failed", "failed", "amount"),
                  ("unanswered", "unanswered", "amount"),
                  ("tool_errors", "tool errors", "amount"),
                  ("unknown_tools", "unknown tools", "amount"),
                  ("unreadable_calls", "unreadable calls", "amount"),
                  ("wrong_arguments", "wrong arguments", "amount"),
                  ("spent", "budget spent", "amount")),
}  # fmt: skip


def points_of(result: Mapping[str, Any]) -> list[Ranked]:
    """All points, in the order of the result."""
    methods = listed(result, "methods")
    return [(str(m.get("name", "")), point) for m in methods for point in listed(m, "points")]


def search_table(result: Mapping[str, Any]) -> str:
    """The table as HTML, or a sentence where nothing was measured."""
    points = points_of(result)
    if not points:
        return "<p class=note>No points were handed to this page.</p>"
    names = {
        "k": str(result.get("k") or "k"),
        "baseline": str(result.get("baseline") or "baseline"),
        "figure": str(result.get("figure") or "accuracy"),
        "Figure": str(result.get("figure") or "accuracy").capitalize(),
    }
    shown = {}
    for group, every in GROUPS.items():
        measured = [c for c in every if any(_value(point, c[0]) is not None for _, point in points)]
        if measured:
            shown[group] = measured
    upper = "".join(
        f'<th scope=colgroup colspan={len(columns)}>{_named(group, names)}</th>'
        for group, columns in shown.items()
    )  # fmt: skip
    columns = [column for group in shown.values() for column in group]
    first = {group[0] for group in shown.values()}
    lower = "".join(_head(_named(column[1], names), column in first) for column in columns)
    rows = "".join(_row(name, point, columns, first) for name, point in points)
    return (
        "<div class=points tabindex=0 role=region aria-label='All points'><table id=points>"
        f"<caption>All points</caption><thead><tr><td></td>{upper}</tr>"
        f"<tr>{_head('method', False)}{lower}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _named(text: str, names: Mapping[str, str]) -> str:
    for key, name in names.items():
        text = text.replace(f"{{{key}}}", name)
    return escape(text)


def _head(text: str, first: bool) -> str:
    kind = " class=first" if first else ""
    return f"<th scope=col{kind}><button type=button>{text}</button></th>"


def _row(name: str, point: Point, columns: list[tuple[str, str, str]], first: set[Any]) -> str:
    label = escape(str(point.get("label") or ""))
    cells = [f"<th scope=row>{escape(name)}<small>{label}</small></th>"]
    for column in columns:
        value = _value(point, column[0])
        sort = "" if value is None else f' data-value="{value:.9g}"'
        kind = " class=first" if column in first else ""
        cells.append(f"<td{kind}{sort}>{_cell(point, column, value)}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _value(point: Point, key: str) -> float | None:
    part, _, name = key.rpartition(".")
    return number((point.get(part) or {}) if part else point, name)


def _cell(point: Point, column: tuple[str, str, str], value: float | None) -> str:
    if value is None:
        return "–"
    how = column[2]
    if how == "interval":
        return f"{share(value)}{_between(point, share)}"
    if how == "against":
        return f"{in_points(value)}{_between(point.get('against') or {}, in_points)}"
    formats = {"share": share, "points": in_points, "p": p_value, "amount": amount}
    return formats[how](value)


def _between(thing: Mapping[str, Any], how: Any) -> str:
    low, high = number(thing, "low"), number(thing, "high")
    return "" if low is None or high is None else f"<small>{how(low)} to {how(high)}</small>"


def share(value: float) -> str:
    """A share as 41.0 %."""
    return f"{100 * value:.1f} %"


def in_points(value: float) -> str:
    """A difference of shares in points of a hundred, signed."""
    return f"{100 * value:+.1f}".replace("-", "−")


def p_value(value: float) -> str:
    """Two digits; below a thousandth only that."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def amount(value: float) -> str:
    """Thousands apart; two digits after the point below ten, one below a hundred."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return (
        f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2g}"
        if abs(value) < 0.1
        else f"{value:.2f}"
    )
