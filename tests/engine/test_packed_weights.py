"""Sampling by packed copies of the linear layers' weights: what is rounded, shared and renewed."""

import asyncio

import pytest
import torch

from hornbeam.engine.local import packed_weights, trial
from hornbeam.engine.local.linear_layers import LinearLayers
from hornbeam.engine.local.local_engine import LocalEngine, LocalSettings
from hornbeam.engine.local.packed_weights import PACK, fastest, unfit
from hornbeam.engine.request import Request, Sampling
from hornbeam.errors import ModelError
from hornbeam.train import onednn

from .test_fingerprint import ASK, CHANGES, SAME_FUNCTION
from .test_local import PROMPTS, Chat, full_logits, llama, lora, run

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"  # peft asks transformers by its old name
)

CPU = torch.device("cpu")
ROUNDING = {"bfloat16": 1e-2, "float16": 1e-3, "int8": 3e-2}  # of a product's norm


@pytest.fixture(params=PACK)
def form(request, monkeypatch):
    monkeypatch.setattr(onednn, "LEAST", 1)  # the layers here are small
    if why := unfit(request.param, CPU):
        pytest.skip(f"{request.param} {why}")
    return request.param


def by(form, model, **how):
    return LocalEngine(model, Chat(), LocalSettings(weights=form), **how)


def logits_by(form, model, sequence):
    """A full forward pass by packed weights."""
    linears = LinearLayers(model)
    linears.pack(form)
    with linears.applied():
        return full_logits(model, sequence)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_product_is_right_but_for_rounding(form):
    rows, weight = numbers(33, 100), numbers(70, 100, seed=1)
    got, want = PACK[form](weight)(rows), rows @ weight.T
    assert 0 < (got - want).norm() < ROUNDING[form] * want.norm()


def test_integers_that_eight_bits_hold_are_multiplied_without_any_error():
    """Sums of +-127 * 127 would not fit 16 bits, as in processors without VNNI."""
    if why := unfit("int8", CPU):
        pytest.skip(why)
    signs = torch.where(numbers(8, 64) > 0, 1.0, -1.0)
    weight = torch.where(numbers(24, 64, seed=1) > 0, 127.0, -127.0)
    assert torch.allclose(PACK["int8"](weight)(signs), signs @ weight.T, rtol=1e-5, atol=1e-2)
    same = torch.ones(2, 64)
    assert torch.allclose(PACK["int8"](127 * same)(same), torch.full((2, 2), 127.0 * 64))


