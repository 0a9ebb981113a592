"""One optimisation step on the same rollouts: packed, flat, and TRL's GRPOTrainer, in one process.

    OMP_NUM_THREADS=2 python bench/train_step.py [--quick] [--sharing 3 8] [--repeats N] [--json F]

The model has the shape of SmolLM2-135M with random weights, in float32; the rollouts are trees of
random tokens whose sharing ratio (tokens of one row a leaf / unique tokens) is about 3 and about 8.
A step is loss, backward, gradient clip and AdamW with a token-level clip and token-mean.

TRL is driven by hand: `GRPOTrainer.compute_loss` on the dictionary of rows that its generation
would have made (prompt, completion, tool mask, old log-probs, advantages), then
accelerator.backward, clip and the optimiser the trainer made. Its data loader, generation and
rewards are left out, activation checkpointing is off, and rows go in micro-batches of as many
tokens as ours. The gradient norms of all three are checked to agree, so that all three compute
the same step.

Variants are timed in turn, so that noise of the machine falls on all of them; seconds of the CPU
are told beside those of the clock, for machines that do other work too. Peak memory is that
of a process of its own for each variant (the time of those is not used). --quick takes a fifth of
the layers and of the vocabulary, so that body and head keep their shares of the work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hornbeam.credit import credit
from hornbeam.train.policy import Policy
from hornbeam.train.train_settings import LossSettings, OptimSettings
from hornbeam.tree.nodes import Node, Tree, floats, ids

VOCAB = 49152
MICRO = 1024  # tokens of one forward pass, padded
# branching of the steps, tokens of question, answer and observation; 0 is the warm-up
LOADS = {0: ((2,), 8, 8, 8), 3: ((1, 2, 4), 64, 64, 28), 8: ((1, 2, 7), 64, 64, 28)}
LAST = {0: 8, 3: 64, 8: 9}  # tokens of the last answer
VARIANTS = ("packed", "flat", "trl")
LEARN = {"lr": 1e-6, "max_grad_norm": 1.0}


def model(quick: bool = False) -> Any:
    """Random weights in the shape of SmolLM2-135M; quick: a fifth of its layers and vocabulary."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB // 5 if quick else VOCAB,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=6 if quick else 30,
            num_attention_heads=9,
            num_key_value_heads=3,
            max_position_embeddings=8192,
            rope_theta=100000.0,
            tie_word_embeddings=True,
        )
    )


