"""Settings of training: the loss, the optimiser, LoRA. No torch here, so recipes load fast."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PrivateAttr, field_validator, model_validator

from hornbeam.errors import RecipeError
from hornbeam.own.own_functions import OwnFunction, own_function
from hornbeam.own.own_parts import Base, check_name, find_part
from hornbeam.settings import Settings
from hornbeam.train.loss_parts import (
    BoundSettings,
    DistillSettings,
    GateSettings,
    ImportanceSettings,
)

PREFERENCES = ("dpo", "ipo")  # between leaves of one tree (preferences)
OBJECTIVES = ("clip", "cispo", "sapo", "dppo", *PREFERENCES)
OF_UNITS = ("ratio", "log_ratio", "logp", "plus", "minus")  # what an own objective may take
OF_TOKENS = ("logp", "old", "advantage", "entropy", "reference")  # what a term may take
TERM = "term_"  # how names of terms begin in metrics

# How work is laid out, which estimates of memory count with too.
BLOCK = 256  # queries that share one set of keys, where a pack is no mask of tiles
CHUNK = 512  # sources that run through the head at once
HELD = 2**26  # logits (256 MiB in float32)


class LossTerm(Settings):
    """What is added to the loss: `weight` times a function of one's own, "file.py:name".

    `options` are the function's settings (`own_losses`).
    """

    use: str
    weight: float = Field(1.0, allow_inf_nan=False)
    options: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Its name in metrics: "term_shrink" of "mine.py:shrink"."""
        return f"{TERM}{self.use.rpartition(':')[2]}"


