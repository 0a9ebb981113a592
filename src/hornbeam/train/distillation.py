"""On-policy distillation: a teacher's log-probs of what the policy sampled, along the tree.

The policy grows the trees. The teacher reads each pack once, so that a token which several leaves
share is read once, and what a token adds is weighed as elsewhere, by w = sum of w_i over the leaves
below. Two forms:

    sampled   a = log p - log pi of each sampled token (p the teacher's), held constant, is its
              advantage: the policy gradient of KL(pi | p) on the policy's own samples
    full      D(pi, p) over the vocabulary, at every place where a token was sampled

GKD, Agarwal et al., arXiv 2306.13649; Lu et al., "On-policy distillation", Thinking Machines 2025.
Both at the temperature of sampling. Tokens that another one put in are no samples: they are left
out. Left out too: distillation on texts of the teacher, and teachers behind servers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from hornbeam.errors import ModelError, StoreError
from hornbeam.train import attention, forward, onednn
from hornbeam.train.first_check import check
from hornbeam.train.leaves import Batch, Fixed, Over, own
from hornbeam.train.losses import Units, token_units
from hornbeam.train.pack import Pack
from hornbeam.train.rope import Lengths
from hornbeam.train.rows import Rows
from hornbeam.train.train_settings import LossSettings, OptimSettings

_LOADED: WeakValueDictionary[tuple[Path, str], Any] = WeakValueDictionary()  # shared by policies


def divergence(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """D of log-probs [..., vocabulary] of both, [...]: the generalised Jensen-Shannon divergence.

    beta KL(p | m) + (1 - beta) KL(pi | m), m = beta p + (1 - beta) pi; for beta = 0 KL(p | pi), for
    beta = 1 KL(pi | p). GKD, arXiv 2306.13649, Eq. 1; TRL's `generalized_jsd_loss`.
    """
    if beta == 0:
        return _kl(teacher, student)
    if beta == 1:
        return _kl(student, teacher)
    mixed = torch.logaddexp(student + math.log(1 - beta), teacher + math.log(beta))
    return beta * _kl(teacher, mixed) + (1 - beta) * _kl(student, mixed)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p | q) of log-probs."""
    return (p.exp() * (p - q)).sum(-1)


def advantages(how: LossSettings, pack: Pack, logp: Tensor, teacher: Tensor) -> Tensor:
    """A = log p - log pi of each token, [T], a constant held to `bounds.kl`; 0 of another's."""
    most = how.bounds.kl
    return (teacher - logp.detach()).clamp(-most, most).where(own(pack), 0.0)


def units(how: LossSettings, pack: Pack, logp: Tensor, fixed: Fixed) -> Units:
    """The sampled form as what is clipped: tokens, of advantage weight w a.

    Objectives without a ratio (dpo, ipo) have none here either: r = 1.
    """
    assert how.distill is not None and fixed.teacher is not None
    old = logp.detach() if fixed.old is None or how.prefers else fixed.old
    mass = torch.ones_like(logp) if fixed.mass is None else fixed.mass
    a = advantages(how, pack, logp, fixed.teacher)
    value = how.distill.weight * pack.weight[pack.segment] * a
    every = torch.arange(len(logp), device=logp.device)
    made = token_units(logp, old, mass, every, value.clamp(min=0), value.clamp(max=0))
    made.bound = how.bounds.ratio
    return made


def full_loss(how: LossSettings, pack: Pack, apart: Tensor) -> Tensor:
    """Sum_t w_t D_t times `weight`, `apart` [T] being D at every sampled token."""
    assert how.distill is not None
    weight = pack.weight[pack.segment].where(own(pack), 0.0)
    return how.distill.weight * (weight * apart).sum()


def teacher_tokens(batches: Sequence[Batch], over_ranks: Over) -> dict[str, float]:
    """How many tokens a teacher read for these batches, over all ranks."""
    every = [zip(batch.packs, batch.fixed) for batch in batches]
    read = sum(
        p.tokens for pairs in every for p, f in pairs if f.teacher is not None and len(p.old)
    )
    return {"teacher_tokens": float(over_ranks(torch.tensor(float(read), dtype=torch.float64)))}


