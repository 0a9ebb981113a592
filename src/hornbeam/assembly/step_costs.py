"""What the steps and stages of a run cost, by the ledger in its store; what was redone is apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hornbeam.store.database import Store
from hornbeam.store.ledger import (
    IGNORED,
    LOST,
    REDONE,
    REFUSED,
    REWRITTEN,
    STATEFUL,
    TOKENS,
    TURN_TOKENS,
    TURNS,
    Entry,
)

PAID = ("train", "anchor", "measure")  # stages of the trees that a training step pays for
COSTS = (
    *("sampled_tokens", "prompt_tokens_computed", "prompt_tokens_cached", "tool_calls"),
    "scorer_tokens",
)


def paid(store: Store, stages: Sequence[str], step: int) -> dict[str, float]:
    """What the trees of a step cost, in whatever process, and what was redone for them."""
    out = dict.fromkeys(COSTS, 0.0)
    for stage in stages:
        for kind, amount in store.totals(stage, step).items():
            if kind in (*COSTS, STATEFUL):
                out[kind] = out.get(kind, 0.0) + amount
    return out | earlier_turns(store, stages, step) | redone(store, stages, step)


def earlier_turns(store: Store, stages: Sequence[str], step: int) -> dict[str, float]:
    """What became of earlier answers in the prompts of a step; {} where nothing was counted."""
    out: dict[str, float] = {}
    for stage in stages:
        for kind, amount in store.totals(stage, step).items():
            if kind.startswith((REWRITTEN, IGNORED, REFUSED, *TURNS)):
                out[kind] = out.get(kind, 0.0) + amount
    return out | kept_share(out)


def kept_share(costs: Mapping[str, float]) -> dict[str, float]:
    """`kept_share`: of the tokens of earlier answers in prompts, those that are as sampled.

    {} where none came back.
    """
    turns = sum(amount for kind, amount in costs.items() if kind.startswith(TURN_TOKENS))
    return {"kept_share": costs.get(f"{TURN_TOKENS}kept", 0.0) / turns} if turns else {}


def account(store: Store) -> dict[str, float]:
    """What a run paid, by kind, as one that was never stopped pays it.

    What was run again after a stop, or came to nothing by it, is there too, as `redone_KIND`.
    """
    vain = store.totals(lost=True).items()
    seen = (REWRITTEN, IGNORED, REFUSED, *TURNS)  # counts, no costs
    redone = {f"{REDONE}{kind}": n for kind, n in vain if n and not kind.startswith(seen)}
    return store.totals(lost=False) | redone


def spent(store: Store, stages: Sequence[str]) -> dict[str, float]:
    """What earlier parts of a run paid for trees of these stages, in vain or not."""
    out: dict[str, float] = {}
    for stage in (*stages, *(f"{LOST} {stage}" for stage in stages), LOST, ""):
        for kind, amount in store.totals(stage).items():
            out[kind] = out.get(kind, 0.0) + amount
    return out


def trainer_costs(step: int, metrics: Mapping[str, float]) -> list[Entry]:
    """What a step of the trainer cost, a teacher and a value head's fit; told by the policies."""
    some = [kind for kind in ("teacher_tokens", "fit_tokens") if kind in metrics]
    kinds = ("tokens_flat", "tokens_unique", *some)
    return [Entry(f"train/{step}", -1, -1, kind, metrics[kind]) for kind in kinds]


def redone(store: Store, stages: Sequence[str], step: int) -> dict[str, float]:
    """Tokens of a step that were paid and are in no result, as rows have them; {} for none."""
    tokens = sum(redone_tokens(store, stage, step) for stage in stages)
    return {"redone_tokens": tokens} if tokens else {}


def redone_tokens(store: Store, stage: str, step: int | None = None) -> float:
    """Tokens that a stop made necessary again, or vain: of policies, scorers and the trainer."""
    costs = store.totals(f"{LOST} {stage}", step)
    return sum(costs.get(kind, 0.0) for kind in (*TOKENS, "tokens_unique"))
