"""From credited trees to rows of token ids and segments to train. Numbers only, no torch.

A *segment* is the sampled tokens of one node. A *row* is a sequence of ids that carries segments:
a growing conversation is one row with several segments, so memory stays linear in its length.

The advantage that leaf i gives node n on its path is A_i(n): the node's own advantage where it is
an inner node that has one, else the leaf's. With a weight w_i for each leaf (its aggregation), a
segment carries (METHODS 0.1)

    plus = sum_i w_i max(A_i(n), 0)     minus = sum_i w_i min(A_i(n), 0)     weight = sum_i w_i

over the leaves i below n. Leaves without an advantage do not train.

Where a scope method wrote (column `mass`, see credit.scoped), a path is several *trajectories*: the
main agent's, with the advantage of the leaf, and every delegation, with that at its end. Each
counts `mass` times (None: once), in w and in the sums that make it, as so many copies of it would;
it is what the loss calls a leaf, its trained tokens the sequence of a sequence ratio. Elsewhere a
trajectory is the path to a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hornbeam.errors import DataError
from hornbeam.tree.nodes import INJECTED, Column, Node, Tree, cut_off

EQUAL = 1e-9  # of two advantages: no preference
Trains = Callable[[Node], bool]
Aggregation = Literal["token_mean", "sequence_mean", "constant"]


def all_nodes(node: Node) -> bool:
    """The predicate of a policy to which every sampled node belongs."""
    return True


@dataclass(frozen=True, slots=True)
class Segment:
    """Sampled tokens of one node: `start` in the row, `old` the engine's log-probs of them (NaN
    where it told none).

    `held`: those are the ratio's denominator whatever the loss says, for another policy spoke.
    """

    start: int
    old: NDArray[np.float32]
    plus: float
    minus: float
    weight: float
    held: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Ids, and which spans of them are trained."""

    ids: NDArray[np.int32]
    segments: tuple[Segment, ...]


@dataclass(slots=True)
class Rows:
    """All rows of a batch. Segments are numbered through the rows in order.

    `pairs` are (leaf, segment, w_i A_i): what sequence ratios need. `preferred` are (better, worse)
    leaves of one tree, where they were asked for. `flat` and `trained` count the
    tokens that one row for every leaf would hold, and those of them that are trained. Read
    "trajectory" for "leaf" where there are delegations. `turn` is a length: rows longer than it
    share no forward pass with others, for the model computes them with other frequencies.
    """

    rows: list[Row] = field(default_factory=list)
    pairs: list[tuple[int, int, float]] = field(default_factory=list)
    preferred: list[tuple[int, int]] = field(default_factory=list)
    leaves: int = 0
    flat: int = 0
    trained: int = 0
    segments: int = 0
    turn: int | None = None


@dataclass(slots=True)
class _Credit:
    """One tree's trajectories that train, by where they end: trained tokens, mass, weight."""

    tree: Tree
    trained: list[bool]  # a node
    advantage: Column
    needs_old: bool
    mass: Column | None  # None: no delegation is a trajectory of its own
    tokens: dict[int, int] = field(default_factory=dict)  # end -> |o_i|
    weights: dict[int, float] = field(default_factory=dict)

    def path(self, end: int) -> list[int]:
        """The trained nodes of the trajectory that ends there."""
        path = [i for i in self.tree.path(end) if self.trained[i]]
        if self.mass is None:
            return path
        nodes, here = self.tree.nodes, {self.tree.nodes[end].scope}
        if self.tree.is_leaf(end):
            here.add("")
        return [i for i in path if nodes[i].scope in here]

    def counts(self, end: int) -> float:
        """How many copies of it the trajectory stands for."""
        mass = self.mass[end] if self.mass is not None else None
        return 1.0 if mass is None else mass

    def gives(self, end: int, i: int) -> float:
        """w_i A_i(n): what the trajectory says of its node i, times its weight."""
        inner = self.mass is None and not self.tree.is_leaf(i)
        own = self.advantage[i] if inner else self.advantage[end]
        chosen = self.advantage[end] if own is None else own
        return self.weights[end] * (chosen or 0.0)

    def preferred(self) -> list[tuple[int, int]]:
        """(better, worse) by advantage, of trajectories in one scope; their numbers."""
        ends = [
            (k, self.tree.nodes[end].scope, self.advantage[end] or 0.0)
            for k, end in enumerate(self.tokens)
        ]
        return [
            (k, n)
            for k, scope, a in ends
            for n, other, b in ends
            if scope == other and a - b > EQUAL
        ]


