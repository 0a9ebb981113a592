"""Settings of training: the loss, the optimiser, LoRA. No torch here, so recipes load fast."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from hornbeam.settings import Settings


class BoundSettings(Settings):
    """What exponents and divergences are held to, so that one lost token spoils no step.

    `ratio`: |log(pi/pi_old)| of what is clipped as one; `kl`: |log(pi_ref/pi)| in k3; `kl_most`: k3
    itself. What is held has no gradient. verl's code has 20, 20 and 10.
    """

    ratio: float = Field(20.0, gt=0, le=80)  # e^80 is a float32 still
    kl: float = Field(20.0, gt=0, le=80)
    kl_most: float | None = Field(None, gt=0)


class LossSettings(Settings):
    """What is minimised. Defaults: PPO's clip at the token, averaged over all sampled tokens.

    `ratio` is the unit whose importance ratio is clipped: each token, a turn (one node) or a whole
    sequence (all trained tokens of a leaf's path, GSPO). `clip_low`, `clip_high` bound it to
    [1 - low, 1 + high]; `dual_clip` also bounds the term of negative advantages, at that ratio.
    `constant` is the token denominator of a leaf for `aggregation = "constant"` (Dr. GRPO).
    `old` says whose log-probs are the ratio's denominator: those the engine sampled with, or the
    trainer's own before the first minibatch; `truncate` = C then weights every token with
    min(pi_old / pi_engine, C). `bounds` hold exponents. `temperature` is the one of sampling:
    log-probs are those of logits / temperature, as the engine's are.
    """

    ratio: Literal["token", "turn", "sequence"] = "token"
    objective: Literal["clip", "cispo"] = "clip"
    clip_low: float = Field(0.2, ge=0, le=1)
    clip_high: float = Field(0.2, ge=0)
    dual_clip: float | None = Field(None, gt=1)
    aggregation: Literal["token_mean", "sequence_mean", "constant"] = "token_mean"
    constant: int = Field(1024, gt=0)
    kl: float = Field(0.0, ge=0)
    entropy: float = Field(0.0, ge=0)
    old: Literal["engine", "trainer"] = "engine"
    truncate: float | None = Field(None, gt=0)
    bounds: BoundSettings = BoundSettings()
    temperature: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.truncate is not None and self.old == "engine":
            raise ValueError("loss.truncate compares trainer and engine: set loss.old = 'trainer'")
        if self.dual_clip is not None and self.objective == "cispo":
            raise ValueError("loss.dual_clip has no meaning with loss.objective = 'cispo'")
        return self


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
