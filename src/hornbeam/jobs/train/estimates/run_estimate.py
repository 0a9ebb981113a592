"""What a run will take, before it is run: tasks, warm start, tokens at most, memory and time.

The arithmetic is in `sizes`. A model is known by its configuration, made without weights.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hornbeam.assembly.engines import check_trains
from hornbeam.assembly.plan import plan
from hornbeam.errors import ModelError, RecipeError
from hornbeam.jobs.train.estimates import memory_estimate
from hornbeam.jobs.train.warm_start import check_rows
from hornbeam.models import catalogue
from hornbeam.programs import programs
from hornbeam.recipe.own_names import own_names
from hornbeam.recipe.recipe import Recipe
from hornbeam.search import Strategy
from hornbeam.search.branch import Branch
from hornbeam.settings import nearest
from hornbeam.train.train_settings import LoraSettings

COUNTS = (1, 8, 64)  # GPUs that are told side by side
PACKED = {"auto": 2, "bfloat16": 2, "float16": 2, "int8": 1}  # bytes a weight that samples, at most

# Of models that need not be here: hidden, inner, layers, heads, key-value heads, vocabulary, tied,
# as their public configurations say.
QWEN = {
    "0.5B": (896, 4864, 24, 14, 2, 151936, True),
    "1.5B": (1536, 8960, 28, 12, 2, 151936, True),
    "3B": (2048, 11008, 36, 16, 2, 151936, True),
    "7B": (3584, 18944, 28, 28, 4, 152064, False),
    "14B": (5120, 13824, 48, 40, 8, 152064, False),
    "32B": (5120, 27648, 64, 40, 8, 152064, False),
}


def estimate(
    recipe: Recipe, base: Path, gpu: str = "", gpus: int = 0, episode: int | None = None
) -> str:
    """Comment lines on tasks, the warm start, tokens, memory and time.

    On GPUs (`gpu`, a name of `sizes.GPUS`) where the recipe says so, else on this machine's CPU;
    `gpus` of them, or several counts side by side. An episode has `episode` tokens, or as many as
    may be sampled. Raises `RecipeError` for a GPU that is not known, and what `check_rows` raises.
    """
    if gpu and gpu.lower() not in memory_estimate.GPUS:
        raise RecipeError(f"--gpu {gpu}: {nearest(gpu.lower(), memory_estimate.GPUS)}")
    check_trains(recipe)
    made = plan(recipe, base)
    shown = check_rows(recipe, made)
    asks = int(recipe.program.rest().get("max_turns", 0)) or recipe.limits.turns
    longest = max(agent.max_tokens for agent in recipe.agents.values())
    leaves = made.strategy.leaves()
    each = min(asks * longest, recipe.limits.tokens)
    lines = [
        *made.train.sources,
        *(f"held out: {source}" for source in made.eval.sources),
        *shown,
        *_own(recipe),
        *_tokens(recipe, leaves, asks, each, len(made.eval.tasks)),
        *unchecked(recipe),
        "",
        *_machines(recipe, made.strategy, gpu, gpus, episode or each),
    ]
    return "\n".join(f"# {line}".rstrip() for line in lines)


def _own(recipe: Recipe) -> list[str]:
    """Which parts come out of files."""
    names = ", ".join(f"{key} = {name}" for key, name in own_names(recipe).items())
    return [f"own code: {names}"] if names else []


def _tokens(recipe: Recipe, leaves: int, asks: int, each: int, held_out: int) -> Iterator[str]:
    """How many tokens are sampled at most, `each` an episode, in training and in evaluations."""
    run = recipe.run
    episodes = run.steps * run.tasks * leaves
    looks = (run.steps // run.eval_every if run.eval_every else 1) + 1 + bool(recipe.sft)
    evaluated = f"{looks * held_out * each:,} in {looks} evaluations"
    if not run.steps:
        yield f"no steps of RL (run.steps = 0); sampled tokens: at most {evaluated}"
        return
    yield (
        f"{run.steps} steps x {run.tasks} trees x {leaves} episodes = {episodes:,} episodes,"
        f" at most {asks} asks each"
    )
    yield (
        f"sampled tokens: at most {episodes * each:,} in training ({each:,} an episode) and"
        f" {evaluated}; usually a small part of it"
    )


def unchecked(recipe: Recipe) -> list[str]:
    """What nobody knows before a file's program runs: whom it asks, and which tools it calls."""
    name = recipe.program.name
    if name in programs:
        return []
    return [f"agents and tools that {name} names are not checked before it runs"]


