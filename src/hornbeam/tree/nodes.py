"""The tree: frozen nodes (facts), named columns (opinions), walks and folds.

Node 0 is the task; every other node is one step of an episode: one model call, or one chunk of
one. Parents come first, so a walk is a while loop and a fold is one backward loop. Nodes are only
ever appended. What a method thinks of a node (reward, value, visits, advantage ...) is a column:
one entry a node, `None` where it has nothing to say, and `None` is not zero.

Tokens are held once: a node's *context* (all ids the model saw before it sampled) is the first
`keep` ids of the sequence of node `prefix`, then `prompt`; its *sequence* is the context, then
`tokens`. Without a `prefix` the parent's whole sequence is meant.

Left out: how trees grow (grow), how they are kept (store), what they earn (credit).
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from hornbeam.arguments import short, wrong
from hornbeam.errors import DataError
from hornbeam.tree.facts import Call as Call
from hornbeam.tree.facts import StepReward as StepReward

T = TypeVar("T")
Column = list[float | None]

INJECTED = -1  # version of a node that was put in, a teacher's, not grown by the policy
LONGEST = 100  # characters of the columns' names that a tree shows of itself
NEAR = 8  # ancestors of one agent that a new node's ids are looked for in


def ids(values: Iterable[int] = ()) -> array[int]:
    """Token ids as a compact array (4 bytes each)."""
    return values if isinstance(values, array) else array("i", values)


def floats(values: Iterable[float] = ()) -> array[float]:
    """Log-probs as a compact array (float32)."""
    return values if isinstance(values, array) else array("f", values)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node came from: its place in the growth of its tree, and who sampled it from what."""

    episode: int = 0  # which episode grew it
    step: int = 0  # its place among the nodes of that episode
    turn: int = 0  # its ask's place among the asks of its path; chunks of one answer share it
    seed: int = 0  # of the request that sampled it
    version: int = 0  # of the policy that spoke; or INJECTED
    ask: str = ""  # digest of what was asked, checked on replay


