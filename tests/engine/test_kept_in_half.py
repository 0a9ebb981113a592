"""Keys and values in bfloat16 beside packed weights: where, how near, and where not."""

import pytest
import torch
from torch.nn import functional as F

from hornbeam.engine.local import trial
from hornbeam.engine.local.local_engine import LocalEngine, LocalSettings
from hornbeam.engine.local.packed_weights import fastest
from hornbeam.engine.local.position_masks import by_products
from hornbeam.engine.request import Request, Sampling
from hornbeam.train import onednn

from .test_local import PROMPTS, Chat, llama, run
from .test_packed_weights import logits_by

HALF = torch.bfloat16


@pytest.fixture(autouse=True)
def native(monkeypatch):
    """As on a processor that multiplies bfloat16; the layers here are small."""
    monkeypatch.setattr(onednn, "LEAST", 1)
    monkeypatch.setattr(trial, "fastest", lambda: "bfloat16")
    monkeypatch.setattr(trial, "_narrow", {})


@pytest.fixture
def packs():
    if fastest() != "bfloat16":
        pytest.skip("weights are packed as bfloat16 where the processor has instructions for it")


def by(form, model):
    return LocalEngine(model, Chat(), LocalSettings(weights=form))


def requests(count=1):
    return [Request(p, Sampling(max_tokens=12), seed=i) for i, p in enumerate(PROMPTS * count)]


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_products_are_attention_but_for_rounding():
    query, key, value = numbers(5, 2, 3, 16), numbers(5, 2, 40, 16, seed=1), numbers(5, 2, 40, 16)
    lengths = torch.tensor([1, 7, 20, 39, 40])
    seen = torch.arange(40) < lengths[:, None]
    mask = torch.zeros(5, 40).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None, None]
    want = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.3)
    got = by_products(query, key.to(HALF), value.to(HALF), mask, 0.3)
    assert got.dtype is torch.float32 and got.shape == want.shape
    assert 0 < (got - want).norm() < 1e-2 * want.norm()


def test_columns_that_are_masked_change_nothing():
    query, key, value = numbers(3, 2, 2, 16), numbers(3, 2, 32, 16).to(HALF), numbers(3, 2, 32, 16)
    mask = torch.zeros(3, 1, 1, 32)
    mask[..., 20:] = torch.finfo(torch.float32).min
    before = by_products(query, key, value.to(HALF), mask, 1.0)
    key[:, :, 20:], value[:, :, 20:] = 9.0, -9.0
    assert torch.equal(by_products(query, key, value.to(HALF), mask, 1.0), before)


@pytest.mark.parametrize("form", ["bfloat16", "int8"])
def test_what_is_kept_has_half_the_size(packs, form):
    engine = by(form, llama())
    run(engine, *requests())
    assert engine._network.kept is HALF
    held = {kept.kv.dtype for kept in engine._prefixes._runs()}
    assert held == {HALF}


@pytest.mark.parametrize("form", ["trained", "float16"])
def test_forms_that_are_near_the_trained_weights_keep_float32(form):
    try:
        engine = by(form, llama())
    except Exception as error:
        pytest.skip(f"{error}")
    run(engine, *requests())
    assert {kept.kv.dtype for kept in engine._prefixes._runs()} == {torch.float32}


def test_a_processor_without_instructions_keeps_float32(packs, monkeypatch):
    monkeypatch.setattr(trial, "fastest", lambda: "trained")
    assert by("bfloat16", llama())._network.kept is None


def test_a_model_that_does_not_run_on_half_keeps_float32(packs, monkeypatch):
    def broken(*_):
        raise RuntimeError("expected scalar type Float but found BFloat16")

    monkeypatch.setattr(trial, "_run", broken)
    engine = by("bfloat16", llama())
    assert engine._network.kept is None and engine._network.linears._held is None


def test_log_probs_are_near_those_of_a_full_forward_by_the_packed_weights(packs):
    model = llama()
    for answer, prompt in zip(run(by("bfloat16", model), *requests()), PROMPTS):
        logits = logits_by("bfloat16", model, prompt + answer.tokens)
        rows = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        want = rows.gather(1, torch.tensor(list(answer.tokens))[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(answer.logprobs), want, atol=0.1, rtol=0)


def test_requests_are_near_what_they_are_alone_and_repeat_their_bits(packs):
    model, asked = llama(), requests(4)
    together = run(by("bfloat16", model), *asked)
    again = run(by("bfloat16", model), *asked)
    assert [a.logprobs for a in again] == [a.logprobs for a in together]
    for one, request in zip(together, asked):
        (alone,) = run(by("bfloat16", model), request)
        same = next((i for i, (a, b) in enumerate(zip(one.tokens, alone.tokens)) if a != b), 12)
        assert same and list(one.logprobs)[:same] == pytest.approx(
            list(alone.logprobs)[:same], abs=0.02
        )
