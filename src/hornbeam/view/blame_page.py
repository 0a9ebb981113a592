"""The page of a blame: the step that lost each run, what was said there, and the tree of forks.

One HTML file that needs no network. All but the trees stands in it as HTML, every text of a run
escaped; the trees are drawn by trees.js from the JSON of `page_data`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from hornbeam.tree.nodes import Tree
from hornbeam.view.data import LIMITS, ReportData, page_data
from hornbeam.view.page import notes, page, write_page
from hornbeam.view.report import put_in
from hornbeam.view.shape import first_line

_SCRIPTS = ("page.js", "step.js", "tree_drawing.js", "trees.js")
WIDE = 160  # of a value's bar, in pixels
MOST = 50  # runs that are shown


def write_blame(
    path: str | Path,
    title: str,
    records: Sequence[Mapping[str, Any]],
    groups: Mapping[str, Any],
    trees: Sequence[Tree],
) -> Path:
    """Write the page of blamed runs; returns its path. A page that stood there is replaced whole.

    `records` are those of jobs/blame/blame_report, `groups` their summary; a tree for each.
    """
    return write_page(path, blame_page(title, records, groups, trees))


def blame_page(
    title: str,
    records: Sequence[Mapping[str, Any]],
    groups: Mapping[str, Any],
    trees: Sequence[Tree],
) -> str:
    """The whole page."""
    data = ReportData(title=title, trees={1: trees[:MOST]}, one="part", prompts=put_in)
    packed = page_data(data, LIMITS)
    left_out = list(packed.pop("left_out"))
    if len(records) > MOST:
        left_out.append(f"The first {MOST} of {len(records)} runs are shown.")
    said = str(records[0]["finding"]) if len(records) == 1 else (
        f"{groups['found']} of {len(records)} runs were lost by a step that was found."
    )  # fmt: skip
    return page(
        "blame.html",
        ("page.css",),
        _SCRIPTS,
        title,
        packed,
        outcome=escape(said[0].upper() + said[1:]),
        facts=notes([f"{groups['forks']:,} forks, {groups['tokens']:,} sampled tokens."]),
        runs="\n".join(_run(each, len(records) > 1) for each in records[:MOST]),
        groups=_groups(groups) if len(records) > 1 else "",
        left_out=notes(left_out),
    )


def _run(found: Mapping[str, Any], many: bool) -> str:
    """One run, of several."""
    ended = f"error: {found['error']}" if found["error"] else f"answer: {_text(found['answer'])}"
    head = f"Tree {found['tree']}, run to node {found['leaf']}"
    parts = [
        f"<h3>{escape(head)}</h3>",
        notes([f"Task {found['task']}: {first_line(str(found['question']), 200)}", ended]),
        notes([str(found["finding"])] if many else []),
    ]
    if found["why"] != "never":
        place = f"Step {found['step'] or found['likeliest']}, node {found['node']}"
        who = f", {found['agent']}" if found["agent"] else ""
        heard = "".join(f"<pre>{escape(line)}</pre>" for line in found["heard"])
        was = f"<h4>{escape(place + who)} said</h4><pre>{escape(found['said'])}</pre>{heard}"
        others = "".join(
            f"<h4>{other['count']} that did better said</h4><pre>{escape(other['text'])}</pre>"
            for other in found["instead"]
        )
        none = "<h4>No fork that left the run there did better</h4>"
        parts.append(f"<div class=pairs><div>{was}</div><div>{others or none}</div></div>")
    parts.append(_values(found))
    if len(found["by_agent"]) > 1:
        drops = [f"{name or '-'} {drop:.2f}" for name, drop in found["by_agent"].items()]
        parts.append(notes([f"By agent, its drops added: {', '.join(drops)}."]))
    return f"<div class='card run'>{''.join(parts)}</div>"


def _values(found: Mapping[str, Any]) -> str:
    """The value of each position, a row each."""
    rows = []
    for value in found["values"]:
        lost = " class=lost" if value["position"] and value["position"] == found["step"] else ""
        low, high = value["interval"]
        said = value["text"] if value["position"] else "the task"
        who = f"{value['agent']}: " if value["agent"] else ""
        chance = f"{value['chance']:.2f}" if value["position"] else ""
        rows.append(
            f"<tr{lost}><th scope=row>{value['position']}</th><td>{value['forks']}</td>"
            f"<td>{value['value']:.2f} [{low:.2f}, {high:.2f}]</td><td>{_bar(value)}</td>"
            f"<td>{chance}</td><td>{escape(who + first_line(str(said), 140))}</td></tr>"
        )
    heads = ("step", "forks", "V behind it [95 %]", "", "chance", "what was said")
    head = "".join(f"<th scope=col>{name}</th>" for name in heads)
    return f"<div class=scroll>{_table(head, ''.join(rows))}</div>"


def _bar(value: Mapping[str, Any]) -> str:
    """A value and its interval from 0 to 1."""
    low, high = (round(WIDE * end, 1) for end in value["interval"])
    at = round(WIDE * value["value"], 1)
    return (
        f"<svg width={WIDE + 8} height=14 viewBox='-4 0 {WIDE + 8} 14' aria-hidden=true>"
        f"<line class=rule x1=0 x2={WIDE} y1=7 y2=7 />"
        f"<line class=span x1={low} x2={high} y1=7 y2=7 />"
        f"<circle class=spot cx={at} cy=7 r=4 /></svg>"
    )


def _groups(told: Mapping[str, Any]) -> str:
    """What was found by step kind, agent and tool."""
    tables = []
    for kind in ("kind", "agent", "tool"):
        rows = "".join(
            f"<tr><th scope=row>{escape(str(g['name'] or 'none'))}</th><td>{g['count']}</td>"
            f"<td>{100 * g['share']:.0f} %</td><td>{g['mean_drop']:.2f}</td></tr>"
            for g in told[f"by_{kind}"]
        )
        heads = (f"by {kind}", "runs", "share", "mean drop")
        head = "".join(f"<th scope=col>{name}</th>" for name in heads)
        tables.append(f"<div class=card>{_table(head, rows)}</div>")
    return (
        "<section aria-labelledby=groups-title><h2 id=groups-title>What lost them</h2>"
        f"<div class=grid>{''.join(tables)}</div></section>"
    )


def _table(head: str, rows: str) -> str:
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