class Placed(NamedTuple):
    """Where a node's context is held: ids of another node's sequence, then ids of its own."""

    prompt: array[int]
    prefix: int | None = None
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One step: what was put in, what was sampled, what followed. See the head of this file."""

    parent: int
    agent: str = ""
    scope: str = ""  # which delegation it belongs to; "" is the main agent
    prefix: int | None = None  # whose sequence the context begins with; None: the parent's
    keep: int | None = None  # how many ids of that sequence; None: all
    prompt: array[int] = field(default_factory=ids)
    tokens: array[int] = field(default_factory=ids)
    logprobs: array[float] = field(default_factory=floats)
    text: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = ""  # stop, length, chunk (goes on below), error, too long, end (no ask), ready
    origin: Origin = Origin()
    messages: tuple[Mapping[str, Any], ...] = ()  # what was put in, where it is kept as text
    done: bool = False  # the episode ended here
    answer: Any = None
    error: str = ""  # why the episode failed, if it did
    rewards: tuple[StepReward, ...] = ()  # that the program gave, in order
    state: str = ""  # key of what it was sampled in (equal text, equal state); "" is not known

    def __repr__(self) -> str:
        parts = [f"{self.agent or 'node'} of {self.parent}"]
        parts += [short(self.text)] if self.text else []
        parts += [f"{len(self.tokens)} tokens"] if self.tokens else []
        parts += [f"{len(self.calls)} calls"] if self.calls else []
        parts += [f"answer {short(self.answer)}"] if self.done and not self.error else []
        parts += [f"failed: {short(self.error)}"] if self.error else []
        return f"<Node {', '.join(parts)}>"

    def heard(self, call: Call) -> Node:
        """The same node with one call more."""
        return self.changed(calls=(*self.calls, call))

    def changed(self, **values: Any) -> Node:
        """The same node with other values (like `dataclasses.replace`, twice as fast)."""
        names = self.__slots__
        return Node(*[values[n] if n in values else getattr(self, n) for n in names])

    def placed(self, parent: int, where: Placed) -> Node:
        """The same node at a place in a tree (like `dataclasses.replace`, three times as fast)."""
        return Node(
            parent,
            self.agent,
            self.scope,
            where.prefix,
            where.keep,
            where.prompt,
            self.tokens,
            self.logprobs,
            self.text,
            self.calls,
            self.finish,
            self.origin,
            self.messages,
            self.done,
            self.answer,
            self.error,
            self.rewards,
            self.state,
        )


@dataclass(slots=True)
class Tree:
    """One task and all that was grown from it. `task` is the task as JSON; it has an "id"."""

    task: dict[str, Any]
    nodes: list[Node] = field(default_factory=lambda: [Node(-1)])
    columns: dict[str, Column] = field(default_factory=dict)
    seed: int = 0
    _children: list[int | list[int]] = field(default_factory=list, repr=False, compare=False)
    _lengths: array[int] = field(default_factory=lambda: array("q"), repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.task, dict):
            raise wrong("Tree", "a task as JSON data, an object with an id", self.task)
        for i, node in enumerate(self.nodes):
            self._check(i, node)
            self._enter(i, node)

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        columns = f", columns {', '.join(sorted(map(str, self.columns)))}" if self.columns else ""
        steps, leaves = len(self.nodes) - 1, len(self.leaves())
        name = short(self.task.get("id"))
        return f"<Tree {name}: {steps} steps, {leaves} leaves{columns[:LONGEST]}>"

    def append(self, node: Node) -> int:
        """Add a node after its parent; every column grows by a `None`. Returns its index."""
        index = len(self.nodes)
        self._check(index, node)
        self.nodes.append(node)
        self._enter(index, node)
        if self.columns:
            for column in self.columns.values():
                column.append(None)
        return index

    def _enter(self, index: int, node: Node) -> None:
        self._lengths.append(self._head(node) + len(node.prompt) + len(node.tokens))
        self._children.append(0)
        if not index:
            return
        below = self._children[node.parent]
        if isinstance(below, list):
            below.append(index)
        else:  # most nodes have one child at most, which needs no list; 0 is nobody's child
            self._children[node.parent] = [below, index] if below else index

    def column(self, name: str) -> Column:
        """The column of that name, made of `None` where it does not exist yet."""
        return self.columns.setdefault(name, [None] * len(self.nodes))

    def children(self, i: int) -> Sequence[int]:
        """Indices of the children of node i, oldest first."""
        below = self._children[i]
        if isinstance(below, list):
            return below
        return (below,) if below else ()

    def is_leaf(self, i: int) -> bool:
        """Whether nothing grew from node i."""
        return not self._children[i]

    def leaves(self) -> list[int]:
        """All leaves in order of index; the task itself is none."""
        return [i for i in range(1, len(self.nodes)) if not self._children[i]]

    def path(self, i: int) -> list[int]:
        """Indices from the first step (a child of node 0) down to node i."""
        walk = []
        while i > 0:
            walk.append(i)
            i = self.nodes[i].parent
        return walk[::-1]

    def trunk(self, i: int) -> int:
        """The child of node 0 above node i (or i itself)."""
        while self.nodes[i].parent > 0:
            i = self.nodes[i].parent
        return i

    def depth(self, i: int) -> int:
        """Steps from the task to node i; the task has depth 0."""
        return len(self.path(i))

    def length(self, i: int) -> int:
        """How many ids the sequence of node i has."""
        return self._lengths[i]

    def sequence(self, i: int) -> array[int]:
        """All ids up to the end of node i's sampled tokens, shape [length]."""
        return self._ids(i, self._lengths[i])

    def context(self, i: int) -> array[int]:
        """All ids that the model saw before it sampled node i, shape [length]."""
        return self._ids(i, self._lengths[i] - len(self.nodes[i].tokens))

    def before(self, node: Node) -> array[int]:
        """The context of a node that is not of this tree yet, shape [length]."""
        above = node.parent if node.prefix is None else node.prefix
        return self._ids(above, self._head(node)) + node.prompt

    def _ids(self, i: int, need: int) -> array[int]:
        """The first `need` ids of node i's sequence."""
        parts = []
        while need > 0:
            node = self.nodes[i]
            head = self._head(node)
            if need > head:
                parts.append((node.prompt + node.tokens)[: need - head])
                need = head
            i = node.parent if node.prefix is None else node.prefix
        out = ids()
        for part in reversed(parts):
            out.extend(part)
        return out

    def _head(self, node: Node) -> int:
        """How many ids stand before the node's own prompt."""
        if node.parent < 0:
            return 0
        if node.keep is not None:
            return node.keep
        return self._lengths[node.parent if node.prefix is None else node.prefix]

    def _check(self, index: int, node: Node) -> None:
        """A node stands after what it refers to, and keeps no more than is there."""
        if not isinstance(node, Node):
            raise wrong("a tree", "nodes", node)
        if not (0 <= node.parent < index or (index == 0 and node.parent == -1)):
            raise DataError(
                f"node {index} has parent {node.parent}: parents come first, and -1 is node 0's"
            )
        before = node.parent if node.prefix is None else node.prefix
        if node.prefix is not None and not 0 <= before < index:
            raise DataError(f"node {index} has prefix {before}: it must come before the node")
        there = self._lengths[before] if index else 0
        if node.keep is not None and not 0 <= node.keep <= there:
            raise DataError(f"node {index} keeps {node.keep} ids of the {there} of node {before}")

    def place(
        self, parent: int, agent: str, context: array[int], above: array[int] | None = None
    ) -> Placed:
        """`prefix`, `keep` and `prompt` for a new node so that ids already held are not held again.

        Looks at the nearest ancestors that the same agent spoke (it may hold several conversations
        in turn) until one is all taken up, and at the first such sibling. `above` is the parent's
        sequence, for who has it.
        """
        i, shared, whole = self._nearest(parent, agent, context, above)
        if shared < len(context) and self._children[parent]:
            twin = next((c for c in self.children(parent) if self.nodes[c].agent == agent), 0)
            if twin:
                seen = self.context(twin)
                also = common_prefix(seen, context)
                if also > shared:
                    return Placed(context[also:], twin, also)
        if i == parent and whole:
            return Placed(context[shared:])
        return Placed(context[shared:], i, shared)

    def _nearest(
        self, parent: int, agent: str, context: array[int], above: array[int] | None
    ) -> tuple[int, int, bool]:
        """(ancestor, ids its sequence shares with the context, whether those are all it has)."""
        best, i = (0, 0, False), parent
        for _ in range(NEAR):
            while i > 0 and self.nodes[i].agent != agent:
                i = self.nodes[i].parent
            near = above if i == parent and above is not None else self.sequence(i)
            shared = common_prefix(near, context)
            whole = shared == len(near)
            if shared > best[1] or best[0] == 0:
                best = (i, shared, whole)
            if whole or i <= 0:
                break
            i = self.nodes[i].parent
        return best


