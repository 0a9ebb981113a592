"""A value model: a causal LM's body with a scalar head, fitted on the columns of trees.

    z = head(hidden state at a node's last token)      v = tanh(z)

A process reward model reads every step, an outcome reward model the last one; they differ in what
they were fitted on. In Hugging Face terms it is a token classifier with one label, so what is
saved loads in `transformers` alone and gives z at every token (a family without one is saved as a
sequence classifier, which gives z at the last token).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from hornbeam.errors import DataError, ModelError
from hornbeam.train import attention, forward, onednn, value_files, value_losses, weights
from hornbeam.train.first_check import check
from hornbeam.train.optimise import Optimiser
from hornbeam.train.pack import ValuePack, readings, unique
from hornbeam.train.rows import Rows
from hornbeam.train.train_settings import FitSettings, LoraSettings, OptimSettings
from hornbeam.train.value_rows import (
    Reads,
    Target,
    auc,
    check_ids,
    check_readable,
    drawn,
    pair_accuracy,
    pairs,
    spearman,
    targets,
)
from hornbeam.tree.nodes import Tree

OPTIM = OptimSettings()
FIT = FitSettings()
Batch = list[tuple[Tree, list[Target]]]
Pairs = list[tuple[Tree, list[tuple[int, int]]]]


class ValueModel:
    """A body and a scalar head; see the head of this file. Without `lora` all weights learn."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        optim: OptimSettings = OPTIM,
        lora: LoraSettings | None = None,
        seed: int = 0,
        name: str = "",
        card: value_files.Card | None = None,
    ) -> None:
        """`model` is a transformers classifier with one label, its head named `score`."""
        self.name = name or type(model).__name__
        self.model, self.body = model, model.base_model
        self.tokenizer, self.optim, self.seed = tokenizer, optim, seed
        self.card = card or value_files.Card(base=Path(self.name).name)
        if optim.checkpointing:
            weights.checkpoint_activations(model, self.name)
        self._attention, self._lengths = check(self.body, self.name, optim)
        weights.without_noise(model)
        model.eval()
        if lora:
            weights.add_lora(self.body, lora, seed, None)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        optim: OptimSettings = OPTIM,
        lora: LoraSettings | None = None,
        seed: int = 0,
        device: str = "cpu",
    ) -> Self:
        """A value model as `save` wrote it, or any causal LM with a new head that says z = 0.

        Raises `ModelError` where the folder holds neither.
        """
        model, tokenizer, card = value_files.load(Path(folder))
        return cls(
            model.to(device),
            tokenizer,
            optim=optim,
            lora=lora,
            seed=seed,
            name=str(folder),
            card=card,
        )

    @property
    def fingerprint(self) -> str:
        """The digest of the tokenizer whose ids this model reads; "" where it has none."""
        return self.card.fingerprint

    @property
    def context(self) -> int:
        """How many tokens the model can read."""
        config = self.body.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 2**31 - 1)

    @property
    def vocabulary(self) -> int:
        """How many token ids the model knows."""
        return int(self.body.config.get_text_config().vocab_size)

    def read_as(self, tokenizer: Any) -> None:
        """Read the ids of this tokenizer: its own with another chat template."""
        self.tokenizer = tokenizer
        self.card = replace(self.card, fingerprint=value_files.fingerprint(tokenizer))

    def check(self, fingerprint: str) -> None:
        """Raise `ModelError` unless the ids to be read are those of this model's tokenizer."""
        if self.fingerprint != fingerprint:
            raise ModelError(
                f"{self.name}: fitted on another tokenizer ({self.fingerprint or 'unknown'}) than"
                f" the model's that grows the trees ({fingerprint}): its ids mean other words; fit"
                " a value model on that model"
            )

    def value(self, z: float) -> float:
        """What is told of an output z, in [-1, 1]: tanh(z).

        Fitted on outcomes it is 2 sigmoid(z) - 1, so that (v + 1) / 2 is the probability there.
        """
        return math.tanh(z / 2 if self.card.objective == "outcome" else z)

    # --- reading ---------------------------------------------------------------------------------

    def scores(self, reading: ValuePack) -> Tensor:
        """The outputs z [R] where the values of a pass are read, float32."""
        kind = reading.ids.device.type
        with torch.autocast(kind, torch.bfloat16) if self.optim.bf16 else nullcontext():
            hidden = forward.hidden_states(self.body, reading)
        return self.head(hidden.index_select(0, reading.sources))

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states [n, size] -> z [n]."""
        z: Tensor = self.model.score(hidden.float())
        return z[:, 0]

    def read(self, given: Sequence[tuple[Tree, Sequence[int]]]) -> list[list[float]]:
        """The outputs z of nodes (ascending) of trees, in packed passes and without gradient."""
        reads = Reads()
        for tree, nodes in given:
            reads.add(tree, nodes)
        out = [0.0] * reads.count
        with torch.no_grad(), self._training():
            for reading in self._readings(reads):
                for number, z in zip(reading.number.tolist(), self.scores(reading).tolist()):
                    out[number] = z
        ends = iter(out)
        return [[next(ends) for _ in nodes] for _, nodes in given]

    def _readings(self, reads: Reads) -> list[ValuePack]:
        device = str(self.model.score.weight.device)
        most = self.optim.max_pack_tokens
        packed, turn = self.optim.packed, self._lengths.turn
        self._lengths.check(max((len(row.ids) for row in reads.rows), default=0), self.name)
        rows, places = reads.sides(turn)
        return readings(rows, places, most, packed=packed, device=device, turn=turn)

    @contextmanager
    def _training(self) -> Iterator[None]:
        """As packs are run and, where something learns, activations kept."""
        how = self._attention
        attend = attention.packed(self.body, how) if how else nullcontext()
        learns = torch.is_grad_enabled()
        with attend, (weights.training if learns else onednn.linear_layers)(self.model):
            yield

    # --- fitting ---------------------------------------------------------------------------------

    def fit(
        self, trees: Sequence[Tree], column: str = "q", settings: FitSettings = FIT
    ) -> Iterator[dict[str, float]]:
        """Fit on a column of labelled trees; yields what each update did.

        Raises `DataError` naming the task where a tree cannot be fitted on, before any update.
        """
        self._check(trees, column, settings)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        optimiser = Optimiser(
            parameters,
            lr=settings.lr,
            warmup_steps=settings.warmup_steps,
            weight_decay=self.optim.weight_decay,
            betas=self.optim.betas,
            max_grad_norm=self.optim.max_grad_norm,
        )
        self.card = self.card.fitted_on(column, settings, len(trees))
        draw = random.Random(self.seed)
        for _ in range(settings.epochs):
            order = list(range(len(trees)))
            draw.shuffle(order)
            for start in range(0, len(order), settings.batch_size):
                batch = [trees[k] for k in order[start : start + settings.batch_size]]
                metrics = self._update(batch, column, settings, optimiser, draw)
                if metrics:
                    yield metrics

    def _check(self, trees: Sequence[Tree], column: str, settings: FitSettings) -> None:
        if not trees:
            raise DataError("no labelled trees to fit on")
        check_ids(trees, self.body.get_input_embeddings().weight.shape[0], self.context)
        if settings.objective != "pairs":
            for tree in trees:
                targets(tree, column, settings)
            return
        found = [pairs(tree, column) for tree in trees]  # all of them: each is checked
        if not any(found):
            for tree in trees:
                check_readable(tree, column)
            raise DataError(
                f"task {trees[0].task.get('id')!r} and all others: no two siblings differ in"
                f" {column!r}: there is no pair to fit on"
            )

    def _update(
        self,
        batch: Sequence[Tree],
        column: str,
        settings: FitSettings,
        optimiser: Optimiser,
        draw: random.Random,
    ) -> dict[str, float]:
        """One update on a batch of trees; nothing where it holds no pair."""
        optimiser.zero()
        before, rate = optimiser.updates, optimiser.rate()
        if settings.objective == "pairs":
            found = [(t, drawn(pairs(t, column), settings.pairs, draw)) for t in batch]
            reads, loss, count = self._pairs(found)
        else:
            given = [(t, targets(t, column, settings)) for t in batch]
            reads, loss, count = self._points(given, settings)
        if not count:
            return {}
        norm = optimiser.apply(loss)
        return {
            "loss": loss,
            "grad_norm": norm,
            "lr": rate,
            "updates": float(optimiser.updates - before),
            "skipped_updates": float(before + 1 - optimiser.updates),
            "targets": float(count),
            "tokens_flat": float(reads.flat),
            "tokens_unique": float(unique(Rows(reads.rows))),
        }

    def _points(self, given: Batch, settings: FitSettings) -> tuple[Reads, float, int]:
        """Regression or outcome: the loss is a sum over nodes, so packs add up."""
        reads = Reads()
        for tree, found in given:
            reads.add(tree, [t.node for t in found])
        flat = [target for _, found in given for target in found]
        put = self.model.score.weight.new_tensor
        value, weight = put([t.value for t in flat]), put([t.weight for t in flat])
        weight = weight / weight.sum()
        total = 0.0
        with self._training():
            for reading in self._readings(reads):
                z, k = self.scores(reading), reading.number
                if settings.objective == "outcome":
                    loss = value_losses.outcome_loss(z, value[k], weight[k])
                else:
                    loss = value_losses.regression_loss(z, value[k], weight[k], settings.loss)
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
        return reads, total, len(flat)

    def _pairs(self, given: Pairs) -> tuple[Reads, float, int]:
        """Bradley-Terry. A pair may stand in two packs: then the loss goes back through all z.

        With several packs z is run without gradient first, d loss / d z is taken there, and each
        pack's backward pass is started from it.
        """
        reads, plus, minus = Reads(), [], []
        for tree, found in given:
            nodes = sorted({i for pair in found for i in pair})
            number = {i: reads.count + n for n, i in enumerate(nodes)}
            reads.add(tree, nodes)
            plus += [number[better] for better, _ in found]
            minus += [number[worse] for _, worse in found]
        if not plus:
            return reads, 0.0, 0
        with self._training():
            passes = self._readings(reads)
            if len(passes) == 1:
                z = self._ordered([self.scores(passes[0])], passes)
                loss = value_losses.pair_loss(z[plus], z[minus])
                loss.backward()  # type: ignore[no-untyped-call]
                return reads, float(loss.detach()), len(plus)
            with torch.no_grad():
                z = self._ordered([self.scores(reading) for reading in passes], passes)
            z.requires_grad_()
            loss = value_losses.pair_loss(z[plus], z[minus])
            (slope,) = torch.autograd.grad(loss, z)
            for reading in passes:
                (self.scores(reading) * slope[reading.number]).sum().backward()  # type: ignore[no-untyped-call]
        return reads, float(loss.detach()), len(plus)

    @staticmethod
    def _ordered(parts: Sequence[Tensor], passes: Sequence[ValuePack]) -> Tensor:
        """The z of several passes in the order of their reads' numbers."""
        return torch.cat(list(parts))[torch.cat([r.number for r in passes]).argsort()]

    # --- figures ---------------------------------------------------------------------------------

    def evaluate(
        self, trees: Sequence[Tree], column: str = "q", settings: FitSettings = FIT
    ) -> dict[str, float]:
        """How values fit the column of held-out trees; what is not defined there is left out.

        "mse" of the value (of sigmoid(z) for outcomes) beside the targets' "variance", rank
        correlation "spearman", "auc" of good (target over 0, for outcomes over 1/2) against the
        rest, and "pair_accuracy" over siblings that differ.
        """
        outcome = settings.objective == "outcome"
        every = settings.model_copy(update={"objective": "regression"} if not outcome else {})
        given = [(tree, targets(tree, column, every)) for tree in trees]
        scored = self.read([(tree, [t.node for t in found]) for tree, found in given])
        z = [value for part in scored for value in part]
        wanted = [t.value for _, found in given for t in found]
        said = [1 / (1 + math.exp(-x)) if outcome else math.tanh(x) for x in z]
        mean = sum(wanted) / len(wanted)
        right, count = 0.0, 0
        for (tree, found), part in zip(given, scored):
            of = {t.node: value for t, value in zip(found, part)}
            known = [(a, b) for a, b in pairs(tree, column) if a in of and b in of]
            more, some = pair_accuracy(known, of.__getitem__)
            right, count = right + more, count + some
        figures: dict[str, float | None] = {
            "targets": float(len(wanted)),
            "mse": sum((a - b) ** 2 for a, b in zip(said, wanted)) / len(wanted),
            "variance": sum((b - mean) ** 2 for b in wanted) / len(wanted),
            "spearman": spearman(z, wanted),
            "auc": auc(z, [b > (0.5 if outcome else 0.0) for b in wanted]),
            "pairs": float(count),
            "pair_accuracy": right / count if count else None,
        }
        return {name: value for name, value in figures.items() if value is not None}

    def save(
        self,
        folder: str | Path,
        figures: Mapping[str, float] = {},
        more: Mapping[str, str] = {},
    ) -> None:
        """Write Hugging Face layout, adapters merged, with tokenizer and model card.

        The folder is there whole or not at all. `figures` are told on the card; `more` are texts
        of further files by name. Raises `StoreError` where it cannot be written.
        """
        value_files.save(self.model, self.tokenizer, self.card, dict(figures), Path(folder), more)
