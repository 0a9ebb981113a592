#!/bin/sh
# transformers 5.23.0: what a model says of a token hangs, for three families, on how the tokens before it were given.
#
# - Mamba (Jamba, Falcon-Mamba and Zamba likewise): after a cache has been filled, several tokens in one call go on from the convolution's state but begin
#   with an empty recurrent state. Nothing is said. One token a call is right, and Mamba-2 is right with several.
# - Nemotron-H (Zamba-2 likewise): a forward pass keeps the time step of Mamba-2 above `time_step_min`, the step for one cached token does not. So what
#   `generate` samples by is not what a forward pass over the result says.
# - DeepSeek-V4: without a cache the last tokens change the log-probs of earlier ones.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 torch==2.13.0
"$place/venv/bin/python" - <<'PYTHON'
import warnings

warnings.simplefilter("ignore")
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

transformers.logging.set_verbosity_error()
print("transformers", transformers.__version__, "torch", torch.__version__)
ROW = [(7 * i) % 50 + 5 for i in range(40)]
SHAPE = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def tiny(kind, **more):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SHAPE, **more}))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_((0.7 / weight.shape[-1] ** 0.5 if weight.ndim > 1 else 0.2) * torch.randn(weight.shape))
    return model.float().eval()


def told(model, pieces):
    """Log-probs after each token of the row, given in these pieces."""
    cache, at, out = None, 0, []
    name = "cache_params" if hasattr(model, "backbone") else "past_key_values"
    with torch.no_grad():
        for size in pieces:
            given = {name: cache} if cache is not None else {}
            said = model(torch.tensor([ROW[at : at + size]]), use_cache=len(pieces) > 1, **given)
            cache, at = getattr(said, name, None), at + size
            out.append(torch.log_softmax(said.logits[0].float(), -1))
    return torch.cat(out)


def apart(model, pieces):
    """Largest difference in nats from one forward pass over the same tokens."""
    return float((told(model, pieces) - told(model, [sum(pieces)])).abs().max())


found = []
mamba = tiny("mamba", state_size=8, time_step_rank=4)
seen = apart(mamba, [5, 3]), apart(mamba, [5, 1, 1, 1])
print("Mamba: 5 tokens, then 3 in one call, differ by %.1e nats from 8 at once; 3 calls of one by %.1e" % seen)
found.append(seen[0] > 1e-3 > seen[1])

mamba2 = {"mamba_num_heads": 8, "mamba_head_dim": 8, "n_groups": 1, "ssm_state_size": 8, "chunk_size": 8}
for least in (0.0, 0.5):
    nemotron = tiny(
        "nemotron_h", layers_block_type=["linear_attention", "full_attention"], num_attention_heads=4, head_dim=8,
        num_key_value_heads=2, intermediate_size=48, time_step_min=0.001, **mamba2,
    )
    for module in nemotron.modules():  # a floor that many steps are below, so that it is easily seen
        if hasattr(module, "time_step_limit"):
            module.time_step_limit = (least, float("inf"))
    seen = apart(nemotron, [5, 3]), apart(nemotron, [5, 1, 1, 1])
    print("Nemotron-H, time steps of at least %.1f: 3 in one call differ by %.1e, 3 calls of one by %.1e" % (least, *seen))
    found.append(seen[0] < 1e-4 and (seen[1] > 1e-3) == (least > 0))

deepseek = tiny(
    "deepseek_v4", num_attention_heads=4, num_key_value_heads=1, head_dim=16, q_lora_rank=16, qk_rope_head_dim=8, o_groups=2,
    o_lora_rank=8, hc_mult=2, moe_intermediate_size=24, n_routed_experts=4, num_experts_per_tok=2, sliding_window=4, index_topk=4,
    index_head_dim=16, index_n_heads=2, num_nextn_predict_layers=0, max_position_embeddings=256,
    layer_types=["heavily_compressed_attention", "compressed_sparse_attention"],
    compress_rates={"compressed_sparse_attention": 4, "heavily_compressed_attention": 8},
)
whole = told(deepseek, [40])
worst = max(float((told(deepseek, [n])[-1] - whole[n - 1]).abs().max()) for n in range(3, 40))
print("DeepSeek-V4: a token's log-probs change by up to %.1e nats with the tokens after it" % worst)
found.append(worst > 1e-3)
raise SystemExit(0 if all(found) else 1)
PYTHON
