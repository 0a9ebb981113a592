"""A tree as indented text, for terminals and logs."""

from __future__ import annotations

import json

from hornbeam.arguments import one_of
from hornbeam.errors import DataError
from hornbeam.files.terminal import one_line
from hornbeam.settings import nearest
from hornbeam.tree.nodes import Call, Tree
from hornbeam.view.shape import credit, first_line, number, preorder, signed, spoken


def tree_text(tree: Tree, width: int = 100, column: str = "reward", calls: bool = False) -> str:
    """The tree with one line a step: agent, credit, an entry, first line of what was sampled.

    The entry is that of `column`. With `calls` the tool calls stand below their step, each with its
    result or error. `width` is in characters.
    """
    one_of(tree, Tree, "tree_text", "one tree")
    one_of(width, int, "tree_text: width", "a number of characters")
    one_of(column, str, "tree_text: column", "the name of a column")
    earned, lead = credit(tree), {0: ""}
    question = first_line(str(tree.task.get("question", "")), max(width - 12, 20))
    lines = [one_line(f"task {tree.task['id']}  {question}".rstrip())]
    if calls:
        lines += [_call_line(call, "│  ", width) for call in tree.nodes[0].calls]
    for i in preorder(tree)[1:]:
        parent = tree.nodes[i].parent
        last = tree.children(parent)[-1] == i
        head = lead[parent] + ("└─ " if last else "├─ ")
        lead[i] = lead[parent] + ("   " if last else "│  ")
        lines.append(_line(tree, i, earned[i], head, width, column))
        if calls:
            below = lead[i] + ("   " if tree.is_leaf(i) else "│  ")
            lines += [_call_line(call, below, width) for call in tree.nodes[i].calls]
    return "\n".join(lines)


def column_names(tree: Tree, column: str) -> str:
    """One line: which column is shown, and what columns there are. `DataError` for a wrong one."""
    if column not in tree.columns and column != "reward":
        hint = nearest(column, tree.columns) if tree.columns else "the tree has none"
        raise DataError(f"tree {tree.task['id']}: no column {column!r}: {hint}")
    return one_line(f"columns: {', '.join(tree.columns) or 'none'}; shown: {column}")


def _call_line(call: Call, lead: str, width: int) -> str:
    """A tool call and what came back."""
    given = json.dumps(dict(call.arguments), ensure_ascii=False, default=str)
    came = call.result
    came = came if isinstance(came, str) else json.dumps(came, ensure_ascii=False, default=str)
    came = f"FAILED  {call.error}" if call.error else f"= {came}"
    asked = first_line(f"call {call.tool} {given}", max(width // 2 - len(lead), 12))
    label = f"{lead}{asked}  "
    return one_line(label + first_line(came, max(width - len(label), 12)))


def _line(tree: Tree, i: int, earned: float | None, head: str, width: int, column: str) -> str:
    node, entries = tree.nodes[i], tree.columns.get(column)
    parts = [f"{i}", node.agent or "step"]
    if earned is not None:
        parts.append(signed(earned))
    if entries and entries[i] is not None:
        parts.append(f"{column} {number(entries[i] or 0.0)}")
    if node.error:
        parts.append("FAILED")
    label = head + "  ".join(parts)
    said = first_line(spoken(node), max(width - len(label) - 2, 12))
    return one_line(f"{label}  {said}".rstrip())
