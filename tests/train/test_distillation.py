"""Distillation along the tree: by hand, as policy gradient and TRL's formula, packed and flat.

      w = 1/7 a leaf (test_leaves): t0 is of both leaves
0     log p - log pi:   t0 0.4   t1 -0.2   t2 0   t3 0.3   t4 -0.5   t5 0.1
1
|\\
2 3
  4
"""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from hornbeam.errors import ModelError, RecipeError, StoreError
from hornbeam.settings import build
from hornbeam.train.distillation import Teacher, divergence
from hornbeam.train.leaves import Batch, Fixed, of_leaves
from hornbeam.train.objective import objective
from hornbeam.train.pack import packs, unique
from hornbeam.train.policy import Policy
from hornbeam.train.rows import collect
from hornbeam.train.train_settings import LossSettings, OptimSettings
from hornbeam.tree.nodes import INJECTED, Origin
from train import flat, worlds
from train.test_leaves import APART
from train.test_rows import little

GAP = torch.tensor([0.4, -0.2, 0.0, 0.3, -0.5, 0.1])
W = [2 / 7, 1 / 7, 1 / 7, 1 / 7, 1 / 7, 1 / 7]


def gradient(tree=None, mass=None, **loss):
    """(-d loss / d log pi) of the six tokens, and what happened."""
    how = LossSettings(**loss)
    rows = collect([tree or little()], pairs=how.pairs, preferred=how.prefers)
    (pack,) = packs(rows, 100, packed=True)
    logp = (pack.old + APART).requires_grad_()
    fixed = Fixed(pack.old, pack.old, mass, logp.detach() + GAP)
    batch = Batch([pack], [fixed], rows.leaves, rows.preferred)
    leaves, _ = of_leaves(how, batch, [logp])
    value, what = objective(how, pack, logp, torch.zeros(6), fixed, leaves)
    value.backward()
    return [-float(g) for g in logp.grad], what


def test_the_sampled_form_by_hand():
    """c w r a, r = pi/pi_old; clipped where r has gone the way of a already (t1 by 0.8, t3)."""
    teacher = {"teacher": "T", "weight": 0.5, "alone": True}
    got, what = gradient(distill=teacher, clip_low=1.0, clip_high=9.0)
    r, a = APART.exp().tolist(), GAP.tolist()
    assert got == pytest.approx([0.5 * x * y * z for x, y, z in zip(W, r, a)])
    assert float(what["teacher_gap"][0]) == pytest.approx(-sum(a)) and what["teacher_gap"][1] == 6
    clipped, what = gradient(distill=teacher)
    inside = [1, 1, 1, 0, 0, 1]  # t3: r = 1.22 > 1.2 and a > 0; t4: r = 0.74 < 0.8 and a < 0
    assert clipped == pytest.approx([0.5 * x * y * z * i for x, y, z, i in zip(W, r, a, inside)])
    assert float(what["clip_fraction"][0]) == 2


@pytest.mark.parametrize("more", [{}, {"ratio": "turn"}, {"ratio": "sequence"}, {"kl": 0.1}])
@pytest.mark.parametrize("kind", ["clip", "cispo", "sapo"])
def test_it_is_added_to_the_rewards_part(kind, more):
    teacher = {"teacher": "T", "weight": 0.3}
    loss = {"objective": kind, **more}
    both, _ = gradient(distill=teacher, **loss)
    rewards, _ = gradient(**loss)
    plain = {key: value for key, value in loss.items() if key == "objective"}
    taught, _ = gradient(distill={**teacher, "alone": True}, **plain)
    assert both == pytest.approx([a + b for a, b in zip(rewards, taught)], abs=1e-7)


def test_beside_preferences_the_ratio_is_one():
    both, _ = gradient(objective="dpo", distill={"teacher": "T"})
    alone, _ = gradient(objective="dpo")
    added = [x - y for x, y in zip(both, alone)]
    assert added == pytest.approx([w * a for w, a in zip(W, GAP.tolist())], abs=1e-7)