def _machines(
    recipe: Recipe, strategy: Strategy, gpu: str, gpus: int, episode: int
) -> Iterator[str]:
    """Memory and time of every policy on the machine that is meant."""
    found: dict[str, tuple[memory_estimate.Workload, int]] = {}
    for name in recipe.names:
        part = recipe.of(name)
        place = f"policy {name}: " if name else ""
        if part.model.name == "tiny":
            yield f"{place}a tiny model: memory and time are next to nothing"
            continue
        try:
            made = _model(str(part.folder(part.model.name)))
            form, adapters = shape(made), _adapters(made, part.lora or LoraSettings())
        except (ModelError, AttributeError) as error:  # a model without heads, say
            yield f"{place}memory and time are not known: {error}"
            continue
        found[name] = _job(part, form, adapters, episode), adapters
    if not found:
        return
    device = recipe.run.device
    cpu = not gpu and device.startswith("cpu")
    machine = (
        this_cpu(recipe.optim.bf16, recipe.run.threads)
        if cpu
        else memory_estimate.GPUS[gpu.lower() or "h200"]
    )
    counts = (1,) if cpu else (gpus,) if gpus else COUNTS
    step = _step(recipe, strategy, episode)
    for name, (job, adapters) in found.items():
        yield from _memory(name, replace(job, flex=job.flex and not cpu), adapters, machine, counts)
        if not job.local:
            cache = getattr(recipe.engine, "cache_gib", 0.0) * memory_estimate.GIB
            yield _beside(replace(job, gpus=counts[-1]), cache, machine)
    if len(found) > 1:
        room = memory_estimate.ROOM * machine.memory
        jobs = [replace(job, gpus=counts[-1]) for job, _ in found.values()]
        need = sum(sum(memory_estimate.held(job).values()) for job in jobs)
        need += max(sum(memory_estimate.passing(job).values()) for job in jobs)
        yield (
            f"all policies on the same {counts[-1]}: {need / memory_estimate.GIB:,.1f} GiB on each,"
            f" {'which fits' if need <= room else 'which does not fit: a process for each policy'}"
        )
    if recipe.run.steps:
        yield from _times([job for job, _ in found.values()], step, machine, counts, cpu)
    yield from _disk([job for job, _ in found.values()], recipe, step)


# --- the model -----------------------------------------------------------------------------------


def _model(name: str) -> Any:
    """A model without weights. Raises `ModelError` where its shape is not known."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    size = name.removeprefix("Qwen/Qwen2.5-").removesuffix("-Instruct")
    try:
        config = AutoConfig.from_pretrained(catalogue.resolve(name), **catalogue.AS_DATA)
    except ModelError:
        if size not in QWEN or not name.startswith("Qwen/Qwen2.5-"):
            raise
        keys = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]
        keys += ["num_key_value_heads", "vocab_size", "tie_word_embeddings"]
        config = AutoConfig.for_model("qwen2", **dict(zip(keys, QWEN[size])))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{name}: its config.json cannot be read: {error}") from error
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def shape(model: Any) -> memory_estimate.ModelShape:
    """What the arithmetic needs of a model, be its weights there or not."""
    config = model.config.get_text_config()
    total = sum(p.numel() for p in model.parameters())
    table = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    heads = config.num_attention_heads
    return memory_estimate.ModelShape(
        total=total,
        body=total - table.numel() - (0 if head is table else head.numel()),
        head=head.numel(),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        inner=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        vocabulary=config.vocab_size,
    )


def _adapters(model: Any, lora: LoraSettings) -> int:
    """Weights of low-rank adapters on the layers named, all linear ones of the body otherwise."""
    import torch

    return sum(
        lora.rank * (module.in_features + module.out_features)
        for name, module in model.base_model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and (lora.targets == "all-linear" or name.rpartition(".")[2] in lora.targets)
    )


# --- the job -------------------------------------------------------------------------------------


def _job(
    recipe: Recipe, form: memory_estimate.ModelShape, adapters: int, episode: int
) -> memory_estimate.Workload:
    """One policy's part, on one device."""
    optim, loss, engine = recipe.optim, recipe.loss, recipe.engine
    several = optim.epochs * optim.minibatches > 1 or loss.weights is not None
    return memory_estimate.Workload(
        shape=form,
        trained=adapters if recipe.lora else form.total,
        bf16=optim.bf16,
        checkpointing=optim.checkpointing,
        flex=optim.packed and optim.attention != "mask",
        pack=optim.max_pack_tokens,
        reference=loss.refers,
        again=loss.refers + (loss.old == "trainer" and several),
        epochs=optim.epochs,
        rows=getattr(engine, "max_batch", 64),
        longest=episode,
        cache=getattr(engine, "cache_tokens", 0),
        local=getattr(engine, "kind", "local") == "local",
        packed=PACKED.get(getattr(engine, "weights", ""), 0),
        split=getattr(engine, "devices", 1),
    )


def _step(recipe: Recipe, strategy: Strategy, episode: int) -> memory_estimate.StepTokens:
    """Tokens of a step: a branch from a step drawn evenly shares half of its trunk."""
    episodes = recipe.run.tasks * strategy.leaves()
    flat = episodes * episode
    if isinstance(strategy, Branch):
        more = strategy.rounds * strategy.nodes
        flat = round(flat * (1 + more / 2) / (1 + more))
    return memory_estimate.StepTokens(flat, flat, episodes)


