"""Trees per minute with each engine: the same tasks, the same program, the same weights.

    python bench/rollout.py [--trees 8] [--arms local,int8,vllm] [--repeats 3] [--json FILE]

Grows the trees of a recipe's first tasks (recipes/calculator.toml: react with a calculator, six
trunks and a branch each) and prints trees a minute, sampled tokens a second, and how many prompt
tokens were computed for one that is unique: distinct prefixes over all asks, less those that were
sampled and so stood in the cache. Engines sample differently from equal seeds, so trees differ.
"ray" is vLLM in each of two actors that grow trees; what is unique is told over both. Every arm
has all cores, shared by the actors, and grows two other trees before the clock starts.

"auto", "bfloat16", "float16" and "int8" are the local engine with packed weights, after which the
trainer computes the log-probs of what they sampled: mean and largest difference, and the share of
importance weights pi_trainer / pi_engine above 2.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from hornbeam.assembly.loading import load_policies
from hornbeam.assembly.plan import Plan, plan
from hornbeam.assembly.world import World as Wired
from hornbeam.chat import Chat, TemplateChat
from hornbeam.engine.local.local_engine import LocalEngine, LocalSettings
from hornbeam.engine.local.packed_weights import PACK
from hornbeam.engine.request import Completion, Request
from hornbeam.engine.vllm.vllm_engine import VllmEngine, VllmSettings
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.jobs.train.actors.actor_pool import ActorPool
from hornbeam.models import catalogue, tiny_model
from hornbeam.protocols import Engine
from hornbeam.recipe import toml
from hornbeam.recipe.recipe import Recipe
from hornbeam.store.database import TreeKey
from hornbeam.store.ledger import Ledger
from hornbeam.train import forward, weights
from hornbeam.tree.nodes import Tree
from hornbeam.workers.local_workers import LocalWorkers

RECIPES = Path(__file__).parents[1] / "recipes"
TINY = {"width": 128, "heads": 4}
ACTORS = 2


@dataclass
class Counting:
    """An engine, and a count of what passed it."""

    inner: Engine
    prefixes: set[int] = field(default_factory=set)
    sampled: set[int] = field(default_factory=set)
    totals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def forget(self) -> None:
        """Count from here."""
        self.prefixes, self.sampled = set(), set()
        self.totals = dict.fromkeys(KINDS, 0)

    async def generate(self, request: Request) -> Completion:
        """What the engine says."""
        answer = await self.inner.generate(request)
        seen = hashes(request.prompt + answer.tokens)
        size = len(request.prompt)
        self.prefixes.update(seen[:size])
        self.sampled.update(seen[size:-1])  # the last one is sampled, not fed
        more = (1, len(answer.tokens), size, answer.computed)
        for kind, amount in zip(KINDS, more):
            self.totals[kind] += amount
        return answer


FAR = ("mean_gap", "max_gap", "mean_weight", "cut_weights")
KINDS = ("requests", "sampled", "prompt", "computed")


def hashes(tokens: array[int]) -> list[int]:
    """One number for every prefix."""
    out, state = [], 0
    for token in tokens:
        state = hash((state, token))
        out.append(state)
    return out


@dataclass(frozen=True)
class World:
    """What all arms share."""

    recipe: Recipe
    plan: Plan
    folder: Path
    model: Any
    chat: Chat


def local(world: World) -> Engine:
    settings = LocalSettings(max_batch=world.recipe.engine.max_batch)
    return LocalEngine(world.model, world.chat, settings)


def vllm(world: World) -> Engine:
    batch = world.recipe.engine.max_batch
    settings = VllmSettings(dtype="float32", cache_gib=1, context=1024, max_batch=batch)
    return VllmEngine(world.folder, world.chat, settings)


def packed(form: Any) -> Callable[[World], Engine]:
    def engine(world: World) -> Engine:
        settings = LocalSettings(max_batch=world.recipe.engine.max_batch, weights=form)
        return LocalEngine(world.model, world.chat, settings)

    return engine


ARMS: dict[str, Callable[[World], Engine]] = {"local": local, "vllm": vllm}
ARMS |= {form: packed(form) for form in ("auto", *PACK)}
CUT = 2.0  # where importance weights are cut, as loss.truncate


def gaps(world: World, trees: list[Tree]) -> dict[str, float]:
    """How far the trainer's log-probs of sampled tokens are from those they were sampled with."""
    apart = []
    for tree in trees:
        for i, node in enumerate(tree.nodes[1:], 1):
            told = forward.score(world.model, tree.context(i), node.tokens, 1.0)
            apart += [ours - theirs for ours, theirs in zip(told, node.logprobs, strict=True)]
    return {
        "mean_gap": sum(map(abs, apart)) / len(apart),
        "max_gap": max(map(abs, apart)),
        "mean_weight": sum(min(CUT, math.exp(x)) for x in apart) / len(apart),
        "cut_weights": sum(x > math.log(CUT) for x in apart) / len(apart),
    }


Starts = list[tuple[TreeKey, Tree]]


def warm(world: World) -> Starts:
    """Two trees that nobody times, one for each actor."""
    tasks = world.plan.train.tasks
    return [(TreeKey("warm", 0, n), Tree(tasks[-n].to_json(), seed=n)) for n in (1, 2)]


def timed(world: World, trees: int) -> Starts:
    """The trees that are timed."""
    tasks = world.plan.train.tasks[:trees]
    return [(TreeKey("bench", 0, n), Tree(task.to_json(), seed=n)) for n, task in enumerate(tasks)]


