"""The arithmetic of training: bytes on a device, operations and seconds of a step. Loads nothing.

What training holds: weights in float32 (the masters), their gradients, AdamW's two moments, a
reference where the loss has a KL; all of it sharded over GPUs (ZeRO, Rajbhandari et al. 2020, arXiv
1910.02054). What a pass adds: weights in the type computed in, activations of one pack, logits of
one chunk. Activations are counted tensor by tensor as transformers' Llama and its kin keep them.

A trained token costs six operations a weight (Kaplan et al. 2020, arXiv 2001.08361), and each pair
of tokens that see each other four a dimension of the heads on the way there, twice that back.

Left out: mixtures of experts, whose weights do not all work on a token; fragments of memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from hornbeam.train.train_settings import BLOCK, CHUNK, HELD

GIB = 2**30
ROOM = 0.92  # of a device's memory; the rest is the driver's and fragments
SHARE = 0.4  # of a device's peak that a step is taken to reach


@dataclass(frozen=True, slots=True)
class Machine:
    """A device: operations a second in the type computed in, bytes, bytes a second."""

    name: str
    rate: float
    memory: float
    bandwidth: float


# NVIDIA's data sheets: bfloat16 without sparsity, the SXM form where there are several.
GPUS = {
    name: Machine(name.upper(), tera * 1e12, giga * 1e9, wide * 1e12)
    for name, tera, giga, wide in (
        ("a100", 312, 80, 2.039),
        ("h100", 989, 80, 3.35),
        ("h200", 989, 141, 4.8),
        ("b200", 2250, 180, 8.0),
        ("l40s", 362, 48, 0.864),
    )
}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A model: `body` are the weights that work on every token, `head` those on trained ones."""

    total: int
    body: int
    head: int
    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    dim: int  # of a head
    vocabulary: int

    @property
    def kept(self) -> int:
        """Keys and values of one token, in numbers."""
        return 2 * self.layers * self.kv_heads * self.dim


@dataclass(frozen=True, slots=True)
class Workload:
    """What is run on how many devices. `trained` weights learn; `rows` sample at once on one."""

    shape: ModelShape
    trained: int
    gpus: int = 1
    bf16: bool = False
    checkpointing: bool = False
    flex: bool = False
    pack: int = 4096  # tokens of a forward pass
    reference: bool = False
    again: int = 0  # forward passes without gradient in a step
    epochs: int = 1
    rows: int = 64
    longest: int = 1024  # tokens of an episode
    cache: int = 0  # tokens of prefixes kept
    local: bool = True  # the engine samples from the weights that are trained
    packed: int = 0  # bytes a weight of the copy that it samples by, where it packs one
    split: int = 1  # devices that share a copy of the weights, where the engine has its own


@dataclass(frozen=True, slots=True)
class StepTokens:
    """Tokens of a step: `unique` run through the body, `sampled` through the head."""

    unique: float
    sampled: float
    episodes: float = math.inf  # that may sample at once


def held(job: Workload) -> dict[str, float]:
    """Bytes on each device for as long as the run lasts."""
    size, trained = job.shape.total / job.gpus, job.trained / job.gpus
    out = {"weights, float32": 4 * size, "gradients": 4 * trained, "moments": 8 * trained}
    if job.reference:
        out["reference"] = 4 * trained
    if job.local and job.gpus > 1:
        out["whole model of the engine"] = 4.0 * job.shape.total
    if job.local:
        out["prefixes kept"] = 4.0 * job.cache * job.shape.kept
    if job.local and job.packed:
        out["packed weights of the engine"] = float(job.packed * job.shape.total)
    return out


def passing(job: Workload) -> dict[str, float]:
    """Bytes on each device while a pack is trained."""
    return {
        "weights as computed with": _working(job),
        "activations of a pack": activations(job),
        "logits": _logits(job),
    }


def sampling(job: Workload) -> dict[str, float]:
    """Bytes on each device while the local engine samples."""
    return {"keys and values": 4.0 * job.rows * job.longest * job.shape.kept} if job.local else {}


def engine(job: Workload, cache: float) -> float:
    """Bytes on each device of an engine with a copy in bfloat16 and `cache` bytes of prefixes."""
    return 2 * job.shape.total / job.split + cache


def most(job: Workload) -> float:
    """The most bytes that a device holds at a time; gradients are gone while trees grow."""
    stays = held(job)
    grown = sum(stays.values()) - stays["gradients"] + sum(sampling(job).values())
    return max(sum(stays.values()) + sum(passing(job).values()), grown)


