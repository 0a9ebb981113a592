"""What grown trees say by a way of choosing, and what they cost: points, comparisons, the table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hornbeam import stats
from hornbeam.assembly.failed_episodes import tool_figures
from hornbeam.assembly.step_costs import kept_share
from hornbeam.jobs.search.missing import why_unreadable
from hornbeam.recipe.recipe import Recipe
from hornbeam.search.choose import Chooser, Same, candidates, choosers
from hornbeam.search.vote import ALIKE
from hornbeam.store.ledger import CALLS, TOKENS, TURN_TOKENS, Entry
from hornbeam.tree.nodes import Tree
from hornbeam.view.page import write_page
from hornbeam.view.search_page import write_search

FREE = ("first", "majority", "likelihood")  # read off any trees at no cost
TEXT = 600  # characters of a step in the result
Json = dict[str, Any]
Prepare = Callable[[Tree], Tree]  # with the columns that its strategy makes


@dataclass(frozen=True, slots=True)
class Costs:
    """What one question cost. `total` counts sampled, computed prompt and scorer tokens."""

    policy: float = 0.0
    prompt: float = 0.0
    scorer: float = 0.0
    calls: float = 0.0
    by_episode: tuple[tuple[int, float], ...] = ()  # (episode, total tokens), ascending
    turns: Mapping[str, float] = field(default_factory=dict)  # of earlier answers in prompts

    @property
    def total(self) -> float:
        """All tokens that were computed."""
        return self.policy + self.prompt + self.scorer

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Costs:
        """The sums of a tree's ledger entries."""
        sums: dict[str, float] = {}
        episodes: dict[int, float] = {}
        for entry in entries:
            kind = entry.kind.partition(" ")[0]
            sums[kind] = sums.get(kind, 0.0) + entry.amount
            if kind in TOKENS:
                episodes[entry.episode] = episodes.get(entry.episode, 0.0) + entry.amount
        return cls(
            sums.get("sampled_tokens", 0.0),
            sums.get("prompt_tokens_computed", 0.0),
            sums.get("scorer_tokens", 0.0),
            sum(sums.get(kind, 0.0) for kind in CALLS),
            tuple(sorted(episodes.items())),
            {kind: amount for kind, amount in sums.items() if kind.startswith(TURN_TOKENS)},
        )


@dataclass(slots=True)
class QuestionResult:
    """One question: leaves of the best answers, best first, and what they are worth."""

    tree: Tree
    ranked: list[int]
    costs: Costs
    same: Same

    def worth(self, leaf: int) -> float:
        """The reward of a leaf; none where the checker had no verdict."""
        column = self.tree.columns.get("reward")
        return (column[leaf] if column else None) or 0.0

    @property
    def right(self) -> float:
        """What the chosen answer is worth; 0 where there is none."""
        return self.worth(self.ranked[0]) if self.ranked else 0.0

    @property
    def worths(self) -> list[float]:
        """What the ranked answers are worth."""
        return [self.worth(leaf) for leaf in self.ranked]

    @property
    def oracle(self) -> float:
        """The worth of the best leaf of all."""
        return max((self.worth(leaf) for leaf in self.tree.leaves()), default=0.0)


@dataclass(slots=True)
class Point:
    """One setting of one method over all questions."""

    label: str
    readings: list[QuestionResult]
    seconds: float  # a question
    row: Json = field(default_factory=dict)

    @property
    def right(self) -> list[float]:
        """What each question's chosen answer is worth, shape [questions]."""
        return [reading.right for reading in self.readings]


def read_point(
    label: str,
    trees: Sequence[Tree],
    choose: Chooser,
    costs: Sequence[Costs],
    seconds: float,
    *,
    prepare: Prepare,
    sames: Sequence[Same],
    k: int,
    spent: int = 0,
) -> Point:
    """The figures of a point, means over its questions; `spent` of them ran out of budget.

    `sames` say of each tree which of its answers are equal.
    """
    readings = []
    for tree, cost, same in zip(map(prepare, trees), costs, sames, strict=True):
        readings.append(QuestionResult(tree, ranked(tree, choose, same, k), cost, same))
    point = Point(label, readings, seconds)
    low, high = stats.interval(point.right)
    hits = stats.hits([reading.worths for reading in readings], k)
    leaves = [(reading.tree, i) for reading in readings for i in reading.tree.leaves()]
    point.row = {
        "label": label,
        "questions": len(readings),
        "accuracy": hits.hit_1,
        "right": point.right,
        "low": low,
        "high": high,
        "hit_k": hits.hit_k,
        "gap": hits.gap,
        "oracle": _mean([reading.oracle for reading in readings]),
        "policy_tokens": _mean([reading.costs.policy for reading in readings]),
        "prompt_tokens": _mean([reading.costs.prompt for reading in readings]),
        "scorer_tokens": _mean([reading.costs.scorer for reading in readings]),
        "total_tokens": _mean([reading.costs.total for reading in readings]),
        "calls": _mean([reading.costs.calls for reading in readings]),
        "seconds": seconds,
        **_free(readings),
        **_kept(readings),
        "anytime": anytime(readings, choose, prepare),
        "failed": sum(bool(tree.nodes[i].error) for tree, i in leaves),
        "unanswered": sum(not reading.ranked for reading in readings),
        **tool_figures([reading.tree for reading in readings]),
        "spent": spent,
    }
    return point


