"""A tree as indented text, for terminals and logs."""

from __future__ import annotations

from hornbeam.arguments import one_of
from hornbeam.tree.nodes import Tree
from hornbeam.view.shape import credit, first_line, number, preorder, signed, spoken


def tree_text(tree: Tree, width: int = 100) -> str:
    """The tree with one line a step: agent, credit, reward, first line of what was sampled.

    `width` is in characters.
    """
    one_of(tree, Tree, "tree_text", "one tree")
    one_of(width, int, "tree_text: width", "a number of characters")
    earned, lead = credit(tree), {0: ""}
    question = first_line(str(tree.task.get("question", "")), max(width - 12, 20))
    lines = [plain(f"task {tree.task['id']}  {question}".rstrip())]
    for i in preorder(tree)[1:]:
        parent = tree.nodes[i].parent
        last = tree.children(parent)[-1] == i
        head = lead[parent] + ("└─ " if last else "├─ ")
        lead[i] = lead[parent] + ("   " if last else "│  ")
        lines.append(_line(tree, i, earned[i], head, width))
    return "\n".join(lines)


def _line(tree: Tree, i: int, earned: float | None, head: str, width: int) -> str:
    node, reward = tree.nodes[i], tree.columns.get("reward")
    parts = [f"{i}", node.agent or "step"]
    if earned is not None:
        parts.append(signed(earned))
    if reward and reward[i] is not None:
        parts.append(f"reward {number(reward[i] or 0.0)}")
    if node.error:
        parts.append("FAILED")
    label = head + "  ".join(parts)
    said = first_line(spoken(node), max(width - len(label) - 2, 12))
    return plain(f"{label}  {said}".rstrip())


def plain(text: str) -> str:
    """The text without what a terminal would obey, or could not encode."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)
