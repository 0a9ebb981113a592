"""A fixed budget of tokens over the trees of a step: to tasks that are predicted mixed.

TRACE (arXiv 2606.11119) gives rollouts to the tasks and steps where outcomes are likely to differ.
Here trunks are grown first; then the budget is what as many branches in every tree would sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hornbeam.search.branch import MOST, Branch
from hornbeam.tree.nodes import Tree


def branches(how: Branch, trees: Sequence[Tree]) -> list[int]:
    """How many branches each of these trees gets, whose trunks are grown.

    m_t is the mixedness of tree t, c_t the tokens of a branch in it. The budget is the sum of
    `trunks` x `nodes` x c_t; the next branch goes to the tree of the highest m_t / (n_t + 1) of
    those for which it lasts (highest averages: shares as m_t), at most `MOST` times the even share
    each. Trees with m_t = 0 get none. Of equals the first comes first.
    """
    even = how.trunks * how.nodes
    mixed, costs = [how.mixedness(t) for t in trees], [branch_tokens(how, t) for t in trees]
    left, given = even * math.fsum(costs), [0] * len(trees)
    while True:
        open_ = [
            t
            for t, n in enumerate(given)
            if mixed[t] > 0 and n < MOST * even and costs[t] <= left + 1e-9
        ]
        if not open_:
            return given
        best = max(open_, key=lambda t: (mixed[t] / (given[t] + 1), -t))
        given[best] += 1
        left -= costs[best]


def branch_tokens(how: Branch, tree: Tree) -> float:
    """Mean number of tokens sampled from a step of a trunk, itself left out, to the trunk's end.

    Of a trunk of one step all of its tokens, as a branch grows from the task; at least 1.
    """
    rests: list[int] = []
    for leaf in tree.leaves():
        if tree.nodes[leaf].origin.episode < how.trunks:
            sizes = [len(tree.nodes[i].tokens) for i in tree.path(leaf)]
            rests += [sum(sizes[k:]) for k in range(1, len(sizes))] or [sum(sizes)]
    return max(1.0, math.fsum(rests) / len(rests)) if rests else 1.0
