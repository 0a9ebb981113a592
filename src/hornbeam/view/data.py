"""What a report shows, and how it is packed into the page's JSON within limits.

Every text is held once, in one list; nodes name it by its place there. What does not fit is left
out whole and counted, and the page says so. Left out: how it looks (page.css, charts.js, trees.js).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import PositiveFloat, PositiveInt

from hornbeam.settings import Settings
from hornbeam.tree.jsonl import FACTS
from hornbeam.tree.nodes import Column, Node, Tree
from hornbeam.view.shape import credit, slots

_SHOWN = ("agent", "scope", "prefix", "keep", "version", "finish", "episode", "done")
_FACTS = [fact for fact in FACTS if fact.name in _SHOWN]


@dataclass(frozen=True)
class ReportData:
    """All that a report is made of.

    `metrics`: the rows of metrics.jsonl in the order written; `seconds` counts from the start of
    the run, token and call counts are those of the row's own step. `trees`: step -> its trees; a
    key below zero holds trees of the held-out evaluation. Steps that the page has no room for are
    never looked up, so the mapping may read from disk. `prompts(tree, i)`: the text of what was
    put in at node i. `one`, `outcome` and `facts` are of trees that are no run's.
    """

    title: str
    recipe: str = ""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    costs: dict[str, float] = field(default_factory=dict)
    trees: Mapping[int, Sequence[Tree]] = field(default_factory=dict)
    prompts: Callable[[Tree, int], str] | None = None
    one: str = "step"  # what a key of `trees` counts
    outcome: str = ""  # in place of what the metrics say
    facts: str = ""


class PageLimits(Settings):
    """The most that a page holds."""

    trees: PositiveInt = 240
    trees_a_step: PositiveInt = 16
    nodes: PositiveInt = 400  # drawn of one tree
    characters: PositiveInt = 4000  # of one text
    megabytes: PositiveFloat = 4.0  # of all trees together
    rows: PositiveInt = 2000  # of metrics of one kind


LIMITS = PageLimits()


def page_data(data: ReportData, limits: PageLimits = LIMITS) -> dict[str, Any]:
    """The JSON that the page draws: metrics, steps of trees, texts, and what was left out."""
    rows, left_out = pack_metrics(data.metrics, limits.rows)
    packer = Packer(limits, data.prompts)
    total = packer.steps(data.trees)
    return {
        "metrics": rows,
        "one": data.one,
        "steps": packer.packed,
        "texts": packer.texts,
        "left_out": left_out + packer.left_out(total, data.one),
    }


# --- metrics -------------------------------------------------------------------------------------


def pack_metrics(rows: list[dict[str, Any]], most: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of kind, stage and finite numbers; at most `most` of a kind, evenly taken."""
    kinds: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        kinds.setdefault(str(row.get("kind", "train")), []).append(i)
    kept: set[int] = set()
    left_out = []
    for kind, places in kinds.items():
        if len(places) > most:
            left_out.append(f"Curves show {most} of {len(places)} rows of kind “{kind}”.")
            last = max(most - 1, 1)
            places = [places[k * (len(places) - 1) // last] for k in range(most)]
        kept.update(places)
    return [_metric(rows[i]) for i in sorted(kept)], left_out


def _metric(row: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"kind": str(row.get("kind", "train"))}
    if "stage" in row:
        out["stage"] = str(row["stage"])
    out.update({k: rounded(v) for k, v in row.items() if k != "kind" and finite(v)})
    return out


def finite(value: Any) -> bool:
    """Whether it is a number that JSON can hold."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def rounded(value: float) -> float:
    """Six digits; whole numbers as they are."""
    return value if isinstance(value, int) else float(f"{value:.6g}")


# --- trees ---------------------------------------------------------------------------------------


def spread(count: int) -> Iterator[int]:
    """0 .. count-1, the last first, then the first, then ever finer middles.

    Whatever the place where one stops, what was taken lies about evenly over the whole.
    """
    if not count:
        return
    seen = set()
    width = count - 1
    for place in (width, 0):
        if place not in seen:
            seen.add(place)
            yield place
    parts = 2
    while len(seen) < count:
        for k in range(1, parts, 2):
            place = k * width // parts
            if place not in seen:
                seen.add(place)
                yield place
        parts *= 2


class Packer:
    """Packs trees until a limit is reached. `packed`: steps in order; `texts`: each text once."""

    def __init__(self, limits: PageLimits, prompts: Callable[[Tree, int], str] | None) -> None:
        self.limits, self.prompts = limits, prompts
        self.packed: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self._places: dict[str, int] = {}
        self._bytes = 0
        self._trees = 0
        self._cut_texts = 0
        self._cut_trees = 0

    def steps(self, trees: Mapping[int, Sequence[Tree]]) -> int:
        """Pack what fits; returns how many steps there were."""
        steps = sorted(trees)
        for place in spread(len(steps)):
            if self._full():
                break
            here = trees[steps[place]]
            packed = []
            for tree in here[: self.limits.trees_a_step]:
                if self._full():
                    break
                packed.append(self._tree(tree))
                self._trees += 1
            if packed:
                self.packed.append({"step": steps[place], "of": len(here), "trees": packed})
        self.packed.sort(key=lambda item: item["step"])
        return len(steps)

    def left_out(self, steps: int, one: str = "step", over: str = "run") -> list[str]:
        """Plain sentences on what the limits kept off the page. `one`: what a step is called."""
        limits, shown = self.limits, len(self.packed)
        parts = sum(len(item["trees"]) < item["of"] for item in self.packed)
        large, cut = self._cut_trees, self._cut_texts
        sentences = {
            f"Trees of {shown} of {steps} {one}s are here, spread over the {over}.": shown < steps,
            f"{one.capitalize()}s that show only their first trees: {parts}.": parts,
            f"Trees that show only their first {limits.nodes} nodes: {large}.": large,
            f"Texts cut at {limits.characters} characters: {cut}.": cut,
        }
        return [sentence for sentence, applies in sentences.items() if applies]

    def _full(self) -> bool:
        return self._trees >= self.limits.trees or self._bytes >= self.limits.megabytes * 1e6

    def _text(self, text: str) -> int:
        if len(text) > self.limits.characters:
            self._cut_texts += text not in self._places
            self._places.setdefault(text, len(self.texts))
            cut = len(text) - self.limits.characters
            shown = f"{text[: self.limits.characters]}\n[… {cut} more characters]"
        else:
            self._places.setdefault(text, len(self.texts))
            shown = text
        place = self._places[text]
        if place == len(self.texts):
            self.texts.append(shown)
            self._bytes += len(json.dumps(shown, ensure_ascii=False).encode("utf-8", "replace"))
        return place

    def _tree(self, tree: Tree) -> dict[str, Any]:
        most = self.limits.nodes
        self._cut_trees += len(tree) > most  # the first nodes of a tree are a tree again
        rows = slots(tree if len(tree) <= most else Tree(tree.task, tree.nodes[:most]))
        columns = {"credit": credit(tree), **tree.columns}
        task = {k: v for k, v in tree.task.items() if k not in ("id", "question") and v}
        out = {
            "id": str(tree.task["id"]),
            "question": self._text(str(tree.task.get("question", ""))),
            "task": self._text(_plain(task) if task else ""),
            "size": len(tree),
            "nodes": [self._node(tree, i, rows[i]) for i in range(min(len(tree), most))],
            "columns": {k: _column(v[:most]) for k, v in columns.items() if _any(v)},
        }
        self._bytes += len(json.dumps(out, ensure_ascii=False).encode("utf-8", "replace"))
        return out

    def _node(self, tree: Tree, i: int, row: float) -> dict[str, Any]:
        node = tree.nodes[i]
        out: dict[str, Any] = {"parent": node.parent, "row": row}
        for fact in _FACTS:
            if (value := fact.read(node)) != fact.default:
                out[fact.name] = value
        put_in = self.prompts(tree, i) if self.prompts and i else ""
        for name, text in (("prompt", put_in), ("text", node.text), ("error", node.error)):
            if text:
                out[name] = self._text(text)
        if node.answer is not None:
            out["answer"] = self._text(_plain(node.answer))
        if node.calls:
            out["calls"] = [
                [
                    call.tool,
                    self._text(_plain(dict(call.arguments))),
                    self._text(_plain(call.result)),
                    self._text(call.error),
                ]
                for call in node.calls
            ]
        return out | _counts(node)


def _counts(node: Node) -> dict[str, Any]:
    """Numbers of tokens put in and sampled, and the mean log-prob of what was sampled."""
    out: dict[str, Any] = {}
    if node.prompt:
        out["read"] = len(node.prompt)
    if node.tokens:
        out["sampled"] = len(node.tokens)
    if node.logprobs and math.isfinite(mean := sum(node.logprobs) / len(node.logprobs)):
        out["logprob"] = rounded(mean)
    return out


def _plain(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _any(column: Column) -> bool:
    return any(value is not None for value in column)


def _column(column: Column) -> Column:
    return [float(f"{v:.5g}") if v is not None and math.isfinite(v) else None for v in column]
