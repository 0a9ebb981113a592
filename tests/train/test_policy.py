"""Steps, skips, resume to the bit, saving and loading, on models of a few thousand weights."""

import errno
import math
from dataclasses import replace

import pytest
import torch

from hornbeam.credit import credit
from hornbeam.errors import DataError, ModelError, StoreError
from hornbeam.models.tiny_model import make
from hornbeam.train.policy import Policy
from hornbeam.train.sft import Example, examples
from hornbeam.train.train_settings import LoraSettings, LossSettings, OptimSettings, SftSettings
from hornbeam.tree.nodes import Tree, floats
from train import flat, worlds

FAST = OptimSettings(lr=1e-2)
LORA = LoraSettings(rank=2, alpha=4.0)


def credited(seed=1, method="grpo", **more):
    trees = worlds.random_trees(seed, **more)
    credit(trees, method)
    return trees


def policy(seed=0, lora=None, optim=FAST, **loss):
    return Policy(
        worlds.model("Llama", seed=seed), loss=LossSettings(**loss), optim=optim, lora=lora
    )


def weights(p):
    return {n: q.detach().clone() for n, q in p.model.named_parameters()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_a_step_raises_the_objective_and_counts_tokens():
    p, trees = policy(old="trainer"), credited()
    first = p.step(trees)
    assert (first["updates"], first["skipped_updates"], p.version) == (1, 0, 1)
    assert first["ratio_mean"] == pytest.approx(1) and first["clip_fraction"] == 0
    assert 0 < first["tokens_unique"] < first["tokens_flat"]
    assert 0 < first["tokens_trained"] < first["tokens_flat"]
    assert 0 < first["entropy"] <= math.log(worlds.VOCAB)


def test_answers_that_were_cut_off_move_nothing_where_they_are_masked():
    trees = credited()
    for tree in trees:
        tree.nodes[:] = [replace(n, finish="length" if n.tokens else "") for n in tree.nodes]
    p = policy(mask_truncated=True)
    before = weights(p)
    row = p.step(trees)
    assert (row["updates"], row["tokens_trained"]) == (0, 0) and same(before, weights(p))
    assert policy().step(trees)["updates"] == 1


def bare(trees):
    """The same trees as of a recorder that tells no log-probs."""
    out = [Tree(tree.task, [*tree.nodes], {**tree.columns}) for tree in trees]
    for tree in out:
        tree.nodes[:] = [replace(node, logprobs=floats()) for node in tree.nodes]
    return out


@pytest.mark.parametrize(
    "loss",
    [
        {},
        {"ratio": "sequence", "kl": 0.1, "entropy": 0.01},
        {"ratio": "turn", "gate": {"stop_kl": 9.0}},
        {"objective": "cispo", "aggregation": "sequence_mean"},
    ],
)
def test_trees_without_log_probs_train_as_with_them_where_the_loss_reads_none(loss):
    optim = FAST.model_copy(update={"minibatches": 2, "epochs": 2})
    result = policy(old="trainer", optim=optim, **loss)
    result.step(credited())
    never = policy(old="trainer", optim=optim, **loss)
    row = never.step(bare(credited()))
    assert same(weights(result), weights(never)) and never.version == 1
    assert row["updates"] == 4 and row["engine_gap"] == 0 and math.isfinite(row["loss"])


@pytest.mark.parametrize(
    "loss",
    [
        {},
        {"old": "trainer", "truncate": 2.0},
        {"old": "trainer", "importance": {"level": "sequence"}},
        {"old": "trainer", "gate": {"kl": 1.0}},
    ],
)
def test_they_are_refused_in_a_line_where_it_reads_them(loss):
    p = policy(**loss)
    before = weights(p)
    with pytest.raises(DataError, match=r"^task 'q.*', node \d+: tokens without log-probs"):
        p.step(bare(credited()))
    assert same(before, weights(p)) and p.version == 0


def test_the_loss_falls_over_steps_on_the_same_trees():
    p, trees = policy(clip_low=1.0, clip_high=100.0), credited()
    metrics = [p.step(trees)["loss"] for _ in range(6)]
    assert metrics[-1] < metrics[0] - 0.05


def test_equal_states_make_equal_steps():
    runs = []
    for _ in range(2):
        p = policy(kl=0.1, ratio="sequence")
        p.step(credited())
        runs.append(weights(p))
    assert same(*runs)


def test_nothing_to_train_makes_no_update():
    p, trees = policy(), credited()
    before = weights(p)
    for tree in trees:
        tree.columns["advantage"] = [None if a is None else 0.0 for a in tree.columns["advantage"]]
    metrics = p.step(trees)
    assert (metrics["updates"], metrics["skipped_updates"], metrics["tokens_unique"]) == (0, 0, 0)
    assert metrics["loss"] == 0 and p.version == 0 and same(before, weights(p))
    assert policy(kl=0.1).step(trees)["updates"] == 1


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_non_finite_step_is_skipped_and_counted(value):
    p, trees = policy(), credited()
    p.step(trees)
    before = weights(p)
    bad = credited()
    leaf = next(i for i, a in enumerate(bad[0].columns["advantage"]) if a)
    bad[0].columns["advantage"][leaf] = value
    metrics = p.step(bad)
    assert (metrics["skipped_updates"], metrics["updates"], p.version) == (1, 0, 1)
    assert same(before, weights(p))
    good = p.step(trees)
    assert good["updates"] == 1 and math.isfinite(good["grad_norm"])


def test_gradients_are_clipped_to_the_norm():
    moved = []
    for most in (1e-3, 1e3):
        p = Policy(worlds.model("Llama"), optim=OptimSettings(lr=1.0, max_grad_norm=most))
        metrics = p.step(credited())
        moved.append((metrics["grad_norm"], p._optimiser.adam.state_dict()["state"]))
    assert moved[0][0] == moved[1][0] > 1e-3
    squares = sum(float(s["exp_avg_sq"].sum()) for s in moved[0][1].values())
    assert math.sqrt(squares / (1 - 0.999)) == pytest.approx(1e-3, rel=1e-3)


def test_warm_up_is_linear():
    p = policy(optim=OptimSettings(lr=0.4, warmup_steps=4))
    assert [p.step(credited())["lr"] for _ in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])


