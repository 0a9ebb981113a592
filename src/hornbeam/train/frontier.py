"""Values of growing trees: each token of a tree is computed once.

The sequences of a tree are a trie of tokens. Each token has a *slot* in one pool that all trees
share: its keys and values, its position, and z there. New tokens, of whatever trees, run in one
packed pass: each writes its slot and attends to the slots of its path. Nothing is computed again
while it is kept; what was used least recently goes first when the pool is full.

What other weights computed is forgotten as soon as they are seen to have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache

from hornbeam.engine.fingerprint import Fingerprint
from hornbeam.train import attention, onednn, recurrent, rope
from hornbeam.train.first_check import check_packed
from hornbeam.train.train_settings import BLOCK
from hornbeam.tree.nodes import Tree

if TYPE_CHECKING:
    from hornbeam.train.value import ValueModel

Ints = NDArray[np.int64]
FIRST = 1024  # slots that the pool begins with


class _SlotCache(Cache):  # type: ignore[misc]
    """Keys and values of all slots, [1, heads, slots, dim] a layer; writes those at `at`."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.kept: list[tuple[Tensor, Tensor]] = []
        self.room = 0
        self.at = torch.empty(0, dtype=torch.long)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """The whole pool of the layer, the new ones written in."""
        new = key_states, value_states
        if layer_idx == len(self.kept):
            self.kept.append((self._wider(new[0][:, :, :0]), self._wider(new[1][:, :, :0])))
        pool = self.kept[layer_idx]
        for held, states in zip(pool, new):
            held[:, :, self.at] = states
        return pool

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """All slots, from the first on."""
        return self.room, 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """None: where a token stands is told by its path."""
        return 0

    def widen(self, room: int) -> None:
        """Make room for so many slots."""
        self.room = room
        for layer, (keys, values) in enumerate(self.kept):  # one by one: memory for one copy
            self.kept[layer] = self._wider(keys), self._wider(values)

    def _wider(self, held: Tensor) -> Tensor:
        """The same with zeros behind it: 0 * NaN would pass through the mask."""
        out = held.new_zeros(*held.shape[:2], self.room, held.shape[3])
        out[:, :, : held.shape[2]] = held
        return out


@dataclass(slots=True)
class _TreeTrie:
    """The trie of one tree: (slot of the token before, token) -> slot; -1 stands before all."""

    tree: Tree
    slots: dict[tuple[int, int], int] = field(default_factory=dict)


@dataclass(slots=True)
class _Run:
    """New tokens `start` to `stop` of a pass's list; they end the path `slots`."""

    owner: int
    start: int
    stop: int
    slots: Ints

    def cut(self, a: int, b: int) -> _Run:
        """What of the run lies in [a, b), counted from a."""
        start, stop = max(self.start, a), min(self.stop, b)
        path = self.slots[: len(self.slots) - (self.stop - stop)]
        return _Run(self.owner, start - a, stop - a, path)


class _Paths:
    """Who sees whom: each new token its own path. Blocks hold runs of one tree only."""

    def __init__(self, runs: Sequence[_Run], device: torch.device, room: int) -> None:
        self.device = device
        self.parts: list[list[_Run]] = []
        for run in runs:
            last = self.parts[-1] if self.parts else []
            full = last and run.stop - last[0].start > BLOCK
            if not last or full or last[0].owner != run.owner:
                self.parts.append([])
            self.parts[-1].append(run)
        self.total = room
        depths = [np.arange(len(r.slots) - (r.stop - r.start), len(r.slots)) for r in runs]
        self.position = torch.as_tensor(np.concatenate(depths), device=device)

    def blocks(self, rule: attention.Rule | None) -> list[attention.Block]:
        """All blocks."""
        return [self._block(part, rule) for part in self.parts]

    def _block(self, part: Sequence[_Run], rule: attention.Rule | None) -> attention.Block:
        keys = np.unique(np.concatenate([run.slots for run in part]))
        start = part[0].start
        mask = np.zeros((part[-1].stop - start, len(keys)), bool)
        for run in part:
            count, length = run.stop - run.start, len(run.slots)
            columns = np.searchsorted(keys, run.slots)
            depth = np.arange(length - count, length)[:, None]
            place = np.arange(length)[None]
            seen = place <= depth
            if rule is not None:
                at = torch.from_numpy(depth), torch.from_numpy(place)
                seen &= attention.allowed(rule, *at).numpy()
            mask[run.start - start : run.stop - start, columns] = seen
        used = mask.any(0)
        return (
            slice(start, part[-1].stop),
            torch.as_tensor(keys[used], device=self.device),
            torch.as_tensor(mask[:, used], device=self.device),
        )