def ranked(tree: Tree, choose: Chooser, same: Same, k: int) -> list[int]:
    """Leaves of the k best answers, best first: what is chosen, and then without that answer."""
    left = candidates(tree)
    out: list[int] = []
    while left and len(out) < k:
        leaf = choose.pick(tree, left, same)
        if leaf is None:
            break
        out.append(leaf)
        answer = same(tree.nodes[leaf].answer)
        left = [i for i in left if same(tree.nodes[i].answer) != answer]
    return out


def _kept(readings: Sequence[QuestionResult]) -> dict[str, float]:
    """The share of the tokens of earlier answers in prompts that are as sampled, if there are."""
    turns: Counter[str] = Counter()
    for reading in readings:
        turns.update(reading.costs.turns)
    return kept_share(turns)


def _free(readings: Sequence[QuestionResult]) -> Json:
    """Accuracies of simpler readings of the same trees; those that cannot be, and why."""
    trees = [reading.tree for reading in readings]
    out: dict[str, float] = {}
    left: dict[str, str] = {}
    for name in FREE:
        choose = choosers[name]
        if why := why_unreadable(choose, trees):
            left[name] = why
            continue
        found = [replace(r, ranked=ranked(r.tree, choose, r.same, 1)) for r in readings]
        out[name] = _mean([reading.right for reading in found])
    return {"free": out, **({"left_out": left} if left else {})}


def anytime(
    readings: Sequence[QuestionResult], choose: Chooser, prepare: Prepare, points: int = 8
) -> list[tuple[float, float]]:
    """(mean tokens spent, accuracy) had every search been stopped after a share of its episodes."""
    most = max((len(r.costs.by_episode) for r in readings), default=0)
    if most < 2:
        return []
    stopped = [stops(reading, choose, prepare, points) for reading in readings]
    out = []
    for at in range(points):
        spent = sum(found[at][0] for found in stopped)
        leaves = zip(readings, (found[at][1] for found in stopped))
        right = sum(0.0 if leaf is None else r.worth(leaf) for r, leaf in leaves)
        out.append((spent / len(readings), right / len(readings)))
    return out


def stops(
    reading: QuestionResult, choose: Chooser, prepare: Prepare, points: int
) -> list[tuple[float, int | None]]:
    """(tokens spent, leaf chosen) had a search been stopped after each share of its episodes."""
    episodes, out = reading.costs.by_episode, []
    for number in range(1, points + 1):
        stop = max(1, round(len(episodes) * number / points))
        last = episodes[stop - 1][0] if episodes else 0
        tree = until(reading.tree, last)
        if tree is not reading.tree:
            tree = prepare(tree)
        chosen = choose.pick(tree, candidates(tree), reading.same)
        out.append((sum(tokens for _, tokens in episodes[:stop]), chosen))
    return out


def until(tree: Tree, episode: int) -> Tree:
    """The tree as it stood after this episode (nodes in canonical order)."""
    kept = next(
        (i for i, node in enumerate(tree.nodes) if i and node.origin.episode > episode), len(tree)
    )
    if kept == len(tree):
        return tree
    columns = {name: column[:kept] for name, column in tree.columns.items()}
    return Tree(tree.task, tree.nodes[:kept], columns, tree.seed)


def search_table(recipe: Recipe, points: Sequence[tuple[str, Point]], command: str) -> Json:
    """The result of a search: figures of every point, comparisons, and some questions' trees."""
    names = list(dict.fromkeys(name for name, _ in points))
    wanted = recipe.search.baseline
    baseline = wanted if wanted in names else names[0]
    held = [point for name, point in points if name == baseline][-1]
    for name, point in points:
        point.row["against"] = None if name == baseline else _against(point, held)
    worths = {reading.worth(i) for _, p in points for reading in p.readings for i in reading.ranked}
    shares = worths <= {0.0, 1.0}
    return {
        "title": recipe.run.title or "Search",
        "command": command,
        "baseline": baseline,
        "k": recipe.search.k,
        **({} if shares else {"figure": "mean reward"}),
        "methods": [
            {"name": name, "points": [point.row for other, point in points if other == name]}
            for name in names
        ],
        "questions": _questions(points, recipe.search.show),
    }


