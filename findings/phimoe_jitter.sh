#!/bin/sh
# transformers 5.23.0: PhiMoE's `router_jitter_noise` changes the model in evaluation mode; set to 0 "to turn the noise off" it is another model.
#
# Mixtral's jitter multiplies router inputs in training mode only. PhiMoE's number is also the width within which experts count as tied in its sparse mixer,
# and that masks the router's scores in evaluation mode too. Code that clears dropout and jitter numbers before it computes ratios (or log-probs to compare
# with a sampler) compares two functions. Dropout and jitter are off in evaluation mode by themselves: leave the number alone.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
"$place/venv/bin/python" - <<'PYTHON'
import torch
import transformers
from transformers import MixtralConfig, MixtralForCausalLM, PhimoeConfig, PhimoeForCausalLM

size = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
size |= {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4, "head_dim": 8}
ids = torch.arange(1, 41)[None]


def moved(family, config, name):
    """Largest change of log-probs in evaluation mode when the jitter's number becomes 0."""
    torch.manual_seed(0)
    model = family(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape) / weight.shape[-1] ** 0.5)
        before = model(input_ids=ids, use_cache=False).logits.log_softmax(-1)
        found = 0
        for module in model.modules():
            if getattr(module, name, 0):
                setattr(module, name, 0.0)
                found += 1
        after = model(input_ids=ids, use_cache=False).logits.log_softmax(-1)
    return found, float((after - before).abs().max())


phimoe = moved(PhimoeForCausalLM, PhimoeConfig(router_jitter_noise=0.01, **size), "router_jitter_noise")
mixtral = moved(MixtralForCausalLM, MixtralConfig(router_jitter_noise=0.01, **size), "jitter_noise")
print("transformers", transformers.__version__)
print(f"PhiMoE: {phimoe[0]} routers, log-probs move by up to {phimoe[1]:.3f} nats")
print(f"Mixtral: {mixtral[0]} blocks, log-probs move by up to {mixtral[1]:.3f} nats")
raise SystemExit(0 if phimoe[0] and phimoe[1] > 1e-3 and mixtral[1] == 0 else 1)
PYTHON