def _fresh(kept: _TreeTrie, tree: Tree, nodes: Sequence[int]) -> int:
    """How many tokens of these nodes' sequences are not kept."""
    fresh: dict[tuple[int, int], int] = {}
    for i in nodes:
        at = -1
        for token in tree.sequence(i):
            key = (at, token)
            found = kept.slots.get(key)
            at = fresh.setdefault(key, -2 - len(fresh)) if found is None else found
    return len(fresh)


class Frontier:
    """Reads values at nodes of growing trees; keeps about `room` tokens of them.

    What is asked for at once stays until it is answered, be it more than `room`.
    """

    def __init__(self, model: ValueModel, room: int) -> None:
        self.model, self.room = model, room
        # Longer sequences are read whole: their states, or keys at other frequencies, are not kept.
        turn = rope.lengths(model.body).turn
        self._longest = 0 if recurrent.mixers(model.body) else turn or 2**31
        if not model.optim.packed:
            check_packed(model.body, model.name)
        self.device = model.model.score.weight.device
        self._weights = Fingerprint(model.model)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._trees: dict[int, _TreeTrie] = {}
        self._store = _SlotCache()
        self._free: list[int] = []
        self._round, self._droppable = 0, True
        self._owner: list[int] = []  # id of its tree; of every slot, as are all below
        self._before = np.empty(0, np.int64)
        self._token = np.empty(0, np.int64)
        self._used = np.empty(0, np.int64)  # in which round; 0 where free
        self._z = np.empty(0)
        self._position = np.empty(0, np.int64)

    @property
    def held(self) -> int:
        """How many tokens are kept."""
        return self._store.room - len(self._free)

    def forget(self, tree: Tree) -> None:
        """Give back what is kept for a tree."""
        kept = self._trees.pop(id(tree), None)
        if kept is not None:
            self._release(np.fromiter(kept.slots.values(), np.int64, len(kept.slots)))

    def new(self, tree: Tree, nodes: Sequence[int]) -> int:
        """How many tokens reading these nodes would run now; later ones never run more."""
        known = None if self._weights.touched() else self._trees.get(id(tree))
        kept = known or _TreeTrie(tree)
        short, long = self._split(tree, nodes)
        return _fresh(kept, tree, short) + _fresh(_TreeTrie(tree), tree, long)

    def _split(self, tree: Tree, nodes: Sequence[int]) -> tuple[list[int], list[int]]:
        """Nodes whose sequences are kept, and those that are read whole."""
        sides: tuple[list[int], list[int]] = [], []
        for i in nodes:
            sides[tree.length(i) > self._longest].append(i)
        return sides

    def read(self, asks: Sequence[tuple[Tree, Sequence[int]]]) -> list[tuple[list[float], int]]:
        """(z of every node asked about, tokens run for it) of each ask; one packed pass for all.

        A pass holds at most `optim.max_pack_tokens` new tokens; more take several.
        """
        if self._weights.differs():
            self.clear()
            self._weights.take()
        sides = [self._split(tree, nodes) for tree, nodes in asks]
        short = self._read([(tree, side[0]) for (tree, _), side in zip(asks, sides)])
        long = [(tree, side[1]) for (tree, _), side in zip(asks, sides)]
        whole = self.model.read(long) if any(nodes for _, nodes in long) else [[] for _ in long]
        out = []
        for (tree, nodes), (zs, count), more, (_, late) in zip(asks, short, whole, long):
            read_whole = set(late)
            outputs = dict(zip([i for i in nodes if i not in read_whole], zs)) | dict(
                zip(late, more)
            )
            out.append(([outputs[i] for i in nodes], count + _fresh(_TreeTrie(tree), tree, late)))
        return out

    def _read(self, asks: Sequence[tuple[Tree, Sequence[int]]]) -> list[tuple[list[float], int]]:
        self._round, self._droppable = self._round + 1, True
        for tree, nodes in asks:  # what is known of any of them must not make room for others
            kept = self._trees.setdefault(id(tree), _TreeTrie(tree))
            for i in nodes:
                self._touch(kept, tree.sequence(i))
        ends: list[list[int]] = []
        counts: list[int] = []
        slots: list[int] = []
        runs: list[_Run] = []
        for tree, nodes in asks:
            before = len(slots)
            ends.append([self._add(id(tree), tree.sequence(i), slots, runs) for i in nodes])
            counts.append(len(slots) - before)
        most = self.model.optim.max_pack_tokens
        body = self.model.body
        with torch.no_grad(), attention.packed(body), onednn.linear_layers(body):
            for a in range(0, len(slots), most):
                b = min(a + most, len(slots))
                cut = [run.cut(a, b) for run in runs if run.start < b and run.stop > a]
                self._pass(np.asarray(slots[a:b]), cut)
        return [([float(self._z[at]) for at in e], n) for e, n in zip(ends, counts)]

    def _pass(self, slots: Ints, runs: Sequence[_Run]) -> None:
        """Run new tokens, whose places are `slots`."""
        model, at = self.model, torch.as_tensor(slots, device=self.device)
        self._store.at = at
        kind = self.device.type
        bf16 = torch.autocast(kind, torch.bfloat16) if model.optim.bf16 else nullcontext()
        with bf16, attention.seeing(_Paths(runs, self.device, self._store.room)):
            out = model.body(
                input_ids=torch.as_tensor(self._token[slots], device=self.device)[None],
                position_ids=torch.as_tensor(self._position[slots], device=self.device)[None],
                past_key_values=self._store,
                attention_mask=torch.ones(1, len(slots), dtype=torch.long, device=self.device),
                use_cache=True,
            )
        self._z[slots] = model.head(out.last_hidden_state[0]).cpu().numpy()

    def _touch(self, kept: _TreeTrie, sequence: Sequence[int]) -> None:
        at, path = -1, []
        for token in sequence:
            found = kept.slots.get((at, token))
            if found is None:
                break
            at = found
            path.append(at)
        self._used[path] = self._round

    def _add(self, owner: int, sequence: Sequence[int], slots: list[int], runs: list[_Run]) -> int:
        """The slot of a sequence's last token; slots and the run of its new tokens are added."""
        known, path, start = self._trees[owner].slots, [], len(slots)
        at = -1
        for place, token in enumerate(sequence):
            key = (at, token)
            found = known.get(key)
            if found is None:
                found = known[key] = self._slot()
                self._owner[found] = owner
                self._before[found], self._token[found] = key
                self._used[found] = self._round
                self._position[found] = place
                slots.append(found)
            at = found
            path.append(at)
        if len(slots) > start:
            runs.append(_Run(owner, start, len(slots), np.asarray(path)))
        return at

    def _slot(self) -> int:
        """A free slot; where too much is held, what is oldest goes, and at need the pool grows."""
        if self.held >= self.room and self._droppable:
            self._drop_oldest()
        if not self._free:
            self._widen()
        return self._free.pop()

    def _drop_oldest(self) -> None:
        """Drop a tenth of what may be held and what is as old, but nothing of this round.

        A token is used whenever one below it is, so what is dropped has nothing left below it.
        """
        old = np.sort(self._used[(self._used > 0) & (self._used < self._round)])
        wanted = self.held - int(0.9 * self.room)
        self._droppable = len(old) > wanted
        if len(old):
            limit = old[min(len(old), wanted) - 1]
            gone = np.flatnonzero((self._used > 0) & (self._used <= limit))
            for at in gone.tolist():
                del self._trees[self._owner[at]].slots[int(self._before[at]), int(self._token[at])]
            self._release(gone)

    def _release(self, slots: Ints) -> None:
        self._used[slots] = 0
        self._free += slots.tolist()[::-1]

    def _widen(self) -> None:
        """Twice the slots up to what may be held, a quarter more beyond it."""
        old = self._store.room
        room = min(max(FIRST, 2 * old), self.room) if old < self.room else old + max(64, old // 4)
        more = room - old
        self._store.widen(room)
        self._owner += [0] * more
        zeros = np.zeros(more, np.int64)
        self._before = np.concatenate([self._before, zeros])
        self._token = np.concatenate([self._token, zeros])
        self._used = np.concatenate([self._used, zeros])
        self._z = np.concatenate([self._z, np.zeros(more)])
        self._position = np.concatenate([self._position, zeros])
        self._free += range(room - 1, old - 1, -1)
