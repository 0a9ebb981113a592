"""Families that need more than a causal mask: packed and flat against each row alone."""

import random

import pytest
import torch

from hornbeam.errors import DataError, ModelError
from hornbeam.train import attention, forward, recurrent, rope
from hornbeam.train.compare import plain_rows
from hornbeam.train.policy import Policy
from hornbeam.train.rows import all_nodes, collect
from hornbeam.train.train_settings import LoraSettings, LossSettings, OptimSettings
from train import worlds

EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
MAMBA = {"n_groups": 1, "chunk_size": 8, "num_hidden_layers": 2}
LONG = {"rope_type": "longrope", "rope_theta": 1e4, "factor": 4.0, "short_factor": [1.0] * 4}
LONG |= {"long_factor": [2.0, 3.0, 4.0, 5.0], "original_max_position_embeddings": 12}

FAMILIES = {
    "GptOss": {"sliding_window": 6, "head_dim": 8, "num_local_experts": 4, **EXPERTS},  # sinks
    "DeepseekV3": {
        **EXPERTS,
        "kv_heads": 4,
        "kv_lora_rank": 16,
        "q_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 12,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    },
    "Phimoe": {"sliding_window": 6, "num_local_experts": 4, "num_experts_per_tok": 2},
    "Phi3": {"rope_parameters": LONG, "original_max_position_embeddings": 12},
    "Llama4": {
        "attention_chunk_size": 6,
        "floor_scale": 6,
        "intermediate_size_mlp": 48,
        "moe_layers": [1],
        "no_rope_layers": [1, 0],
        "num_experts_per_tok": 1,
        "head_dim": 8,
        "num_local_experts": 4,
        "layer_types": ["chunked_attention", "full_attention"],
    },
    "Qwen3Next": {**LINEAR, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 24},
    "Lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "NemotronH": {
        **MAMBA,
        "layers_block_type": ["linear_attention", "full_attention"],
        "ssm_state_size": 8,
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "head_dim": 8,
        "conv_kernel": 4,
    },
    "FalconH1": {
        "mamba_d_ssm": 64,
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_n_groups": 1,
        "mamba_d_state": 8,
        "mamba_chunk_size": 8,
        "lm_head_multiplier": 0.7,
        "head_dim": 8,
    },
    "Jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "use_mamba_kernels": False,
        "mamba_dt_rank": 4,
        "mamba_d_state": 8,
        "num_experts": 4,
    },
}


def model(family):
    return loud(worlds.model(family, **{"tie_word_embeddings": False, **FAMILIES[family]}))


def loud(out):
    """The model with weights large enough that windows and states matter."""
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in out.parameters():
            noise = torch.randn(parameter.shape, generator=drawn)
            size = 1 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.2
            parameter.add_(size * noise)
    return out


def policy(family, **optim):
    return Policy(model(family), loss=LossSettings(old="trainer"), optim=OptimSettings(**optim))


def tree():
    """Rows of some 4 to 30 tokens with common beginnings; every sampled token is trained."""
    made = max((worlds.tree(random.Random(s), nodes=14) for s in range(9)), key=longest)
    made.columns["advantage"] = [1.0] * len(made)
    return made


def longest(made):
    return max(made.length(i) for i in made.leaves())


def distance(p, **how):
    """Largest distance of a trained token's log-prob from that of its row alone, in nats."""
    worst = 0.0
    for rows in p._parts([tree()], all_nodes):
        made = p._packs(rows)
        plain = [plain_rows(p.causal, [pack]) for pack in made]
        with p._training(), torch.no_grad():
            for pack, wanted in zip(made, plain):
                found = dict(
                    zip(
                        zip(pack.sources[pack.slot].tolist(), pack.token.tolist()),
                        p._log_probs(pack)[0].tolist(),
                    )
                )
                worst = max(
                    worst, *(abs(found[k] - v) for k, v in wanted.logprobs.items() if k in found)
                )
    return worst


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_give_what_they_give_alone(family, packed):
    assert longest(tree()) > 18
    assert distance(policy(family, packed=packed)) < 2e-5


@pytest.mark.parametrize("family", ["Qwen3Next", "Lfm2", "NemotronH", "FalconH1"])
def test_states_handed_on_are_those_of_whole_paths(family, monkeypatch):
    grads = {}
    for carry in (True, False):
        monkeypatch.setattr(recurrent, "_carries", lambda segments, carry=carry: carry)
        p = policy(family)
        with p._training():
            for rows in p._parts([tree()], all_nodes):
                for pack in p._packs(rows):
                    p._log_probs(pack)[0].sum().backward()
        grads[carry] = [q.grad for q in p.causal.parameters()]
        assert distance(p) < 2e-5
    for a, b in zip(*grads.values()):
        if b is not None:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * max(1, float(b.abs().max())))


def test_segments_of_a_trie():
    # 0 1 2 | 3 4 | 5 ; from 1: 6 ; another root: 7
    assert recurrent.segments([0, 1, 2, 3, 4, 3, 2, 0]) == [
        (0, 2, -1), (2, 3, 0), (3, 5, 1), (5, 6, 1), (6, 7, 0), (7, 8, -1),
    ]  # fmt: skip


def test_paths_give_every_token_once_in_the_order_of_the_pack():
    depths = [0, 1, 2, 3, 4, 3, 2, 0]
    found = recurrent.paths(recurrent.segments(depths))
    assert [(places.tolist(), known) for places, known in found] == [
        ([0, 1, 2, 3, 4], 0), ([0, 1, 2, 5], 3), ([0, 1, 6], 2), ([7], 0),
    ]  # fmt: skip


