#!/bin/sh
# transformers 5.23.0: with a longrope (Phi-3 128k, Phi-4-mini) a row's log-probs hang on the longest row of its batch.
#
# Short and long factors are picked once for a forward pass, from its largest position. So a row of 12 tokens gives other log-probs beside a row of 20 than
# alone (threshold 16), padding masked and positions given. `generate` of one row runs the prefix again when it passes the threshold; a trainer or a batched
# engine that pads or packs rows of both sides, and keeps keys across the threshold, compares policies at two sets of frequencies.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
"$place/venv/bin/python" - <<'PYTHON'
import torch
import transformers
from transformers import Phi3Config, Phi3ForCausalLM

rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 16}
rope |= {"short_factor": [1.0] * 4, "long_factor": [2.0, 3.0, 4.0, 5.0]}
size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
torch.manual_seed(0)
config = Phi3Config(
    vocab_size=50, original_max_position_embeddings=16, rope_parameters=rope, pad_token_id=0,
    **size, **heads,
)
model = Phi3ForCausalLM(config).eval()
with torch.no_grad():
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.copy_(torch.randn(weight.shape) / weight.shape[-1] ** 0.5)
ids = torch.randint(1, 50, (2, 20))
real = torch.ones_like(ids)
ids[0, 12:], real[0, 12:] = 0, 0
positions = torch.arange(20).expand(2, -1)
with torch.no_grad():
    beside = model(input_ids=ids, attention_mask=real, position_ids=positions).logits[0, :12]
    alone = model(input_ids=ids[:1, :12]).logits[0]
row = float((beside.log_softmax(-1) - alone.log_softmax(-1)).abs().max())
print("transformers", transformers.__version__)
print(f"a row of 12 beside one of 20: log-probs differ by up to {row:.2f} nats from the row alone")
raise SystemExit(0 if row > 0.01 else 1)
PYTHON
