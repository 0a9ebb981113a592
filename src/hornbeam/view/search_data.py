"""What the search page shows, packed into its JSON: points of the plot, and trees within limits.

A result is plain data (`search.json`); whatever is missing in it, or is no finite number, is left
out. A search's nodes become a `Tree` with columns, so that trees are packed and drawn as in the
report. Left out: how it looks (search.html, search.css, search.js, plot.js).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from hornbeam.errors import DataError
from hornbeam.tree.nodes import Node, Tree
from hornbeam.view.data import Packer, PageLimits, finite, rounded

LIMITS = PageLimits(trees=600, trees_a_step=24, nodes=240, characters=1500, megabytes=6.0)
COLUMNS = ("value", "q", "visits", "reward")
CURVE = 120  # places of an anytime curve, at most
Point = Mapping[str, Any]


def search_data(result: Mapping[str, Any], limits: PageLimits = LIMITS) -> dict[str, Any]:
    """The JSON that the page draws: methods, questions with their trees, texts, what is left out.

    Raises `DataError` where a node does not come after its parent.
    """
    questions = [question for question in listed(result, "questions") if question.get("searches")]
    packer = Packer(limits, None)
    grown = {
        k: [_tree(question, search, limits.nodes) for search in question["searches"]]
        for k, question in enumerate(questions)
    }
    packer.steps(grown)
    for packed in packer.packed:
        _describe(packed, questions[packed.pop("step")])
    trees = [tree for packed in packer.packed for tree in packed["trees"]]
    left_out = packer.left_out(len(questions), "question", "set")
    if large := sum(tree["size"] > len(tree["nodes"]) for tree in trees):
        first = f"Trees that show only their chosen path and first nodes, {limits.nodes} in all"
        left_out.append(f"{first}: {large}.")
    return {
        "methods": [_method(method) for method in listed(result, "methods")],
        "questions": packer.packed,
        "texts": packer.texts,
        "left_out": left_out,
    }


def listed(thing: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """A list of a result; empty where it is missing."""
    return thing.get(name) or []


def number(thing: Mapping[str, Any], name: str) -> float | None:
    """A finite number of a result, or `None`."""
    value = thing.get(name)
    return value if finite(value) else None


def _method(method: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": str(method.get("name", "")),
        "points": [_point(p) for p in listed(method, "points")],
    }


def _point(point: Point) -> dict[str, Any]:
    """A point with its finite numbers, its comparison and its thinned anytime curve."""
    out: dict[str, Any] = {"label": str(point.get("label") or "")}
    out |= {name: rounded(value) for name, value in point.items() if finite(value)}
    if against := point.get("against"):
        out["against"] = {name: rounded(value) for name, value in against.items() if finite(value)}
    curve = [[rounded(v) for v in pair] for pair in point.get("anytime") or [] if _pair(pair)]
    if curve:
        out["anytime"] = [
            curve[k * (len(curve) - 1) // (CURVE - 1)] for k in range(CURVE)
        ] if len(curve) > CURVE else curve  # fmt: skip
    return out


def _pair(pair: Sequence[Any]) -> bool:
    return len(pair) == 2 and all(finite(value) for value in pair)


def _tree(question: Mapping[str, Any], search: Mapping[str, Any], most: int) -> Tree:
    """One search as a tree of at most `most` nodes, the chosen path among them."""
    name, nodes = question.get("id", "?"), listed(search, "nodes")
    tree = Tree({"id": name, "question": str(question.get("question") or "")})
    for i in range(1, len(nodes)):
        parent = nodes[i].get("parent")
        if not isinstance(parent, int) or not 0 <= parent < i:
            text = f"question {name}, {search.get('method')}: node {i} has parent {parent}"
            raise DataError(f"{text}: parents come first")
    kept = _kept(nodes, most)
    place = {0: 0}
    for i in kept:
        place[i] = tree.append(_node(nodes[i], place[nodes[i]["parent"]]))
    shown = [nodes[0] if nodes else {}, *(nodes[i] for i in kept)]
    tree.columns = {column: [number(node, column) for node in shown] for column in COLUMNS}
    tree.columns["chosen"] = [1.0 if node.get("chosen") else None for node in shown]
    return tree


def _kept(nodes: Sequence[Mapping[str, Any]], most: int) -> list[int]:
    """Which nodes are shown, the task aside: what leads to the chosen ones, then the first ones.

    Whoever is kept, its parent is: the first nodes of a tree are a tree again.
    """
    kept: set[int] = set()
    for i in range(1, len(nodes)):
        if nodes[i].get("chosen"):
            while i and i not in kept:
                kept.add(i)
                i = nodes[i]["parent"]
    others = (i for i in range(1, len(nodes)) if i not in kept)
    return sorted(kept.union(islice(others, max(most - 1 - len(kept), 0))))


def _node(node: Mapping[str, Any], parent: int) -> Node:
    return Node(
        parent,
        str(node.get("agent") or ""),
        text=str(node.get("text") or ""),
        done=bool(node.get("done")),
        answer=node.get("answer"),
        error=str(node.get("error") or ""),
    )


def _describe(packed: dict[str, Any], question: Mapping[str, Any]) -> None:
    """Put what is known of a question and of its searches beside its packed trees."""
    packed["id"], packed["gold"] = str(question.get("id", "?")), _answer_text(question.get("gold"))
    for tree, search in zip(packed["trees"], listed(question, "searches")):
        tree["columns"].pop("credit", None)  # a search is steered by values
        for i, value in enumerate(tree["columns"].pop("chosen", [])):
            if value:
                tree["nodes"][i]["chosen"] = True
        tree["size"] = max(len(listed(search, "nodes")), 1)
        tree["method"], tree["label"] = (
            str(search.get("method", "")),
            str(search.get("label") or ""),
        )
        tree["answer"], tree["tokens"] = (
            _answer_text(search.get("answer")),
            number(search, "tokens"),
        )
        tree["correct"] = search.get("correct")


def _answer_text(answer: Any) -> str:
    """An answer in one short text; empty where there is none."""
    text = "" if answer is None else str(answer)
    return text if len(text) <= 200 else f"{text[:199]}…"