class LossSettings(Settings):
    """What is minimised. Defaults: PPO's clip at the token, averaged over all sampled tokens.

    `ratio` is the unit whose importance ratio is clipped: each token, a turn (one node) or a whole
    sequence (all trained tokens of a leaf's path, GSPO). `objective` may be a function of one's own
    ("file.py:name", with its settings in `options`), and `terms` are added (`own_losses`).
    `clip_low`, `clip_high` bound it to
    [1 - low, 1 + high], and of "dppo" pi - pi_old to [-low, high]; `dual_clip` also bounds the term
    of negative advantages, at that ratio.
    "dpo" and "ipo" prefer, of two leaves of a tree, that of greater advantage, by margins of `beta`
    to the reference (`preferences`); nothing is clipped.
    `sapo` are the temperatures of its gates for positive and negative advantages.
    `constant` is the token denominator of a leaf for `aggregation = "constant"` (Dr. GRPO). `kl` is
    the weight of the KL to the reference, by its `kl_estimator` (losses.k3, k3_ratio, k2).
    `old` says whose log-probs are the ratio's denominator: those the engine sampled with, or the
    trainer's own before the first minibatch; `importance` then weighs by pi_old / pi_engine, and
    `truncate` = C is short for its tokens' weights cut at C. `bounds` hold exponents, `gate` leaves
    out, and so does `mask_truncated`: runs whose last answer was cut off. `distill` adds a teacher.
    `temperature` is the one of sampling: log-probs are those of logits / temperature, as the
    engine's are.
    """

    ratio: Literal["token", "turn", "sequence"] = "token"
    objective: str = "clip"
    options: dict[str, Any] = {}
    terms: tuple[LossTerm, ...] = ()
    clip_low: float = Field(0.2, ge=0, le=1)
    clip_high: float = Field(0.2, ge=0)
    dual_clip: float | None = Field(None, gt=1)
    sapo: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.05)
    beta: float = Field(0.1, gt=0)
    aggregation: Literal["token_mean", "sequence_mean", "constant"] = "token_mean"
    constant: int = Field(1024, gt=0)
    kl: float = Field(0.0, ge=0)
    kl_estimator: Literal["k3", "k3_ratio", "k2"] = "k3"
    entropy: float = Field(0.0, ge=0)
    old: Literal["engine", "trainer"] = "engine"
    truncate: float | None = Field(None, gt=0)
    importance: ImportanceSettings | None = None
    gate: GateSettings | None = None
    bounds: BoundSettings = BoundSettings()
    mask_truncated: bool = False
    distill: DistillSettings | None = None
    temperature: float = Field(1.0, gt=0)
    _objective: OwnFunction | None = PrivateAttr(None)
    _terms: tuple[OwnFunction, ...] = PrivateAttr(())

    @field_validator("objective")
    @classmethod
    def _known(cls, objective: str) -> str:
        return check_name("loss", objective, OBJECTIVES)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        ready = self.objective in OBJECTIVES
        if ready and self.options:
            raise ValueError(
                f"loss.options has no meaning with loss.objective = {self.objective!r}"
            )
        names = [term.name for term in self.terms]
        if len(set(names)) < len(names):
            raise ValueError("loss.terms: each needs a function of another name")
        for name in ("truncate", "importance"):
            if getattr(self, name) is not None and self.old == "engine":
                raise ValueError(
                    f"loss.{name} compares trainer and engine: set loss.old = 'trainer'"
                )
        if self.truncate is not None and self.importance is not None:
            raise ValueError("loss.truncate is short for loss.importance.high: give one of them")
        if self.dual_clip is not None and self.objective != "clip":
            raise ValueError(
                f"loss.dual_clip has no meaning with loss.objective = {self.objective!r}"
            )
        if self.objective == "dppo" and self.ratio != "token":
            raise ValueError("loss.objective = 'dppo' masks tokens: loss.ratio is 'token'")
        if self.objective == "sapo" and (self.clip_low, self.clip_high) != (0.2, 0.2):
            raise ValueError(
                "loss.clip_low and clip_high have no meaning with loss.objective = 'sapo':"
                " its temperatures are loss.sapo"
            )
        if self.beta != 0.1 and not self.prefers:
            raise ValueError("loss.beta has a meaning with loss.objective = 'dpo' or 'ipo' alone")
        plain = LossSettings.model_fields
        for name in ("ratio", "clip_low", "clip_high", "old", "truncate", "importance", "gate"):
            if self.prefers and getattr(self, name) != plain[name].default:
                raise ValueError(
                    f"loss.{name} has no meaning with loss.objective = {self.objective!r}: it has"
                    " no ratio to pi_old"
                )
        if not ready and (self.clip_low, self.clip_high) != (0.2, 0.2):
            raise ValueError(
                "loss.clip_low and clip_high have no meaning with a loss.objective of one's own:"
                " its settings are loss.options"
            )
        if self.kl_estimator != "k3" and not self.kl:
            raise ValueError("loss.kl_estimator has no meaning with loss.kl = 0")
        if self.prefers and self.distill is not None and self.distill.alone:
            raise ValueError(
                f"loss.distill.alone stands in place of loss.objective = {self.objective!r}: leave"
                " one of them out"
            )
        if self.objective != "sapo" and self.sapo != (1.0, 1.05):
            raise ValueError("loss.sapo has a meaning with loss.objective = 'sapo' alone")
        return self

    def beside(self, base: Base) -> LossSettings:
        """The settings with their functions loaded, `base` being the recipe's own folder.

        Raises `RecipeError` and `ProgramError`, one line.
        """
        made = self.model_copy()
        if self.objective not in OBJECTIVES:
            part = find_part("loss", self.objective, OBJECTIVES, base)
            made._objective = own_function(part, self.options, (), OF_UNITS)
        made._terms = tuple(
            own_function(find_part("loss", term.use, (), base), term.options, (), OF_TOKENS)
            for term in self.terms
        )
        wants = {name for function in made._terms for name in function.takes}
        if "reference" in wants and not self.refers:
            raise RecipeError("a term of loss.terms takes reference: set loss.kl, which needs it")
        return made

    @property
    def prefers(self) -> bool:
        """Whether pairs of leaves are compared."""
        return self.objective in PREFERENCES

    @property
    def refers(self) -> bool:
        """Whether the log-probs of the reference are in the loss."""
        return self.kl > 0 or self.prefers

    @property
    def own_objective(self) -> OwnFunction:
        """The function in place of a ready-made objective."""
        assert self._objective is not None, "the recipe's files are found before"
        return self._objective

    @property
    def own_terms(self) -> tuple[OwnFunction, ...]:
        """The functions of the terms, in order."""
        assert len(self._terms) == len(self.terms), "the recipe's files are found before"
        return self._terms

    @property
    def term_names(self) -> list[str]:
        """What metrics tell of terms."""
        return [term.name for term in self.terms]

    @property
    def keeps_zeros(self) -> bool:
        """Whether tokens without an advantage train too, or are looked at."""
        return bool(self.kl or self.entropy or self.stops or self.terms or self.distill)

    @property
    def by_entropy(self) -> bool:
        """Whether the entropy of every token is in the loss."""
        return self.entropy > 0 or any("entropy" in each.takes for each in self._terms)

    @property
    def weights(self) -> ImportanceSettings | None:
        """How pi_old / pi_engine weighs, said either way."""
        cut = self.truncate
        return self.importance if cut is None else ImportanceSettings(high=cut)

    @property
    def reads_engine(self) -> bool:
        """Whether the log-probs that the engine told are in the loss."""
        gate = self.gate is not None and self.gate.leaves
        return (self.old == "engine" and not self.prefers) or self.weights is not None or gate

    @property
    def by_leaf(self) -> bool:
        """Whether an update needs the present log-probs of whole leaves."""
        return self.ratio == "sequence" or self.prefers or bool(self.gate and self.gate.leaves)

    @property
    def pairs(self) -> bool:
        """Whether anything differs from leaf to leaf, so that a node's two sums are not enough."""
        return self.by_leaf or bool(self.weights and self.weights.level == "sequence")

    @property
    def stops(self) -> bool:
        """Whether a step may stop early."""
        return bool(self.gate and self.gate.stops)


