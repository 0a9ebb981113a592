"""The report: one HTML file that needs no network, written under a temporary name, then renamed.

What can be said without a script stands in the page as HTML (outcome, cost account, recipe); curves
and trees are drawn by charts.js and trees.js from the JSON of `page_data`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from hornbeam.stats import named
from hornbeam.tree.nodes import Tree
from hornbeam.view.account import cost_table
from hornbeam.view.data import LIMITS, PageLimits, ReportData, page_data
from hornbeam.view.page import notes, page, write_page

_SCRIPTS = ("page.js", "axes.js", "charts.js", "step.js", "tree_drawing.js", "trees.js")


def write_report(path: str | Path, data: ReportData, limits: PageLimits = LIMITS) -> Path:
    """Write the report; returns its path. A report that stood there is replaced whole."""
    return write_page(path, report_html(data, limits))


def live_html(data: ReportData, version: str, limits: PageLimits = LIMITS) -> str:
    """The page as `hornbeam view --live` serves it: it asks "state" and "page" for what is new.

    `version` is the one of the state that it shows.
    """
    mark = f'id="live" class="live" role="status" data-version="{escape(version)}"'
    return report_html(data, limits, f"<p {mark}>Asking how the run goes.</p>\n")


def report_html(data: ReportData, limits: PageLimits = LIMITS, live: str = "") -> str:
    """The whole page; `live` is the line of one that follows its run."""
    packed = page_data(data, limits)
    left_out = packed.pop("left_out")
    return page(
        "page.html",
        ("page.css",),
        (*_SCRIPTS, "live.js") if live else _SCRIPTS,
        data.title,
        packed,
        network="; connect-src 'self'" if live else "",
        live=live,
        outcome=escape(data.outcome or outcome(data.metrics)),
        facts=escape(data.facts or facts(data)),
        costs=cost_table(with_wall_time(data.costs, data.metrics)),
        recipe=escape(data.recipe.strip() or "No recipe was given."),
        left_out=notes(left_out),
    )


def write_trees_page(path: str | Path, title: str, trees: Sequence[Tree]) -> Path:
    """Write a page of trees that belong to no run; returns its path."""
    return write_page(path, trees_html(title, trees))


def trees_html(title: str, trees: Sequence[Tree]) -> str:
    """The page of trees that belong to no run."""
    whole = PageLimits().trees_a_step
    parts = {n // whole + 1: trees[n : n + whole] for n in range(0, len(trees), whole)}
    found = [(tree.columns.get("reward"), i) for tree in trees for i in tree.leaves()]
    rewards = [r for column, i in found if column is not None and (r := column[i]) is not None]
    mean = sum(rewards) / max(1, len(rewards))
    said = f"Mean reward {mean:.3g} of {len(rewards):,} leaves."
    data = ReportData(
        title=title,
        trees=parts,
        one="part",
        outcome=said if rewards else "No leaf has a reward.",
        prompts=put_in,
        facts=f"{len(trees):,} tree{'' if len(trees) == 1 else 's'} · {len(found):,} leaves",
    )
    return report_html(data)


def put_in(tree: Tree, i: int) -> str:
    """The messages that were put in at a step, where the tree keeps them."""
    node = tree.nodes[i]
    messages = [*(tree.nodes[0].messages if node.parent == 0 else ()), *node.messages]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def outcome(metrics: list[dict[str, Any]]) -> str:
    """The result of the run, in one sentence."""
    evals = [
        row for row in metrics if row.get("kind") == "eval" and row.get("accuracy") is not None
    ]
    by_stage = {str(row.get("stage", "train")): row for row in evals}  # the last of each stage
    parts = []
    if start := by_stage.get("start"):
        parts.append(f"{_share(start)} at the start")
    if warm := by_stage.get("warm start"):
        parts.append(f"{_share(warm)} after the warm start")
    if end := by_stage.get("final"):
        parts.append(f"{_share(end)} at the end")
    elif now := by_stage.get("train"):
        parts.append(f"{_share(now)} at step {now.get('step', '?')}")
    if parts:
        name = next((named(row)[0] for row in evals if row.get("figure")), "accuracy")
        return f"Held-out {name}: " + ", ".join(parts) + "."
    trained = [row for row in metrics if row.get("kind") == "train"]
    rewards = [row for row in trained if row.get("reward") is not None]
    if rewards:
        first, last = rewards[0], rewards[-1]
        return (
            f"No held-out accuracy yet; training reward {first['reward']:.3g} at step"
            f" {first.get('step', 0)}, {last['reward']:.3g} at step {last.get('step', 0)}."
        )
    return "Nothing has been measured yet."


def _share(row: Mapping[str, Any]) -> str:
    (name, value), count = named(row), int(row.get("count") or 0)
    if name != "accuracy":
        return value
    return value + (f" ({round(float(row['accuracy']) * count):,} of {count:,})" if count else "")


def facts(data: ReportData) -> str:
    """Training steps and wall time, as far as they are known."""
    steps = sum(row.get("kind") == "train" for row in data.metrics)
    seconds = wall_time(data.metrics)
    parts = [f"{steps:,} training step{'' if steps == 1 else 's'}"]
    if seconds:
        parts.append(f"wall time {duration(seconds)}")
    return " · ".join(parts)


def wall_time(metrics: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of the run at its last row: each row's count from the start, resumes included."""
    return max((float(row.get("seconds") or 0) for row in metrics), default=0.0)


def with_wall_time(
    costs: Mapping[str, float], metrics: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """The costs with the wall clock that the rows tell: processes that share a run overlap."""
    return {**costs, "seconds": wall_time(metrics)} if "seconds" in costs and metrics else {**costs}


def duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 5 s, 2 h 10 min."""
    minutes, left = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{left} s"
    if minutes < 60:
        return f"{minutes} min {left} s"
    return f"{minutes // 60} h {minutes % 60} min"
