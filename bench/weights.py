"""Weights into vLLM without a restart: does it then say what the trainer says, and what it costs.

    OMP_NUM_THREADS=1 python bench/weights.py [--quick] [--dtype bfloat16] [--json FILE]

The trainer's model is changed by noise (a share of each tensor's spread), vLLM loads the new
weights in place, and for a number of prompts is compared with the trainer: greedy answers token by
token (the trainer's by the local engine), and log-probs of what vLLM sampled at temperature 1 (the
trainer's by a plain forward pass), with the truncated importance weights min(pi / mu, 2). A restart
is the other way: save the model, end vLLM, start it on the folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from hornbeam.chat import TemplateChat, user
from hornbeam.engine.local.local_engine import LocalEngine
from hornbeam.engine.request import Completion, Request, Sampling
from hornbeam.engine.vllm.vllm_engine import VllmEngine, VllmSettings
from hornbeam.models import catalogue, tiny_model
from hornbeam.protocols import Engine
from hornbeam.tasks.task_sources import TaskSettings, load_tasks
from hornbeam.train import weights
from hornbeam.train.forward import score

TRUNCATE = 2.0
TINY = {"width": 128, "heads": 4}


def ask(engine: Engine, requests: Sequence[Request]) -> list[Completion]:
    async def all_of_them() -> list[Completion]:
        return list(await asyncio.gather(*(engine.generate(r) for r in requests)))

    return asyncio.run(all_of_them())


def change(model: Any, share: float, seed: int) -> None:
    """Noise on every weight, `share` of its tensor's standard deviation."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = share * parameter.std() if parameter.numel() > 1 else 0.0
            parameter.add_(spread * torch.randn(parameter.shape, generator=noise))


def greedy(trainer: Engine, engine: Engine, requests: Sequence[Request]) -> dict[str, float]:
    """Shares of prompts and of tokens (up to the first difference) that are the same."""
    pairs = list(zip(ask(engine, requests), ask(trainer, requests)))
    same = [a.tokens == b.tokens for a, b in pairs]
    first = [
        next((n for n, (x, y) in enumerate(zip(a.tokens, b.tokens)) if x != y), len(b.tokens))
        for a, b in pairs
    ]
    return {
        "prompts": len(pairs),
        "equal": sum(same),
        "equal_share": sum(same) / len(same),
        "tokens_before_the_first_difference": sum(first) / sum(len(b.tokens) for _, b in pairs),
    }


def sampled(model: Any, engine: Engine, requests: Sequence[Request]) -> dict[str, float]:
    """How far the engine's log-probs of its own samples are from the trainer's."""
    gaps: list[float] = []
    masses: list[float] = []
    for request, answer in zip(requests, ask(engine, requests)):
        theirs = score(model, request.prompt, answer.tokens, request.sampling.temperature)
        ratios = [b - a for a, b in zip(answer.logprobs, theirs)]
        gaps += [abs(r) for r in ratios]
        masses += [min(torch.tensor(r).exp().item(), TRUNCATE) for r in ratios]
    return {
        "tokens": len(gaps),
        "mean_abs_difference": statistics.fmean(gaps),
        "max_abs_difference": max(gaps),
        "mean_importance": statistics.fmean(masses),
        "truncated_share": sum(m >= TRUNCATE for m in masses) / len(masses),
    }


def timed(work: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    out = work()
    return out, time.perf_counter() - start


def run(args: argparse.Namespace, folder: Path, scratch: Path) -> dict[str, Any]:
    model, tokenizer = weights.load(folder)
    model.eval()
    chat = TemplateChat(tokenizer)
    problems = [TaskSettings(source="word_problems", split="test", count=args.prompts, seed=0)]
    prompts = [chat.render([user(task.question)]) for task in load_tasks(problems).tasks]
    plain = [Request(p, Sampling(args.tokens, temperature=0)) for p in prompts]
    random = [Request(p, Sampling(args.tokens), seed=n) for n, p in enumerate(prompts)]
    settings = VllmSettings(dtype=args.dtype, cache_gib=args.cache_gib, context=1024)
    trainer = LocalEngine(model, chat)
    given = {
        "weights": lambda: weights.merged(model).items(),
        "probe": partial(score, model, temperature=1.0),
    }
    start = partial(VllmEngine, chat=chat, settings=settings, **given)
    engine, started = timed(lambda: start(folder))
    out: dict[str, Any] = {"start_seconds": started, "before": greedy(trainer, engine, plain)}
    change(model, args.noise, seed=0)
    asyncio.run(trainer.load(1))
    out["stale"] = {**greedy(trainer, engine, plain), **sampled(model, engine, random)}
    versions = range(1, args.repeats + 1)
    loads = [timed(partial(asyncio.run, engine.load(n)))[1] for n in versions]
    out["update_seconds"] = {"min": min(loads), "median": statistics.median(loads)}
    out["probe_gap"] = engine.gap
    out["after"] = {**greedy(trainer, engine, plain), **sampled(model, engine, random)}

    def restart() -> VllmEngine:
        weights.save(model, tokenizer, scratch)
        asyncio.run(engine.aclose())
        return start(scratch)

    engine, out["restart_seconds"] = timed(restart)
    out["restarted"] = {**greedy(trainer, engine, plain), **sampled(model, engine, random)}
    asyncio.run(engine.aclose())
    return out


def show(out: dict[str, Any]) -> None:
    print(f"{'':12}{'greedy equal':>14}{'mean |dlogp|':>14}{'max':>9}{'mean min(pi/mu, 2)':>20}")
    for name in ("before", "stale", "after", "restarted"):
        row = out[name]
        line = f"{name:12}{row['equal']:9} / {row['prompts']}"
        if "mean_abs_difference" in row:
            line += f"{row['mean_abs_difference']:14.1e}{row['max_abs_difference']:9.1e}"
            line += f"{row['mean_importance']:20.4f}"
        print(line)
    update, again = out["update_seconds"]["median"], out["restart_seconds"]
    print(f"update {update:.2f} s (probe included), restart {again:.1f} s: {again / update:.0f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--quick", action="store_true", help="a tiny random model")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3, help="loads that are timed")
    parser.add_argument("--noise", type=float, default=0.02, help="share of a tensor's spread")
    parser.add_argument("--cache-gib", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with TemporaryDirectory() as made:
        small = Path(made) / "tiny"
        folder = tiny_model.make(small, **TINY) if args.quick else catalogue.obtain(args.model)
        out = run(args, folder, Path(made) / "saved")
    show(out)
    if args.json:
        about = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        about["machine"] = platform.machine()
        result = {key: value for key, value in vars(args).items() if key != "json"}
        args.json.write_text(json.dumps({"settings": result, **about, **out}, indent=1) + "\n")


if __name__ == "__main__":
    main()
