"""Packed against flat: the loss and every gradient, over random trees and random small models.

    python bench/parity.py [--quick] [--seeds N] [--json FILE]

For every case the packed trainer (a trie, two sums a node) and the padded trainer
(`optim.packed = false`) are compared with a plain reference written straight from the formulas
(tests/train/flat.py: leaf by leaf, node by node). The error of the loss
is relative to the sum over leaves of |what the leaf adds|, that of a gradient is
max |packed - flat| / max |flat| over one parameter; of a parameter whose gradient is below 1e-3 of
the largest one (the key bias of Qwen, whose true gradient nearly vanishes) against that bound. All
in float32. Where an error passes 1e-5 the plain reference is computed in float64, too: what it is
off from that in float32 is the case's own rounding. Exits with 1 where an error passes 1e-5 and
twice that rounding, or no case clips.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hornbeam.credit import credit, methods
from hornbeam.train.policy import Policy
from hornbeam.train.rows import all_nodes
from hornbeam.train.train_settings import LoraSettings, LossSettings, OptimSettings
from hornbeam.train.update_metrics import StepMetrics
from train import flat, worlds

TOLERANCE = 1e-5
FLOOR = 1e-3
ROUNDINGS = 2  # times a case's own rounding that an error above the tolerance may be
LORA = LoraSettings(rank=3, alpha=6.0)
FAMILIES = ("Llama", "Qwen2", "Qwen3", "Gemma", "Gemma2", "Gemma3Text")
CLIPS: dict[str, dict[str, Any]] = {
    "clip": {},
    "clip_higher": {"clip_low": 0.2, "clip_high": 0.28},
    "dual": {"dual_clip": 1.5},
    "cispo": {"objective": "cispo"},
    "sapo": {"objective": "sapo", "sapo": (1.0, 2.0)},
}
EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "kl+entropy": {"kl": 0.05, "entropy": 0.02, "temperature": 0.8},
    "truncated": {"old": "trainer", "truncate": 1.2},
    "weighted": {"old": "trainer", "importance": {"level": "sequence", "high": 8.0}},
    "masked": {"old": "trainer", "importance": {"outside": "mask", "low": 0.7, "high": 1.5}},
    "k3_ratio": {"kl": 0.05, "kl_estimator": "k3_ratio"},
    "k2": {"kl": 0.05, "kl_estimator": "k2"},
    "gated": {"gate": {"kl": 0.05, "ratio": 1.5}},
    "gated_all": {"gate": {"ratio": 1.3, "of": "all", "stop_kl": 9.0}},
}
AT_ONE = {name for name, how in EXTRAS.items() if how.get("old") == "trainer"}  # ratios are 1


def cases(quick: bool) -> Iterator[dict[str, Any]]:
    """Every credit, aggregation, ratio and clip on Llama; a cross of them on every family."""
    aggregations = ("token_mean", "sequence_mean", "constant")
    ratios = ("token", "turn", "sequence")
    names = ("credit", "aggregation", "ratio", "clip", "extra", "family", "heads", "lora", "cut")
    grid = itertools.product(methods, aggregations, ratios, CLIPS)
    for n, (method, aggregation, ratio, clip) in enumerate(grid):
        if quick and n % 11:
            continue
        extra = tuple(EXTRAS)[n % len(EXTRAS)]
        extra = "plain" if clip == "cispo" and extra in AT_ONE else extra
        values = (method, aggregation, ratio, clip, extra, "Llama", 2, n % 2 == 1, n % 5 == 0)
        yield dict(zip(names, values))
    turn = itertools.product(FAMILIES, (1, 2, 4), (False, True))
    for n, (family, heads, lora) in enumerate(turn):
        if quick and n % 4:
            continue
        for ratio in ratios if not quick else ratios[n % 3 :][:1]:
            clip = tuple(CLIPS)[n % len(CLIPS)]
            extra = "plain" if clip == "cispo" else tuple(EXTRAS)[n % len(EXTRAS)]
            values = ("tree_grpo", aggregations[n % 3], ratio, clip, extra, family, heads, lora)
            yield dict(zip(names, (*values, n % 2 == 0)))


def compare(case: dict[str, Any], seed: int) -> dict[str, float]:
    """Errors of loss and gradients, packed and padded, against the plain reference."""
    trees = worlds.random_trees(seed, scopes=case["credit"] == "m_grpo")
    credit(trees, case["credit"])
    how = LossSettings(
        ratio=case["ratio"], aggregation=case["aggregation"], constant=7,
        **CLIPS[case["clip"]], **EXTRAS[case["extra"]],
    )  # fmt: skip
    bound = 30 if case["cut"] else 4096
    policies = [
        _policy(case, how, OptimSettings(max_pack_tokens=bound, packed=packed), seed)
        for packed in (True, False)
    ]
    loss, size, clipped, wanted = _plain(case, how, trees, seed)
    out: dict[str, float] = {"clipped": clipped}
    for name, policy in zip(("packed", "padded"), policies):
        got = _gradients(policy, trees)
        out[f"{name}_loss"] = abs(got.pop("") - loss) / size if size else 0.0
        out[f"{name}_gradient"] = _error(got, wanted)
    if _worst(out) > TOLERANCE:
        exact = _plain(case, how, trees, seed, torch.float64)[3]
        out["rounding"] = _error(
            {n: None if g is None else g.double() for n, g in wanted.items()}, exact
        )
    return out


def _plain(
    case: dict[str, Any],
    how: LossSettings,
    trees: list[Any],
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> tuple[float, float, int, dict[str, Any]]:
    """(loss, its size, clipped tokens, gradients) of the plain reference."""
    model = _policy(case, how, OptimSettings(), seed).model.to(dtype)
    start = worlds.model(case["family"], case["heads"], seed).to(dtype)  # as at construction
    loss, size, clipped = flat.loss(model, trees, how, start if how.kl else None)
    loss.backward()
    wanted = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return float(loss.detach()), size, clipped, wanted


def _policy(case: dict[str, Any], how: LossSettings, optim: OptimSettings, seed: int) -> Policy:
    model = worlds.model(case["family"], case["heads"], seed)
    policy = Policy(model, loss=how, optim=optim, lora=LORA if case["lora"] else None, seed=seed)
    with torch.no_grad():  # off the start, so that adapters and the trainer's ratios move
        draw = torch.Generator().manual_seed(seed)
        for parameter in policy._named.values():
            parameter += 0.03 * torch.randn(parameter.shape, generator=draw)
    return policy


def _gradients(policy: Policy, trees: list[Any]) -> dict[str, Any]:
    with policy._training():
        batches = policy._batches(list(policy._parts(trees, all_nodes)))
        got: dict[str, Any] = {"": sum(policy._backward(batch, StepMetrics()) for batch in batches)}
    return got | {n: p.grad for n, p in policy._named.items()}


def _error(got: dict[str, Any], wanted: dict[str, Any]) -> float:
    zero = torch.zeros(())
    largest = max(float((zero if g is None else g).abs().max()) for g in wanted.values())
    errors = [0.0]
    for name, want in wanted.items():
        want = zero if want is None else want
        have = zero if got[name] is None else got[name]
        scale = max(float(want.abs().max()), FLOOR * largest)
        errors.append(
            float((have - want).abs().max()) / scale if scale else float(have.abs().max())
        )
    return max(errors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one case in ten")
    parser.add_argument("--seeds", type=int, default=1, help="random models and trees a case")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    done: list[dict[str, Any]] = []
    for n, case in enumerate(cases(args.quick)):
        for seed in range(args.seeds):
            done.append({**case, "seed": 1000 * seed + n, **compare(case, 1000 * seed + n)})
            row = _worst(done[-1])
            if row > TOLERANCE:
                print(f"  {row:.1e}, rounding {done[-1]['rounding']:.1e}  {done[-1]}")
    figures = summary(done) | {"seconds": round(time.perf_counter() - began, 1)}
    for name, value in figures.items():
        print(f"{name:32} {value:.3g}" if isinstance(value, float) else f"{name:32} {value}")
    if args.json:
        machine = f"{platform.machine()}, {platform.system()}, torch {torch.__version__}"
        row = {"command": " ".join(sys.argv), "machine": machine, "figures": figures}
        args.json.write_text(json.dumps({**row, "cases": done}, indent=1))
    return int(figures["cases_beyond_rounding"] > 0 or figures["cases_clipped"] == 0)


def _worst(case: dict[str, Any]) -> float:
    return max(v for k, v in case.items() if k.endswith(("_loss", "_gradient")))


def summary(done: list[dict[str, Any]]) -> dict[str, float | int]:
    """Largest and median errors, and in how many cases a clip was active."""
    out: dict[str, float | int] = {"cases": len(done)}
    for key in ("packed_loss", "packed_gradient", "padded_loss", "padded_gradient"):
        values = sorted(case[key] for case in done)
        out |= {f"{key}_max": values[-1], f"{key}_median": values[len(values) // 2]}
    out["cases_clipped"] = sum(case["clipped"] > 0 for case in done)
    out["cases_above_1e-5"] = sum(_worst(case) > TOLERANCE for case in done)
    out["cases_beyond_rounding"] = sum(
        _worst(case) > max(TOLERANCE, ROUNDINGS * case.get("rounding", 0.0)) for case in done
    )
    return out


if __name__ == "__main__":
    sys.exit(main())