def collect(
    trees: Iterable[Tree],
    *,
    trains: Trains = all_nodes,
    aggregation: Aggregation = "token_mean",
    constant: int = 1024,
    share: bool = True,
    pairs: bool = False,
    preferred: bool = False,
    keep_zeros: bool = True,
    needs_old: bool = False,
    mask_truncated: bool = False,
) -> Rows:
    """Rows of a batch of credited trees.

    With `share` a node is one segment that holds the sums over its leaves; without, every leaf
    has rows of its own. `pairs` asks for the (leaf, segment) table, `preferred` for
    pairs of leaves. Without `keep_zeros`, segments
    whose sums are both zero are left out: they move nothing but KL and entropy. With `needs_old`
    tokens without log-probs of the engine are refused. With `mask_truncated` trajectories whose
    last answer was cut off do not train, nor count in a weight; their rewards stay in baselines.
    """
    credits = [_credit(tree, trains, needs_old, mask_truncated) for tree in trees]
    held = [(credit.counts(end), n) for credit in credits for end, n in credit.tokens.items()]
    total, copies = sum(mass * n for mass, n in held), sum(mass for mass, _ in held)
    out = Rows(trained=sum(n for _, n in held))
    for credit in credits:
        credit.weights = {
            end: credit.counts(end) * weight(aggregation, n, total, copies, constant)
            for end, n in credit.tokens.items()
        }
        sums = _sums(credit) if credit.mass is None else _scoped_sums(credit)
        moves = any(plus or minus for plus, minus, _ in sums)
        if keep_zeros or moves:
            add = _add_shared if share else _add_flat
            add(out, credit, sums, keep_zeros or pairs, pairs)
        if preferred:
            out.preferred += [(out.leaves + a, out.leaves + b) for a, b in credit.preferred()]
        out.leaves += len(credit.tokens)
        out.flat += sum(
            credit.tree.length(last)
            for leaf in credit.tokens
            for last, _ in carried(credit.tree, credit.path(leaf))
        )
    return out


def weight(
    aggregation: Aggregation, tokens: int, total: float, leaves: float, constant: int
) -> float:
    """The weight w_i of each token of a leaf with `tokens` trained tokens.

    token_mean 1 / sum_j |o_j| (DAPO), sequence_mean 1 / (G |o_i|) (GRPO), constant 1 / (G C)
    (Dr. GRPO, arXiv 2503.20783), with G leaves in the batch.
    """
    if aggregation == "token_mean":
        return 1.0 / total
    return 1.0 / (leaves * (tokens if aggregation == "sequence_mean" else constant))


def _credit(tree: Tree, trains: Trains, needs_old: bool, masks: bool) -> _Credit:
    advantage = tree.columns.get("advantage")
    if advantage is None:
        raise DataError(
            f"the tree of task {tree.task.get('id')!r} has no column 'advantage': credit it first"
        )
    trained = [bool(node.tokens) and i > 0 and trains(node) for i, node in enumerate(tree.nodes)]
    mass = tree.columns.get("mass")
    if mass is not None and any(node.scope for node in tree.nodes):
        return _scoped(_Credit(tree, trained, advantage, needs_old, mass), masks)
    above = [0] * len(tree)
    for i, node in enumerate(tree.nodes):
        above[i] = (above[node.parent] if i else 0) + len(node.tokens) * trained[i]
    leaves = [i for i in tree.leaves() if not (masks and cut_off(tree, i))]
    tokens = {i: above[i] for i in leaves if advantage[i] is not None and above[i]}
    return _Credit(tree, trained, advantage, needs_old, None, tokens)


def _scoped(credit: _Credit, masks: bool) -> _Credit:
    """With the trained tokens of the main agent's trajectories and of the delegations."""
    tree = credit.tree
    for i in range(1, len(tree)):
        known = credit.advantage[i] is not None and credit.counts(i) > 0
        if known and (tree.is_leaf(i) or tree.nodes[i].scope):
            path = credit.path(i)
            if path and not (masks and tree.nodes[path[-1]].finish == "length"):
                credit.tokens[i] = sum(len(tree.nodes[n].tokens) for n in path)
    return credit


def _scoped_sums(credit: _Credit) -> list[tuple[float, float, float]]:
    """(plus, minus, weight) of every node, trajectory by trajectory."""
    sums = [(0.0, 0.0, 0.0)] * len(credit.tree)
    for end, w in credit.weights.items():
        a = credit.advantage[end] or 0.0
        for i in credit.path(end):
            plus, minus, weight = sums[i]
            sums[i] = (plus + w * max(a, 0.0), minus + w * min(a, 0.0), weight + w)
    return sums