def answered(tree: Tree) -> list[int]:
    """Leaves that hold an answer: where an episode ended and did not fail.

    In a tree that does not say where one ended (others recorded it) every leaf that did not fail.
    """
    says = any(node.done for node in tree.nodes)
    return [i for i in tree.leaves() if not tree.nodes[i].error and tree.nodes[i].done >= says]


def cut_off(tree: Tree, i: int) -> bool:
    """Whether the last answer on the path to node i was cut off, at max_tokens or the window."""
    while i > 0 and tree.nodes[i].finish == "end":  # of the episode, without an ask
        i = tree.nodes[i].parent
    return tree.nodes[i].finish == "length"


def canonical(tree: Tree) -> Tree:
    """The same tree with nodes in order of (episode, step), parents first, however they came.

    Ids are placed anew, so that what is held and by whom does not hang on that order either.
    """
    places = [(node.origin.episode, node.origin.step) for node in tree.nodes[1:]]
    if all(a < b for a, b in pairwise(places)):
        return tree
    new, order = {0: 0}, [0]
    out = Tree(tree.task, [tree.nodes[0]], {}, tree.seed)
    ready = [(*places[c - 1], c) for c in tree.children(0)]
    heapq.heapify(ready)
    while ready:
        i = heapq.heappop(ready)[2]
        node, parent = tree.nodes[i], new[tree.nodes[i].parent]
        new[i] = out.append(node.placed(parent, out.place(parent, node.agent, tree.context(i))))
        order.append(i)
        for c in tree.children(i):
            heapq.heappush(ready, (*places[c - 1], c))
    for name, column in tree.columns.items():
        out.columns[name] = [column[i] for i in order]
    return out


def common_prefix(a: array[int], b: array[int]) -> int:
    """Length of the longest common prefix of two id arrays."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    low, high = 0, n  # a[:low] equal, a[:high] not
    while high - low > 1:
        mid = (low + high) // 2
        if a[low:mid] == b[low:mid]:
            low = mid
        else:
            high = mid
    return low


# --- folds: up from the leaves, down from the task; one loop each --------------------------------


def fold_up(tree: Tree, leaf: Callable[[int], T], join: Callable[[int, list[T]], T]) -> list[T]:
    """One value a node from the leaves upwards: `leaf(i)` at leaves, `join(i, below)` elsewhere."""
    out: list[Any] = [None] * len(tree)
    for i in range(len(tree) - 1, -1, -1):
        below = tree.children(i)
        out[i] = join(i, [out[c] for c in below]) if below else leaf(i)
    return out


def leaves_below(tree: Tree, keep: Callable[[int], bool]) -> list[list[int]]:
    """For every node the leaves below it (itself if it is one) for which `keep(leaf)` holds."""
    return fold_up(
        tree,
        lambda i: [i] if i and keep(i) else [],
        lambda _, below: [leaf for part in below for leaf in part],
    )
