"""The local engine against `transformers` generate: the same requests, the same model, one process.

    OMP_NUM_THREADS=2 python bench/engine.py [--quick] [--tiny] [--repeats N] [--json FILE]

Loads: "grpo" (8 prompts x 8 samples of one length), "ragged" (lengths drawn evenly from a range,
64 in flight; generate runs each batch of 64 to its longest, as it must), "tree" (conversations of
three turns, two branches a turn; generate runs level by level, padded on the left), "turns" (the
same without branches, with lengths drawn from the range anew at every turn). Weights are random:
they cost the same. Repeats are interleaved; `ratio` is ours / generate in sampled tokens a
second, by the clock and by processor time, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import statistics
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hornbeam.chat import ByteChat
from hornbeam.engine.local.local_engine import LocalEngine
from hornbeam.engine.request import Completion, Request, Sampling
from hornbeam.tree.nodes import ids

IN_FLIGHT = 64
SMOLLM2 = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}
TINY = {
    "vocab_size": 256,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}


class Endless(ByteChat):
    """No end token: both sides sample as many tokens as were asked for."""

    ends = frozenset()

    def decode(self, tokens: Any) -> str:
        """Nothing: no text is looked at here."""
        return ""


@dataclass
class Load:
    """Conversations: a prompt, then for each level how many branches and what is added."""

    name: str
    prompts: list[array[int]]
    lengths: list[int]
    levels: int = 1
    branches: int = 1
    added: list[array[int]] = field(default_factory=list)

    def length(self, number: int, level: int) -> int:
        """How many tokens conversation `number` samples at this level."""
        return self.lengths[(number + 7 * level) % len(self.lengths)]


def loads(vocabulary: int, quick: bool) -> list[Load]:
    rng = random.Random(0)

    def text(size: int) -> array[int]:
        return ids(rng.randrange(3, vocabulary) for _ in range(size))

    system, fixed, low, high = (
        text(24),
        (12 if quick else 48),
        8 // (1 + quick),
        32 if quick else 256,
    )
    grpo = [p for p in [system + text(rng.randrange(30, 50)) for _ in range(8)] for _ in range(8)]
    ragged = [
        p for p in [system + text(rng.randrange(30, 50)) for _ in range(8)] for _ in range(16)
    ]
    trunks = [system + text(rng.randrange(30, 50)) for _ in range(8)]
    turns = [text(rng.randrange(8, 16)) for _ in range(16)]
    return [
        Load("grpo", grpo, [fixed]),
        Load("ragged", ragged, [rng.randint(low, high) for _ in ragged]),
        Load("tree", trunks, [fixed // 2], levels=3, branches=2, added=turns),
        Load("turns", grpo, [rng.randint(low, high) for _ in grpo], levels=3, added=turns),
    ]


async def ours(model: Any, load: Load) -> list[tuple[Request, Completion]]:
    """All conversations at once."""
    engine = LocalEngine(model, Endless())
    done: list[tuple[Request, Completion]] = []

    async def grow(prompt: array[int], number: int, level: int) -> None:
        request = Request(prompt, Sampling(max_tokens=load.length(number, level)), seed=number)
        answer = await engine.generate(request)
        done.append((request, answer))
        if level < load.levels:
            turns = [load.added[(number + b) % len(load.added)] for b in range(load.branches)]
            context = prompt + answer.tokens
            await asyncio.gather(
                *(
                    grow(context + t, load.branches * number + b, level + 1)
                    for b, t in enumerate(turns)
                )
            )

    await asyncio.gather(*(grow(p, i, 1) for i, p in enumerate(load.prompts)))
    await engine.aclose()
    return done


def theirs(model: Any, load: Load) -> int:
    """Level by level, batch by batch; how many tokens were sampled that had been asked for."""
    count = 0
    wave = list(enumerate(load.prompts))
    for level in range(1, load.levels + 1):
        following = []
        for start in range(0, len(wave), IN_FLIGHT):
            part = wave[start : start + IN_FLIGHT]
            batch = [(prompt, load.length(number, level)) for number, prompt in part]
            for (number, prompt), tokens in zip(part, generate(model, batch)):
                count += len(tokens)
                for branch in range(load.branches if level < load.levels else 0):
                    turn = load.added[(number + branch) % len(load.added)]
                    following.append((load.branches * number + branch, prompt + tokens + turn))
        wave = following
    return count


def generate(model: Any, batch: list[tuple[array[int], int]]) -> list[array[int]]:
    """`transformers` generate on one batch, padded on the left."""
    width, new = max(len(p) for p, _ in batch), max(n for _, n in batch)
    rows = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros_like(rows)
    for row, (prompt, _) in enumerate(batch):
        rows[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    out = model.generate(
        rows, attention_mask=mask, max_new_tokens=new, do_sample=True, top_k=0, pad_token_id=0
    )
    return [ids(out[row, width : width + n].tolist()) for row, (_, n) in enumerate(batch)]


def unique(done: list[tuple[Request, Completion]]) -> int:
    """Prompt tokens that had to be run: distinct prefixes, less those that were sampled and fed."""
    seen: set[int] = set()
    sampled: set[int] = set()
    for request, answer in done:
        prefixes = _hashes(request.prompt + answer.tokens)
        seen.update(prefixes[: len(request.prompt)])
        sampled.update(prefixes[len(request.prompt) : -1])
    return len(seen - sampled)


def _hashes(tokens: array[int]) -> list[int]:
    out, state = [], 0
    for token in tokens:
        state = hash((state, token))
        out.append(state)
    return out


def clocked(work: Callable[[], Any]) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def compare(model: Any, load: Load, repeats: int) -> dict[str, Any]:
    rows = []
    for _ in range(repeats):
        done, wall, cpu = clocked(lambda: asyncio.run(ours(model, load)))
        count, their_wall, their_cpu = clocked(lambda: theirs(model, load))
        tokens = sum(len(answer.tokens) for _, answer in done)
        rows.append((tokens / wall, count / their_wall, tokens / cpu, count / their_cpu))
    computed = sum(answer.computed for _, answer in done)
    return {
        "load": load.name,
        "requests": len(done),
        "sampled": tokens,
        "prompt": sum(len(request.prompt) for request, _ in done),
        "computed": computed,
        "computed_per_unique": computed / unique(done),
        "ours_per_second": spread([r[0] for r in rows]),
        "generate_per_second": spread([r[1] for r in rows]),
        "ratio": spread([r[0] / r[1] for r in rows]),
        "ratio_cpu": spread([r[2] / r[3] for r in rows]),
    }


def spread(values: list[float]) -> list[float]:
    return [min(values), statistics.median(values), max(values)]


def neighbours(model: Any) -> dict[str, float]:
    """How much a request's log-probs hang on its neighbours: 16 together against one by one."""
    rng = random.Random(1)
    size = model.config.vocab_size
    requests = [
        Request(ids(rng.randrange(3, size) for _ in range(rng.randrange(4, 40))), Sampling(12), i)
        for i in range(16)
    ]

    async def run(batch: list[Request]) -> list[Completion]:
        engine = LocalEngine(model, Endless())
        return list(await asyncio.gather(*(engine.generate(r) for r in batch)))

    together = asyncio.run(run(requests))
    alone = [asyncio.run(run([r]))[0] for r in requests]
    same = [(a, b) for a, b in zip(together, alone) if a.tokens == b.tokens]
    gaps = [abs(x - y) for a, b in same for x, y in zip(a.logprobs, b.logprobs)]
    return {"equal_answers": len(same) / len(requests), "max_logprob_gap": max(gaps, default=0.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short answers, one repeat")
    parser.add_argument("--tiny", action="store_true", help="a model of one million parameters")
    parser.add_argument("--repeats", type=int, default=0, help="default 3, with --quick 1")
    parser.add_argument("--load", choices=["grpo", "ragged", "tree", "turns"], help="this one only")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    torch.manual_seed(0)
    shape = TINY if options.tiny else SMOLLM2
    model = LlamaForCausalLM(LlamaConfig(**shape, eos_token_id=None, max_position_embeddings=2048))
    model.eval()
    repeats = options.repeats or (1 if options.quick else 3)
    chosen = [
        x for x in loads(shape["vocab_size"], options.quick) if options.load in (None, x.name)
    ]
    print(
        f"{'load':8}{'sampled':>9}{'prompt':>8}{'run':>7}{'run/unique':>12}"
        f"{'ours/s':>9}{'generate/s':>12}  ratio min/median/max  by processor time",
        flush=True,
    )
    results = []
    for load in chosen:
        row = compare(model, load, repeats)
        results.append(row)
        ratio, cpu = ("/".join(f"{v:.2f}" for v in row[k]) for k in ("ratio", "ratio_cpu"))
        print(
            f"{row['load']:8}{row['sampled']:9}{row['prompt']:8}{row['computed']:7}"
            f"{row['computed_per_unique']:12.3f}{row['ours_per_second'][1]:9.0f}"
            f"{row['generate_per_second'][1]:12.0f}  {ratio:20}  {cpu}",
            flush=True,
        )
    gap = neighbours(model)
    print(
        f"16 together against one by one: {gap['equal_answers']:.0%} equal answers,"
        f" largest gap of a log-prob {gap['max_logprob_gap']:.1e}"
    )
    if options.json:
        about = {
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "machine": platform.machine(),
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(
                {
                    "settings": {k: v for k, v in vars(options).items() if k != "json"},
                    **about,
                    "loads": results,
                    "neighbours": gap,
                },
                file,
                indent=1,
            )


if __name__ == "__main__":
    main()