def test_epochs_and_minibatches_make_updates_and_the_ratio_moves():
    p = policy(optim=OptimSettings(lr=1e-2, epochs=2, minibatches=2), old="trainer")
    metrics = p.step(credited(tasks=4))
    assert metrics["updates"] == 4 and p.version == 1
    assert metrics["ratio_mean"] != pytest.approx(1, abs=1e-4)


def test_the_ratio_is_one_where_the_engine_sampled_at_the_same_temperature():
    trees, model = credited(), worlds.model("Llama")
    for tree in trees:
        for i, node in enumerate(tree.nodes):
            if node.tokens:
                with torch.no_grad():
                    logprobs = flat.log_probs(model, tree, i, 0.7)[0]
                tree.nodes[i] = replace(node, logprobs=floats(logprobs.tolist()))
    assert policy(temperature=0.7).step(trees)["ratio_mean"] == pytest.approx(1, abs=1e-5)
    assert policy().step(trees)["ratio_mean"] != pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("most", [4096, 24])  # tokens of a pack: one, and several
def test_how_far_the_engine_is_from_the_trainer_is_told(most):
    trees, model = credited(tasks=3), worlds.model("Llama")
    for tree in trees:
        for i, node in enumerate(tree.nodes):
            if node.tokens:
                with torch.no_grad():
                    logprobs = flat.log_probs(model, tree, i, 1.0)[0]
                off = 0.25 - 0.5 * torch.randint(2, (len(logprobs),))
                tree.nodes[i] = replace(node, logprobs=floats((logprobs + off).tolist()))
    optim = OptimSettings(lr=1e-2, epochs=2, max_pack_tokens=most)
    for old in ("engine", "trainer"):
        metrics = policy(old=old, kl=0.1, optim=optim).step(trees)
        assert metrics["engine_gap"] == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_packs_and_one_pack_make_the_same_step(ratio):
    runs = []
    for bound in (20, 4096):
        p = policy(optim=OptimSettings(lr=1e-2, max_pack_tokens=bound), ratio=ratio)
        metrics = p.step(credited())
        runs.append((metrics["loss"], metrics["grad_norm"]))
    assert runs[0] == pytest.approx(runs[1], rel=1e-5)


def test_checkpointing_changes_nothing_and_bf16_little():
    runs = {}
    for name, more in {
        "plain": {},
        "kept": {"checkpointing": True},
        "bf16": {"bf16": True},
    }.items():
        metrics = policy(optim=OptimSettings(lr=1e-2, **more)).step(credited())
        runs[name] = metrics["grad_norm"]
    assert runs["kept"] == pytest.approx(runs["plain"], rel=1e-6)
    assert runs["bf16"] == pytest.approx(runs["plain"], rel=0.05)
    assert runs["bf16"] != runs["plain"]


def test_dropout_of_the_model_is_off_in_a_step():
    runs = []
    for drop in (0.0, 0.5):
        for packed in (True, False):
            model = worlds.model("Llama", attention_dropout=drop)
            p = Policy(model, optim=OptimSettings(lr=1e-2, packed=packed))
            runs.append(p.step(credited())["grad_norm"])
    assert runs == pytest.approx([runs[0]] * 4, rel=1e-5)
    assert not p.model.training


@pytest.mark.parametrize("lora", [None, LORA])
def test_kl_is_against_the_weights_of_the_start_or_of_set_reference(lora):
    p = policy(kl=0.01, lora=lora)
    assert p.step(credited())["kl"] == pytest.approx(0, abs=1e-6)
    second = p.step(credited())["kl"]
    assert second > 1e-6
    p.set_reference()
    assert p.step(credited())["kl"] == pytest.approx(0, abs=1e-6)
    if lora:
        kept = {n for n, q in p.model.named_parameters() if not q.requires_grad}
        start = dict(worlds.model("Llama").named_parameters())
        for name in kept:
            plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
            assert torch.equal(p.model.get_parameter(name), start[plain])


