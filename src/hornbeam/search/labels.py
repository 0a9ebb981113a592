"""What a grown tree teaches a value head: Q of every step, and pairs of siblings (METHODS 4)."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from itertools import combinations
from random import Random

from hornbeam.credit.baselines import equal
from hornbeam.credit.returns import below, counts, leaf_mean
from hornbeam.errors import DataError, how_to_write
from hornbeam.search.mcts import Mcts
from hornbeam.search.values import place, worth
from hornbeam.tree.nodes import Column, Tree, common_prefix, ids

# The label search of MASPRM (arXiv 2510.24803): 64 runs, 4 children, c = 8.
MAS_MCTS = Mcts(rollout=True, simulations=64, children=4, c=8.0, patience=24)


def label(tree: Tree, reward: str = "reward", times: Column | None = None) -> dict[str, Column]:
    """Columns "visits" N and "q" Q of a tree with rewards r in [0, 1] at its leaves.

    N = number of scored leaves below a node (at a leaf itself), 0 where there is none.
    Q = mean of 2r - 1 over them, in [-1, 1]; `None` at N = 0. Every leaf counts once, however often
    a search came back to it; or as many `times` as that column says.
    """
    outcome: Column = [None] * len(tree)
    for i in tree.leaves():
        r = worth(tree, i, reward)
        outcome[i] = None if r is None else 2 * min(max(r, 0.0), 1.0) - 1
    if times is None:
        visits: Column = [float(n) for n in counts(tree, outcome)]
        return {"visits": visits, "q": leaf_mean(tree, outcome)}
    often = [0.0 if r is None else n or 0.0 for r, n in zip(outcome, times, strict=True)]
    many = below(tree, [*often])
    total = below(tree, [(r or 0.0) * n for r, n in zip(outcome, often)])
    return {"visits": [*many], "q": [w / n if n else None for w, n in zip(total, many)]}


def informative(tree: Tree, most: float = 0.7, shares: bool = False) -> bool:
    """Whether a labelled tree is kept: |Q of the task| <= `most`; never where Q is unknown.

    With `shares` Q is in [0, 1], and |2Q - 1| is meant.
    """
    q = _labelled(tree)[0]
    return q is not None and abs(2 * q - 1 if shares else q) <= most


def pairs(tree: Tree, most: int = 8) -> list[tuple[int, int]]:
    """(better, worse): children of one parent, N >= 1 each, of different Q.

    Where a tree has more than `most`, so many are drawn from its seed. In order of place.
    """
    q, visits = _labelled(tree), tree.columns.get("visits")
    found = []
    for parent in range(len(tree)):
        below = sorted(tree.children(parent), key=lambda i: place(tree, i))
        for a, b in combinations(below, 2):
            left, right = q[a], q[b]
            if left is None or right is None or equal([left, right]):
                continue
            if tree.nodes[a].tokens == tree.nodes[b].tokens:  # twins differ by chance alone
                continue
            if visits is None or min(visits[a] or 0, visits[b] or 0) >= 1:
                found.append((a, b) if left > right else (b, a))
    found.sort(key=lambda pair: [place(tree, i) for i in pair])
    if len(found) > most:
        drawn = Random(f"{tree.seed}:pairs").sample(range(len(found)), most)
        found = [found[k] for k in sorted(drawn)]
    return found


def alone(tree: Tree) -> int:
    """Tokens that a tree costs where every episode is sampled from its own prompt.

    That is, for each: all that the model saw before its first token, and all that was sampled and
    put in after that. Only what an agent's earlier asks in the same episode hold is not run again.
    """
    total = 0
    held: dict[tuple[int, str], array[int]] = {}  # the newest sequence of an episode's agent
    for i, node in enumerate(tree.nodes):
        if not node.tokens:
            continue
        context, who = tree.context(i), (node.origin.episode, node.agent)
        total += len(context) - common_prefix(held.get(who, ids()), context) + len(node.tokens)
        held[who] = tree.sequence(i)
        if node.done:
            del held[who]
    return total


def account(trees: Iterable[Tree], costs: Mapping[str, float]) -> dict[str, float]:
    """Tokens that were computed (prompts and samples, by the ledger's sums), against `alone`."""
    computed = costs.get("prompt_tokens_computed", 0) + costs.get("sampled_tokens", 0)
    each = sum(alone(tree) for tree in trees)
    ratio = each / computed if computed else 0.0
    return {"tokens_computed": computed, "tokens_alone": each, "times_cheaper": ratio}


def _labelled(tree: Tree) -> Column:
    if "q" not in tree.columns:
        raise DataError(f"tree {tree.task.get('id')!r} has no column 'q'{how_to_write('q')}")
    return tree.columns["q"]