async def measure(world: World, engine: Engine, trees: int) -> dict[str, Any]:
    counting = Counting(engine)
    agents = {
        name: Speaker(counting, agent.sampling(), agent.segment)
        for name, agent in world.recipe.agents.items()
    }
    grower = Grower(
        world.plan.program,
        agents,
        world.plan.strategy,
        tools=LocalWorkers(world.plan.tools, world.recipe.limits.tool_seconds),
        limits=world.recipe.limits,
    )
    await grower.grow_all(warm(world), at_once=2)
    counting.forget()
    begun = time.perf_counter()
    grown = await grower.grow_all(timed(world, trees), at_once=trees)
    seconds = time.perf_counter() - begun
    unique = len(counting.prefixes - counting.sampled)
    await engine.aclose()
    far = gaps(world, grown) if getattr(engine.settings, "weights", "trained") != "trained" else {}
    return {
        "trees": len(grown),
        "nodes": sum(len(tree) - 1 for tree in grown),
        "seconds": seconds,
        "trees_per_minute": 60 * len(grown) / seconds,
        "sampled_per_second": counting.totals["sampled"] / seconds,
        **counting.totals,
        "unique": unique,
        "computed_per_unique": counting.totals["computed"] / unique,
        **far,
    }


async def by_actors(world: World, trees: int) -> dict[str, Any]:
    """The same by two Ray actors, a vLLM in each."""
    sets = {"kind": "vllm", "dtype": "float32", "cache_gib": 1, "context": 1024}
    data = world.recipe.model_dump()
    data["engine"] = {"max_batch": data["engine"]["max_batch"], **sets}
    data["workers"] |= {"kind": "ray", "growers": ACTORS}
    data["model"] = {"name": str(world.folder)}
    data["limits"] |= {"tool_seconds": 60.0}
    with patch.dict(os.environ, OMP_NUM_THREADS=str(max(1, torch.get_num_threads() // ACTORS))):
        return await driven(world, Recipe.model_validate(data), trees)


async def driven(world: World, recipe: Recipe, trees: int) -> dict[str, Any]:
    """Trees grown by a pool of actors."""
    ledger = Ledger()
    pool = ActorPool(recipe, RECIPES, world.folder, print, load_policies)
    try:
        grower = Wired.build(recipe, world.plan, pool.policies).grower(ledger, None)
        pooled = replace(pool.growing(grower), scorer=None)
        await pool.policies.load()
        await pooled.grow_all(warm(world), at_once=2)
        before = dict(ledger.totals)
        begun = time.perf_counter()
        grown = await pooled.grow_all(timed(world, trees), at_once=trees)
        seconds = time.perf_counter() - begun
    finally:
        pool.close()
    paid = {kind: amount - before.get(kind, 0) for kind, amount in ledger.totals.items()}
    prefixes: set[int] = set()
    sampled: set[int] = set()
    for tree in grown:
        for i, node in enumerate(tree.nodes[1:], 1):
            context = tree.context(i)
            seen = hashes(context + node.tokens)
            prefixes.update(seen[: len(context)])
            sampled.update(seen[len(context) : -1])
    unique = len(prefixes - sampled)
    told_of = (paid["model_calls"], paid["sampled_tokens"])
    prompt = paid["prompt_tokens_computed"] + paid.get("prompt_tokens_cached", 0)
    return {
        "trees": len(grown),
        "nodes": sum(len(tree) - 1 for tree in grown),
        "seconds": seconds,
        "trees_per_minute": 60 * len(grown) / seconds,
        "sampled_per_second": paid["sampled_tokens"] / seconds,
        **dict(zip(KINDS, (*told_of, prompt, paid["prompt_tokens_computed"]))),
        "unique": unique,
        "computed_per_unique": paid["prompt_tokens_computed"] / unique,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trees", type=int, default=8)
    parser.add_argument(
        "--arms",
        default="local,vllm,ray",
        help="of local, auto, bfloat16, float16, int8, vllm, ray",
    )
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tiny random model, two trees")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    path = RECIPES / "calculator.toml"
    recipe = toml.parse(Recipe, toml.read_toml(path), str(path))
    where = Path("runs/bench/rollout-model")
    folder = tiny_model.make(where, **TINY) if args.quick else catalogue.obtain(recipe.model.name)
    model, tokenizer = weights.load(folder)
    model.eval()
    world = World(recipe, plan(recipe, RECIPES), folder, model, TemplateChat(tokenizer))
    trees = 2 if args.quick else args.trees
    print(f"{'arm':10}{'trees/min':>10}{'sampled/s':>11}{'computed':>10}{'unique':>9}{'ratio':>7}")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in args.arms.split(",")}
    for _ in range(args.repeats):
        for name, result in rows.items():
            if name == "ray":
                row = asyncio.run(by_actors(world, trees))
            else:
                row = asyncio.run(measure(world, ARMS[name](world), trees))
            result.append(row)
            print(
                f"{name:10}{row['trees_per_minute']:10.1f}{row['sampled_per_second']:11.0f}"
                f"{row['computed']:10}{row['unique']:9}{row['computed_per_unique']:7.2f}"
                + "".join(f"  {kind} {row[kind]:.3g}" for kind in FAR if kind in row),
                flush=True,
            )
    if args.json:
        result = {key: value for key, value in vars(args).items() if key != "json"}
        about = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        about["machine"] = platform.machine()
        args.json.write_text(
            json.dumps({"settings": result, **about, "arms": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
