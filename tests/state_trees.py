"""Trees with states for tests: three rollouts of two steps, and trees as the rollouts they are."""

from __future__ import annotations

from hornbeam.credit import credit
from hornbeam.tree.nodes import Node, Tree
from little_trees import tree


def rollouts() -> Tree:
    """States a - b, a - c, a - b of outcomes 1, 0, 0: nodes 1 2, 3 4, 5 6."""
    return tree([0, 1, 0, 3, 0, 5], {2: 1.0, 4: 0.0, 6: 0.0}, states="abacab")


def credited(t: Tree, name: str, **settings: object) -> list[float | None]:
    """The advantages of a copy of the tree."""
    out = Tree(dict(t.task), list(t.nodes), {k: list(v) for k, v in t.columns.items()})
    credit([out], name, **settings)
    return out.columns["advantage"]


def unfolded(t: Tree) -> tuple[Tree, list[list[int]]]:
    """The rollouts of a tree as chains of their own, and where each node came to stand."""
    nodes, reward, places = [Node(-1)], [None], [[] for _ in t.nodes]
    for leaf in t.leaves():
        above = 0
        for i in t.path(leaf):
            places[i].append(len(nodes))
            nodes.append(t.nodes[i].changed(parent=above))
            reward.append(t.columns["reward"][leaf] if i == leaf else None)
            above = len(nodes) - 1
    return Tree(dict(t.task), nodes, {"reward": reward}), places