def _sums(credit: _Credit) -> list[tuple[float, float, float]]:
    """(plus, minus, weight) of every node: one backward loop (see the head)."""
    tree, sums = credit.tree, [(0.0, 0.0, 0.0)] * len(credit.tree)
    below = [(0.0, 0.0, 0.0)] * len(tree)  # of the leaves' own advantages
    for i in range(len(tree) - 1, 0, -1):
        own = credit.advantage[i]
        if i in credit.weights:
            w, a = credit.weights[i], own or 0.0
            below[i] = (w * max(a, 0.0), w * min(a, 0.0), w)
        plus, minus, w = sums[i] = below[i]
        if own is not None and not tree.is_leaf(i):
            sums[i] = (w * max(own, 0.0), w * min(own, 0.0), w)
        p = tree.nodes[i].parent
        up = below[p]
        below[p] = (up[0] + plus, up[1] + minus, up[2] + w)
    return [s if credit.trained[i] else (0.0, 0.0, 0.0) for i, s in enumerate(sums)]


def _add_shared(
    out: Rows, credit: _Credit, sums: list[tuple[float, float, float]], zeros: bool, pairs: bool
) -> None:
    """One segment a node, holding the sums over its leaves."""
    says = {i: s for i, s in enumerate(sums) if (s[2] if zeros else s[0] or s[1])}
    numbers = _add_rows(out, credit, says)
    if pairs:
        for k, leaf in enumerate(credit.tokens):
            for i in credit.path(leaf):
                out.pairs.append((out.leaves + k, numbers[i], credit.gives(leaf, i)))


def _add_flat(
    out: Rows, credit: _Credit, sums: list[tuple[float, float, float]], zeros: bool, pairs: bool
) -> None:
    """Rows of its own for every leaf, each with all its trained nodes."""
    for k, leaf in enumerate(credit.tokens):
        given = {i: credit.gives(leaf, i) for i in credit.path(leaf)}
        if not zeros and not any(given.values()):
            continue
        w = credit.weights[leaf]
        says = {i: (max(g, 0.0), min(g, 0.0), w) for i, g in given.items()}
        numbers = _add_rows(out, credit, says)
        if pairs:
            out.pairs += [(out.leaves + k, numbers[i], g) for i, g in given.items()]


def _add_rows(
    out: Rows, credit: _Credit, says: Mapping[int, tuple[float, float, float]]
) -> dict[int, int]:
    """Rows that carry the nodes of `says` (plus, minus, weight); the number of each's segment."""
    tree, numbers = credit.tree, {}
    for last, held in carried(tree, list(says)):
        segments = []
        for i in held:
            node = tree.nodes[i]
            start = tree.length(i) - len(node.tokens)
            if not start:
                raise DataError(
                    f"task {tree.task.get('id')!r}, node {i}: no prompt before its tokens: it"
                    " cannot be trained"
                )
            numbers[i] = out.segments
            out.segments += 1
            old = _old(credit, i)
            segments.append(Segment(start, old, *says[i], node.origin.version == INJECTED))
        out.rows.append(Row(np.asarray(tree.sequence(last), np.int32), tuple(segments)))
    return numbers


def _old(credit: _Credit, i: int) -> NDArray[np.float32]:
    """The engine's log-probs of node i's tokens, NaN where none were told and none are needed."""
    node = credit.tree.nodes[i]
    if len(node.logprobs) == len(node.tokens):
        return np.asarray(node.logprobs, np.float32)
    if credit.needs_old or node.origin.version == INJECTED:
        where = f"task {credit.tree.task.get('id')!r}, node {i}: tokens without log-probs"
        if node.origin.version == INJECTED:
            raise DataError(f"{where}: what another one put in cannot be trained without")
        raise DataError(
            f"{where}: this loss reads them; loss.old = 'trainer' does not, without truncate,"
            " importance and a gate on leaves"
        )
    return np.full(len(node.tokens), np.nan, np.float32)


def carried(tree: Tree, nodes: Sequence[int]) -> list[tuple[int, list[int]]]:
    """The nodes as (last node of a row, nodes whose whole sequence that row begins with)."""
    left = set(nodes)
    out = []
    for last in reversed(nodes):
        if last not in left:
            continue
        held, i = [], last
        while i > 0:
            if i in left:
                left.remove(i)
                held.append(i)
            node = tree.nodes[i]
            i = node.parent if node.prefix is None else node.prefix
            if node.keep is not None and node.keep < tree.length(i):
                break
        out.append((last, held[::-1]))
    return out[::-1]