def test_a_row_does_not_hang_on_the_rows_beside_it(form):
    """Not even where those are a thousand times larger, which one scale for all would feel."""
    times = PACK[form](numbers(70, 100, seed=1))
    rows = numbers(40, 100)
    rows[1:] *= 1000
    alone = times(rows[:1])
    assert torch.allclose(times(rows)[:1], alone, rtol=1e-5, atol=1e-5)
    assert torch.allclose(times(rows[:7])[:1], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(form, bad):
    rows, weight = numbers(3, 16), numbers(5, 16, seed=1)
    rows[1, 2] = bad
    got = PACK[form](weight)(rows)
    assert not got[1].isfinite().any() and got[0].isfinite().all() and got[2].isfinite().all()
    weight[3, 4] = bad
    assert not PACK[form](weight)(numbers(2, 16))[:, 3].isfinite().any()


def test_adapters_are_not_rounded(form):
    model = lora().get_base_model()
    linears = LinearLayers(model)
    linears.pack(form)
    adapters = {id(m.__dict__) for name, m in model.named_modules() if ".lora_" in name}
    chosen = linears._packable()
    assert len(chosen) == 3 * 7 + 1 and not adapters & {id(m.__dict__) for m in chosen}
    with linears.applied():
        told = full_logits(model, PROMPTS[3])
    assert not torch.allclose(told, full_logits(model, PROMPTS[3]), atol=1e-6)
    assert not any("forward" in m.__dict__ for m in model.modules()), "the model is as it was"


def test_log_probs_are_those_of_the_weights_that_sampled(form, monkeypatch):
    monkeypatch.setattr(trial, "fastest", lambda: "trained")  # keys and values stay float32
    model = llama()
    engine = by(form, model)
    answer = run(engine, Request(PROMPTS[3], Sampling(max_tokens=6)))[0]
    sequence = PROMPTS[3] + answer.tokens

    def told(logits):
        logprobs = torch.log_softmax(logits, -1)
        return logprobs[torch.arange(len(PROMPTS[3]) - 1, len(sequence) - 1), list(answer.tokens)]

    spoken = torch.tensor(answer.logprobs)
    assert torch.allclose(told(logits_by(form, model, sequence)), spoken, atol=2e-3)
    assert not torch.allclose(told(full_logits(model, sequence)), spoken, atol=1e-6), (
        "the trained weights say otherwise"
    )


@pytest.mark.parametrize("name", CHANGES)
def test_changed_weights_are_packed_anew(form, name):
    make, change = CHANGES[name]
    model = make()
    engine = by(form, model)
    (old,) = run(engine, ASK)
    change(model)
    (new,) = run(engine, ASK)
    (fresh,) = run(by(form, model), ASK)
    assert (new.tokens, new.logprobs, new.version) == (fresh.tokens, fresh.logprobs, 1)
    assert new.logprobs != old.logprobs or name in SAME_FUNCTION, "the change is one"


def test_a_load_packs_anew_with_and_without_a_copy(form):
    source, own, copied = llama(), llama(), llama()
    engine = by(form, own)
    beside = by(form, copied, weights=source.named_parameters)
    (old,) = run(engine, ASK)
    with torch.no_grad():
        for weight in (*source.parameters(), *own.parameters()):
            weight.add_(0.1)
    asyncio.run(engine.load(7))
    asyncio.run(beside.load(7))
    (want,) = run(by(form, source), ASK)
    for each in (engine, beside):
        (new,) = run(each, ASK)
        assert (new.tokens, new.logprobs, new.version) == (want.tokens, want.logprobs, 7)
    assert want.logprobs != old.logprobs


def test_equal_requests_give_equal_answers(form):
    """So that a run resumed exactly ends with the same bits by the same format."""
    model = llama()
    requests = [
        Request(prompt, Sampling(max_tokens=9), seed) for seed, prompt in enumerate(PROMPTS)
    ]
    first, again = (run(by(form, model, deterministic=True), *requests) for _ in range(2))
    assert [(a.tokens, a.logprobs) for a in first] == [(a.tokens, a.logprobs) for a in again]


def test_auto_takes_what_the_machine_multiplies_fastest(monkeypatch):
    def with_(*instructions):
        monkeypatch.setattr(packed_weights, "_has", lambda name: name in instructions)
        return fastest()

    monkeypatch.setattr(packed_weights, "_ready", lambda name: True)
    assert with_("avx2", "avx512_bf16") == "bfloat16"
    assert with_("amx_bf16", "avx2") == "bfloat16"
    assert with_("avx2", "avx512_vnni") == with_() == "trained"
    engine = LocalEngine(llama(), Chat(), LocalSettings(weights="auto"))
    assert engine._network.linears.form == "trained"


def test_what_cannot_be_is_told_in_a_line(monkeypatch):
    assert unfit("int8", torch.device("cuda:0")) == "is for CPUs, and the model is on cuda:0"
    monkeypatch.setattr(packed_weights, "_has", lambda name: False)
    with pytest.raises(ModelError, match=r'"int8" needs a processor with AVX2.*"auto"'):
        by("int8", llama())


def test_a_model_without_layers_to_pack_is_refused():
    if why := unfit("float16", CPU):
        pytest.skip(why)
    with pytest.raises(ModelError, match="LlamaForCausalLM has no linear layer of 32768 weights"):
        by("float16", llama())
    LocalEngine(llama(), Chat(), LocalSettings(weights="auto"))