def _working(job: Workload) -> float:
    """Copies of weights: bfloat16 ones, and layers gathered from other devices, two at a time."""
    shape, width = job.shape, 2 if job.bf16 else 4
    layer = shape.body / shape.layers
    if job.gpus > 1:
        return width * (2 * layer + 2 * shape.head)
    if not job.bf16:
        return 0
    if job.checkpointing and job.trained < shape.total:  # frozen ones are cast as they are used
        return width * (layer + shape.head)
    return width * (shape.body + shape.head)


def activations(job: Workload) -> float:
    """Bytes that the backward pass of one pack needs; with checkpointing of one layer at a time.

    In bfloat16 the residual stream and the norms stay in float32, as autocast has it.
    """
    s = job.shape
    query, kv = s.heads * s.dim, s.kv_heads * s.dim
    attended: float
    if job.bf16:
        norms, width = 2 * (4 + 4 + 2) * s.hidden, 2
    else:
        norms, width = 2 * (4 + 4 + 4) * s.hidden, 4
    attended = width * (3 * query + 2 * kv)  # queries, keys, values, what came out, twice laid out
    if not job.flex:  # each block of queries keeps its keys and values, a copy for every head
        attended += width * 2 * query * (job.pack / BLOCK + 1) / 2
    layer = norms + attended + width * 4 * s.inner  # gate, its activation, up, their product
    per_token = 4 * s.hidden * s.layers + layer if job.checkpointing else layer * s.layers
    return job.pack * (per_token + norms / 2)  # the last norm's too


def _logits(job: Workload) -> float:
    """One chunk there and back, and what is held of the others."""
    one = min(CHUNK, job.pack) * job.shape.vocabulary
    return one * 18 + 4 * min(HELD, job.pack * job.shape.vocabulary)


def operations(job: Workload, step: StepTokens) -> float:
    """Of the body, the head and the attention in one step of training."""
    s = job.shape
    forward = 1 + job.checkpointing
    learnt = job.trained / s.total
    passes = job.epochs * (forward + 1 + learnt) + job.again
    pairs = step.unique * job.longest / 2
    attention = 4 * s.heads * s.dim * s.layers * pairs * (job.epochs * (forward + 2) + job.again)
    return 2 * passes * (s.body * step.unique + s.head * step.sampled) + attention


def seconds(
    job: Workload, step: StepTokens, machine: Machine, share: float = SHARE
) -> tuple[float, float]:
    """(growing, training): a step at that share of the devices' rate and bandwidth.

    In a round every row samples a token, for which all weights and the rows' keys and values are
    read once: in float32 by the local engine, in bfloat16 by one with a copy. One engine samples
    for all devices if it is the local one.
    """
    trained = operations(job, step) / (job.gpus * machine.rate * share)
    engines = 1 if job.local else max(1, job.gpus // job.split)
    width = 4 if job.local else 2
    rows = min(job.rows, step.episodes / engines)
    rounds = step.sampled / (engines * rows)
    read = width * (job.shape.total + rows * job.longest / 2 * job.shape.kept)
    work = 2 * rows * (job.shape.body + job.shape.head) / machine.rate
    devices = 1 if job.local else job.split
    return rounds * max(read / machine.bandwidth, work) / share / devices, trained


CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("optim.bf16 = true", {"bf16": True}),
    ("optim.checkpointing = true", {"checkpointing": True}),
    ("optim.max_pack_tokens = 4096", {"pack": 4096}),
    ("engine.max_batch = 16", {"rows": 16}),
    ("engine.cache_tokens = 8192", {"cache": 8192}),
    ("[lora]", {}),
)


def remedies(job: Workload, room: float, adapters: int) -> list[str]:
    """What would let a job that is too large into `room` bytes a device."""
    if most(job) <= room:
        return []
    out, texts, tried = [], list[str](), job
    for text, change in CHANGES:
        better = replace(tried, **(change or {"trained": adapters}))
        if most(better) < most(tried) and most(tried) > room:
            texts, tried = [*texts, text], better
    if most(tried) <= room:
        out.append(" and ".join(texts))
    for gpus in (2 * job.gpus, 4 * job.gpus, 8 * job.gpus, 16 * job.gpus):
        if most(replace(job, gpus=gpus, local=False)) <= room:
            own = ' and [engine] kind = "vllm"' if job.local else ""
            out.append(f"{gpus} GPUs{own}")
            break
    return out
