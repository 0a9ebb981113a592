"""What a GPU is asked once one is there: one script, ten minutes, random weights, no downloads.

    python bench/gpu.py [--seconds 560] [--parts f e d c b a] [--json FILE]

    a  packed against flat steps, Qwen3-0.6B and Qwen3-4B with adapters, sharing 1 to 16, rows of
       2k, 8k, 32k tokens: seconds, memory, (flat / packed) / sharing, where packing loses
    b  one level: Qwen3-4B with adapters, 8 answers of 256 tokens on prompts of 1k, 4k, 8k; a peer
       tells 2.55 times the speed of flat rows
    c  tokens a second and MFU of one row of 16k tokens, Qwen3-0.6B; a peer tells 11,896 on an H100
    d  seconds of the first step of a new pack length, and of the next, with no kernel compiled
    e  tokens a second of the local engine, Qwen3-0.6B, 64 requests at once
    f  flex attention against masks: outputs and gradients

A step is loss, backward, clip and AdamW of a credited tree of random tokens: bfloat16, flex
attention, activation checkpointing. Flat rows are of one length, so that none is padded and they
run as rows of varying length would. Gradient norms of packed and flat steps must agree.

Each part is a process of its own with a share of the time: one that fails or is stopped leaves the
others. Within it cells come from the smallest on, and those for which no time is left are told as
not measured. Without a GPU all of it runs at toy size in float32 by masks, to see that it does;
its figures say nothing, and it says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch

from hornbeam.credit import credit
from hornbeam.jobs.train.estimates import memory_estimate
from hornbeam.jobs.train.estimates.run_estimate import shape
from hornbeam.train.policy import Policy
from hornbeam.train.train_settings import LoraSettings, LossSettings, OptimSettings
from hornbeam.tree.nodes import Node, Tree, floats, ids

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
TOY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 512}
TOY |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
QWEN3 = {"vocab_size": 151936, "num_key_value_heads": 8, "head_dim": 128}
NAMES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
SIZES = {
    "Qwen3-0.6B": {**QWEN3, **dict(zip(NAMES, (1024, 3072, 28, 16)))},
    "Qwen3-4B": {**QWEN3, **dict(zip(NAMES, (2560, 9728, 36, 32)))},
}
SCALE = 1 if GPU else 64  # toy lengths are so many times shorter
SHARES = {"f": 45, "e": 60, "d": 100, "c": 70, "b": 110, "a": 600}  # seconds at most
COMPILING = 45.0 if GPU else 0.1  # seconds that the kernels of a new length take
VARIANTS = ("packed", "flat")
Row = dict[str, Any]


def bare(size: str) -> Any:
    """Random weights in that shape, made on the device."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    given = SIZES[size] if GPU else TOY
    config = Qwen3Config(**given, tie_word_embeddings=True, max_position_embeddings=65536)
    with torch.device(DEVICE):
        return Qwen3ForCausalLM(config)


def policy(size: str, variant: str = "packed") -> Policy:
    """A policy of that shape; the larger one learns by adapters."""
    lora = LoraSettings() if size == "Qwen3-4B" else None
    optim = OptimSettings(packed=variant == "packed", bf16=GPU, checkpointing=GPU)
    return Policy(bare(size), loss=LossSettings(), optim=optim, lora=lora)


def load(asked: int, said: int, leaves: int) -> Tree:
    """A question and its answers, credited."""
    draw = random.Random(asked)
    top = TOY["vocab_size"] - 64
    question = ids(draw.randrange(5, top) for _ in range(asked))
    tree = Tree({"id": "q"})
    for n in range(leaves):
        answer = ids([top + n, *(draw.randrange(5, top) for _ in range(said - 1))])
        logprobs = floats(-7 - draw.random() for _ in answer)
        node = tree.append(Node(0, prompt=question, tokens=answer, logprobs=logprobs))
        tree.column("reward")[node] = float(n % 3 == 0)
    credit([tree], "grpo")
    return tree


def now() -> float:
    """Seconds, all work of the device done."""
    if GPU:
        torch.cuda.synchronize()
    return time.perf_counter()


