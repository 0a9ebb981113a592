"""Random small models and random credited trees with token ids, for tests and bench/parity.py."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import torch

from hornbeam.tree.nodes import Node, Tree, floats, ids

VOCAB = 31


def model(family: str, kv_heads: int = 2, seed: int = 0, **more: Any) -> Any:
    """A random causal LM of two or three layers, four heads."""
    import transformers

    size = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 256,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if family.startswith("Gemma"):
        size |= {"head_dim": 8}
    if family in ("Gemma2", "Gemma3Text"):
        size |= {"sliding_window": 6, "query_pre_attn_scalar": 8}
    named = "Llama4TextConfig" if family == "Llama4" else f"{family}Config"
    config = getattr(transformers, named)(**(size | more))
    name = "Gemma3ForCausalLM" if family == "Gemma3Text" else f"{family}ForCausalLM"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return getattr(transformers, name)(config).eval()


def tree(draw: random.Random, *, task: str = "q", nodes: int = 9) -> Tree:
    """A random tree: siblings share contexts, some rewrite theirs, some steps are silent."""
    out = Tree({"id": task})
    question = [draw.randrange(VOCAB) for _ in range(draw.randint(2, 6))]
    for _ in range(nodes):
        parent = draw.randrange(len(out))
        new = ids(draw.randrange(VOCAB) for _ in range(draw.randint(0, 3)))
        said = ids(draw.randrange(4) for _ in range(draw.randint(1, 5)))
        where: dict[str, Any] = {"prompt": new}
        if parent == 0 or draw.random() < 0.2:  # another context: a sub-agent, a rewritten history
            where = out.place(parent, "agent", ids(question) + new)._asdict()
        if draw.random() < 0.1:
            said = ids()
        logprobs = floats(-draw.uniform(2.5, 4.5) for _ in said)
        out.append(Node(parent, agent="agent", tokens=said, logprobs=logprobs, **where))
    reward = out.column("reward")
    for leaf in out.leaves():
        reward[leaf] = draw.choice([0.0, 1.0, 0.3, None]) if draw.random() < 0.9 else 0.5
    if all(value is None for value in reward):
        reward[out.leaves()[0]] = 1.0
    guide = random.Random(len(out))  # a guide's opinions; the draws above stay what they were
    out.columns["value"] = [None, *(guide.choice([None, -0.5, 0.0, 0.8]) for _ in out.nodes[1:])]
    out.columns["prior"] = [0.4, *([None] * (len(out) - 1))]
    return out


def random_trees(seed: int, *, tasks: int = 2, each: int = 2, scopes: bool = False) -> list[Tree]:
    """Random trees of some tasks; with `scopes` many of their nodes belong to delegations."""
    draw = random.Random(seed)
    trees = [tree(draw, task=f"q{t}") for t in range(tasks) for _ in range(each)]
    return [delegated(draw, t) for t in trees] if scopes else trees


def delegated(draw: random.Random, plain: Tree) -> Tree:
    """The same tree with nodes in scopes at random, and rewards at those nodes too."""
    scopes = ["", *(draw.choice(["", "s.1", "s.2", "s.2/t.1"]) for _ in plain.nodes[1:])]
    nodes = [replace(node, scope=scope) for node, scope in zip(plain.nodes, scopes)]
    reward = plain.columns["reward"]
    for i, scope in enumerate(scopes):
        if scope and not plain.is_leaf(i):
            reward[i] = draw.choice([0.0, 1.0, 0.3, 0.7, None])
    return Tree(plain.task, nodes, plain.columns)
