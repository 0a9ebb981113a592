"""Policies that processes train together, run as a script by each of them (test_sharded.py)."""

import os
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from hornbeam.credit import credit
from hornbeam.errors import RankLost
from hornbeam.train.policy import Policy
from hornbeam.train.ranks import Ranks
from hornbeam.train.sft import Example
from hornbeam.train.sharded import ShardedPolicy
from hornbeam.train.train_settings import LoraSettings, LossSettings, OptimSettings, SftSettings
from train import worlds

LORA = LoraSettings(rank=2, alpha=4.0)
SMALL = {"max_pack_tokens": 24}
APART = {  # what is known of whole leaves, and weighs them
    "old": "trainer",
    "importance": {"level": "sequence", "high": 8.0},
    "gate": {"kl": 0.05, "stop_kl": 9.0},
}
CASES = {  # settings of the loss, of the optimiser, adapters
    "token_mean": ({}, {}, None),
    "turn_sequence_mean_kl": (
        {"ratio": "turn", "aggregation": "sequence_mean", "kl": 0.05, "entropy": 0.02},
        SMALL,
        None,
    ),
    "cispo_constant": ({"objective": "cispo", "aggregation": "constant"}, SMALL, None),
    "sequence": ({"ratio": "sequence", **APART}, SMALL, None),
    "truncated_minibatches": (
        {"old": "trainer", "truncate": 1.2},
        {"minibatches": 2, "epochs": 2},
        None,
    ),
    "flat": ({"kl": 0.05, "ratio": "sequence"}, {"packed": False, "max_pack_tokens": 48}, None),
    "lora_kl": ({"kl": 0.05}, SMALL, LORA),
    "lora_checkpointing": ({}, {"checkpointing": True}, LORA),
    "bf16": ({}, {"bf16": True}, None),
    "states": ({"kl": 0.05}, {"checkpointing": True, **SMALL}, None),
    "sinks": ({}, SMALL, None),
}
MODELS = {  # of those that are no Llama: layers with a state, attention with sinks and windows
    "states": (
        "Qwen3Next",
        {
            "layer_types": ["linear_attention", "full_attention"],
            "head_dim": 8,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 24,
        },
    ),
    "sinks": (
        "GptOss",
        {"sliding_window": 6, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
}
GO_ON = ("turn_sequence_mean_kl", "lora_kl")
EXAMPLES = [Example([k, 5], [([6, 7], True), ([8, 9], False), ([k, 3], True)]) for k in range(5)]


def policy(case, ranks=None):
    """The policy of a case: in this process alone, or over ranks."""
    loss, optim, lora = CASES[case]
    more = {
        "loss": LossSettings(**loss),
        "optim": OptimSettings(lr=1e-3, max_grad_norm=1e6, **optim),
        "lora": lora,
    }
    family, shape = MODELS.get(case, ("Llama", {}))
    model = worlds.model(family, tie_word_embeddings=case == "cispo_constant", **shape)
    return Policy(model, **more) if ranks is None else ShardedPolicy(model, ranks=ranks, **more)


def trees(seed):
    """Credited trees."""
    grown = worlds.random_trees(seed)
    credit(grown, "grpo")
    return grown


class read:
    """What `save_state` wrote into a folder, as flat tensors."""

    def __init__(self, folder):
        self.state = torch.load(folder / "trainer.pt")
        self.weights = weights(self.state["parameters"])
        kept = self.state["optimiser"]["adam"]["state"].values()
        self.gradient = torch.cat([k["exp_avg"].flatten() for k in kept]) / (1 - 0.9)  # of step 1
        self.second = torch.cat([k["exp_avg_sq"].flatten() for k in kept])


def weights(named):
    """All weights by name as one flat tensor."""
    return torch.cat([t.detach().flatten() for _, t in sorted(named.items())])


def train(p, out):
    """A step, its state; two more, theirs, and the model as it is saved."""
    metrics = [p.step(trees(1))]
    p.save_state(out / "1")
    metrics += [p.step(trees(2)), p.step(trees(3))]
    p.save_state(out / "3")
    p.save(out / "3")
    torch.save(metrics, out / "told.pt")


def go_on(p, start, out):
    """A second step from a state after the first, and a little warm start."""
    p.load_state(start / "1")
    p.step(trees(2))
    list(p.fit(EXAMPLES, SftSettings(batch_size=3, lr=1e-3)))
    p.save_state(out / "2")


class Mortal:
    """What a rank other than the first does not outlive."""

    def die(self):
        os._exit(9)


def main(what, start, out):
    torch.set_num_threads(1)
    ranks = Ranks()
    cases = CASES if what == "train" else GO_ON
    made = {case: policy(case, ranks) for case in cases}
    mortal = ranks.join(Mortal())
    if not ranks.leads:
        ranks.serve()
        ranks.close()
        return
    for case, p in made.items():
        (out / case).mkdir(parents=True)
        train(p, out / case) if what == "train" else go_on(p, start / case, out / case)
    if what == "train":
        ranks.order(mortal, "die", ())
        try:
            p.step(trees(1))
        except RankLost as error:
            (out / "lost").write_text(str(error))
    else:
        ranks.close()


def free_port():
    """A port of the loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def spawn(ranks, *given, patience=600):
    """Run this file in so many processes; their exit codes."""
    port = free_port()
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    running = [
        subprocess.Popen(
            [sys.executable, __file__, *map(str, given)],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(ranks)
    ]
    try:
        return [process.wait(patience) for process in running]
    finally:
        for process in running:
            process.kill()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
