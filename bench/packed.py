"""Packed against flat training step over sharing ratios and lengths, beside the matmul rate.

    python bench/packed.py [--size tiny|small|0.5b|1.5b] [--sharing 2 4 8 16] [--lengths 2048 ..]
                           [--repeats N] [--peaks] [--json F]

A load is a question that 2 s answers share, so that rows of L tokens hold s times the tokens of
their trie, which has 2 L. A step is loss, backward, clip and AdamW of the same credited tree; both
variants run at most 2 L tokens at a time. They are timed in turn in one process, and their gradient
norms are checked to agree. What is told of a cell:

    share of the ratio    (flat seconds / packed seconds) / s; below 1 also since both pay the same
                          for the head and the update, most of all where the model is small
    share of the matmul   operations of the packed step (forward, backward, attention; nothing that
                          is computed again) / seconds, over the rate of a matmul measured here
    peak                  memory of one step: of the GPU; on a CPU that of a process of its own
                          (--peaks)

On a CPU shares are told by its own seconds, which other work on the machine changes little.

On a GPU: bfloat16, flex attention, activation checkpointing, a model of 0.5b and lengths of 2k to
32k. On a CPU: float32, masks, a tiny model, short lengths; the other cells are told as not
measured, as are those that do not fit in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from hornbeam.credit import credit
from hornbeam.jobs.train.estimates import memory_estimate
from hornbeam.jobs.train.estimates.run_estimate import shape
from hornbeam.train.policy import Policy
from hornbeam.train.train_settings import LossSettings, OptimSettings
from hornbeam.tree.nodes import Node, Tree, floats, ids

GRID = [(s, n) for n in (2048, 4096, 8192, 16384, 32768) for s in (2, 4, 8, 16)]
SIZES = {  # hidden, inner, layers, heads, key-value heads, vocabulary
    "tiny": (128, 384, 4, 4, 2, 2048),
    "small": (576, 1536, 30, 9, 3, 49152),
    "0.5b": (896, 4864, 24, 14, 2, 151936),
    "1.5b": (1536, 8960, 28, 12, 2, 151936),
}
VARIANTS = ("packed", "flat")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLD = 0 if DEVICE == "cuda" else 1  # which of the clocks shares are told by


def policies(size: str, length: int, variants: tuple[str, ...] = VARIANTS) -> dict[str, Policy]:
    """The same random weights for each variant; a pass holds two rows."""
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, inner, layers, heads, kv_heads, vocabulary = SIZES[size]
    gpu = DEVICE == "cuda"
    out = {}
    for name in variants:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            max_position_embeddings=65536,
            tie_word_embeddings=True,
        )
        optim = OptimSettings(
            packed=name == "packed", max_pack_tokens=2 * length, bf16=gpu, checkpointing=gpu
        )
        lm = LlamaForCausalLM(config).to(DEVICE)
        out[name] = Policy(lm, loss=LossSettings(), optim=optim)
    return out


def load(sharing: int, length: int) -> Tree:
    """A question and 2 s answers, credited; its trie has 2 L tokens but for rounding."""
    draw = random.Random(length)
    leaves = 2 * sharing
    asked = length * (leaves - 2) // (leaves - 1)
    question = ids(draw.randrange(5, 2048) for _ in range(asked))
    tree = Tree({"id": "q"})
    for n in range(leaves):
        said = ids([5 + n, *(draw.randrange(5, 2048) for _ in range(length - asked - 1))])
        logprobs = floats(-7 - draw.random() for _ in said)
        node = tree.append(Node(0, prompt=question, tokens=said, logprobs=logprobs))
        tree.column("reward")[node] = float(n % 3 == 0)
    credit([tree], "grpo")
    return tree


def operations(policy: Policy, tree: Tree) -> float:
    """Of one packed step, nothing computed again; pairs are those of the trie."""
    asked, leaves = len(tree.nodes[1].prompt), len(tree) - 1
    said = len(tree.nodes[1].tokens)
    pairs = asked**2 / 2 + leaves * (asked * said + said**2 / 2)
    step = memory_estimate.StepTokens(unique=asked + leaves * said, sampled=leaves * said)
    form = shape(policy.causal)
    job = memory_estimate.Workload(form, trained=form.total, longest=round(2 * pairs / step.unique))
    return memory_estimate.operations(job, step)


def matmul_rate(size: str) -> float:
    """Operations a second of the model's widest layer, at best, in the type computed in."""
    hidden, inner = SIZES[size][:2]
    gpu = DEVICE == "cuda"
    like = {"device": DEVICE, "dtype": torch.bfloat16 if gpu else torch.float32}
    rows = 16384 if gpu else 1024
    a, b = torch.randn(rows, hidden, **like), torch.randn(hidden, inner, **like)
    took = []
    for _ in range(20):
        began = clocks()[TOLD]
        for _ in range(5):
            a @ b
        took.append((clocks()[TOLD] - began) / 5)
    return 2 * rows * hidden * inner / min(took)


