"""The prefix tree: which token sequences have keys and values already, and which are still to run.

A radix tree of runs of tokens. A run holds its keys and values `kv` [2, layers, heads, tokens,
dim], or None while it is pending, and the logits after its last token where a prompt ends there.
Of a recurrent model it also holds the state after its last token, which its children start from: a
run that is cut in two leaves the upper half without one, to be run again when it is needed.
Prompts are added first, pending runs are then computed level by level (parents before children),
so what requests share is computed once even when they arrive together.

Left out: the model (network) and the rows of the running batch (slots).
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator
from itertools import count

from torch import Tensor

from hornbeam.tree.nodes import ids

CHUNK = 512  # longest run that is computed in one piece
State = tuple[Tensor, ...]  # what a recurrent model keeps of a sequence; empty where it keeps none


class PrefixRun:
    """Some tokens that follow on the parent's, and what the model made of them."""

    __slots__ = (
        "children",
        "far",
        "kv",
        "logits",
        "parent",
        "start",
        "state",
        "tokens",
        "used",
        "wanted",
    )

    def __init__(
        self, parent: PrefixRun | None, tokens: array[int], start: int, far: int = 0
    ) -> None:
        self.parent = parent
        self.far: int = far if parent is None else parent.far  # see `PrefixTree`
        self.tokens = tokens
        self.start = start  # how many tokens come before
        self.children: dict[int, PrefixRun] = {}
        self.kv: Tensor | None = None
        self.state: State | None = None  # after the last token
        self.logits: Tensor | None = None  # [V], after the last token
        self.wanted = False  # a prompt ends here: the logits are asked for
        self.used = 0

    @property
    def end(self) -> int:
        """How many tokens there are up to its last."""
        return self.start + len(self.tokens)

    def path(self) -> list[PrefixRun]:
        """The runs from the root's child down to this one."""
        out: list[PrefixRun] = []
        run: PrefixRun | None = self
        while run is not None and run.parent is not None:
            out.append(run)
            run = run.parent
        return out[::-1]

    def known_logits(self) -> Tensor:
        """The logits [V] after the last token, once they are computed."""
        assert self.logits is not None
        return self.logits