def rollouts(sharing: int) -> Tree:
    """One credited tree: every step asks with an observation and answers."""
    factors, question, answer, seen = LOADS[sharing]
    draw = random.Random(sharing)

    def some(n: int) -> list[int]:
        return [draw.randrange(5, VOCAB // 5) for _ in range(n)]

    tree = Tree({"id": "q"})
    level = [0]
    for depth, factor in enumerate(factors):
        said = LAST[sharing] if depth == len(factors) - 1 else answer
        below = []
        for parent in level:
            given = some(seen if depth else question)
            for _ in range(factor):
                logprobs = floats(-11 + draw.random() for _ in range(said))
                node = Node(parent, prompt=ids(given), tokens=ids(some(said)), logprobs=logprobs)
                below.append(tree.append(node))
        level = below
    for n, leaf in enumerate(tree.leaves()):
        tree.column("reward")[leaf] = float(n % 3 == 0)
    credit([tree], "grpo")
    return tree


def ours(lm: Any, packed: bool) -> Policy:
    """Our policy on this model."""
    optim = OptimSettings(packed=packed, max_pack_tokens=MICRO, **LEARN)
    return Policy(lm, loss=LossSettings(), optim=optim)


def trl_rows(tree: Tree) -> dict[str, torch.Tensor]:
    """The rows of all leaves as TRL's generation would have made them."""
    question = len(tree.nodes[1].prompt)
    rows: dict[str, list[Any]] = {"ids": [], "mask": [], "old": [], "advantages": []}
    for leaf in tree.leaves():
        mask, old = [], []
        for i in tree.path(leaf):
            node = tree.nodes[i]
            mask += [0] * len(node.prompt) + [1] * len(node.tokens)
            old += [0.0] * len(node.prompt) + list(node.logprobs)
        rows["ids"].append(list(tree.sequence(leaf)))
        rows["mask"].append(mask)
        rows["old"].append(old)
        rows["advantages"].append(tree.columns["advantage"][leaf])
    tokens = torch.tensor(rows["ids"])
    trained = torch.tensor(rows["mask"])[:, question:]
    return {
        "prompt_ids": tokens[:, :question],
        "prompt_mask": torch.ones_like(tokens[:, :question]),
        "completion_ids": tokens[:, question:],
        "completion_mask": torch.ones_like(trained),
        "tool_mask": trained,
        "old_per_token_logps": torch.tensor(rows["old"])[:, question:],
        "advantages": torch.tensor(rows["advantages"]),
        "num_items_in_batch": trained.sum(),
    }


def trl_trainer(lm: Any, folder: str) -> Any:
    """A GRPOTrainer on this model, and a tokenizer that only knows its special tokens."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>"
    )
    config = GRPOConfig(
        output_dir=folder,
        learning_rate=LEARN["lr"],
        max_grad_norm=LEARN["max_grad_norm"],
        lr_scheduler_type="constant",
        loss_type="dapo",
        beta=0.0,
        epsilon=0.2,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=1,
        steps_per_generation=1,
        num_generations=2,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
    )
    trainer = GRPOTrainer(
        model=lm,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["a"] * 4}),
        processing_class=tokenizer,
    )
    assert not trainer.model.is_activation_checkpointing
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def trl_step(trainer: Any, rows: dict[str, torch.Tensor]) -> float:
    """Loss, backward, clip and update; returns the gradient's norm before the clip."""
    many, prompt = rows["prompt_ids"].shape
    size = max(1, MICRO // (prompt + rows["completion_ids"].shape[1]))
    for start in range(0, many, size):
        part = {k: v[start : start + size] if v.dim() else v for k, v in rows.items()}
        trainer.accelerator.backward(trainer.compute_loss(trainer.model, part))
    norm = trainer.accelerator.clip_grad_norm_(trainer.model.parameters(), LEARN["max_grad_norm"])
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    return float(norm)


def steps(
    trees: dict[int, Tree], folder: str, quick: bool
) -> dict[tuple[str, int], Callable[[], float]]:
    """For every variant and load a function that makes one step and returns the gradient norm."""
    policies = {"packed": ours(model(quick), True), "flat": ours(model(quick), False)}
    trainer = trl_trainer(model(quick), folder)
    rows = {sharing: trl_rows(tree) for sharing, tree in trees.items()}

    def step(name: str, sharing: int) -> float:
        if name == "trl":
            return trl_step(trainer, rows[sharing])
        return policies[name].step([trees[sharing]])["grad_norm"]

    return {(v, s): lambda v=v, s=s: step(v, s) for v in VARIANTS for s in trees}


def one(variant: str, sharing: int) -> None:
    """One step in this process; prints the peak of its memory in MiB."""
    tree = rollouts(sharing)
    with tempfile.TemporaryDirectory() as folder:
        if variant == "trl":
            trl_step(trl_trainer(model(), folder), trl_rows(tree))
        else:
            ours(model(), variant == "packed").step([tree])
    # not ru_maxrss: that of a child begins at its parent's
    status = Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) // 1024)


def peak(variant: str, sharing: int) -> int:
    """Peak memory in MiB of one step in a process of its own."""
    command = [sys.executable, __file__, "--one", variant, str(sharing)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def measure(loads: list[int], repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Times of all variants in turn; ratios are taken within a turn."""
    trees = {sharing: rollouts(sharing) for sharing in loads}
    out = []
    with tempfile.TemporaryDirectory() as folder:
        run = steps({**trees, 0: rollouts(0)}, folder, quick)
        for v in VARIANTS:
            run[v, 0]()  # makes gradients and moments, so that no timed step does
        for sharing in loads:
            clocks: dict[str, dict[str, list[float]]] = {
                name: {v: [] for v in VARIANTS} for name in ("seconds", "cpu_seconds", "norms")
            }
            for _ in range(repeats):
                for v in VARIANTS:
                    began, busy = time.perf_counter(), time.process_time()
                    clocks["norms"][v].append(run[v, sharing]())
                    clocks["seconds"][v].append(time.perf_counter() - began)
                    clocks["cpu_seconds"][v].append(time.process_time() - busy)
            first = [norms[0] for norms in clocks["norms"].values()]
            difference = (max(first) - min(first)) / max(first)
            assert difference < 1e-3, f"the three steps differ: gradient norms {first}"
            out.append({**shape(trees[sharing]), **clocks})
            print(f"sharing {sharing}: timed", file=sys.stderr)
    for row, sharing in zip(out, loads):
        if not quick:
            row["peak_mib"] = {v: peak(v, sharing) for v in VARIANTS}
    return out


def shape(tree: Tree) -> dict[str, Any]:
    """Leaves and tokens of a load."""
    flat = sum(tree.length(leaf) for leaf in tree.leaves())
    held = [0, *(len(n.prompt) for n in tree.nodes[1:])]
    first = {n.parent: held[i] for i, n in enumerate(tree.nodes) if i}
    unique = sum(first.values()) + sum(len(n.tokens) for n in tree.nodes)
    return {"leaves": len(tree.leaves()), "flat": flat, "unique": unique, "sharing": flat / unique}


def spread(values: list[float]) -> tuple[float, float, float]:
    """(min, median, max)."""
    ordered = sorted(values)
    return ordered[0], ordered[len(ordered) // 2], ordered[-1]


def table(rows: list[dict[str, Any]]) -> None:
    """Print times, ratios to packed beside what is claimed, and memory."""
    for row in rows:
        print(
            f"sharing {row['sharing']:.2f}: {row['leaves']} leaves, {row['flat']} tokens flat,"
            f" {row['unique']} unique"
        )
        for v in VARIANTS:
            low, middle, high = spread(row["seconds"][v])
            line = f"  {v:7} {middle:7.2f} s  ({low:.2f} to {high:.2f})"
            if "peak_mib" in row:
                line += f"   peak {row['peak_mib'][v]} MiB"
            print(line)
        for v in VARIANTS[1:]:
            claim = row["sharing"] * (0.9 if v == "flat" else 1.0)
            for clock in ("seconds", "cpu_seconds"):
                times = [a / b for a, b in zip(row[clock][v], row[clock]["packed"])]
                low, middle, high = spread(times)
                row[f"{v}_over_packed_{clock}"] = {"min": low, "median": middle, "max": high}
                print(
                    f"  {v} / packed, {clock.replace('_', ' ')}: {middle:.2f} x"
                    f" ({low:.2f} to {high:.2f}), claim {claim:.2f}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a model of a fifth the size, no memory"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sharing", type=int, nargs="+", choices=(3, 8), default=[3, 8])
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "SHARING"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one[0], int(args.one[1]))
        return
    rows = measure(args.sharing, args.repeats, args.quick)
    table(rows)
    if args.json:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
        row = {"command": " ".join(sys.argv), "machine": machine, "loads": rows}
        args.json.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
