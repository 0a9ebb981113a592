"""Small trees for tests: written by hand, or drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from hornbeam.tree.nodes import Column, Node, Tree


def tree(
    parents: Sequence[int], rewards: dict[int, float], task: str = "q", states: str = ""
) -> Tree:
    """A tree of bare parents (of nodes 1, 2, ...) with rewards at the nodes named.

    `states` has a letter a node, a space where the state is not known.
    """
    letters = (states[i : i + 1].strip() for i in range(len(parents)))
    nodes = [Node(-1), *(Node(parent, state=s) for parent, s in zip(parents, letters))]
    reward: Column = [rewards.get(i) for i in range(len(nodes))]
    prior: Column = [0.25, *([None] * len(parents))]
    columns = {"reward": reward, "value": [None] * len(nodes), "prior": prior}
    return Tree({"id": task}, nodes, columns)


def renumbered(source: Tree, order: Sequence[int]) -> tuple[Tree, list[int]]:
    """The same tree with its nodes in another order (parents first); and old index -> new."""
    place = [0] * len(source)
    for new, old in enumerate(order):
        place[old] = new
    above = [-1 if old == 0 else place[source.nodes[old].parent] for old in order]
    nodes = [Node(up, state=source.nodes[old].state) for up, old in zip(above, order)]
    columns = {name: [column[old] for old in order] for name, column in source.columns.items()}
    return Tree(dict(source.task), nodes, columns), place


@st.composite
def trees(draw: st.DrawFn, task: str = "q", gaps: bool = True, size: int = 14) -> Tree:
    """A random tree; every leaf scored, or with `gaps` most of them (at least one)."""
    many = draw(st.integers(1, size))
    parents = [draw(st.integers(0, i)) for i in range(many)]
    out = tree(parents, {}, task, draw(st.text("ab ", max_size=many)))
    leaves = out.leaves()
    value = st.sampled_from([0.0, 1.0, -0.2, 0.1, 0.8, 1 / 3])
    for leaf in leaves:
        missing = gaps and len(leaves) > 1 and draw(st.integers(0, 4)) == 0
        out.columns["reward"][leaf] = None if missing else draw(value)
    if all(out.columns["reward"][leaf] is None for leaf in leaves):
        out.columns["reward"][leaves[0]] = draw(value)
    said = st.sampled_from([None, -1.0, -0.3, 0.0, 0.5, 1.0])
    out.columns["value"] = [None, *(draw(said) for _ in out.nodes[1:])]
    return out


@st.composite
def orders(draw: st.DrawFn, source: Tree) -> list[int]:
    """A random order of the nodes of a tree in which parents come first."""
    ready, out = [0], []
    while ready:
        i = ready.pop(draw(st.integers(0, len(ready) - 1)))
        out.append(i)
        ready += source.children(i)
    return out
