"""What a blame tells: a record for JSON and the page, lines for a terminal, groups of many runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from hornbeam.files.terminal import one_line
from hornbeam.jobs.blame.blame_job import BlamedRun, places_of
from hornbeam.jobs.blame.failed_runs import outcome
from hornbeam.tree.nodes import Call, Node

LONGEST = 300  # characters of a text in the lines
KINDS = ("kind", "agent", "tool")


def record(blamed: BlamedRun) -> dict[str, Any]:
    """All that is known of a blamed run, as JSON data; `step` counts from 1."""
    run, blame = blamed.run, blamed.blame
    leaf, tree = run.tree.nodes[run.leaf], blamed.tree
    step = blame.step or blame.likeliest
    at = blamed.nodes[step - 1]
    last = step == len(blamed.nodes)
    return {
        "tree": run.place,
        "leaf": run.leaf,
        "task": run.tree.task.get("id"),
        "question": run.tree.task.get("question", ""),
        "outcome": outcome(run.tree, run.leaf),
        "answer": leaf.answer,
        "error": leaf.error,
        "finding": blame.reason(),
        **asdict(blame),
        "node": places_of(blamed)[step - 1],
        "kind": step_kind(tree.nodes[at], last),
        "tool": next((call.tool for call in tree.nodes[at].calls), ""),
        "heard": [_heard(call) for call in tree.nodes[at].calls],
        "costs": blamed.costs,
    }


def step_kind(node: Node, last: bool) -> str:
    """What a step did: "call" tools, "delegated" (an errand of another's), "answer", "message"."""
    if node.calls:
        return "call"
    if last:
        return "answer"
    return "delegated" if node.scope else "message"


def _heard(call: Call) -> str:
    given = json.dumps(dict(call.arguments), ensure_ascii=False, default=str)
    came = call.result
    came = came if isinstance(came, str) else json.dumps(came, ensure_ascii=False, default=str)
    return f"{call.tool} {given} " + (f"failed: {call.error}" if call.error else f"= {came}")


def lines(found: dict[str, Any]) -> Iterator[str]:
    """A blamed run in lines; nothing in them is obeyed by a terminal."""
    ended = f"error: {found['error']}" if found["error"] else f"answer: {_short(found['answer'])}"
    yield one_line(
        f"Tree {found['tree']}, run to node {found['leaf']}, task {found['task']}; {ended}"
    )
    yield one_line(found["finding"][0].upper() + found["finding"][1:])
    if found["why"] != "never":
        yield one_line(f"  node {found['node']} said: {_short(found['said'])}")
        for heard in found["heard"]:
            yield one_line(f"  {_short(heard)}")
        for other in found["instead"]:
            yield one_line(f"  {other['count']} that did better said: {_short(other['text'])}")
    yield "  step  forks  V [95 %]                 chance  agent, what was said"
    for value in found["values"]:
        low, high = value["interval"]
        figures = f"{value['value']:.2f} [{low:.2f}, {high:.2f}]"
        said = f"{value['agent']}  {_short(value['text'], 60)}" if value["position"] else "the task"
        chance = f"{value['chance']:.2f}" if value["position"] else ""
        row = f"  {value['position']:>4}  {value['forks']:>5}  {figures:<23}  {chance:>6}  {said}"
        yield one_line(row.rstrip())
    if len(found["by_agent"]) > 1:
        drops = sorted(found["by_agent"].items(), key=lambda item: -item[1])
        yield one_line(
            "By agent, its drops added: " + ", ".join(f"{n or '-'} {d:.2f}" for n, d in drops)
        )


def _short(text: Any, most: int = LONGEST) -> str:
    said = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False, default=str)
    said = " ".join(said.split())
    return said if len(said) <= most else said[: most - 1] + "…"


def summary(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Blamed runs by why the search ended; those that were found by step kind, agent and tool.

    A group has its count, its share of what was found, and the mean drop.
    """
    found = [each for each in records if each["why"] == "found"]
    out: dict[str, Any] = {
        "runs": len(records),
        **{why: sum(r["why"] == why for r in records) for why in ("found", "never", "undecided")},
        "forks": sum(each["forks"] for each in records),
        "tokens": sum(each["tokens"] for each in records),
    }
    for kind in KINDS:
        groups: dict[str, list[float]] = {}
        for each in found:
            groups.setdefault(each[kind], []).append(each["drop"])
        out[f"by_{kind}"] = [
            {
                "name": name,
                "count": len(drops),
                "share": len(drops) / len(found),
                "mean_drop": math.fsum(drops) / len(drops),
            }
            for name, drops in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
        ]
    return out


def summary_lines(told: dict[str, Any]) -> Iterator[str]:
    """A summary as small tables."""
    yield (
        f"{told['runs']} failed runs: {told['found']} found, {told['never']} that no step lost,"
        f" {told['undecided']} undecided; {told['forks']} forks, {told['tokens']:,} sampled tokens"
    )
    for kind in KINDS:
        if told[f"by_{kind}"]:
            yield f"{kind:<24}{'runs':>6}{'share':>8}{'mean drop':>11}"
        for group in told[f"by_{kind}"]:
            name = one_line(_short(group["name"] or "none", 22))
            share = f"{100 * group['share']:.0f} %"
            yield f"{name:<24}{group['count']:>6}{share:>8}{group['mean_drop']:>11.2f}"
