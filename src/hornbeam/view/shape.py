"""What every drawing of a tree needs: where a node stands, what it earned, what it said."""

from __future__ import annotations

import json

from hornbeam.tree.nodes import Column, Node, Tree, fold_up


def preorder(tree: Tree) -> list[int]:
    """Indices depth first, children oldest first, the task included."""
    order, stack = [], [0]
    while stack:
        i = stack.pop()
        order.append(i)
        stack.extend(reversed(tree.children(i)))
    return order


def slots(tree: Tree) -> list[float]:
    """The row of each node in a tidy drawing.

    Leaves stand on rows 0, 1, 2 ... in depth-first order; a node stands in the middle between its
    first and its last child, so no two edges cross.
    """
    row = {leaf: k for k, leaf in enumerate(i for i in preorder(tree) if tree.is_leaf(i))}
    return fold_up(tree, lambda i: float(row[i]), lambda _, below: (below[0] + below[-1]) / 2)


def depths(tree: Tree) -> list[int]:
    """Steps from the task to each node."""
    out = [0]
    for node in tree.nodes[1:]:
        out.append(out[node.parent] + 1)
    return out


def mean_below(tree: Tree, column: Column) -> Column:
    """The mean of a column over the leaves below each node that have an entry; else `None`."""

    def add(_: int, below: list[tuple[float, int]]) -> tuple[float, int]:
        return sum(s for s, _ in below), sum(n for _, n in below)

    def leaf(i: int) -> tuple[float, int]:
        value = column[i]
        return (0.0, 0) if value is None else (value, 1)

    return [total / count if count else None for total, count in fold_up(tree, leaf, add)]


def credit(tree: Tree) -> Column:
    """What the paths through a node earned on average: one number a node, for colour.

    (advantage_pos + advantage_neg) / leaves where the method wrote those sums; else the mean of
    `advantage` over the leaves below; else the mean of `reward` over the leaves below.
    """
    columns = tree.columns
    if {"advantage_pos", "advantage_neg", "leaves"} <= set(columns):
        rows = zip(columns["advantage_pos"], columns["advantage_neg"], columns["leaves"])
        return [None if p is None or m is None or not n else (p + m) / n for p, m, n in rows]
    column = columns.get("advantage") or columns.get("reward")
    return mean_below(tree, column) if column else [None] * len(tree)


def largest(column: Column) -> float:
    """The largest size of an entry; 1 where all are zero or missing, so that it can divide."""
    return max((abs(value) for value in column if value is not None), default=0.0) or 1.0


def first_line(text: str, width: int) -> str:
    """The first line that is not blank, cut to a width with an ellipsis."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def spoken(node: Node) -> str:
    """What a step says: why it failed, its text; its calls (`add {"a": 2}`) where that is all."""
    text = node.error or node.text.strip()
    if node.error or not node.calls or (text and not text.startswith("<tool_call>")):
        return text
    arguments = (json.dumps(dict(call.arguments), ensure_ascii=False) for call in node.calls)
    return ", ".join(f"{call.tool} {given}" for call, given in zip(node.calls, arguments))


def number(value: float) -> str:
    """A short number with a proper minus sign: 1, 0.25, −1.3."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text.replace("-", "−")


def signed(value: float) -> str:
    """As `number`, with a plus sign above zero."""
    text = number(value)
    return text if text == "0" or value < 0 else f"+{text}"