def clocks() -> tuple[float, float]:
    """Seconds of the clock and of the CPU, all work of the device done."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def cell(
    size: str, sharing: int, length: int, repeats: int, rate: float, watched: bool
) -> dict[str, Any]:
    """Times of both variants in turn; the first turn makes gradients, moments and kernels."""
    tree = load(sharing, length)
    made = policies(size, length)
    results: dict[str, list[tuple[float, float]]] = {v: [] for v in VARIANTS}
    peaks, unique = {}, 0.0
    for turn in range(repeats + 1):
        norms = {}
        for v in VARIANTS:
            if DEVICE == "cuda":
                torch.cuda.reset_peak_memory_stats()
            began = clocks()
            result = made[v].step([tree])
            if turn:
                wall, cpu = (b - a for a, b in zip(began, clocks()))
                results[v].append((wall, cpu))
            norms[v], unique = result["grad_norm"], result["tokens_unique"]
            if DEVICE == "cuda":
                peaks[v] = torch.cuda.max_memory_allocated() // 2**20
        difference = abs(norms["packed"] - norms["flat"]) / norms["flat"]
        assert difference < (0.03 if DEVICE == "cuda" else 1e-3), f"the steps differ: {norms}"
    work = operations(made["packed"], tree)
    ratios = [f[TOLD] / p[TOLD] for f, p in zip(results["flat"], results["packed"])]
    return {
        "sharing": sharing,
        "length": length,
        "unique": unique,
        "seconds": {v: [wall for wall, _ in results[v]] for v in VARIANTS},
        "cpu_seconds": {v: [cpu for _, cpu in results[v]] for v in VARIANTS},
        "flat_over_packed": spread(ratios),
        "share_of_ratio": spread([r / sharing for r in ratios]),
        "share_of_matmul": spread([work / s[TOLD] / rate for s in results["packed"]]),
        "peak_mib": {v: peak(v, size, sharing, length) for v in VARIANTS} if watched else peaks,
    }


def peak(variant: str, size: str, sharing: int, length: int) -> int:
    """Peak memory in MiB of one step in a process of its own."""
    more = ["--one", variant, "--size", size, "--sharing", str(sharing), "--lengths", str(length)]
    command = [sys.executable, __file__, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"min": ordered[0], "median": ordered[len(ordered) // 2], "max": ordered[-1]}


def line(row: dict[str, Any]) -> str:
    seconds = row[("seconds", "cpu_seconds")[TOLD]]
    packed, flat = (spread(seconds[v])["median"] for v in VARIANTS)

    def three(key: str) -> str:
        return "{median:.2f} ({min:.2f} to {max:.2f})".format(**row[key])

    memory = " / ".join(f"{size:,}" for size in row["peak_mib"].values())
    return (
        f"{row['length']:>7} {row['sharing']:>4} {packed:>9.3f} {flat:>9.3f}"
        f"   {three('share_of_ratio'):24} {three('share_of_matmul'):24} {memory}"
    )


def main() -> None:
    gpu = DEVICE == "cuda"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="0.5b" if gpu else "tiny")
    parser.add_argument("--sharing", type=int, nargs="+", default=[2, 4, 8, 16])
    lengths = [2048, 4096, 8192, 16384, 32768] if gpu else [128, 256]
    parser.add_argument("--lengths", type=int, nargs="+", default=lengths)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peaks", action="store_true", help="on a CPU peak memory, too: slow")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        (length,), (sharing,) = args.lengths, args.sharing
        policies(args.size, length, (args.one,))[args.one].step([load(sharing, length)])
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
        return
    rate = matmul_rate(args.size)
    where = torch.cuda.get_device_name() if gpu else f"{platform.machine()}, {os.cpu_count()} cores"
    kind = "bfloat16, flex, checkpointing" if gpu else "float32, masks"
    print(f"{where}; model {args.size}, {kind}; a matmul: {rate / 1e12:.3g} TFLOP/s")
    print(
        " length  s:1  packed s    flat s   share of the ratio       share of the matmul      MiB"
    )
    rows, missing = [], []
    for length in args.lengths:
        for sharing in args.sharing:
            try:
                watched = args.peaks and not gpu
                rows.append(cell(args.size, sharing, length, args.repeats, rate, watched))
                print(line(rows[-1]), flush=True)
            except torch.OutOfMemoryError:
                missing.append((sharing, length, "does not fit in this GPU's memory"))
                torch.cuda.empty_cache()
    done = {(row["sharing"], row["length"]) for row in rows} | {(s, n) for s, n, _ in missing}
    why = "not asked for" if gpu else "needs a GPU"
    missing += [(s, n, why) for s, n in GRID if (s, n) not in done]
    for reason in sorted({reason for *_, reason in missing}):
        cells = ", ".join(f"{n} at {s}" for s, n, r in missing if r == reason)
        print(f"not measured, {reason}: {cells}")
    if args.json:
        result = {
            "command": " ".join(sys.argv),
            "machine": f"{where}, torch {torch.__version__}, {torch.get_num_threads()} threads",
            "model": args.size,
            "matmul_tflops": rate / 1e12,
            "cells": rows,
            "not_measured": [{"sharing": s, "length": n, "why": r} for s, n, r in missing],
        }
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
