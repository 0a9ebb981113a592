"""The search page: accuracy against cost, all figures, and the search trees of the questions.

One HTML file that needs no network. What can be said without a script stands in it as HTML (the
verdict, the table); the plot is drawn by plot.js, the trees by search.js and tree_drawing.js from
the JSON of `search_data`.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from hornbeam.view.data import PageLimits
from hornbeam.view.page import notes, page, write_page
from hornbeam.view.search_data import LIMITS, Point, listed, number, search_data
from hornbeam.view.search_table import (
    Ranked,
    amount,
    in_points,
    p_value,
    points_of,
    search_table,
    share,
)

_SCRIPTS = ("page.js", "axes.js", "plot.js", "step.js", "tree_drawing.js", "search.js")
_FREE = {
    "first": "first answer",
    "majority": "majority",
    "likelihood": "likelihood",
    "best": "best-of-n",
}


def write_search(result: Mapping[str, Any], path: str | Path, limits: PageLimits = LIMITS) -> Path:
    """Write the page of a search; returns its path. A page that stood there is replaced whole."""
    return write_page(path, search_page(result, limits))


def search_page(result: Mapping[str, Any], limits: PageLimits = LIMITS) -> str:
    """The whole page."""
    packed = search_data(result, limits)
    left_out = [*packed.pop("left_out"), *_not_read(result)]
    said = verdict(points_of(result), str(result.get("baseline") or ""))
    return page(
        "search.html",
        ("page.css", "search.css"),
        _SCRIPTS,
        str(result.get("title") or "Search"),
        packed,
        outcome=escape(said[0]),
        more=notes(said[1:]),
        command=escape(str(result.get("command") or "No command was given.")),
        figure=escape(str(result.get("figure") or "accuracy").capitalize()),
        table=search_table(result),
        reading=notes(_reading(result)),
        left_out=notes(left_out),
    )


def _not_read(result: Mapping[str, Any]) -> list[str]:
    """Methods, and simpler readings of all of them, that were left out, and why."""
    rows = [(row["method"], row["why"]) for row in listed(result, "left_out")]
    for method in listed(result, "methods"):
        for point in listed(method, "points")[-1:]:
            free = (point.get("left_out") or {}).items()
            rows += [(f"{method.get('name')}, {_FREE.get(k, k)}", why) for k, why in free]
    return [f"{title}: {why}." for title, why in rows]


def verdict(points: list[Ranked], baseline: str = "") -> list[str]:
    """Should one search at all? The best point, the cheapest that it does not clearly beat.

    Cheap is meant in total tokens a question, scorer's and prompt's included. An interval overlaps
    the best one's when its upper end is not below the lower end of the best one's.
    """
    measured = [ranked for ranked in points if number(ranked[1], "accuracy") is not None]
    if not measured:
        return ["Nothing has been measured yet."]
    best = max(measured, key=lambda ranked: (ranked[1]["accuracy"], -_cost(ranked)))
    said = [f"Best: {_point_line(best)}."]
    floor = _end(best[1], "low")
    near = [ranked for ranked in measured if _end(ranked[1], "high") >= floor]
    cheap = min(near, key=_cost)
    if number(best[1], "total_tokens") is None or len(measured) == 1:
        pass
    elif _cost(cheap) < _cost(best):
        part = f"{100 * _cost(cheap) / _cost(best):.2g} % of its tokens"
        said[0] += f" The cheapest whose interval overlaps it: {_point_line(cheap)}, {part}."
    else:
        said[0] += " No cheaper one has an interval that overlaps it."
    against = best[1].get("against") or {}
    change, chance = number(against, "difference"), number(against, "p")
    if baseline and change is not None and chance is not None:
        difference = f"{in_points(change)} points, McNemar p {p_value(chance)}"
        said.append(f"The best one against {baseline}, question by question: {difference}.")
    free = best[1].get("free") or {}
    reads = [f"{name} {share(value)}" for key, name in _FREE.items()
             if (value := number(free, key)) is not None]  # fmt: skip
    if reads:
        said.append(f"Read off the best one's own pool, free of charge: {', '.join(reads)}.")
    return said


def _cost(ranked: Ranked) -> float:
    cost = number(ranked[1], "total_tokens")
    return float("inf") if cost is None else cost


def _end(point: Point, name: str) -> float:
    end = number(point, name)
    return float(point["accuracy"]) if end is None else end


def _point_line(ranked: Ranked) -> str:
    """A point in words: method, budget, accuracy with its interval, cost."""
    name, point = ranked
    label, cost = str(point.get("label") or ""), number(point, "total_tokens")
    low, high = number(point, "low"), number(point, "high")
    line = f"{name} ({label})" if label else name
    line += f", {share(point['accuracy'])}"
    if low is not None and high is not None:
        line += f" ({100 * low:.1f} to {100 * high:.1f})"
    return line if cost is None else f"{line} at {amount(cost)} total tokens a question"


def _reading(result: Mapping[str, Any]) -> list[str]:
    """How the table is to be read."""
    baseline = result.get("baseline")
    notes = ["Intervals are at 95 %. Two that overlap do not show that two methods are equal."]
    if baseline:
        notes.append(
            f"Differences are against {baseline}, question by question: a paired bootstrap interval"
            " in points, and the exact test of McNemar."
        )
    notes.append(
        "Same pool, free: what simpler readings of the very same answers would have given."
    )
    return notes
