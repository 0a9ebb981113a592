"""Where the time of growth goes on the local engine, by kind, and what it could not go below.

    OMP_NUM_THREADS=1 python bench/growth_profile.py [--trees 8] [--tiny] [--json FILE]
    cd CHECKOUT; OMP_NUM_THREADS=1 PYTHONPATH=src python THIS/bench/growth_profile.py ...

Grows the trees of bench/rollout.py (recipes/calculator.toml, SmolLM2-135M; `--tiny`: a random
model of four layers) twice: once by the clock, with calls of the model, of sampling and of the
engine timed; once under torch's profiler, which says what its operations took. What the clock has
and the operations have not is Python's. Waiting is the event loop's with nothing to run.

The floor: for each forward pass that was run the larger of its multiplications at the best rate of
matrix products here (measured: one layer, 512 rows) and its bytes, all weights and the keys and
values of its rows once, at the rate at which memory is read here.

In the folder of another checkout, of commit dd9dff4 or later, it profiles that one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile, record_function

sys.path.insert(0, str(Path.cwd() / "bench"))
import rollout  # of the checkout

HERE = {  # where its parts are, and were in commit dd9dff4
    "plan": ("assembly.plan", "run.wire"),
    "recipe": ("recipe.recipe", "run.recipe"),
    "toml": ("recipe.toml", "config"),
    "models": ("models.catalogue", "models"),
    "tiny": ("models.tiny_model", "tiny"),
    "engine": ("engine.local.local_engine", "engine.local"),
    "network": ("engine.local.network", "engine.network"),
    "weights": ("train.weights", "train.weights"),
}


def part(name: str) -> Any:
    """A module of the checkout."""
    new, old = HERE[name]
    try:
        return import_module(f"hornbeam.{new}")
    except ModuleNotFoundError:
        return import_module(f"hornbeam.{old}")


local_engine, network = part("engine"), part("network")
KINDS = {
    "matmul": ("aten::addmm", "aten::mm", "aten::bmm", "mkldnn::_linear_pointwise"),
    "attention": ("aten::_scaled_dot_product_flash_attention_for_cpu", "aten::_softmax"),
    "copies": ("aten::copy_", "aten::_index_put_impl_", "aten::cat", "aten::fill_"),
}
PICK, BEGUN = "sampling", "the clock starts"
TIMED = {  # what is timed by the clock: a name and where it is
    "model": ((network.Network, "decode"), (network.Network, "prefill")),
    PICK: ((local_engine, "pick"),),
    "engine": ((local_engine.LocalEngine, "_admit"), (local_engine.LocalEngine, "_round")),
}


class Clock:
    """Seconds by name, and the size of every forward pass: new tokens, rows, columns kept."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.passes: list[tuple[int, int, int]] = []

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, with its seconds added under `name`."""

        def run(*given: Any, **named: Any) -> Any:
            if call.__name__ == "decode":
                lengths = given[2]
                self.passes.append((len(lengths), len(lengths), sum(lengths)))
            elif call.__name__ == "prefill":
                runs = given[1]
                tokens = sum(len(r.tokens) for r in runs)
                self.passes.append((tokens, len(runs), sum(r.start + len(r.tokens) for r in runs)))
            begun = time.perf_counter()
            with record_function(name):
                out = call(*given, **named)
            self.seconds[name] += time.perf_counter() - begun
            return out

        return run

    @contextmanager
    def on(self) -> Iterator[None]:
        """Timed in this block."""
        patches = [
            patch.object(where, what, self.timed(name, getattr(where, what)))
            for name, places in TIMED.items()
            for where, what in places
        ]
        for each in patches:
            each.start()
        try:
            yield
        finally:
            for each in patches:
                each.stop()


async def grown(world: rollout.World, trees: int, clock: Clock) -> dict[str, Any]:
    """What bench/rollout.py measures, and the seconds that the loop had nothing to run."""
    selector: Any = getattr(asyncio.get_running_loop(), "_selector")  # noqa: B009
    select = selector.select

    def waited(timeout: float | None = None) -> Any:
        begun = time.perf_counter()
        found = select(timeout)
        clock.seconds["waiting"] += time.perf_counter() - begun
        return found

    def start(held: rollout.Counting) -> None:
        forget(held)
        clock.seconds.clear()
        clock.passes.clear()
        with record_function(BEGUN):
            pass

    forget = rollout.Counting.forget
    with patch.object(selector, "select", waited), patch.object(rollout.Counting, "forget", start):
        return await rollout.measure(world, rollout.local(world), trees)


def by_clock(world: rollout.World, trees: int) -> tuple[dict[str, Any], Clock]:
    """The figures of a run and its seconds by name."""
    clock = Clock()
    with clock.on():
        return asyncio.run(grown(world, trees, clock)), clock


def by_operation(world: rollout.World, trees: int) -> Counter[str]:
    """Seconds of torch's operations in the model and in sampling, by kind, without the warm-up."""
    names = {name: kind for kind, found in KINDS.items() for name in found}
    seconds: Counter[str] = Counter()
    clock = Clock()
    with clock.on(), profile(activities=[ProfilerActivity.CPU]) as taken:
        asyncio.run(grown(world, trees, clock))
    events = taken.events()
    begun = min(e.time_range.start for e in events if e.name == BEGUN)
    for event in events:
        if event.name in TIMED or event.time_range.start < begun:
            continue
        above = event.cpu_parent
        while above is not None and above.name not in (PICK, "model"):
            above = above.cpu_parent
        if above is not None:
            kind = PICK if above.name == PICK else names.get(event.name, "elementwise")
            seconds[kind] += event.self_cpu_time_total / 1e6
    return seconds


