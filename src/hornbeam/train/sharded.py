"""Sharded training: the weights of one policy over several processes, by torch's FSDP2.

Every rank holds a part of each weight, of its gradient and of what the optimiser keeps of it, and
runs its own packs. A loss is a sum over packs with constants of the whole batch, so gradients are
added up over ranks, not averaged, and equal those of one process. Rank 0 reads the trees, hands
their rows to all, and keeps the whole model beside its part: what engines sample from and what is
saved. Files are those of one process; any number of ranks goes on from them.

FSDP's gathers are common to all ranks, so all run equally many packs: some run idle ones, which
have no targets. Frozen weights (LoRA) are sharded too.

Left out: tensor and pipeline parallelism; loading a model that no single machine's memory holds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from hornbeam.train import forward, weights
from hornbeam.train.pack import Pack, cuts, packs, unique
from hornbeam.train.policy import STATE, Policy
from hornbeam.train.ranks import Ranks
from hornbeam.train.rows import Row, Rows, Segment
from hornbeam.train.train_settings import SftSettings

Given = ParamSpec("Given")
Done = TypeVar("Done")
FINEST = 4  # packs a rank, where a batch is cut for balance


def balance(sizes: Sequence[int], ranks: int) -> list[list[int]]:
    """Which packs each rank runs: the largest left goes to the rank with the least so far.

    Longest processing time first: the busiest rank has at most 4/3 - 1/(3 ranks) of what it has in
    the best assignment (R. L. Graham, "Bounds on multiprocessing timing anomalies", 1969). Each
    rank's packs come largest first, as all ranks run their n-th pack at once.
    """
    load, out = [0] * ranks, [[] for _ in range(ranks)]  # type: list[int], list[list[int]]
    for k in sorted(range(len(sizes)), key=lambda k: -sizes[k]):
        least = min(range(ranks), key=lambda rank: load[rank])
        load[least] += sizes[k]
        out[least].append(k)
    return out


def spread(
    rows: Rows, max_tokens: int, ranks: int, *, packed: bool
) -> list[list[tuple[int, list[int]]]]:
    """For every rank its packs, as (tokens, rows).

    Packs are cut smaller than `max_tokens` where that makes the ranks' common time shorter: the
    sum over rounds of the largest pack of the round. A finer cut repeats more of the paths above.
    """
    total = unique(rows)
    finer = {-(-total // (n * ranks)) for n in range(1, FINEST + 1)}
    best: list[list[tuple[int, list[int]]]] = []
    least = 0
    for bound in (max_tokens, *sorted((b for b in finer if b < max_tokens), reverse=True)):
        made = cuts(rows, bound, packed=packed)
        given = balance([size for size, _ in made], ranks)
        rounds = range(max(map(len, given)))
        time = sum(max(made[own[n]][0] for own in given if n < len(own)) for n in rounds)
        if not best or time < least:
            best, least = [[made[k] for k in own] for own in given], time
    return best


def idle(packed: bool, device: str) -> Pack:
    """A pack of two tokens without a target: its loss is 0, its gradient zeros."""
    row = Row(np.zeros(2, np.int32), (Segment(1, np.zeros(1, np.float32), 0.0, 0.0, 0.0),))
    (pack,) = packs(Rows([row]), 2, packed=packed, device=device)
    layout = ("ids", "position", "end", "real")
    none = {f.name: getattr(pack, f.name)[:0] for f in fields(pack) if f.name not in layout}
    return replace(pack, **none)


def by_all(
    body: Callable[Concatenate[ShardedPolicy, Given], Done],
) -> Callable[Concatenate[ShardedPolicy, Given], Done]:
    """A method that rank 0 calls and all ranks run."""

    @wraps(body)
    def walk(self: ShardedPolicy, /, *args: Given.args, **kwargs: Given.kwargs) -> Done:
        self.ranks.order(self.number, body.__name__, args)
        with self.ranks.together("go on together"):
            return body(self, *args, **kwargs)

    return walk


class _Root(torch.nn.Module):
    """FSDP's outermost module: whatever runs in its forward finds embeddings and head whole."""

    def __init__(self, causal: Any) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, run: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What `run` gives."""
        return run()


class ShardedPolicy(Policy):
    """A `Policy` over the processes of `ranks`. All make it alike; then rank 0 calls, others serve.

    `bf16` computes in bfloat16 on float32 master weights, gradients reduced in float32. After
    `step`, `load_state` and the end of `fit` the whole model of rank 0 has the present weights; it
    lies at `whole_at` (the training device by default).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        ranks: Ranks,
        whole_at: str | None = None,
        **more: Any,
    ) -> None:
        self.ranks, self.number = ranks, ranks.join(self)
        self._whole_at = whole_at or ranks.device
        super().__init__(model, tokenizer, **more)
        self._first.done = True  # a row alone would need all ranks; at load the model was whole

    @classmethod
    def load(cls, folder: str | Path, *, ranks: Ranks, **more: Any) -> Self:  # type: ignore[override]
        """The policy of a model folder that every rank can read."""
        return cls(*weights.load(Path(folder)), ranks=ranks, name=str(folder), **more)

    @property
    def whole(self) -> Any:
        """The model with all of its present weights; on rank 0 only."""
        assert self._whole is not None, "the whole model is held by rank 0"
        return self._whole

    def _lay_out(self) -> None:
        self._whole = None
        if self.ranks.leads and self.ranks.device == "cpu":
            self._whole = weights.twin(self.model)
        elif self.ranks.leads:
            self._whole = copy.deepcopy(self.model).to(self._whole_at)
        how = MixedPrecisionPolicy()
        if self.optim.bf16:
            how = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        layers = getattr(self.causal, "_no_split_modules", None) or ()
        self._root: Any = _Root(self.causal)
        parts = [m for m in self.causal.modules() if type(m).__name__ in layers]
        for part in [*parts, self._root]:
            held: Any = fully_shard(
                part, mesh=self.ranks.mesh, reshard_after_forward=True, mp_policy=how
            )
            held.set_gradient_divide_factor(1.0)
            held.set_force_sum_reduction_for_comms(True)  # gloo knows no other

    def _gather(self) -> None:
        """Give the whole model of rank 0 the present weights."""
        into = {} if self._whole is None else dict(self._whole.named_parameters())
        with torch.no_grad():
            for name, parameter in self._named.items():
                full = _full(parameter)
                if name in into:
                    into[name].copy_(full)

    # --- what all ranks do at once ---------------------------------------------------------------

    @by_all
    def _learn(self, parts: Sequence[Rows]) -> dict[str, float]:
        metrics = super()._learn(parts)
        self._gather()
        return metrics

    @by_all
    def _begin_fit(self, settings: SftSettings) -> None:
        super()._begin_fit(settings)

    @by_all
    def _fit(self, rows: Rows) -> dict[str, float]:
        return super()._fit(rows)

    @by_all
    def _end_fit(self) -> None:
        super()._end_fit()
        self._gather()

    @by_all
    def set_reference(self) -> None:
        """Hold the present weights as the KL's reference (only where there is a KL)."""
        super().set_reference()

    def save_state(self, folder: str | Path) -> None:
        """Write all that the next step depends on, in the file that one process writes."""
        weights.write_state(self._whole_state(), Path(folder) / STATE)

    @by_all
    def _whole_state(self) -> dict[str, Any]:
        state: dict[str, Any] = _mapped(self._state(), self._kept)
        return state

    def _kept(self, part: Tensor) -> Tensor:
        full = _full(part)
        return full.cpu() if self.ranks.leads else torch.empty(0)

    def load_state(self, folder: str | Path) -> None:
        """Go on from a state that any number of ranks wrote; every rank reads the file."""
        self._read(Path(folder) / STATE, mmap=True)
        self._restore(str(folder))

    @by_all
    def _restore(self, folder: str) -> None:
        state = self._read(Path(folder) / STATE, mmap=True)
        parameters = list(self._named.values())
        for number, kept in state["optimiser"]["adam"]["state"].items():
            like = parameters[number]
            kept |= {k: self._part(t, like) for k, t in kept.items() if t.shape == like.shape}
        self._take(state)
        self._gather()

    # --- this rank's part ------------------------------------------------------------------------

    def _packs(self, rows: Rows) -> list[Pack]:
        """This rank's packs, filled up with idle ones to as many as the rank of most has."""
        packed, most = self.optim.packed, self.optim.max_pack_tokens
        given = spread(rows, most, self.ranks.size, packed=packed)
        device = str(next(iter(self._named.values())).device)
        groups = [group for _, group in given[self.ranks.rank]]
        made = packs(rows, most, packed=packed, device=device, groups=groups)
        return made + [idle(packed, device)] * (max(map(len, given)) - len(made))

    def _forward(self, pack: Pack, **how: Any) -> tuple[Tensor, ...]:
        out: tuple[Tensor, ...] = self._root(partial(forward.log_probs, self.causal, pack, **how))
        return out

    def _over_ranks(self, values: Tensor) -> Tensor:
        return self.ranks.sum(values)

    def _leaves_first(self, batch: Any) -> bool:
        return True  # other ranks have tokens of the same leaf

    def _part(self, whole: Tensor, like: Tensor) -> Tensor:
        assert isinstance(like, DTensor)
        mesh, placements = like.device_mesh, like.placements
        return distribute_tensor(
            whole.to(like.device), mesh, placements, src_data_rank=None
        ).clone()

    def _swap(self) -> None:
        with torch.no_grad():  # in place: FSDP gathers from the memory that it made
            for name, parameter in self._named.items():
                held = parameter.detach().clone()
                parameter.detach().copy_(self._reference[name])
                self._reference[name] = held


def _full(part: Tensor) -> Tensor:
    return (part.full_tensor() if isinstance(part, DTensor) else part).detach()


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same dicts, lists and tuples with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {k: _mapped(v, change) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(v, change) for v in value)
    return value