def step(made: Policy, tree: Tree, tokens: int) -> Row:
    """Seconds, memory and gradient norm of a step that runs so many tokens at once."""
    made.optim = made.optim.model_copy(update={"max_pack_tokens": tokens})
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    began = now()
    told = made.step([tree])
    took = now() - began
    peak = torch.cuda.max_memory_allocated() // 2**20 if GPU else None
    return {"seconds": took, "peak_mib": peak, "norm": told["grad_norm"]}


def work(made: Policy, asked: int, said: int, leaves: int, flat: bool = False) -> float:
    """Operations of a step, nothing computed again."""
    pairs = asked**2 / 2 + leaves * (asked * said + said**2 / 2)
    unique = asked + leaves * said
    if flat:
        unique = leaves * (asked + said)
        pairs = leaves * (asked + said) ** 2 / 2
    form = shape(made.causal)
    trained = sum(p.numel() for p in made.model.parameters() if p.requires_grad)
    job = memory_estimate.Workload(form, trained=trained, longest=round(2 * pairs / unique))
    tokens = memory_estimate.StepTokens(unique=unique, sampled=leaves * said)
    return memory_estimate.operations(job, tokens)


def matmul_rate() -> float:
    """Operations a second of a large product in the type computed in, at best."""
    side = 8192 if GPU else 512
    like: Any = {"device": DEVICE, "dtype": torch.bfloat16 if GPU else torch.float32}
    a, b = torch.randn(side, side, **like), torch.randn(side, side, **like)
    took = []
    for _ in range(10):
        began = now()
        a @ b
        took.append(now() - began)
    return 2 * side**3 / min(took)


def pair(made: dict[str, Policy], asked: int, said: int, leaves: int, tokens: int) -> Row:
    """A packed and a flat step of one load, each after one that is not counted."""
    tree = load(asked, said, leaves)
    found: dict[str, Row] = {}
    for variant in VARIANTS:
        first = step(made[variant], tree, tokens)
        found[variant] = {**step(made[variant], tree, tokens), "first": first["seconds"]}
        found[variant]["norm"] = first["norm"]  # of equal weights
    packed, flat = (found[variant]["norm"] for variant in VARIANTS)
    assert abs(packed - flat) / flat < (0.03 if GPU else 1e-3), f"the steps differ: {found}"
    sharing = leaves * (asked + said) / (asked + leaves * said)
    ratio = found["flat"]["seconds"] / found["packed"]["seconds"]
    about = {"asked": asked, "said": said, "leaves": leaves, "sharing": sharing}
    told = {"flat_over_packed": ratio, "share_of_ratio": ratio / sharing, "loses": ratio < 1}
    return {**about, **found, **told}


def both(size: str) -> dict[str, Policy]:
    """Equal policies of that shape, a packed and a flat one."""
    return {variant: policy(size, variant) for variant in VARIANTS}


Left = Callable[[], float]


def cells(size: str, loads: list[tuple[int, int, int, int]], left: Left) -> Iterator[Row]:
    """Pairs of steps, the cheapest first, as long as there is time: (asked, said, leaves, pack)."""
    made, rate = both(size), matmul_rate() * 0.3

    def cost(one: tuple[int, int, int, int]) -> float:
        asked, said, leaves, _ = one
        operations = [work(made["packed"], asked, said, leaves, flat) for flat in (False, True)]
        return 2 * sum(operations) / rate + COMPILING

    for one in sorted(loads, key=cost):
        asked, said, leaves, pack = one
        about = {"model": size, "asked": asked, "said": said, "leaves": leaves}
        if cost(one) > left():
            yield {**about, "not_measured": "no time was left"}
            continue
        try:
            yield {"model": size, **pair(made, asked, said, leaves, pack)}
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            yield {**about, "not_measured": "does not fit in memory"}


