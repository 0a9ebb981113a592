"""Random value models and labelled trees, for tests."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import torch
import transformers

from hornbeam.train.value import ValueModel
from hornbeam.train.value_rows import has_value
from hornbeam.tree.nodes import Node, Tree, floats, ids
from train import worlds


def classifier(family: str, seed: int = 0, std: float = 0.5, **more: Any) -> Any:
    """A random token classifier with one label (Gemma 3 has only one of sequences)."""
    config = worlds.model(family, **more).config
    config.num_labels = 1
    kind = "Sequence" if family == "Gemma3Text" else "Token"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, f"{family}For{kind}Classification")(config).eval()
        torch.nn.init.normal_(model.score.weight, std=std)
    return model


def value_model(
    family: str = "Llama", std: float = 0.5, size: Mapping[str, int] = {}, **more: Any
) -> ValueModel:
    """A value model with random weights; the head's deviate by `std`."""
    return ValueModel(classifier(family, std=std, **size), name=family, **more)


def labelled(seed: int, **more: Any) -> Tree:
    """A random tree with targets "q" and visits at every node, episodes ending at leaves."""
    draw = random.Random(seed)
    grown = worlds.tree(draw, task=f"q{seed}", **more)
    leaves = set(grown.leaves())
    tree = Tree(grown.task, [grown.nodes[0]])
    for i, node in enumerate(grown.nodes[1:], 1):
        where = {name: getattr(node, name) for name in Node.__slots__}
        tree.append(Node(**(where | {"done": i in leaves})))
    tree.columns["q"] = [None, *(round(draw.uniform(-1, 1), 2) for _ in tree.nodes[1:])]
    tree.columns["visits"] = [None, *(float(draw.randint(1, 4)) for _ in tree.nodes[1:])]
    return tree


def readable(tree: Tree) -> list[int]:
    """The nodes that have a value."""
    return [i for i, node in enumerate(tree.nodes) if has_value(node)]


def plain(model: Any, tree: Tree, i: int) -> float:
    """z at node i by one forward of the classifier itself, on the node's own sequence."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([list(tree.sequence(i))]), use_cache=False).logits
    return float(logits[0, -1, 0] if logits.dim() == 3 else logits[0, 0])


def team(agents: int = 4, seed: int = 0) -> Tree:
    """One episode's path and branches of agents whose contexts share a prefix only."""
    draw = random.Random(seed)
    out = Tree({"id": "team"})
    question = ids(draw.randrange(worlds.VOCAB) for _ in range(7))
    paths: list[tuple[int, list[int]]] = [(0, [])]
    for agent in range(agents):
        grown = []
        for parent, said in paths:
            for _ in range(2 if agent < 2 else 1):
                role = ids([agent + 1, 5])
                context = question + role + ids(said)
                answer = ids(draw.randrange(worlds.VOCAB) for _ in range(3))
                where = out.place(parent, f"a{agent}", context)._asdict()
                done = agent == agents - 1
                logprobs = floats([-1.0] * len(answer))
                node = Node(
                    parent, agent=f"a{agent}", tokens=answer, logprobs=logprobs, done=done, **where
                )
                grown.append((out.append(node), [*said, *answer]))
        paths = grown
    return out