def _against(point: Point, held: Point) -> Json:
    """Paired difference to the baseline with its 95 % bootstrap interval, and McNemar's p."""
    low, high = stats.paired_bootstrap(point.right, held.right)
    return {
        "difference": _mean(point.right) - _mean(held.right),
        "low": low,
        "high": high,
        "p": stats.mcnemar([r >= 1 for r in point.right], [r >= 1 for r in held.right]),
    }


def _questions(points: Sequence[tuple[str, Point]], most: int) -> list[Json]:
    """The first questions, each with its tree of the last point of every method."""
    last = dict(points)
    out = []
    for number in range(min(most, len(points[0][1].readings))):
        task = points[0][1].readings[number].tree.task
        found = [_search(name, point, number) for name, point in last.items()]
        about = {"id": task["id"], "question": task.get("question"), "gold": task.get("answer")}
        out.append({**about, "searches": found})
    return out


def _search(name: str, point: Point, number: int) -> Json:
    reading = point.readings[number]
    tree = reading.tree
    chosen = set(tree.path(reading.ranked[0])) if reading.ranked else set()
    shown = ("value", "q", "visits", "reward")
    nodes: list[Json] = []
    for i, node in enumerate(tree.nodes):
        row: Json = {"parent": node.parent, "agent": node.agent, "text": node.text[:TEXT]}
        row |= {c: tree.columns[c][i] for c in shown if c in tree.columns}
        if "value" not in row:
            others = (c for n, c in tree.columns.items() if n not in (*shown, ALIKE))
            row["value"] = next((c[i] for c in others), None)
        row |= {
            "error": node.error,
            "done": node.done,
            "answer": node.answer,
            "chosen": i in chosen,
        }
        nodes.append({k: v for k, v in row.items() if v is not None and v is not False and v != ""})
    return {
        "method": name,
        "label": point.label,
        "answer": tree.nodes[reading.ranked[0]].answer if reading.ranked else None,
        "correct": reading.right >= 1 if reading.ranked else None,
        "tokens": reading.costs.total,
        "nodes": nodes,
    }


def write_result(result: Json, folder: Path) -> Path:
    """Write search.json and the page into a folder; returns the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    write_page(folder / "search.json", json.dumps(result, indent=1) + "\n")
    return write_search(result, folder / "search.html")


def table(result: Json) -> str:
    """The points of a result as lines of text; costs are means a question."""
    rows = [
        (
            *(
                "method",
                "",
                result.get("figure", "accuracy"),
                "95 %",
                f"hit@{result['k']}",
                "oracle",
            ),
            *("tokens", "policy", "scorer", "calls", "s", f"against {result['baseline']}"),
        )
    ]
    for method in result["methods"]:
        for row in method["points"]:
            against, text = row["against"], ""
            if against:
                low, high = 100 * against["low"], 100 * against["high"]
                text = f"{100 * against['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
                text += f" p={against['p']:.2g}"
            rows.append(
                (
                    method["name"],
                    row["label"],
                    f"{100 * row['accuracy']:.1f}",
                    f"{100 * row['low']:.1f}-{100 * row['high']:.1f}",
                    f"{100 * row['hit_k']:.1f}",
                    f"{100 * row['oracle']:.1f}",
                    *(f"{row[kind + '_tokens']:.0f}" for kind in ("total", "policy", "scorer")),
                    f"{row['calls']:.1f}",
                    f"{row['seconds']:.2f}",
                    text,
                )
            )
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
    free = [_free_line(method["name"], method["points"][-1]) for method in result["methods"]]
    left = [f"{row['method']}: {row['why']}" for row in result.get("left_out", ())]
    left = ["", "Left out:", *left] if left else []
    return "\n".join([*lines, "", "Read off the same trees, free of charge:", *free, *left])


def _free_line(name: str, row: Json) -> str:
    """What simpler readings of a point's trees would have given, and which could not be."""
    figures = [f"{reading} {100 * value:.1f}" for reading, value in row["free"].items()]
    left = [f"{reading} left out ({why})" for reading, why in row.get("left_out", {}).items()]
    place = f"{name} {row['label']}".strip()
    return f"{place}: {', '.join([*figures, *left])}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
