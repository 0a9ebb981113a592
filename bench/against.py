"""This checkout against another build: the packed step, the local engine, growth, side by side.

    OMP_NUM_THREADS=1 python bench/against.py OTHER_CHECKOUT [--repeats N] [--only NAME ...]
        [--json FILE]

Each build runs the same work in processes of its own, in turn and in changing order, so that noise
of the machine falls on both. A build runs its own bench/against.py, since its modules may lie
elsewhere (the work must be the same in both), and this one's where it has none. Printed is seconds
of the other build / seconds of this one, by processor time and by the clock: above 1, this one is
faster. The work:

- step: an optimisation step on trees of shared prefixes, the shape of SmolLM2-135M at a fifth of
  its layers and vocabulary (the very first step, with its check, has a line of its own);
- load: what making a `Policy` of that model takes, its checks included;
- engine: 8 prompts x 8 samples, then second turns on what was said, the same model;
- growth: some 10,000 steps of a scripted program in trees.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
WORK = ("step", "first step", "load", "engine", "growth")


def model() -> Any:
    """The shape of SmolLM2-135M, a fifth of its depth and vocabulary, random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    size = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 6}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3}
    ends = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    return LlamaForCausalLM(LlamaConfig(vocab_size=9830, **size, **heads, **ends)).eval()


def trees(seed: int) -> list[Any]:
    """Trees of random tokens, three leaves on a trunk each, credited."""
    from hornbeam.tree.nodes import Node, Tree, ids

    draw, out = random.Random(seed), []

    def some(count: int) -> Any:
        return ids(draw.randrange(9000) for _ in range(count))

    for number in range(4):
        tree = Tree({"id": f"q{number}"})
        tree.append(Node(0, agent="a", prompt=some(80), tokens=some(40), logprobs=logprobs(40)))
        for _ in range(4):
            tree.append(Node(1, agent="a", prompt=some(8), tokens=some(40), logprobs=logprobs(40)))
        tree.columns["advantage"] = [draw.uniform(-1, 1) for _ in tree.nodes]
        tree.columns["reward"] = [0.0 for _ in tree.nodes]
        out.append(tree)
    return out


def logprobs(count: int) -> Any:
    """Log-probs of so many tokens."""
    from hornbeam.tree.nodes import floats

    return floats(-9.0 for _ in range(count))


def timed(work: Callable[[], Any]) -> list[float]:
    """(processor seconds, seconds by the clock) of a piece of work."""
    cpu, clock = time.process_time(), time.perf_counter()
    work()
    return [time.process_time() - cpu, time.perf_counter() - clock]


def training() -> dict[str, list[float]]:
    """Making a policy, its first step, and three more."""
    from hornbeam.train.policy import Policy
    from hornbeam.train.train_settings import OptimSettings

    held: list[Any] = []
    bare = model()
    load = timed(lambda: held.append(Policy(bare, optim=OptimSettings(lr=1e-6))))
    first = timed(lambda: held[0].step(trees(0)))
    more = timed(lambda: [held[0].step(trees(k)) for k in (1, 2, 3)])
    return {"load": load, "first step": first, "step": more}


def engine() -> dict[str, list[float]]:
    """Samples of shared prompts, then second turns."""
    from hornbeam.chat import ByteChat
    from hornbeam.engine.local.local_engine import LocalEngine, LocalSettings
    from hornbeam.engine.request import Request, Sampling
    from hornbeam.tree.nodes import ids

    class Endless(ByteChat):
        ends = frozenset()

        def decode(self, *_: Any, **__: Any) -> str:
            return ""

    draw = random.Random(1)
    prompts = [[draw.randrange(9000) for _ in range(60 + 5 * n)] for n in range(8)]

    async def talk() -> None:
        local = LocalEngine(bare, Endless(), LocalSettings(max_batch=64))

        async def ask(given: list[list[int]], seeds: int) -> list[list[int]]:
            asked = [(p, s) for p in given for s in range(seeds)]
            done = await asyncio.gather(
                *(
                    local.generate(Request(ids(p), Sampling(max_tokens=24), seed=s, order=(n,)))
                    for n, (p, s) in enumerate(asked)
                )
            )
            return [p + list(d.tokens) for (p, _), d in zip(asked, done)]

        said = await ask(prompts, 8)
        await ask([s + [draw.randrange(9000) for _ in range(9)] for s in said[::4]], 2)
        await local.aclose()

    bare = model()
    asyncio.run(talk())  # what is compiled and cached once
    return {"engine": timed(lambda: asyncio.run(talk()))}


def growth() -> dict[str, list[float]]:
    """Trees of a scripted program with turns."""
    import hornbeam as hb

    @hb.program
    async def talk(task: Any, ep: Any) -> str:
        messages = [hb.user(task.question)]
        for _ in range(8):
            reply = await ep.ask("solver", messages)
            messages += [hb.assistant(reply.text), hb.user("and then?")]
        return "7"

    tasks = [hb.Task(f"q{n}", f"What is {n}?", answer="7") for n in range(120)]

    def grow() -> None:
        hb.grow_trees(
            talk,
            tasks,
            agents={"solver": hb.Scripted(lambda prompt, rng: str(rng.randrange(99)))},
            strategy=hb.Branch(trunks=4, nodes=4, rounds=1),
            score=lambda task, answer: float(answer == task.answer),
            seed=0,
        )

    return {"growth": timed(grow)}


def one(checkout: Path, what: str) -> dict[str, list[float]]:
    """The figures of one build, in a process of its own, by its own script where it has one."""
    env = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    own = checkout / "bench" / "against.py"
    script = own if own.is_file() else Path(__file__)
    command = [sys.executable, str(script), "--worker", what, str(checkout)]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def spread(ratios: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    """Run all, print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path, help="a checkout of the other build")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=("training", "engine", "growth"))
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument(
        "--worker", choices=("training", "engine", "growth"), help=argparse.SUPPRESS
    )
    args = parser.parse_args()
    if args.worker:
        work = {"training": training, "engine": engine, "growth": growth}[args.worker]
        print(json.dumps(work()))
        return
    found: dict[str, dict[str, list[list[float]]]] = {}
    for k in range(args.repeats):
        builds = [("this", HERE), ("other", args.other.resolve())]
        for what in args.only or ("training", "engine", "growth"):
            for name, checkout in builds if k % 2 else builds[::-1]:
                for work, figures in one(checkout, what).items():
                    found.setdefault(work, {}).setdefault(name, []).append(figures)
    print("other / this: processor time, clock; median (min to max) of", args.repeats)
    rows = {}
    for work in WORK:
        if work in found:
            pairs = list(zip(found[work]["other"], found[work]["this"]))
            rows[work] = [spread([a[k] / b[k] for a, b in pairs]) for k in (0, 1)]
            print(work.ljust(12), *(row.ljust(24) for row in rows[work]))
    if args.json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        result = {"command": "bench/against.py", **machine, "ratios": rows, "seconds": found}
        args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