class Teacher:
    """A frozen causal LM that reads packs; its weights are read when they are first asked for.

    `mark` tells them from others. Raises `ModelError` where the model cannot read packs.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        name: str,
        optim: OptimSettings,
        key: tuple[Path, str] | None = None,
        mark: Callable[[], str] = str,
    ) -> None:
        self.name, self._load, self._optim, self._key = name, load, optim, key
        self._mark, self._attention, self._lengths = mark, "", Lengths()

    @cached_property
    def causal(self) -> Any:
        """The model, in evaluation mode."""
        model = _LOADED.get(self._key) if self._key else None
        if model is None:
            model = self._load()
            for parameter in model.parameters():
                parameter.requires_grad_(False)
            if self._key:
                _LOADED[self._key] = model
        self._attention, self._lengths = check(model, self.name, self._optim)
        if not forward.check_head(model):
            raise ModelError(f"{self.name}: its head is more than a linear layer: no teacher")
        return model

    @cached_property
    def mark(self) -> str:
        """What tells its weights from others."""
        return self._mark()

    def measured(self, rows: Rows) -> Rows:
        """The rows, whose lengths the teacher can read too. Raises `DataError`."""
        longest, model = max((len(row.ids) for row in rows.rows), default=0), self.causal
        self._lengths.check(longest, self.name)
        turn = self._lengths.turn
        if turn is not None and turn != rows.turn and longest > turn:
            raise ModelError(
                f"{self.name}: a row of {longest} tokens is beyond the {turn} up to which its"
                " longrope has short factors: a teacher of the policy's own family is expected"
            )
        most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if most is not None and longest > most:
            raise ModelError(f"{self.name}: reads {most} tokens at most, a run has {longest}")
        size = model.get_input_embeddings().weight.shape[0]
        if (highest := max((int(row.ids.max()) for row in rows.rows), default=0)) >= size:
            raise ModelError(f"{self.name}: knows {size} tokens, a run has token {highest}")
        return rows

    def check(self, mark: str, path: Path) -> None:
        """Raise `StoreError` where a state was trained with other weights than these."""
        if mark != self.mark:
            raise StoreError(
                f"{path}: was trained with another teacher: the weights of {self.name} have changed"
                " since; put them back, or begin a new run"
            )

    def read(self, pack: Pack, loss: LossSettings) -> Tensor:
        """What is read of a pack: log p of every target, [T], or hidden states [U, size] (full)."""
        assert loss.distill is not None
        bf16 = self._optim.bf16
        with self._reading():
            if loss.distill.form == "sampled":
                how: dict[str, Any] = {"bf16": bf16, "temperature": loss.temperature}
                return forward.log_probs(self.causal, pack, **how)[0]
            with forward.precision(pack, bf16):
                return forward.hidden_states(self.causal, pack).index_select(0, pack.sources)

    def beside(self, fixed: Fixed, loss: LossSettings) -> forward.Beside | None:
        """What makes D of a chunk of sources, None of the sampled form.

        Where one model's vocabulary is padded further than the other's it is over what both have.
        """
        assert loss.distill is not None and fixed.teacher is not None
        if loss.distill.form == "sampled":
            return None
        beta, temperature, hidden = loss.distill.beta, loss.temperature, fixed.teacher
        logits_of = forward.head(self.causal)

        def compare(student: Tensor, at: slice) -> Tensor:
            with torch.no_grad():
                logits = logits_of(hidden[at]).float()[:, : student.shape[-1]]
                teacher = torch.log_softmax(logits / temperature, -1)
            if teacher.shape[-1] < student.shape[-1]:
                student = torch.log_softmax(student[:, : teacher.shape[-1]], -1)
            return divergence(student, teacher, beta)

        return compare

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """The model as it reads packs, without gradient, in the products of one that learns."""
        model = self.causal
        attend = attention.packed(model, self._attention) if self._attention else nullcontext()
        with torch.no_grad(), onednn.linear_layers(model), attend:
            yield


def teacher_of(loss: LossSettings, teacher: Teacher | None, name: str) -> Teacher | None:
    """The teacher where the loss has one. Raises `ModelError` where none is given."""
    if loss.distill is not None and teacher is None:
        raise ModelError(f"{name}: loss.distill needs a teacher: give the policy one")
    return teacher if loss.distill is not None else None
