"""The local engine on tiny random models of many families, against one plain forward a sequence."""

import asyncio

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from hornbeam.chat import ByteChat
from hornbeam.engine.local.local_engine import LocalEngine, LocalSettings
from hornbeam.engine.local.network import Network
from hornbeam.engine.local.trial import settled
from hornbeam.engine.request import Request, Sampling
from hornbeam.errors import ModelError, PromptTooLong
from hornbeam.tree.nodes import ids

SIZE = 61
SHAPE = {
    "vocab_size": SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOWS = {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"] * 2}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
DELTA = {
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "shared_expert_intermediate_size": 24,
}
MAMBA = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
}
GEMMA = {
    **WINDOWS,
    "vocab_size_per_layer_input": SIZE,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 2,
    "per_layer_config": {"01": {"head_dim": 16}, "03": {"head_dim": 16}},
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [2.0, 3.0, 4.0, 5.0],
    "original_max_position_embeddings": 40,
}

# family -> how its rows share a forward (prefill, decode) and its configuration
FAMILIES = {
    "gpt_oss": ("ragged ragged", {**WINDOWS, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "gemma4_text": ("ragged ragged", GEMMA),
    "deepseek_v3": ("ragged ragged", {**LATENT, **EXPERTS}),
    "phi3": (
        "ragged ragged",
        {"rope_parameters": LONG, "original_max_position_embeddings": 40, "sliding_window": 9},
    ),
    "opt": ("ragged ragged", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "qwen3_next": ("even ragged", {**DELTA, **EXPERTS}),
    "falcon_h1": ("even ragged", {**MAMBA, "mamba_d_ssm": 64, "lm_head_multiplier": 0.7}),
    "lfm2": ("even ragged", {"layer_types": ["conv", "full_attention"] * 2}),
    "mamba": ("single ragged", {"state_size": 8, "time_step_rank": 4}),
    "llama4_text": (
        "even even",
        {
            "attention_chunk_size": 7,
            "floor_scale": 4,
            "layer_types": ["chunked_attention", "full_attention"] * 2,
            "no_rope_layers": [1, 0] * 2,
            "num_local_experts": 4,
            "intermediate_size_mlp": 48,
        },
    ),
    "bart": ("even even", {"d_model": 32, "decoder_ffn_dim": 48, "decoder_layers": 2}),
    "gpt_neo": (
        "even even",
        {"attention_types": [[["global", "local"], 2]], "window_size": 5, "num_layers": 4},
    ),
    "roberta": ("whole", {"is_decoder": True}),
}


class Chat(ByteChat):
    """Bytes, and no end."""

    ends = frozenset()


def family(kind, shape):
    """A random model with weights so large that places, windows and states matter."""
    if kind in ("bart", "gpt_neo", "mamba"):
        shape = {**shape, "num_attention_heads": 4, "decoder_attention_heads": 4}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SHAPE, **shape}))
    with torch.no_grad():
        for weight in model.parameters():
            scale = 0.7 / max(1, weight.shape[-1]) ** 0.5 if weight.ndim > 1 else 0.1
            weight.add_(scale * torch.randn(weight.shape))
    return model.float().eval()


def way(plan):
    return "whole" if plan.whole else f"{plan.prefill} {plan.decode}"


def words(start, n):
    return ids((start + 7 * i) % (SIZE - 5) + 5 for i in range(n))


async def ask(engine, prompts, tokens, seed=0):
    sampling = Sampling(max_tokens=tokens)
    return await asyncio.gather(
        *(engine.generate(Request(p, sampling, seed=seed + i)) for i, p in enumerate(prompts))
    )


def check(model, prompts, answers):
    """The log-probs told are those of a plain forward pass of the very sequence."""
    for prompt, answer in zip(prompts, answers):
        with torch.no_grad():
            row = torch.tensor([[*prompt, *answer.tokens]])
            logits = model(row, use_cache=False).logits[0, len(prompt) - 1 : -1]
        result = torch.tensor(answer.logprobs)
        every = torch.log_softmax(logits.float(), -1)
        want = every.gather(1, row[0, len(prompt) :, None])[:, 0]
        assert float((result - want).abs().max()) < 1e-4 * float(every.abs().max())


@pytest.mark.parametrize("kind", FAMILIES)
def test_cold_forked_and_second_turn_requests_tell_what_a_plain_forward_does(kind):
    plan, shape = FAMILIES[kind]
    model = family(kind, shape)

    async def talk():
        engine = LocalEngine(model, Chat(), LocalSettings(max_batch=4))
        trunk = words(3, 8)
        first = [trunk, trunk + words(1, 3), trunk + words(1, 6), trunk[:5] + words(2, 2)]
        answers = await ask(engine, first, 6)
        check(model, first, answers)
        forks = [trunk, trunk + words(1, 4), words(9, 3)]
        check(model, forks, await ask(engine, forks, 4, seed=7))
        turns = [p + a.tokens + words(4, i) for i, (p, a) in enumerate(zip(first, answers))]
        again = await ask(engine, turns, 5, seed=3)
        check(model, turns, again)
        assert sum(a.cached for a in again) > sum(map(len, first))
        await engine.aclose()

    asyncio.run(talk())
    assert way(settled(Network(model)).plan) == plan


def test_a_state_inside_what_is_known_is_computed_again():
    model = family("lfm2", FAMILIES["lfm2"][1])

    async def talk():
        engine = LocalEngine(model, Chat())
        trunk = words(3, 12)
        (one,) = await ask(engine, [trunk], 2)
        known = engine.cached(trunk + one.tokens)
        (fork,) = await ask(engine, [trunk[:7] + words(1, 2)], 2)
        (other,) = await ask(engine, [trunk[:7] + words(2, 3)], 2)
        return known, one.computed, fork.computed, other.computed

    # the fork leaves 7 known tokens without the state after them, and runs them again, once
    assert asyncio.run(talk()) == (13, 12, 7 + 2, 3)


def test_rows_on_either_side_of_longropes_turn_are_run_apart_and_none_crosses_it():
    model = family("phi3", FAMILIES["phi3"][1])

    async def talk():
        engine = LocalEngine(model, Chat())
        prompts = [words(1, n) for n in (4, 37, 39, 40, 41, 60)]
        answers = await ask(engine, prompts, 7)
        assert [len(a.tokens) for a in answers] == [7, 3, 1, 7, 7, 7]  # 40 tokens are the turn
        assert [a.finish for a in answers] == ["length"] * 6
        check(model, prompts, answers)
        turns = [p + a.tokens + words(2, 2) for p, a in zip(prompts, answers)]
        again = await ask(engine, turns, 3)
        check(model, turns, again)
        # what began before the turn goes on from the long prompts, which begin alike
        assert [a.cached for a in again] == [10, 37, 39, 46, 47, 66]

    asyncio.run(talk())


def test_a_row_ends_where_dynamic_frequencies_begin():
    shape = {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}
    engine = LocalEngine(family("llama", {**shape, "max_position_embeddings": 40}), Chat())
    with pytest.raises(PromptTooLong, match="context of 40"):
        asyncio.run(ask(engine, [words(1, 41)], 1))
    (answer,) = asyncio.run(ask(engine, [words(1, 38)], 9))
    assert len(answer.tokens) == 2 and answer.finish == "length"


def test_a_model_whose_tokens_see_later_ones_is_refused_in_one_line():
    model = family("bert", {"is_decoder": False})
    with pytest.raises(ModelError, match="BertLMHeadModel cannot run in the local engine") as error:
        LocalEngine(model, Chat())
    assert "one plain forward" in str(error.value) and "\n" not in str(error.value)


def test_damaged_weights_are_no_fault_of_the_family():
    model = family("llama", {})
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    assert way(settled(Network(model)).plan) == "ragged ragged"
    with torch.no_grad():
        model.lm_head.weight.normal_()
    prompts = [words(1, 4)]
    check(model, prompts, asyncio.run(ask(LocalEngine(model, Chat()), prompts, 3)))


@pytest.mark.parametrize("kind", ["gpt_oss", "mamba", "lfm2"])
def test_a_model_in_16_bits_runs_as_it_does_in_32_and_keeps_its_weights(kind):
    plan, shape = FAMILIES[kind]
    model = family(kind, shape).bfloat16()
    before = [(p, p.data_ptr(), p.clone()) for p in model.parameters()]
    assert way(settled(Network(model)).plan) == plan
    assert all(p.data_ptr() == at and torch.equal(p, was) for p, at, was in before)
    prompts = [words(3, 5), words(2, 9)]
    (one, other) = asyncio.run(ask(LocalEngine(model, Chat()), prompts, 4))
    assert len(one.tokens) == len(other.tokens) == 4


def test_trying_a_model_draws_from_no_ones_random_numbers():
    model = family("qwen2", {}).train()
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    settled(Network(model))
    assert torch.equal(torch.rand(3), want) and model.training