def rates() -> dict[str, float]:
    """The best rate of float32 matrix products (1e9 a second) and of reading memory (1e9 bytes)."""
    x, w = torch.randn(512, 576), torch.randn(3072, 576)
    blocked = torch.ops.mkldnn._reorder_linear_weight(w, 512)
    run = torch.ops.mkldnn._linear_pointwise
    plain = best(lambda: torch.nn.functional.linear(x, w))
    quick = best(lambda: run(x, blocked, None, "none", [], ""))
    held = torch.ones(2**26)
    work = 2 * x.numel() * len(w) / 1e9
    read = held.nbytes / best(held.sum) / 1e9
    return {"gflops": work / min(plain, quick), "gflops_mkl": work / plain, "gbytes": read}


def best(call: Callable[[], Any], times: int = 9) -> float:
    """Least seconds of some calls."""
    out = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        out.append(time.perf_counter() - begun)
    return min(out)


def floor(model: Any, passes: list[tuple[int, int, int]], rate: dict[str, float]) -> float:
    """Seconds below which these forward passes cannot go."""
    head = model.get_output_embeddings().weight
    body = sum(p.numel() for p in model.parameters()) - head.numel()
    config = model.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    column = 2 * config.num_hidden_layers * config.num_key_value_heads * size
    seconds = 0.0
    for tokens, rows, columns in passes:
        work = 2 * (body * tokens + head.numel() * rows) / 1e9
        held = 4 * (body + head.numel() + column * columns) / 1e9
        seconds += max(work / rate["gflops"], held / rate["gbytes"])
    return seconds


def main() -> None:
    """Profile, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trees", type=int, default=8)
    parser.add_argument("--tiny", action="store_true", help="a random model of four layers")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    path = rollout.RECIPES / "calculator.toml"
    toml = part("toml")
    recipe = toml.parse(part("recipe").Recipe, toml.read_toml(path), str(path))
    where = Path("runs/bench/rollout-model")
    tiny = part("tiny").make(where, **rollout.TINY) if args.tiny else None
    folder = tiny or part("models").obtain(recipe.model.name)
    model, tokenizer = part("weights").load(folder)
    model.eval()
    made = part("plan").plan(recipe, rollout.RECIPES)
    chat = import_module("hornbeam.chat").TemplateChat(tokenizer)
    world = rollout.World(recipe, made, folder, model, chat)
    rate = rates()
    run, clock = by_clock(world, args.trees)
    took, spent = run["seconds"], clock.seconds
    kinds = by_operation(world, args.trees)
    inside = sum(amount for kind, amount in kinds.items() if kind != PICK)
    rows: dict[str, float] = {kind: kinds[kind] for kind in (*KINDS, "elementwise")}
    rows["python in the model"] = spent["model"] - inside
    rows[PICK] = spent[PICK]
    rows["python in the engine"] = spent["engine"] - spent["model"] - spent[PICK]
    rows["waiting"] = spent["waiting"]
    rows["growth (python)"] = took - spent["engine"] - spent["waiting"]
    least = floor(model, clock.passes, rate)
    decodes = [rows_ for tokens, rows_, _ in clock.passes if tokens == rows_]
    figures = {
        "seconds": took, "floor": least, "of_floor": least / took,
        "trees_per_minute": run["trees_per_minute"], "forward_passes": len(clock.passes),
        "rows_a_step": sum(decodes) / len(decodes), "sampled": run["sampled"], **rate,
    }  # fmt: skip
    for kind, seconds in rows.items():
        print(f"{kind:24}{seconds:8.2f} s{100 * seconds / took:7.1f} %")
    for name, value in figures.items():
        print(f"{name:24}{value:8.2f}")
    if args.json:
        about = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        about["machine"] = platform.machine()
        settings = {"trees": args.trees, "tiny": args.tiny}
        whole = {"settings": settings, **about, "kinds": rows, "figures": figures}
        args.json.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
