#!/bin/sh
# verl 0.9.1: with `adv_estimator = gdpo` a batch in which every answer is worth the same trains at full size, on the rounding of float32.
#
# Eight answers to two prompts, each worth 0.7; half of the float32 rewards were added up as 0.6 + 0.1, half as 0.5 + 0.2, which are one unit in the last
# place apart. `grpo` divides the difference (6e-8) by the group's std + 1e-6 and gives +-0.06 at most, next to nothing. `gdpo` takes that and divides it
# by the std of the batch + 1e-8 once more: the advantages are +-0.98, as large as those of right answers against wrong ones. With rewards that are equal
# to the last bit they are 0. So unmixed batches (all right, all wrong), which one expects to teach nothing, may move the policy.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.3.5 tensordict==0.10.0 transformers==5.10.4 \
    ray==2.60.0 omegaconf==2.4.0 codetiming==1.4.0 orjson==3.13.0
"$place/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps verl==0.9.1
"$place/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import torch
from verl.trainer.ppo.core_algos import compute_gdpo_outcome_advantage, compute_grpo_outcome_advantage

TOKENS = 3
prompts = np.array([0, 0, 0, 0, 1, 1, 1, 1])


def advantages(rewards):
    """What grpo and gdpo (of this one reward) give each answer."""
    tokens, mask = torch.zeros(8, TOKENS), torch.ones(8, TOKENS)
    tokens[:, -1] = torch.tensor(rewards)
    grpo, _ = compute_grpo_outcome_advantage(tokens, mask, prompts)
    gdpo, _ = compute_gdpo_outcome_advantage(
        tokens, mask, prompts,
        config={"gdpo_reward_keys": ["score"]},
        non_tensor_batch={"score": rewards},
        batch={"prompts": torch.zeros(8, 1), "attention_mask": torch.ones(8, 1 + TOKENS, dtype=torch.long)},
    )
    return grpo[:, 0], gdpo[:, 0]


one = np.float32(0.6) + np.float32(0.1)
other = np.float32(0.5) + np.float32(0.2)
grpo, gdpo = advantages(np.array([one, other] * 4, np.float32))
_, equal = advantages(np.array([other] * 8, np.float32))
print("verl", version("verl"))
print("rewards", repr(one), repr(other), "apart by", float(one - other))
print("grpo", [round(float(a), 3) for a in grpo])
print("gdpo", [round(float(a), 3) for a in gdpo])
print("gdpo of rewards equal to the last bit", [round(float(a), 3) for a in equal])
same = not equal.any() and float(grpo.abs().max()) < 0.1 and float(gdpo.abs().min()) > 0.9
raise SystemExit(0 if same else 1)
PYTHON
