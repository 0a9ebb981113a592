#!/bin/sh
# torch 2.13.0: a linear layer by `quantize_dynamic` (int8) gives a row other numbers with other rows in its batch.
#
# Its activations have one scale and zero point for the whole tensor, computed anew at every call. A sequence that is sampled or scored in a batch therefore
# gets log-probs that depend on who shares the batch: requests that join and leave change those of the others, and what was sampled in a batch of 32 is not
# what the same weights say of it alone. With a scale for each row (rows divided by their largest entry before the product) nothing changes.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later, a processor with AVX2, and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
"$place/venv/bin/python" -W ignore - <<'PYTHON'
import torch

torch.backends.quantized.engine = "fbgemm"
torch.manual_seed(0)
head = torch.nn.Sequential(torch.nn.Linear(64, 1000, bias=False)).eval()
quantised = torch.ao.quantization.quantize_dynamic(head, {torch.nn.Linear}, torch.qint8)
row, others = 4 * torch.randn(1, 64), 40 * torch.randn(7, 64)


def by_row(x):
    largest = x.abs().amax(1, keepdim=True)
    return torch.cat([quantised(one[None]) for one in x / largest]) * largest


def moved(layer):
    """By how many nats the row's log-probs change with seven others beside it."""
    with torch.no_grad():
        alone, beside = layer(row), layer(torch.cat([row, others]))[:1]
    return float((alone.log_softmax(-1) - beside.log_softmax(-1)).abs().max())


whole, rows, plain = moved(quantised), moved(by_row), moved(head)
print("torch", torch.__version__)
print(f"log-probs of a row move by {whole:.3f} nats with its neighbours; scaled by row: {rows:.1e}; float32: {plain:.1e}")
raise SystemExit(0 if whole > 0.01 and rows < 1e-4 and plain < 1e-4 else 1)
PYTHON
