"""The flat objective, written straight from its formulas: leaf by leaf, node by node, no trie.

Nothing here is shared with `hornbeam.train`: log-probs come from the model's own forward over
(context, tokens) of one node at a time, sums run over leaves, clips are applied to each leaf's
advantage. It is slow and plain on purpose.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from hornbeam.train.train_settings import LossSettings
from hornbeam.tree.nodes import Tree


def log_probs(model: Any, tree: Tree, i: int, temperature: float) -> tuple[Tensor, Tensor]:
    """(log pi of the tokens of node i, entropy where each was sampled)."""
    context, tokens = list(tree.context(i)), list(tree.nodes[i].tokens)
    logits = model(input_ids=torch.tensor([context + tokens]), use_cache=False).logits[0]
    every = torch.log_softmax(logits[len(context) - 1 : -1] / temperature, -1)
    return every[torch.arange(len(tokens)), tokens], -(every.exp() * every).sum(-1)


def loss(
    model: Any, trees: list[Tree], how: LossSettings, reference: Any = None
) -> tuple[Tensor, float, int]:
    """(loss over all leaves, its size, how many tokens were clipped), in a step's first update.

    The size is the sum over leaves of |what the leaf adds|: what rounding is relative to.
    """
    leaves = [(t, *each) for t, tree in enumerate(trees) for each in trajectories(tree)]
    lengths = [sum(len(trees[t].nodes[i].tokens) for i in path) for t, _, path in leaves]
    mass = [_mass(trees[t], end) for t, end, _ in leaves]
    tokens, copies = sum(m * n for m, n in zip(mass, lengths)), sum(mass)
    total, size, clipped = torch.zeros(()), 0.0, 0
    node = cache(lambda t, i: _node(model, reference, trees[t], i, how))  # pure, only slow
    for (t, leaf, path), length, m in zip(leaves, lengths, mass):
        advantage = trees[t].columns["advantage"]
        before = float(total.detach())
        weight = {
            "token_mean": m / tokens,
            "sequence_mean": m / (copies * length),
            "constant": m / (copies * how.constant),
        }[how.aggregation]
        terms = [node(t, i) for i in path]
        whole = torch.cat([new - old for new, old, *_ in terms]).mean()
        gap = sum(float((old - engine).sum()) for _, old, engine, *_ in terms)
        kept = _kept(how, torch.cat([new - engine for new, _, engine, *_ in terms]))
        for i, (new, old, engine, k3, entropy) in zip(path, terms):
            own = None if "mass" in trees[t].columns else advantage[i]
            a = advantage[leaf] if own is None else own
            ratio = _ratio(how.ratio, new, old, whole)
            objective = _objective(how, ratio, new, a) * _importance(how, old - engine, gap)
            if how.gate is not None and (a < 0 or how.gate.of == "all"):
                objective = objective * kept
            total = total - weight * (objective + how.entropy * entropy - how.kl * k3).sum()
            out = (ratio > 1 + how.clip_high) if a > 0 else (ratio < 1 - how.clip_low)
            clipped += int(out.sum()) if a else 0
        size += abs(float(total.detach()) - before)
    return total, size, clipped


def trajectories(tree: Tree) -> list[tuple[int, list[int]]]:
    """(end, nodes that spoke) of every leaf's path; with mass the main agent's and delegations."""
    out = []
    for end, advantage in enumerate(tree.columns["advantage"]):
        scope, leaf = tree.nodes[end].scope, end > 0 and tree.is_leaf(end)
        own = {scope, ""} if leaf else {scope}
        path = [i for i in tree.path(end) if len(tree.nodes[i].tokens)]
        if "mass" in tree.columns:
            path = [i for i in path if tree.nodes[i].scope in own]
        counts = leaf or ("mass" in tree.columns and scope)
        if advantage is not None and counts and path and _mass(tree, end):
            out.append((end, path))
    return out


def _mass(tree: Tree, end: int) -> float:
    mass = tree.columns["mass"][end] if "mass" in tree.columns else None
    return 1.0 if mass is None else mass


def _node(model: Any, reference: Any, tree: Tree, i: int, how: LossSettings) -> tuple[Tensor, ...]:
    new, entropy = log_probs(model, tree, i, how.temperature)
    engine = torch.tensor(list(tree.nodes[i].logprobs))
    old, k3 = engine, torch.zeros_like(engine)
    with torch.no_grad():
        if how.old == "trainer":
            old = new.detach()
        ref = log_probs(reference, tree, i, how.temperature)[0] if reference is not None else None
    if ref is not None:
        k3 = torch.exp(ref - new) - (ref - new) - 1
        if how.kl_estimator == "k3_ratio":
            k3 = k3 * torch.exp(new - old)
        if how.kl_estimator == "k2":
            k3 = (ref - new) ** 2 / 2
    return new, old, engine, k3, entropy


def _ratio(kind: str, new: Tensor, old: Tensor, whole: Tensor) -> Tensor:
    if kind == "token":
        return torch.exp(new - old)
    mean = (new - old).mean() if kind == "turn" else whole
    return torch.exp(mean).detach() * torch.exp(new - new.detach())  # straight-through


def _objective(how: LossSettings, ratio: Tensor, new: Tensor, a: float) -> Tensor:
    inside = ratio.clamp(1 - how.clip_low, 1 + how.clip_high)
    if how.objective == "sapo":
        tau = how.sapo[0] if a > 0 else how.sapo[1]
        return 4 / tau / (1 + torch.exp(-tau * (ratio - 1))) * a
    if how.objective == "cispo":
        return inside.detach() * a * new
    out = torch.minimum(ratio * a, inside * a)
    if how.dual_clip is not None and a < 0:
        out = torch.maximum(out, torch.tensor(how.dual_clip * a))
    return out


def _importance(how: LossSettings, tokens: Tensor, whole: float) -> Tensor:
    """The weight of each token of a node: its own, or that of the whole path."""
    result = how.importance
    if how.truncate is not None:
        return torch.exp(tokens).clamp(max=how.truncate)
    if result is None:
        return torch.ones_like(tokens)
    weight = torch.exp(tokens if result.level == "token" else torch.full_like(tokens, whole))
    if result.outside == "truncate":
        return weight.clamp(result.low, result.high)
    return torch.where((weight >= result.low) & (weight <= result.high), weight, 0.0)


def _kept(how: LossSettings, difference: Tensor) -> bool:
    """Whether a gate keeps the leaf whose tokens' log(pi/pi_engine) these are."""
    mean, gate = float(difference.detach().mean()), how.gate
    if gate is None:
        return True
    return not (
        (gate.kl is not None and -mean > gate.kl)
        or (gate.ratio is not None and not 1 / gate.ratio <= math.exp(mean) <= gate.ratio)
    )
