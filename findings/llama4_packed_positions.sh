#!/bin/sh
# transformers 5.23.0: Llama 4 ignores `position_ids` in the layers without rope, so sequences packed into one row are scaled by where they lie in it.
#
# Those layers multiply queries by 1 + attn_scale log(1 + floor((p + 1) / floor_scale)), p being the index in the row that is run, not the position given. Two
# sequences packed into one row with positions that start anew and a mask that keeps them apart (padding-free training, as collators prepare it) give for
# the second one other log-probs than alone, once the row is longer than `floor_scale` (8192 in the released models).
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
"$place/venv/bin/python" - <<'PYTHON'
import torch
import transformers
from transformers import Llama4ForCausalLM, Llama4TextConfig


def apart(floor_scale, rope):
    """Largest difference of log-probs of a second sequence, packed behind one and alone."""
    torch.manual_seed(0)
    config = Llama4TextConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, intermediate_size_mlp=48,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        moe_layers=[], no_rope_layers=[rope, rope], floor_scale=floor_scale, attn_scale=0.5,
        attention_chunk_size=64, layer_types=["full_attention"] * 2, pad_token_id=0,
    )
    model = Llama4ForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape) / weight.shape[-1] ** 0.5)
        first, second = torch.randint(1, 50, (2, 1, 12))
        positions = torch.cat([torch.arange(12), torch.arange(12)])[None]
        packed = model(
            input_ids=torch.cat([first, second], 1), position_ids=positions, use_cache=False
        ).logits[0, 12:]
        alone = model(input_ids=second, use_cache=False).logits[0]
    return float((packed.log_softmax(-1) - alone.log_softmax(-1)).abs().max())


past, within, roped = apart(8, 0), apart(8192, 0), apart(8, 1)
print("transformers", transformers.__version__)
print(f"row of 24, floor_scale 8: {past:.3f} nats; floor_scale 8192: {within:.1e}; with rope in all layers: {roped:.1e}")
raise SystemExit(0 if past > 0.01 and within < 1e-4 and roped < 1e-4 else 1)
PYTHON