@pytest.mark.parametrize(("lora", "kl"), [(None, 0.0), (None, 0.05), (LORA, 0.05)])
def test_a_run_restored_goes_on_bit_for_bit(tmp_path, lora, kl):
    batches = [credited(seed) for seed in range(1, 5)]
    whole = policy(lora=lora, kl=kl)
    for n, trees in enumerate(batches):
        if n == 2:
            whole.save_state(tmp_path)
        last = whole.step(trees)
    again = policy(lora=lora, kl=kl)
    again.load_state(tmp_path)
    assert again.version == 2
    again.step(batches[2])
    assert again.step(batches[3]) == last
    assert same(weights(whole), weights(again)) and again.version == whole.version


def test_a_state_that_does_not_fit_or_read_is_refused(tmp_path):
    policy().save_state(tmp_path)
    with pytest.raises(StoreError, match="another model"):
        policy(lora=LORA).load_state(tmp_path)
    (tmp_path / "trainer.pt").write_bytes(b"half")
    with pytest.raises(StoreError, match="no readable trainer state"):
        policy().load_state(tmp_path)


def test_a_full_disk_leaves_the_last_good_state(tmp_path, monkeypatch):
    p = policy()
    p.save_state(tmp_path)
    good = (tmp_path / "trainer.pt").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StoreError, match="No space left"):
        p.save_state(tmp_path)
    assert (tmp_path / "trainer.pt").read_bytes() == good


@pytest.mark.parametrize("lora", [None, LORA])
def test_saved_and_loaded_it_says_the_same(tmp_path, lora):
    p = Policy.load(make(tmp_path / "start"), optim=FAST, lora=lora)
    p.step(credited())
    p.save(tmp_path / "end")
    q = Policy.load(tmp_path / "end")
    given = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        a, b = p.causal(given).logits, q.causal(given).logits
    assert torch.allclose(a, b, atol=1e-5)
    assert same(p.weights(), dict(q.causal.state_dict().items()))
    assert q.tokenizer.get_vocab() == p.tokenizer.get_vocab()
    assert (tmp_path / "end" / "model.safetensors").is_file()
    assert (tmp_path / "end" / "adapter" / "adapter_config.json").is_file() == bool(lora)


def test_refusals_of_models(tmp_path):
    with pytest.raises(ModelError, match=r"no config.json"):
        Policy.load(tmp_path / "none")
    folder = make(tmp_path / "m")
    config = worlds.model("Llama")
    config.save_pretrained(folder)  # 31 embeddings under the tiny tokenizer
    with pytest.raises(ModelError, match="tokenizer and model disagree"):
        Policy.load(folder)
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="does not load"):
        Policy.load(folder)
    with pytest.raises(ModelError, match="targets"):
        policy(lora=LoraSettings(targets=("nothing",)))


def test_a_model_that_cannot_train_packed_is_named_and_may_train_flat():
    from transformers import GPTJConfig, GPTJForCausalLM

    config = GPTJConfig(vocab_size=worlds.VOCAB, n_embd=16, n_layer=1, n_head=2, rotary_dim=4)
    with pytest.raises(ModelError, match=r"GPTJForCausalLM cannot train packed.*optim.packed"):
        Policy(GPTJForCausalLM(config))
    flat = Policy(GPTJForCausalLM(config), optim=OptimSettings(packed=False))
    assert flat.step(credited())["updates"] == 1


def test_fit_learns_what_is_trained_and_only_that():
    p = policy()
    given = [Example([k, 5], [([6, 7], True), ([8, 9], False), ([k, 3], True)]) for k in range(8)]
    result = list(p.fit(given, SftSettings(epochs=12, batch_size=4, lr=1e-2)))
    assert len(result) == 24 == p.version
    assert (
        result[0]["tokens_trained"] == 16 and result[0]["tokens_unique"] <= result[0]["tokens_flat"]
    )
    assert result[-1]["loss"] < 0.2 * result[0]["loss"]
    with torch.no_grad():
        logits = p.causal(torch.tensor([[2, 5, 6, 7, 8, 9, 2]])).logits[0]
    assert [int(logits[i].argmax()) for i in (1, 2, 6)] == [6, 7, 3]
    assert int(logits[3].argmax()) != 8  # a span that is not trained


def test_fit_draws_its_order_from_the_seed():
    given = [Example([k], [([k, k + 1], True)]) for k in range(9)]
    settings = SftSettings(epochs=2, batch_size=2, lr=1e-2)
    runs = []
    for seed in (0, 0, 1):
        p = Policy(worlds.model("Llama"), seed=seed)
        list(p.fit(given, settings))
        runs.append(weights(p))
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])


def test_examples_of_trees_train_what_was_sampled():
    (tree,) = worlds.random_trees(3, tasks=1, each=1)
    got = examples([tree])
    trained = sum(len(ids) for e in got for ids, on in e.spans if on)
    assert trained == sum(len(n.tokens) for n in tree.nodes)
    whole = {tuple(e.prompt) + tuple(t for ids, _ in e.spans for t in ids) for e in got}
    assert all(tuple(tree.sequence(i)) in whole for i in tree.leaves() if tree.nodes[i].tokens)
