"""Linear layers by weights laid out for the processor: the layers' own numbers."""

import asyncio

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from hornbeam.engine.local import linear_layers
from hornbeam.engine.local.linear_layers import LinearLayers, laid_out
from hornbeam.engine.local.local_engine import LocalEngine, LocalSettings
from hornbeam.engine.request import Request, Sampling

from .test_local import PROMPTS, SHAPE, Chat, full_logits, run

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN"
)
WIDE = {"hidden_size": 192, "intermediate_size": 320, "num_key_value_heads": 4}


def wide():
    """A model whose linear layers are large enough to be laid out."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**SHAPE, **WIDE}, initializer_range=0.1)).eval()


def own_forwards(model):
    return [name for name, layer in model.named_modules() if "forward" in layer.__dict__]


@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (70, 1), (2, 33)])
def test_the_numbers_are_the_layers_own(shape, bias, copied):
    torch.manual_seed(1)
    layer = nn.Linear(192, 256, bias=bias)
    x = torch.randn(*shape, 192)
    with torch.no_grad():
        torch.testing.assert_close(laid_out(layer, copied)(x), layer(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share", [1.0, 0.0])
def test_log_probs_are_those_of_a_full_forward(monkeypatch, share):
    monkeypatch.setattr(linear_layers, "SHARE", share)
    model = wide()
    requests = [Request(p, Sampling(max_tokens=12), seed=i) for i, p in enumerate(PROMPTS)]
    for answer, prompt in zip(run(LocalEngine(model, Chat()), *requests), PROMPTS):
        rows = full_logits(model, prompt + answer.tokens).log_softmax(-1)[len(prompt) - 1 : -1]
        want = rows.gather(1, torch.tensor(list(answer.tokens))[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(answer.logprobs), want, atol=1e-5, rtol=1e-5)


def test_only_inside_the_block_and_even_if_it_fails():
    model = wide()
    linears = LinearLayers(model)
    with linears.applied():
        inside = own_forwards(model)
    assert len(inside) == 7 * 3 + 1 and not own_forwards(model)
    with pytest.raises(KeyError), linears.applied():
        linears.forget()
        raise KeyError
    with linears.applied():
        assert own_forwards(model) == inside
    linears.forget()
    assert not own_forwards(model)


def test_layers_that_are_more_than_their_weights_stay_as_they_are():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    hooked, moved = nn.Linear(256, 256), nn.Linear(256, 256)
    hooked.register_forward_pre_hook(lambda module, given: None)
    moved.forward = lambda x: x
    parts = [Doubled(256, 256), hooked, moved, nn.Linear(8, 8), nn.Linear(256, 256).bfloat16()]
    model = nn.ModuleList([*parts, nn.Linear(256, 256)])
    with LinearLayers(model).applied():
        assert own_forwards(model) == ["2", "5"]
    assert own_forwards(model) == ["2"]


@pytest.mark.parametrize("way", ["counted", "uncounted"])
def test_changed_weights_are_laid_out_anew(way):
    model = wide()
    engine = LocalEngine(model, Chat())
    request = Request(PROMPTS[3], Sampling(max_tokens=12), seed=1)
    before = run(engine, request)[0]
    with torch.no_grad():
        for parameter in model.parameters():
            changed = parameter if way == "counted" else parameter.data
            changed.mul_(1.5)
    after = run(engine, request)[0]
    fresh = run(LocalEngine(model, Chat()), request)[0]
    assert (after.tokens, after.logprobs) == (fresh.tokens, fresh.logprobs)
    assert after.tokens != before.tokens and after.version == 1


def test_copies_are_kept_between_requests_and_given_back_at_rest():
    engine = LocalEngine(wide(), Chat())
    request = Request(PROMPTS[1], Sampling(max_tokens=2))
    run(engine, request)
    assert engine._network.linears._held
    with engine.barrier.session():
        run(engine, request)
    assert engine._network.linears._held is None
    assert run(engine, request)[0].tokens and engine._network.linears._held
    asyncio.run(engine.aclose())
    assert engine._network.linears._held is None


def test_a_request_does_not_hang_on_its_neighbours():
    model = wide()
    requests = [Request(p, Sampling(max_tokens=9), seed=i) for i, p in enumerate(PROMPTS * 4)]
    together = run(LocalEngine(model, Chat()), *requests)
    for settings in (LocalSettings(max_batch=1), LocalSettings(max_batch=3)):
        for one, other in zip(together, run(LocalEngine(model, Chat(), settings), *requests)):
            assert one.tokens == other.tokens
            assert list(one.logprobs) == pytest.approx(list(other.logprobs), abs=1e-5)
    again = run(LocalEngine(model, Chat()), *requests)
    assert [a.logprobs for a in again] == [a.logprobs for a in together]