def this_cpu(bf16: bool, count: int | None = None) -> memory_estimate.Machine:
    """This machine, its rate and bandwidth measured for a second; `count` threads."""
    import torch

    if count is not None:
        torch.set_num_threads(count)
    kind = torch.bfloat16 if bf16 else torch.float32
    a, b = torch.ones(512, 1024, dtype=kind), torch.ones(1024, 1024, dtype=kind)
    long = torch.ones(2**24)

    def best(run: Any) -> float:
        took = []
        for _ in range(5):
            began = time.perf_counter()
            run()
            took.append(time.perf_counter() - began)
        return min(took)

    rate = 2 * 512 * 1024 * 1024 / best(lambda: a @ b)
    wide = 4 * len(long) / best(long.sum)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    threads = torch.get_num_threads()
    return memory_estimate.Machine(f"this CPU, {threads} threads", rate, memory, wide)


# --- lines ---------------------------------------------------------------------------------------


def _memory(
    name: str,
    job: memory_estimate.Workload,
    adapters: int,
    machine: memory_estimate.Machine,
    counts: Sequence[int],
) -> Iterator[str]:
    jobs = [replace(job, gpus=count) for count in counts]
    room = memory_estimate.ROOM * machine.memory
    learnt = "all learn" if job.trained == job.shape.total else f"{job.trained / 1e6:,.1f} M learn"
    yield (
        f"{f'policy {name}: ' if name else ''}{job.shape.total / 1e6:,.0f} M weights, {learnt};"
        f" GiB on each {machine.name} ({machine.memory / 1e9:,.0f} GB), weights sharded over"
    )
    yield _row("", [f"{count:,}" for count in counts])
    tables = [
        memory_estimate.held(j) | memory_estimate.passing(j) | memory_estimate.sampling(j)
        for j in jobs
    ]
    for key in tables[-1] | tables[0]:
        yield _row(key, [_gib(table.get(key, 0.0)) for table in tables])
    needs = [memory_estimate.most(one) for one in jobs]
    yield _row("at most at a time", [_gib(need) for need in needs])
    yield _row("fits", ["yes" if need <= room else "NO" for need in needs])
    for one, need in zip(jobs, needs):
        if need > room:
            what = "; or ".join(memory_estimate.remedies(one, room, adapters)) or "a smaller model"
            yield (
                f"DOES NOT FIT on {one.gpus}: {need / memory_estimate.GIB:,.0f} GiB of"
                f" {room / memory_estimate.GIB:,.0f} there are; take {what}"
            )


def _beside(job: memory_estimate.Workload, cache: float, machine: memory_estimate.Machine) -> str:
    """An engine that holds a copy of the weights, on devices of its own or on the same."""
    own = memory_estimate.engine(job, cache)
    both = memory_estimate.most(job) + own <= memory_estimate.ROOM * machine.memory
    tokens = cache * job.split / (2 * job.shape.kept)
    fits = "it fits" if both else "it DOES NOT FIT: give it devices of its own"
    return (
        f"the engine: {own / memory_estimate.GIB:,.1f} GiB on each of {job.split}, with keys and"
        f" values of {tokens:,.0f} tokens; on the devices that train {fits}"
    )


def _times(
    jobs: Sequence[memory_estimate.Workload],
    step: memory_estimate.StepTokens,
    machine: memory_estimate.Machine,
    counts: Sequence[int],
    cpu: bool,
) -> Iterator[str]:
    work = sum(memory_estimate.operations(job, step) for job in jobs)
    yield (
        f"a step trains at most {step.unique:,.0f} tokens ({jobs[0].longest:,} an episode, prompts"
        f" not counted; say --episode for what yours have), {work / 1e15:,.3g} PFLOP"
    )
    rate = f"{machine.rate / 1e12:,.3g} TFLOP/s and {machine.bandwidth / 1e12:.3g} TB/s"
    source = "measured" if cpu else "of the data sheet"
    yield (
        "seconds of a step whose episodes all have that length (shorter ones take less; the"
        " overhead of small models is not counted), at"
        f" {memory_estimate.SHARE:.0%} of {rate} {source}"
    )
    both = [
        [memory_estimate.seconds(replace(job, gpus=count), step, machine) for job in jobs]
        for count in counts
    ]
    yield _row("", [f"{count:,}" for count in counts])
    for n, what in enumerate(("growing", "training")):
        yield _row(what, [f"{sum(pair[n] for pair in each):,.3g}" for each in both])


def _disk(
    jobs: Sequence[memory_estimate.Workload], recipe: Recipe, step: memory_estimate.StepTokens
) -> Iterator[str]:
    """Checkpoints: merged weights, and a state of what learns."""
    state = [4 * job.shape.total + 4 * job.trained * (3 + job.reference) for job in jobs]
    kept = recipe.run.keep + 1  # one more while it is written
    store = 20 * step.sampled * recipe.run.steps  # ids and log-probs as digits
    yield (
        f"disk: {sum(state) / memory_estimate.GIB:,.1f} GiB a checkpoint, {kept} of them at a time;"
        f" trees at most {store / memory_estimate.GIB:,.2f} GiB"
        if store
        else f"disk: {sum(state) / memory_estimate.GIB:,.1f} GiB a checkpoint"
    )


def _row(name: str, cells: Sequence[str]) -> str:
    return f"  {name:28}" + "".join(f"{cell:>10}" for cell in cells)


def _gib(size: float) -> str:
    return f"{size / memory_estimate.GIB:,.1f}" if size else ""