def grid(left: Left) -> Iterator[Row]:
    """Part a."""
    loads = []
    for length, sharing in product((2048, 8192, 32768), (1, 2, 4, 8, 16)):
        row, leaves = length // SCALE, 2 * sharing
        asked = max(1, row * (leaves - 2) // (leaves - 1))
        loads.append((asked, row - asked, leaves, 2 * row))
    half = left() / 2
    for number, size in enumerate(SIZES):
        yield from cells(size, loads, lambda n=number: left() - (0 if n else half))
        torch.cuda.empty_cache()


def one_level(left: Left) -> Iterator[Row]:
    """Part b."""
    loads = [(n // SCALE, 256 // SCALE, 8, 2 * (n + 256) // SCALE) for n in (1024, 4096, 8192)]
    for row in cells("Qwen3-4B", loads, left):
        yield {**row, "peer_flat_over_packed": 2.55}


def plain(left: Left) -> Iterator[Row]:
    """Part c."""
    size, row = "Qwen3-0.6B", 16384 // SCALE
    made, rate = policy(size), matmul_rate()
    tree = load(1, row // 2, 2)  # of two answers one is better
    step(made, tree, row)
    while left() > 0:
        took = step(made, tree, row)
        share = work(made, 1, row // 2, 2) / took["seconds"] / rate
        told = {"tokens_a_second": row / took["seconds"], "share_of_matmul": share}
        mfu = work(made, 1, row // 2, 2) / took["seconds"] / sheet() if GPU else None
        yield {"model": size, **took, **told, "mfu": mfu, "peer_tokens_a_second": 11896}
        if left() < 3 * took["seconds"] or not GPU:
            return


def sheet() -> float:
    """Operations a second by the data sheet of this GPU; of an H100 where it is unknown."""
    name = torch.cuda.get_device_name().lower()
    known = (gpu for key, gpu in memory_estimate.GPUS.items() if key in name)
    return next(known, memory_estimate.GPUS["h100"]).rate


def new_lengths(left: Left) -> Iterator[Row]:
    """Part d."""
    made = policy("Qwen3-0.6B")
    for length in (2048, 4096, 8192):
        if left() < COMPILING / 2:
            yield {"tokens": length // SCALE, "not_measured": "no time was left"}
            continue
        tree = load(length // SCALE // 2, length // SCALE // 4, 2)
        took = [step(made, tree, length // SCALE)["seconds"] for _ in range(3)]
        yield {"tokens": length // SCALE, "first_seconds": took[0], "later_seconds": took[1:]}


def decode(left: Left) -> Iterator[Row]:
    """Part e."""
    from hornbeam.chat import ByteChat
    from hornbeam.engine.local.local_engine import LocalEngine, LocalSettings
    from hornbeam.engine.request import Request, Sampling

    class Endless(ByteChat):
        ends = frozenset()

        def decode(self, *_: Any, **__: Any) -> str:
            return ""

    async def sampled(lm: Any, rows: int, tokens: int) -> float:
        engine = LocalEngine(lm, Endless(), LocalSettings(max_batch=rows))
        draw = random.Random(rows)
        prompts = [ids(draw.randrange(5, 400) for _ in range(64)) for _ in range(rows)]
        how = Sampling(max_tokens=tokens)
        began = now()
        await asyncio.gather(
            *(engine.generate(Request(p, how, seed=n)) for n, p in enumerate(prompts))
        )
        took = now() - began
        await engine.aclose()
        return rows * tokens / took

    for kind in ("float32", "bfloat16") if GPU else ("float32",):
        lm = bare("Qwen3-0.6B").eval().to(getattr(torch, kind))
        tokens = 128 if GPU else 8
        asyncio.run(sampled(lm, 64, 4))
        for rows in (1, 8, 64):
            if left() > 0:
                rate = asyncio.run(sampled(lm, rows, tokens))
                yield {"weights": kind, "requests": rows, "tokens_a_second": rate}


def kernels(left: Left) -> Iterator[Row]:
    """Part f."""
    from hornbeam.train import attention, flex

    for kind in ("float32", "bfloat16") if GPU else ("float32",):
        torch.manual_seed(0)
        trunk, branch = 300, 200
        position = [*range(trunk + branch), *range(trunk, trunk + branch)]
        total = len(position)
        end = [total] * trunk + [trunk + branch] * branch + [total] * branch
        tokens = torch.zeros(1, total, dtype=torch.long, device=DEVICE)
        place = torch.tensor([position], device=DEVICE)
        _, place, stop = flex.padded(tokens, place, torch.tensor(end, device=DEVICE))
        many = len(stop)
        given = [
            torch.randn(1, h, many, 64, device=DEVICE, dtype=getattr(torch, kind))
            for h in (4, 2, 2)
        ]
        out, grads = {}, {}
        for how in ("flex", "mask"):
            q, k, v = (t.clone().requires_grad_(GPU) for t in given)
            if how == "flex":
                tiles = flex.Tiles(place[0], stop).mask(None)
                out[how] = flex.attend(q, k, v, tiles, None, None)
            else:
                key = torch.arange(many, device=DEVICE)
                seen = (key <= key[:, None]) & (key[:, None] < stop)
                out[how] = attention.attend(q, k, v, seen).transpose(1, 2)
            if GPU:
                (out[how].float().square().sum()).backward()
                grads[how] = [t.grad for t in (q, k, v)]
        apart = float((out["flex"] - out["mask"]).abs().max())
        row: Row = {"type": kind, "outputs_apart": apart}
        if GPU:
            both = zip(grads["flex"], grads["mask"])
            row["gradients_apart"] = max(float((a - b).abs().max()) for a, b in both)
        else:
            row["not_measured"] = "gradients: flex attention has no backward pass on a CPU"
        allowed = 1e-5 if kind == "float32" else 2e-2
        yield {**row, "allowed": allowed, "agree": apart <= allowed}


PARTS: dict[str, Callable[[Left], Iterator[Row]]] = {
    "a": grid, "b": one_level, "c": plain, "d": new_lengths, "e": decode, "f": kernels,
}  # fmt: skip


def one(part: str, seconds: float) -> None:
    """A part in this process: a line of JSON for each row."""
    until = time.monotonic() + seconds
    for row in PARTS[part](lambda: until - time.monotonic()):
        print(json.dumps(row), flush=True)


def told(part: str, seconds: float) -> Row:
    """What a process of a part said, and how it ended."""
    env = {**os.environ}
    with tempfile.TemporaryDirectory() as folder:
        if part == "d":
            env["TORCHINDUCTOR_CACHE_DIR"] = folder
        out, err = Path(folder) / "rows", Path(folder) / "log"
        command = [sys.executable, __file__, "--part", part, "--seconds", str(seconds)]
        began, ended = time.monotonic(), "whole"
        with out.open("w") as rows, err.open("w") as log:
            try:
                run = subprocess.run(command, stdout=rows, stderr=log, env=env, timeout=seconds)
                if run.returncode:
                    ended = "failed"
            except subprocess.TimeoutExpired:
                ended = "stopped"
        lines = [json.loads(line) for line in out.read_text().splitlines() if line.endswith("}")]
        row = {"part": part, "ended": ended, "seconds": time.monotonic() - began, "rows": lines}
        return row if ended == "whole" else {**row, "log": err.read_text()[-3000:]}


def short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k} {short(v)}" for k, v in value.items() if v is not None) + ")"
    return str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=560, help="of all parts together")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(SHARES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        one(args.part, args.seconds)
        return
    where = torch.cuda.get_device_name() if GPU else "no GPU: a toy model on a CPU, by masks"
    print(f"{where}; torch {torch.__version__}")
    if not GPU:
        print("This run shows that the script runs. None of its figures is that of a GPU.")
    until, found = time.monotonic() + args.seconds, []
    for part in args.parts:
        found.append(told(part, max(1.0, min(SHARES[part], until - time.monotonic()))))
        print(f"\n{part}: {found[-1]['ended']}, {found[-1]['seconds']:.0f} s")
        for row in found[-1]["rows"]:
            print("  " + "  ".join(f"{k} {short(v)}" for k, v in row.items() if v is not None))
        if "log" in found[-1]:
            print(found[-1]["log"])
        if args.json:
            result = {"command": "bench/gpu.py", "machine": where, "gpu": GPU, "parts": found}
            args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    rows = [row for part in found for row in part["rows"]]
    if any(part["ended"] == "failed" for part in found) or not all(r.get("agree", 1) for r in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