def test_long_segments_are_handed_on_and_short_ones_run_as_paths():
    trunk = [*range(500)]
    assert recurrent._carries(recurrent.segments([*trunk, *range(500, 564), *range(500, 564)]))
    assert not recurrent._carries(recurrent.segments([0, 1, 2, 3, 2, 3, 1, 2]))


def test_a_dynamic_rope_refuses_rows_past_its_length():
    dynamic = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    short = worlds.model("Llama", rope_parameters=dynamic, max_position_embeddings=12)
    assert rope.lengths(short) == rope.Lengths(limit=12)
    with pytest.raises(DataError, match=r"tokens is longer than the 12 up to which its dynamic"):
        Policy(short).step([tree()])


def test_nothing_is_in_training_mode_but_what_keeps_its_inputs():
    p = policy("Phimoe", checkpointing=True)
    p.causal.model.layers[0].mlp.router_jitter_noise = 5.0  # would be drawn in training mode
    found = []
    for layer in p.causal.model.layers:
        layer.mlp.register_forward_hook(lambda m, *_: found.append(m.training))
    with p._training():
        assert all(layer.training for layer in p.causal.model.layers)
        for rows in p._parts([tree()], all_nodes):
            p._log_probs(p._packs(rows)[0])[0].sum().backward()
    assert found and not any(found)
    assert not any(m.training for m in p.causal.modules())


def test_dropout_that_a_family_keeps_as_a_number_is_off():
    noisy = worlds.model("OPT", ffn_dim=48, word_embed_proj_dim=32, dropout=0.5, layerdrop=0.5)
    p = Policy(noisy, optim=OptimSettings(packed=False, checkpointing=True))
    assert distance(p) < 2e-5


def test_a_model_that_sees_what_follows_is_refused():
    from transformers import BertConfig, BertLMHeadModel

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=31, intermediate_size=16, is_decoder=False, **small)
    with pytest.raises(ModelError, match=r"a token of it sees those that follow$"):
        Policy(BertLMHeadModel(config))


def test_the_first_step_compares_two_of_its_rows(monkeypatch):
    own = attention.packed_attention

    def late(module, query, *more, **others):  # wrong only past the small trie tried at load
        out, none = own(module, query, *more, **others)
        out[:, 13:] *= 1.005
        return out, none

    monkeypatch.setitem(attention.AttentionInterface._global_mapping, attention.NAME, late)
    for optim in (OptimSettings(), OptimSettings(bf16=True)):
        p = Policy(loud(worlds.model("Llama")), optim=optim)
        before = [q.clone() for q in p.causal.parameters()]
        if optim.bf16:
            p.step([tree()])  # within what bfloat16 rounds
        else:
            with pytest.raises(ModelError, match=r"other log-probs than its rows do alone .*nats"):
                p.step([tree()])
            assert all(torch.equal(a, b) for a, b in zip(before, p.causal.parameters()))


def test_what_is_no_number_alone_or_packed_is_told_unless_both_are():
    p, rows = policy("Lfm2"), collect([tree()])
    (pack,) = p._packs(rows)
    plain = plain_rows(p.causal, [pack])
    with p._training():
        logp = p._log_probs(pack)[0].detach()
    assert max(plain.distances(pack, logp)) < 2e-5
    at = next(n for n, key in enumerate(keys(pack)) if key in plain.logprobs)
    logp[at] = float("nan")
    assert max(plain.distances(pack, logp)) == float("inf")
    plain.logprobs[keys(pack)[at]] = float("nan")
    assert max(plain.distances(pack, logp)) < 2e-5


def keys(pack):
    return list(zip(pack.sources[pack.slot].tolist(), pack.token.tolist()))


def test_a_row_alone_is_what_the_models_own_forward_says(monkeypatch):
    monkeypatch.setattr(forward, "CHUNK", 3)
    made, ids = model("FalconH1"), torch.arange(11)
    assert forward.check_head(made)  # its multiplier is measured
    wanted = forward.score(made, [0], ids[1:].tolist(), 0.7)
    assert forward.row_log_probs(made, ids, 0.7).tolist() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("family", ["Llama4", "Phimoe"])
def test_adapters_leave_routers_out_that_give_two_tensors(family):
    p = Policy(model(family), lora=LoraSettings(rank=2), loss=LossSettings(old="trainer"))
    assert not any("router" in name for name in p._named)
    assert p.step([tree()])["updates"] == 1
    with pytest.raises(ModelError, match=r"does not run with adapters there: .*; name others"):
        Policy(model(family), lora=LoraSettings(targets=("router",)))


def test_loading_and_the_first_steps_check_draw_nothing_and_leave_nothing():
    torch.manual_seed(3)
    before, made = torch.get_rng_state(), model("Qwen3Next")
    how = made.config._attn_implementation
    p = Policy(made, optim=OptimSettings(checkpointing=True))
    assert all(q.grad is None and q.requires_grad for q in made.parameters())
    p.step([tree()])
    assert torch.equal(before, torch.get_rng_state())
    assert made.config._attn_implementation == how and not recurrent._ROUTES
    for name, module in made.named_modules():
        assert "forward" not in vars(module), name
        assert not module.training


def test_adapters_on_a_matrix_of_two_layers_are_refused():
    tied = worlds.model("Llama", tie_word_embeddings=True)
    with pytest.raises(ModelError, match=r"names an embedding or output layer, which share one"):
        Policy(tied, lora=LoraSettings(targets=("q_proj", "lm_head")))
    assert Policy(worlds.model("Llama", tie_word_embeddings=True), lora=LoraSettings())
