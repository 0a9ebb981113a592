"""What a teacher said, put into a tree: its own log-probs are the ratio's denominator.

0 -- 1, 2     two runs of the policy
 \\-- 3 -- 4   the teacher's run, version -1
"""

import pytest
import torch

from hornbeam.train.policy import Policy
from hornbeam.train.rows import all_nodes, collect
from hornbeam.train.train_settings import LossSettings, OptimSettings
from hornbeam.train.update_metrics import StepMetrics
from hornbeam.tree.nodes import INJECTED, Node, Origin, Tree, floats, ids
from train import flat, worlds

OPEN = {"clip_low": 1.0, "clip_high": 1e6}  # no clip
ADVANTAGE = {1: 0.5, 2: -0.25, 4: 1.0}
TEACHER = {3: [-0.7, -2.9], 4: [-1.3]}  # far from what the policy thinks


def injected() -> Tree:
    def node(parent, version, prompt, tokens, logprobs):
        held = {"prompt": ids(prompt), "tokens": ids(tokens), "logprobs": floats(logprobs)}
        return Node(parent, "agent", origin=Origin(version=version), **held)

    tree = Tree({"id": "q"})
    tree.append(node(0, 0, [3, 4, 5], [7, 8], [-3.0, -3.1]))
    tree.append(node(0, 0, [3, 4, 5], [9], [-3.2]))
    tree.append(node(0, INJECTED, [3, 4, 5], [10, 11], TEACHER[3]))
    tree.append(node(3, INJECTED, [12], [13], TEACHER[4]))
    tree.columns["advantage"] = [ADVANTAGE.get(i) for i in range(5)]
    return tree


def gradient(p: Policy, tree: Tree) -> tuple[float, list[torch.Tensor]]:
    """The loss of the first update on a tree and its gradients."""
    with p._training():
        (batch,) = p._batches(list(p._parts([tree], all_nodes)))
        loss = p._backward(batch, StepMetrics())
    return loss, [q.grad.clone() for q in p.model.parameters()]


def by_hand(tree: Tree) -> tuple[float, list[torch.Tensor]]:
    """-1/6 sum A r over the six tokens, r = pi/pi_teacher where it was injected, else pi/sg(pi)."""
    model = worlds.model("Llama")
    loss = torch.zeros(())
    for i, leaf in ((1, 1), (2, 2), (3, 4), (4, 4)):
        logp, _ = flat.log_probs(model, tree, i, 1.0)
        old = torch.tensor(TEACHER[i]) if i in TEACHER else logp.detach()
        ratio = torch.exp(logp - old)
        loss = loss - (ADVANTAGE[leaf] * ratio).sum() / 6
    loss.backward()
    return float(loss.detach()), [q.grad for q in model.parameters()]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("truncate", [None, 2.0])
def test_the_gradient_is_the_importance_weighted_one(packed: bool, truncate: float | None) -> None:
    tree = injected()
    for i in (1, 2):  # the engine told what the trainer thinks: truncated weights are 1
        logp = flat.log_probs(worlds.model("Llama"), tree, i, 1.0)[0].tolist()
        tree.nodes[i] = Node(**{**fields(tree.nodes[i]), "logprobs": floats(logp)})
    how = LossSettings(old="trainer", truncate=truncate, **OPEN)
    p = Policy(worlds.model("Llama"), loss=how, optim=OptimSettings(packed=packed))
    loss, grads = gradient(p, tree)
    expected, hand = by_hand(tree)
    assert loss == pytest.approx(expected, rel=1e-5)
    for one, other in zip(grads, hand, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_clip_holds_the_teachers_ratio_too() -> None:
    tree = injected()
    logp = flat.log_probs(worlds.model("Llama"), tree, 3, 1.0)[0].tolist()
    said = [logp[0] - 1.0, logp[1]]  # the policy likes the first token e times as much
    tree.nodes[3] = Node(**{**fields(tree.nodes[3]), "logprobs": floats(said)})
    p = Policy(worlds.model("Llama"), loss=LossSettings(old="trainer"))
    with p._training():
        (batch,) = p._batches(list(p._parts([tree], all_nodes)))
        result = StepMetrics()
        p._backward(batch, result)
    assert result.means("clip_fraction")["clip_fraction"] == pytest.approx(1 / 6)


def test_only_injected_nodes_are_held() -> None:
    held = [s.held for row in collect([injected()]).rows for s in row.segments]
    assert sorted(held) == [False, False, True, True]


def fields(node: Node) -> dict:
    return {name: getattr(node, name) for name in Node.__slots__}
