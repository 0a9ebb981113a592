"""A policy: one set of weights and how it learns. Steps on credited trees, fits examples.

The order of everything is the order given, no random number is drawn in a step: equal states and
equal trees give equal weights, bit for bit, on one machine with the same number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from hornbeam.errors import ModelError, StoreError
from hornbeam.train import attention, forward, sft, weights
from hornbeam.train.compare import FirstStep
from hornbeam.train.distillation import Teacher, teacher_of, teacher_tokens
from hornbeam.train.first_check import check
from hornbeam.train.leaves import Batch, Leaves, divergence, of_leaves, stops
from hornbeam.train.minibatches import minibatches
from hornbeam.train.objective import engine_gap, objective
from hornbeam.train.optimise import Optimiser
from hornbeam.train.pack import Pack, packs, unique
from hornbeam.train.rows import Rows, Trains, all_nodes
from hornbeam.train.train_settings import LoraSettings, LossSettings, OptimSettings, SftSettings
from hornbeam.train.update_metrics import StepMetrics
from hornbeam.tree.nodes import Tree

LOSS = LossSettings()
OPTIM = OptimSettings()
SFT = SftSettings()
STATE = "trainer.pt"


class Policy:
    """A causal LM with its optimiser. `version` goes up by one with every change of weights."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        loss: LossSettings = LOSS,
        optim: OptimSettings = OPTIM,
        lora: LoraSettings | None = None,
        seed: int = 0,
        name: str = "",
        teacher: Teacher | None = None,
    ) -> None:
        name = name or type(model).__name__
        if optim.checkpointing:
            weights.checkpoint_activations(model, name)
        self._attention, self._lengths = check(model, name, optim)
        if not forward.check_head(model):
            raise ModelError(f"{name}: its head is more than a linear layer; it cannot be trained")
        self.name = name
        self._first = FirstStep(model, name, optim, loss.temperature)
        self.causal = model
        self.model = weights.add_lora(model, lora, seed) if lora else model
        self.tokenizer = tokenizer
        self.loss, self.optim, self.seed = loss, optim, seed
        self.version = 0
        self._teacher = teacher_of(loss, teacher, name)
        self._lay_out()
        self._named = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self._optimiser = Optimiser(
            list(self._named.values()),
            lr=optim.lr,
            warmup_steps=optim.warmup_steps,
            weight_decay=optim.weight_decay,
            betas=optim.betas,
            max_grad_norm=optim.max_grad_norm,
        )
        self._fitting: Optimiser | None = None
        self._reference: dict[str, Tensor] = {}
        self._hold_reference()

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", **more: Any) -> Self:
        """The policy of a model folder; `more` is as for the class.

        Raises `ModelError` where it cannot be trained so.
        """
        model, tokenizer = weights.load(Path(folder))
        return cls(model.to(device), tokenizer, name=str(folder), **more)

    # --- what is otherwise in a policy of several processes (see sharded) ------------------------

    @property
    def whole(self) -> Any:
        """The model with all of its present weights, for engines in this process."""
        return self.model

    def _lay_out(self) -> None:
        """Place the weights before they are listed: all of them stay where they are."""

    def _part(self, whole: Tensor, like: Tensor) -> Tensor:
        """What this process holds of a tensor: all of it, where the parameter lies."""
        return whole.to(like.device)

    def _over_ranks(self, values: Tensor) -> Tensor:
        """Sums over all processes: there is one."""
        return values

    def _forward(self, pack: Pack, **how: Any) -> tuple[Tensor, ...]:
        return forward.log_probs(self.causal, pack, bf16=self.optim.bf16, **how)

    # --- learning from credited trees ------------------------------------------------------------

    def step(self, trees: Sequence[Tree], *, trains: Trains = all_nodes) -> dict[str, float]:
        """One optimisation step on credited trees: `epochs` x `minibatches` updates.

        Where nothing can train (all advantages zero, neither KL nor entropy) it makes no update
        and says so: `updates` is 0. Raises `DataError` for trees that were not credited.
        """
        return self._learn(list(self._parts(trees, trains)))

    def _learn(self, parts: Sequence[Rows]) -> dict[str, float]:
        metrics = StepMetrics()
        before = self._optimiser.updates, self._optimiser.skipped
        self._first.prepare(parts, self._packs)
        with self._training():
            batches = self._batches(parts)
            stopped = self._updates(batches, metrics)
        metrics.join(self._over_ranks)
        updates = self._optimiser.updates - before[0]
        self.version += updates > 0
        return {
            **metrics.figures(self.loss),
            **({"stopped_updates": float(stopped)} if self.loss.stops else {}),
            **(teacher_tokens(batches, self._over_ranks) if self._teacher else {}),
            "skipped_updates": float(self._optimiser.skipped - before[1]),
            "tokens_flat": float(sum(rows.flat for rows in parts)),
            "tokens_unique": float(sum(unique(rows) for rows in parts)),
            "tokens_trained": float(sum(rows.trained for rows in parts)),
            "updates": float(updates),
        }

    def _updates(self, batches: Sequence[Batch], metrics: StepMetrics) -> int:
        """Make the updates of a step; returns how many a gate kept from being made."""
        planned = [batch for _ in range(self.optim.epochs) for batch in batches]
        for batch in batches:
            metrics.add(batch.metrics)
        for n, batch in enumerate(planned):
            rate = self._optimiser.rate()
            loss = self._backward(batch, metrics, first=not n)
            if self._stops(batch, metrics):
                self._optimiser.zero()
                return len(planned) - n
            norm = self._optimiser.apply(loss)
            metrics.add({"loss": (loss, 1), "grad_norm": (norm, 1), "lr": (rate, 1)})
        return 0

    def _stops(self, batch: Batch, metrics: StepMetrics) -> bool:
        """Whether the policy is too far from pi_old for this update."""
        if self.loss.gate is None or batch.apart is None:
            return False
        stop, mean = stops(self.loss.gate, self._over_ranks(batch.apart))
        metrics.add({"divergence": (mean, 1)})
        return stop

    def _parts(self, trees: Sequence[Tree], trains: Trains) -> Iterator[Rows]:
        """Rows of each minibatch, which policy and teacher can read."""
        for rows in minibatches(trees, trains, self.loss, self.optim):
            rows = self._lengths.measured(rows, self.name)
            yield rows if self._teacher is None else self._teacher.measured(rows)

    def _batches(self, parts: Sequence[Rows]) -> list[Batch]:
        """Packs and constants of every minibatch in which something can train."""
        some = [rows for rows in parts if rows.rows]
        batches = [Batch.of(self._packs(rows), rows) for rows in some]
        for batch in batches:
            self._fix(batch, once=self.optim.epochs * len(batches) == 1)
        return batches

    def _packs(self, rows: Rows) -> list[Pack]:
        device = str(next(iter(self._named.values())).device)
        return packs(rows, self.optim.max_pack_tokens, packed=self.optim.packed, device=device)

    def _fix(self, batch: Batch, once: bool) -> None:
        """The constants of a step: old and reference log-probs, importance weights.

        With one update in the step (`once`) the trainer's old log-probs are those of that update's
        own forward pass, so none is spent on them. What was injected keeps its stored ones.
        """
        for n, pack in enumerate(batch.packs):
            fixed = batch.fixed[n]
            if self.loss.refers:
                with self._as_reference():
                    fixed.reference = self._constant(pack)
            if self._teacher is not None:
                fixed.teacher = self._teacher.read(pack, self.loss)
            if self.loss.old == "trainer":
                held = pack.held[pack.segment]
                some = bool(self._over_ranks(held.any().float()))
                needed = not once or self.loss.weights is not None or some
                fixed.old = self._constant(pack).where(~held, pack.old) if needed else None
        batch.weigh(self.loss, self._over_ranks)

    def _constant(self, pack: Pack) -> Tensor:
        with torch.no_grad():
            return self._log_probs(pack)[0]

    def _log_probs(self, pack: Pack, beside: forward.Beside | None = None) -> tuple[Tensor, ...]:
        how = {"entropy": self.loss.by_entropy, "temperature": self.loss.temperature}
        return self._forward(pack, beside=beside, **how)

    def _backward(self, batch: Batch, metrics: StepMetrics, first: bool = False) -> float:
        """The loss of a batch; its gradients, added up over the packs, lie on the parameters.

        Of the `first` one in a step it is told how far the engine's log-probs are from these.
        """
        self._optimiser.zero()
        gate, found, difference = self.loss.gate, [], []
        early = not self.loss.by_leaf or self._leaves_first(batch)
        leaves = self._leaves(batch, metrics) if early else None
        for n, (pack, fixed) in enumerate(zip(batch.packs, batch.fixed)):
            beside = self._teacher.beside(fixed, self.loss) if self._teacher else None
            logp, entropy, *apart = self._log_probs(pack, beside)
            self._first.check(n, pack, logp)
            if leaves is None:
                leaves = self._leaves(batch, metrics, logp)
            loss, what = objective(self.loss, pack, logp, entropy, fixed, leaves, *apart)
            loss.backward()  # type: ignore[no-untyped-call]
            found.append(loss.detach())
            metrics.add(what)
            if first:
                metrics.add(engine_gap(pack, logp))
            if gate is not None and gate.stops:
                difference.append(divergence(pack, logp, fixed, gate.stop_ratio))
        batch.apart = torch.stack(difference).sum(0) if difference else None
        return self._total(found)

    def _total(self, found: Sequence[Tensor]) -> float:
        """The sum of the losses of all packs, of all ranks."""
        loss = float(sum(torch.stack([*found]).tolist()))
        return float(self._over_ranks(torch.tensor(loss, dtype=torch.float64)))

    def _leaves_first(self, batch: Batch) -> bool:
        """Whether a leaf has tokens in several packs, so that a pass comes before the gradient."""
        return len(batch.packs) > 1

    def _leaves(self, batch: Batch, metrics: StepMetrics, logp: Tensor | None = None) -> Leaves:
        """What an update needs of whole leaves; without `logp` by a pass of its own."""
        found: list[Tensor] = [] if logp is None else [logp]
        if self.loss.by_leaf and logp is None:
            found = [self._constant(pack) for pack in batch.packs]
        leaves, what = of_leaves(self.loss, batch, found, self._over_ranks)
        metrics.add(what)
        return leaves

    @contextmanager
    def _training(self) -> Iterator[None]:
        """As packs are run and, where set, activations kept; else the model is as it samples."""
        how = self._attention
        attend = attention.packed(self.causal, how) if how else nullcontext()
        with attend, weights.training(self.causal):
            yield

    # --- learning from examples ------------------------------------------------------------------

    def fit(
        self, given: Sequence[sft.Example], settings: SftSettings = SFT
    ) -> Iterator[dict[str, float]]:
        """Supervised warm start, -mean log pi of trained tokens; yields what each update did.

        It has an optimiser of its own, so what follows starts afresh.
        """
        self._begin_fit(settings)
        for batch in sft.batches(
            given, epochs=settings.epochs, size=settings.batch_size, seed=self.seed
        ):
            rows = self._lengths.measured(sft.rows(batch), self.name)
            if rows.rows:
                yield self._fit(rows)
        self._end_fit()

    def _begin_fit(self, settings: SftSettings) -> None:
        self._fitting = Optimiser(
            list(self._named.values()),
            lr=settings.lr,
            warmup_steps=settings.warmup_steps,
            max_grad_norm=self.optim.max_grad_norm,
        )

    def _fit(self, rows: Rows) -> dict[str, float]:
        optimiser = self._fitting
        assert optimiser is not None
        before = optimiser.updates
        lr = optimiser.rate()
        self._first.prepare([rows], self._packs, temperature=1.0)
        with self._training():
            found = [self._likelihood(n, pack) for n, pack in enumerate(self._packs(rows))]
        loss = self._total(found)
        norm = optimiser.apply(loss)
        self.version += optimiser.updates - before
        return {
            "loss": loss,
            "grad_norm": norm,
            "lr": lr,
            "updates": float(optimiser.updates - before),
            "skipped_updates": float(before + 1 - optimiser.updates),
            "tokens_flat": float(rows.flat),
            "tokens_unique": float(unique(rows)),
            "tokens_trained": float(rows.trained),
        }

    def _end_fit(self) -> None:
        self._fitting = None

    def _likelihood(self, number: int, pack: Pack) -> Tensor:
        logp, _ = self._forward(pack)
        self._first.check(number, pack, logp)
        loss = -(pack.weight[pack.segment] * logp).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    # --- reference, weights, state ---------------------------------------------------------------

    def set_reference(self) -> None:
        """Hold the present weights as the KL's reference (only where there is a KL)."""
        self._hold_reference()

    def _hold_reference(self) -> None:
        if self.loss.refers:
            self._reference = {n: p.detach().clone() for n, p in self._named.items()}

    @contextmanager
    def _as_reference(self) -> Iterator[None]:
        """The reference's weights in the model's place, for a forward pass without gradient."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self._named.items():
            parameter.data, self._reference[name] = self._reference[name], parameter.data

    def weights(self) -> dict[str, Tensor]:
        """The weights by their Hugging Face names, adapters merged in."""
        return weights.merged(weights.base(self.whole))

    def save(self, folder: str | Path) -> None:
        """Write Hugging Face layout; adapters are merged, and kept beside it under `adapter/`."""
        causal = weights.base(self.whole)
        weights.save(causal, self.tokenizer, Path(folder))
        if self.whole is not causal:
            self.whole.save_pretrained(Path(folder) / "adapter")

    def save_state(self, folder: str | Path) -> None:
        """Write all that the next step depends on, exactly."""
        weights.write_state(self._state(), Path(folder) / STATE)

    def _state(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "parameters": {n: p.detach() for n, p in self._named.items()},
            "reference": self._reference,
            "optimiser": self._optimiser.state_dict(),
            "rng": torch.get_rng_state(),
            **({"teacher": self._teacher.mark} if self._teacher else {}),
        }

    def load_state(self, folder: str | Path) -> None:
        """Go on from what `save_state` wrote, bit for bit."""
        self._take(self._read(Path(folder) / STATE))

    def _read(self, path: Path, *, mmap: bool = False) -> dict[str, Any]:
        """The state that a file holds. `StoreError` where it is that of another policy."""
        state = weights.read_state(path, mmap=mmap)
        kept = {n: t.shape for n, t in state["parameters"].items()}
        if kept != {n: p.shape for n, p in self._named.items()}:
            raise StoreError(f"{path}: holds the state of another model or other adapters")
        if self._teacher is not None:
            self._teacher.check(state.get("teacher", ""), path)
        return state

    def _take(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, parameter in self._named.items():
                parameter.copy_(self._part(state["parameters"][name], parameter))
        if state["reference"]:
            named = self._named
            self._reference = {n: self._part(t, named[n]) for n, t in state["reference"].items()}
        self._optimiser.load_state_dict(state["optimiser"])
        self.version = state["version"]
        torch.set_rng_state(state["rng"])