class PrefixTree:
    """Keys and values of token sequences, of one version of the weights.

    A model may see all places otherwise in sequences longer than `far` (longrope): those have a
    root of their own.
    """

    def __init__(self, budget: int, logits_cost: int = 0, state_cost: int = 0) -> None:
        self.budget = budget
        self.logits_cost = logits_cost  # of one row of logits, in tokens' worth of memory
        self.state_cost = state_cost  # of one state, likewise; 0 where the model has none
        self.held = 0  # tokens' worth of memory in use
        self._roots: dict[int, PrefixRun] = {}
        self.pending: list[PrefixRun] = []
        self._clock = count(1)

    def _root(self, far: int) -> PrefixRun:
        return self._roots.setdefault(far, PrefixRun(None, ids(), 0, far))

    def add(self, prompt: array[int], far: int = 0) -> tuple[PrefixRun, int]:
        """The run where `prompt` ends, pending where it is new, and how many tokens that adds."""
        run, at = self._walk(prompt, far)
        fresh = len(prompt) - at
        while at < len(prompt):
            run = self._hang(run, prompt[at : at + CHUNK], at)
            self.pending.append(run)
            at += CHUNK
        if run.kv is not None and run.logits is None:  # the last token is run again for its logits
            if len(run.tokens) > 1 and not self.state_cost:
                self._split(run, len(run.tokens) - 1)  # `run` stays the lower half
            fresh += self._again(run)
        run.wanted = True
        above = run.parent if self.state_cost and run.kv is None else None
        while above is not None and above.parent is not None and above.state is None:
            if above.kv is not None:  # cut in two since it was run: its lower half has the state
                fresh += self._again(above)
            above = above.parent
        return run, fresh

    def _again(self, run: PrefixRun) -> int:
        """Let a run be computed again; how many tokens that is."""
        self.held -= len(run.tokens) + self._state_held(run)
        run.kv = run.state = None
        self.pending.append(run)
        return len(run.tokens)

    def _state_held(self, run: PrefixRun) -> int:
        return self.state_cost if run.state is not None else 0

    def _keep_state(self, run: PrefixRun, state: State) -> None:
        if state:
            run.state = state
            self.held += self.state_cost

    def ready(self) -> list[PrefixRun]:
        """The pending runs above which all is computed (what is run again has children)."""
        return [r for r in self.pending if all(a.kv is not None for a in r.path()[:-1])]

    def fill(self, run: PrefixRun, kv: Tensor, logits: Tensor, state: State = ()) -> None:
        """A pending run was computed; `logits` [V] are kept if a prompt ends there."""
        run.kv = kv
        self._keep_state(run, state)
        self.held += len(run.tokens)
        if run.wanted and run.logits is None:
            run.logits = logits
            self.held += self.logits_cost
        self.pending.remove(run)

    def known(self, tokens: array[int], far: int = 0) -> int:
        """How many of the first tokens are computed already; nothing is changed."""
        run, at, stated = self._root(far), 0, 0
        while at < len(tokens):
            below = run.children.get(tokens[at])
            if below is None or below.kv is None:
                break
            shared = _shared(below.tokens, tokens[at : at + len(below.tokens)])
            at += shared
            if shared < len(below.tokens):
                break
            run = below
            if run.state is not None:
                stated = at
        return stated if self.state_cost else at

    def give(self, tokens: array[int], kv: Tensor, state: State = (), far: int = 0) -> None:
        """Keep keys and values [2, layers, heads, tokens, dim] and the state of a sequence."""
        run, at = self._walk(tokens, far)
        if at < len(tokens):
            run = self._hang(run, tokens[at:], at)
            run.kv = kv[:, :, :, at:].clone()
            self.held += len(run.tokens)
        if run.state is None:
            self._keep_state(run, tuple(held.clone() for held in state))

    def trim(self) -> None:
        """Drop what was used least recently, leaves first, until the budget holds.

        Drops a tenth more than it must, so that a full tree is not searched at every call.
        """
        if self.held <= self.budget:
            return
        leaves = [(r.used, i, r) for i, r in enumerate(self._runs()) if not r.children]
        heapq.heapify(leaves)
        ties = count(len(leaves))
        while leaves and self.held > 0.9 * self.budget:
            _, _, run = heapq.heappop(leaves)
            parent = run.parent
            assert parent is not None
            del parent.children[run.tokens[0]]
            self.held -= len(run.tokens) + self._state_held(run)
            self.held -= self.logits_cost if run.logits is not None else 0
            if not parent.children and parent.parent is not None:
                heapq.heappush(leaves, (parent.used, next(ties), parent))

    def clear(self) -> None:
        """Drop everything."""
        self.held = 0
        self._roots = {}
        self.pending = []

    def _runs(self) -> Iterator[PrefixRun]:
        stack = [run for root in self._roots.values() for run in root.children.values()]
        while stack:
            run = stack.pop()
            yield run
            stack.extend(run.children.values())

    def _walk(self, tokens: array[int], far: int) -> tuple[PrefixRun, int]:
        """The run where the longest known prefix of `tokens` ends, and that prefix's length."""
        now = next(self._clock)
        run, at = self._root(far), 0
        run.used = now
        while at < len(tokens) and tokens[at] in run.children:
            child = run.children[tokens[at]]
            same = _shared(child.tokens, tokens[at : at + len(child.tokens)])
            if same < len(child.tokens):
                child = self._split(child, same)
            child.used = now
            run, at = child, at + same
        return run, at

    def _hang(self, parent: PrefixRun, tokens: array[int], start: int) -> PrefixRun:
        run = parent.children[tokens[0]] = PrefixRun(parent, tokens, start)
        run.used = parent.used
        return run

    def _split(self, run: PrefixRun, at: int) -> PrefixRun:
        """Cut a run in two before its token `at`; the new upper half is returned."""
        upper = PrefixRun(run.parent, run.tokens[:at], run.start)
        upper.used = run.used
        assert run.parent is not None
        run.parent.children[run.tokens[0]] = upper
        run.parent, run.tokens, run.start = upper, run.tokens[at:], run.start + at
        upper.children[run.tokens[0]] = run
        if run.kv is None:
            self.pending.append(upper)
        else:  # copies: a view would keep the whole in memory when one half is dropped
            upper.kv, run.kv = run.kv[:, :, :, :at].clone(), run.kv[:, :, :, at:].clone()
        return upper


def _shared(a: array[int], b: array[int]) -> int:
    """Length of the common prefix of two sequences."""
    if a == b:
        return len(a)
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
