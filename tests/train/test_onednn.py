"""Products by oneDNN against torch's own, forward and backward."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from hornbeam.train import onednn

pytestmark = pytest.mark.skipif(not onednn.BUILT, reason="torch is built without oneDNN")

spec = importlib.util.spec_from_file_location(
    "parity", Path(__file__).parents[2] / "bench" / "parity.py"
)
parity = importlib.util.module_from_spec(spec)
spec.loader.exec_module(parity)


@pytest.mark.parametrize("shape", [(1,), (7,), (2, 3), (1, 64), (0,), (0, 4)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_layer(shape, bias, frozen):
    """Results and gradients of one layer, of no row too; a frozen weight has none."""
    torch.manual_seed(0)
    layer = nn.Linear(192, 256, bias=bias)
    layer.weight.requires_grad_(not frozen)
    given = torch.randn(*shape, 192)

    def run():
        x = given.clone().requires_grad_()
        layer.zero_grad()
        out = layer(x)
        (out * torch.arange(out.numel()).view(out.shape)).sum().backward()
        return out, x.grad, layer.weight.grad, layer.bias.grad if bias else None

    wanted = run()
    with onednn.linear_layers(layer):
        assert "forward" in vars(layer)
        found = run()
    assert "forward" not in vars(layer)
    for want, have in zip(wanted, found):
        assert (want is None) == (have is None)
        if want is not None:
            most = float(want.detach().abs().max()) if want.numel() else 0.0
            torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-5 * most)


def test_a_transposed_gradient():
    """What comes back need not lie in order."""
    layer, x = nn.Linear(256, 192), torch.randn(5, 256, requires_grad=True)
    grad = torch.randn(192, 5)
    (wanted,) = torch.autograd.grad(layer(x), x, grad.t())
    with onednn.linear_layers(layer):
        (found,) = torch.autograd.grad(layer(x), x, grad.t())
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(8, 8),
        nn.Linear(256, 256, dtype=torch.bfloat16),
        nn.Linear(256, 256, dtype=torch.float64),
        nn.Linear(256, 256, device="meta"),
        nn.Embedding(256, 256),
        type("Own", (nn.Linear,), {})(256, 256),
    ],
)
def test_others_are_left_alone(layer):
    """Small layers, other numbers, other devices, other kinds."""
    with onednn.linear_layers(layer):
        assert "forward" not in vars(layer)


def test_autocast_is_torch_s():
    """Where numbers are cast, torch multiplies."""
    layer, x = nn.Linear(256, 256), torch.randn(3, 256)
    with onednn.linear_layers(layer), torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype is torch.bfloat16


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("family", parity.FAMILIES)
def test_a_pack_s_gradients(monkeypatch, family, lora):
    """Packed = flat with every layer by oneDNN, heads and adapters too."""
    used, fits = [], onednn.fits
    monkeypatch.setattr(onednn, "LEAST", 1)
    monkeypatch.setattr(onednn, "fits", lambda layer: fits(layer) and not used.append(layer))
    case = {
        "credit": "tree_grpo",
        "aggregation": "token_mean",
        "ratio": "token",
        "clip": "clip",
        "extra": "kl+entropy",
        "family": family,
        "heads": 2,
        "lora": lora,
        "cut": False,
    }
    found = parity.compare(case, 3)
    found.pop("clipped")
    assert used
    assert max(found.values()) < parity.TOLERANCE, found