def test_weights_of_tokens_count_and_a_far_teacher_is_held():
    mass = torch.tensor([2.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    how = {"distill": {"teacher": "T", "alone": True}, "clip_low": 1.0, "clip_high": 9.0}
    got, _ = gradient(mass=mass, **how, bounds={"kl": 0.25})
    a = [0.25, -0.2, 0.0, 0.25, -0.25, 0.1]
    terms = zip(W, APART.exp().tolist(), a, mass.tolist())
    assert got == pytest.approx([w * r * x * m for w, r, x, m in terms])


def test_what_another_one_put_in_is_no_sample():
    tree = little()
    tree.nodes[1] = replace(tree.nodes[1], origin=Origin(version=INJECTED))
    got, what = gradient(tree, distill={"teacher": "T", "alone": True})
    assert got[0] == 0 and got[1] != 0 and what["teacher_gap"][1] == 5


def test_the_expected_gradient_is_that_of_the_reverse_kl():
    """sum_y pi(y) (log p - log pi)(y) grad log pi(y) = -grad KL(pi | p), over all tokens y."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(7, generator=draw, dtype=torch.float64).requires_grad_()
    teacher = torch.log_softmax(torch.randn(7, generator=draw, dtype=torch.float64), -1)
    logp = torch.log_softmax(logits, -1)
    a = (teacher - logp).detach()
    (sampled,) = torch.autograd.grad(
        (logp.exp().detach() * a * logp).sum(), logits, retain_graph=True
    )
    (full,) = torch.autograd.grad(divergence(logp, teacher, 1.0), logits)
    assert sampled.tolist() == pytest.approx((-full).tolist())


# --- the whole distribution --------------------------------------------------------------------


def test_divergences_by_hand():
    pi, p = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.75, 0.25]).log()
    reverse = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    forward = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(divergence(pi, p, 1.0)) == pytest.approx(reverse)
    assert float(divergence(pi, p, 0.0)) == pytest.approx(forward)
    # beta = 0.25: m = 0.25 p + 0.75 pi = (0.5625, 0.4375)
    of_p = 0.75 * math.log(0.75 / 0.5625) + 0.25 * math.log(0.25 / 0.4375)
    of_pi = 0.5 * math.log(0.5 / 0.5625) + 0.5 * math.log(0.5 / 0.4375)
    assert float(divergence(pi, p, 0.25)) == pytest.approx(0.25 * of_p + 0.75 * of_pi)
    assert float(divergence(pi, pi, 0.25)) == pytest.approx(0, abs=1e-7)


def trl_jsd(student_logits, teacher_logits, beta, temperature):
    """GKDTrainer.generalized_jsd_loss as TRL publishes it, reduction "none", summed over tokens."""
    student = F.log_softmax(student_logits / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=-1)
    if beta == 0:
        return F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
    if beta == 1:
        return F.kl_div(teacher, student, reduction="none", log_target=True).sum(-1)
    b = torch.tensor(beta, dtype=student.dtype)
    mixture = torch.logsumexp(
        torch.stack([student + torch.log1p(-b), teacher + torch.log(b)]), dim=0
    )
    of_teacher = F.kl_div(mixture, teacher, reduction="none", log_target=True)
    of_student = F.kl_div(mixture, student, reduction="none", log_target=True)
    return (b * of_teacher + (1 - b) * of_student).sum(-1)


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_divergences_are_those_of_trl(beta):
    draw = torch.Generator().manual_seed(3)
    a, b = (3 * torch.randn(40, 50, generator=draw, dtype=torch.float64) for _ in range(2))
    wanted = trl_jsd(a, b, beta, 0.7)
    found = divergence(torch.log_softmax(a / 0.7, -1), torch.log_softmax(b / 0.7, -1), beta)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-6) and wanted.min() > 0.01


# --- steps -------------------------------------------------------------------------------------


def trees_of(seed=1):
    trees = worlds.random_trees(seed)
    for tree in trees:
        tree.columns["advantage"] = list(tree.columns["reward"])
    return trees


def taught(student, teacher, packed=True, tokens=4096, mark="", **loss):
    how = LossSettings(old="trainer", **{**loss, "distill": {"teacher": "T", **loss["distill"]}})
    optim = OptimSettings(lr=1e-2, packed=packed, max_pack_tokens=tokens, max_grad_norm=1e9)
    made = Teacher(lambda: teacher, "T", optim, mark=lambda: mark)
    return Policy(student, loss=how, optim=optim, teacher=made)


def flat_loss(student, teacher, trees, form, beta, temperature):
    """Leaf by leaf: sum over its tokens of w (-a log pi), or w D by TRL's formula."""
    every = [(tree, *each) for tree in trees for each in flat.trajectories(tree)]
    total, value = sum(len(t.nodes[i].tokens) for t, _, path in every for i in path), 0.0
    for tree, _, path in every:
        for i in path:
            mine, other = (flat.log_probs(m, tree, i, temperature)[0] for m in (student, teacher))
            terms = -(other - mine).detach() * mine
            if form == "full":
                ids = torch.tensor([[*tree.context(i), *tree.nodes[i].tokens]])
                at = slice(len(tree.context(i)) - 1, -1)
                a, b = (m(input_ids=ids).logits[0, at] for m in (student, teacher))
                terms = trl_jsd(a, b.detach(), beta, temperature)
            value = value + terms.sum() / total
    return value


@pytest.mark.parametrize("tokens", [4096, 24])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("form", "beta"), [("sampled", 1.0), ("full", 1.0), ("full", 0.3)])
def test_one_step_is_that_of_leaves_told_one_by_one(form, beta, packed, tokens):
    """The first gradient; and the teacher read every shared token once."""
    trees, student = trees_of(), worlds.model("Llama", seed=1)
    teacher = worlds.model("Qwen2", seed=2)
    flat_loss(student, teacher, trees, form, beta, 0.7).backward()
    wanted = torch.cat([p.grad.flatten() for p in student.parameters()])
    student.zero_grad()
    distill = {"form": form, "beta": beta, "alone": True}
    policy = taught(student, teacher, packed, tokens, distill=distill, temperature=0.7)
    found = {name: torch.zeros_like(p) for name, p in student.named_parameters()}

    def add(name):
        def hook(gradient):
            found[name] += gradient

        return hook

    for name, parameter in student.named_parameters():
        parameter.register_hook(add(name))
    row = policy.step(trees)
    rows = collect(trees, share=packed)
    assert row["grad_norm"] == pytest.approx(float(wanted.norm()), rel=1e-4)
    gradients = torch.cat([each.flatten() for each in found.values()])
    assert torch.allclose(gradients, wanted, atol=1e-5) and wanted.norm() > 0.01
    assert (row["teacher_gap"] > 0 or form == "sampled") and row["updates"] == 1
    if packed and tokens == 4096:
        assert row["teacher_tokens"] == unique(rows) == row["tokens_unique"] < row["tokens_flat"]
    if not packed:
        assert row["teacher_tokens"] == sum(len(r.ids) for r in rows.rows)


@pytest.mark.parametrize("distill", [{}, {"form": "full"}, {"form": "full", "beta": 0.5}])
def test_a_teacher_that_is_the_student_teaches_nothing(distill):
    student, teacher = worlds.model("Llama", seed=1), worlds.model("Llama", seed=1)
    row = taught(student, teacher, distill={**distill, "alone": True}).step(trees_of())
    assert row["grad_norm"] == pytest.approx(0, abs=1e-6)
    assert row["loss"] == pytest.approx(0, abs=1e-6) == row["teacher_gap"]


def test_a_teacher_whose_vocabulary_is_padded_further_is_read_to_the_policys():
    """Rows of padding beyond the policy's ids change nothing but what a softmax gives them."""
    student, teacher = worlds.model("Llama", seed=1), worlds.model("Llama", seed=2)
    wide = worlds.model("Llama", seed=2, vocab_size=worlds.VOCAB + 9)
    with torch.no_grad():
        for name, weight in wide.named_parameters():
            own = dict(teacher.named_parameters())[name]
            weight[: len(own)] = own if weight.shape != own.shape else own.reshape(weight.shape)
    rows = []
    for made in (teacher, wide):
        policy = taught(student, made, distill={"form": "full", "alone": True})
        rows.append(policy.step(trees_of()))
        student = worlds.model("Llama", seed=1)
    assert rows[0]["loss"] == pytest.approx(rows[1]["loss"], rel=1e-5)
    narrow = worlds.model("Llama", seed=2, vocab_size=worlds.VOCAB - 9)
    with pytest.raises(ModelError, match="T: knows 22 tokens, a run has token 29"):
        taught(student, narrow, distill={}).step(trees_of())


@pytest.mark.parametrize("form", ["sampled", "full"])
def test_a_policy_gets_nearer_to_its_teacher(form):
    student, teacher = worlds.model("Llama", seed=1), worlds.model("Llama", seed=2)
    policy = taught(student, teacher, distill={"form": form, "alone": True})
    trees = trees_of(4)
    gaps = [policy.step(trees)["teacher_gap"] for _ in range(12)]
    assert gaps[-1] < 0.5 * gaps[0]


def test_a_state_is_of_one_teacher(tmp_path):
    student, teacher = worlds.model("Llama", seed=1), worlds.model("Llama", seed=2)
    policy = taught(student, teacher, mark="one", distill={})
    policy.step(trees_of())
    policy.save_state(tmp_path)
    again = taught(worlds.model("Llama", seed=1), teacher, mark="one", distill={})
    again.load_state(tmp_path)
    assert policy.step(trees_of()) == again.step(trees_of())
    other = taught(worlds.model("Llama", seed=1), teacher, mark="two", distill={})
    with pytest.raises(StoreError, match=r"trained with another teacher: the weights of T have"):
        other.load_state(tmp_path)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"distill": {"teacher": "T", "beta": 0.5}}, "beta is of the whole distribution"),
        ({"distill": {"teacher": ""}}, "teacher"),
        ({"distill": {"teacher": "T", "alone": True}, "objective": "dpo"}, "in place of"),
    ],
)
def test_what_cannot_be_is_one_line(given, line):
    with pytest.raises(RecipeError, match=line) as error:
        build("table", {"loss": LossSettings}, "loss", given)
    assert "\n" not in str(error.value)


def test_a_policy_that_is_given_no_teacher_says_so():
    loss = LossSettings(distill={"teacher": "T"})
    with pytest.raises(ModelError, match=r"loss.distill needs a teacher"):
        Policy(worlds.model("Llama"), loss=loss)