class OptimSettings(Settings):
    """AdamW and how a batch is cut. One `step` makes `epochs` x `minibatches` updates.

    `max_pack_tokens` bounds what one forward pass holds; a longer single row is run whole.
    `attention` over packs: flex attention, masks, or "auto": flex on a GPU, masks elsewhere. `bf16`
    computes in bfloat16; weights, gradients and moments stay in float32. `checkpointing` keeps the
    inputs of layers only, and computes the rest again on the way back.
    """

    lr: float = Field(1e-6, gt=0)
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float = Field(1.0, gt=0)
    minibatches: int = Field(1, gt=0)
    epochs: int = Field(1, gt=0)
    max_pack_tokens: int = Field(4096, gt=0)
    packed: bool = True
    attention: Literal["auto", "mask", "flex"] = "auto"
    bf16: bool = False
    checkpointing: bool = False


class LoraSettings(Settings):
    """Low-rank adapters on the named linear layers, through peft."""

    rank: int = Field(16, gt=0)
    alpha: float = Field(32.0, gt=0)
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class SftSettings(Settings):
    """A supervised warm start: `batch_size` examples an update, shuffled anew every epoch."""

    epochs: int = Field(1, gt=0)
    batch_size: int = Field(16, gt=0)
    lr: float = Field(2e-5, gt=0)
    warmup_steps: int = Field(0, ge=0)

    def updates(self, count: int) -> int:
        """How many updates `count` examples take; the last batch of an epoch may be smaller."""
        return -(-count // self.batch_size) * self.epochs


class FitSettings(Settings):
    """How a value head is fitted: `batch_size` trees an update, shuffled anew every epoch.

    `objective`: "regression" of v = tanh(z) on targets in [-1, 1] at every step, by `loss`;
    "pairs", Bradley-Terry over siblings of different targets, at most `pairs` of them a tree;
    "outcome", cross-entropy of sigmoid(z) on targets held to [0, 1] where episodes ended. With
    `by_visits` a target weighs as much as the column "visits" says (regression).
    """

    objective: Literal["regression", "pairs", "outcome"] = "regression"
    loss: Literal["huber", "mse"] = "huber"
    by_visits: bool = False
    pairs: int = Field(8, gt=0)
    epochs: int = Field(1, gt=0)
    batch_size: int = Field(8, gt=0)
    lr: float = Field(2e-5, gt=0)
    warmup_steps: int = Field(0, ge=0)


class HeadSettings(Settings):
    """How a value head is fitted while training goes on, `batch_size` trees an update.

    After every `every` steps, on the trees of the last `span` steps (all since the last fit, by
    default), `epochs` times over.
    """

    every: int = Field(4, ge=1)
    span: int | None = Field(None, ge=1)
    epochs: int = Field(1, ge=1)
    batch_size: int = Field(8, ge=1)
    lr: float = Field(1e-3, gt=0)

    def due(self, step: int) -> bool:
        """Whether it is fitted when this step is trained."""
        return (step + 1) % self.every == 0

    def steps(self, step: int) -> range:
        """The steps whose trees a fit at this one reads."""
        return range(max(0, step + 1 - (self.span or self.every)), step + 1)
