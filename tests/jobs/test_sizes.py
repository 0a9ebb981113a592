"""What a run is said to take: by hand, against what torch holds, and as --dry-run prints it."""

import re
import tomllib
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from hornbeam.cli.main import app
from hornbeam.jobs.train.estimates import memory_estimate, run_estimate
from hornbeam.recipe.recipe import Recipe
from hornbeam.train import attention, forward
from hornbeam.train.pack import packs
from hornbeam.train.policy import Policy
from hornbeam.train.rows import collect
from hornbeam.train.train_settings import LoraSettings, OptimSettings
from hornbeam.train.weights import add_lora
from train import worlds

# a body of 1,000 weights in 2 layers, a head of 30 words times 10, tied to the table
SHAPE = memory_estimate.ModelShape(
    total=1300, body=1000, head=300, layers=2, hidden=10, inner=20, heads=2, kv_heads=1, dim=5,
    vocabulary=30,
)  # fmt: skip
JOB = memory_estimate.Workload(SHAPE, trained=1300, pack=100, rows=3, longest=50, cache=70)


def test_what_training_holds_by_hand():
    assert memory_estimate.held(JOB) == {
        "weights, float32": 5200, "gradients": 5200, "moments": 10400,
        "prefixes kept": 4 * 70 * 2 * 2 * 5,
    }  # fmt: skip
    assert memory_estimate.sampling(JOB) == {"keys and values": 4 * 3 * 50 * 20}
    assert sum(memory_estimate.passing(replace(JOB, flex=True)).values()) == sum(
        (
            0,  # computes with the masters
            100 * (2 * (2 * 12 * 10 + 4 * (3 * 10 + 2 * 5) + 4 * 4 * 20) + 12 * 10),
            100 * 30 * 18 + 4 * 100 * 30,
        )
    )
    more = replace(JOB, reference=True, trained=130, gpus=2, local=False)
    assert memory_estimate.held(more) == {
        "weights, float32": 2600, "gradients": 260, "moments": 520, "reference": 260,
    }  # fmt: skip
    copied = memory_estimate.held(replace(JOB, packed=2))
    assert copied["packed weights of the engine"] == 2600
    assert memory_estimate.held(replace(JOB, gpus=2))["whole model of the engine"] == 5200


def test_operations_and_seconds_by_hand():
    step = memory_estimate.StepTokens(unique=100, sampled=40)
    attention_pairs = 100 * 50 / 2
    dense, square = 1000 * 100 + 300 * 40, 4 * 10 * 2 * attention_pairs
    assert memory_estimate.operations(JOB, step) == 6 * dense + 3 * square
    assert (
        memory_estimate.operations(replace(JOB, checkpointing=True), step) == 8 * dense + 4 * square
    )
    assert memory_estimate.operations(replace(JOB, trained=0), step) == 4 * dense + 3 * square
    assert (
        memory_estimate.operations(replace(JOB, again=1, epochs=2), step) == 14 * dense + 7 * square
    )
    slow = memory_estimate.Machine("slow", rate=1e4, memory=1e9, bandwidth=1e12)
    grown, trained = memory_estimate.seconds(JOB, step, slow, share=0.5)
    assert trained == (6 * dense + 3 * square) / 5e3
    assert grown == pytest.approx(40 / 3 * (2 * 3 * 1300 / 1e4) / 0.5)
    few = memory_estimate.seconds(JOB, replace(step, episodes=2), slow, share=0.5)[0]
    assert few == pytest.approx(40 / 2 * (2 * 2 * 1300 / 1e4) / 0.5)
    narrow = replace(slow, rate=1e12, bandwidth=1e4)
    read = 4 * (1300 + 3 * 25 * 20)
    assert memory_estimate.seconds(JOB, step, narrow, 0.5)[0] == pytest.approx(
        40 / 3 * read / 1e4 / 0.5
    )


def test_what_does_not_fit_is_told_what_would():
    big = replace(JOB, rows=0, cache=0, bf16=True, checkpointing=True, pack=4096)
    need = memory_estimate.most(big)
    assert memory_estimate.remedies(big, need, 10) == []  # it fits
    with_lora = memory_estimate.remedies(big, memory_estimate.most(replace(big, trained=10)), 10)
    assert with_lora[0] == "[lora]"
    assert memory_estimate.remedies(replace(big, checkpointing=False), need, 10) == [
        "optim.checkpointing = true"
    ]
    assert memory_estimate.remedies(big, 1, 10) == []
    whole = replace(big, pack=1)
    assert memory_estimate.remedies(whole, 7200, 1300) == ['8 GPUs and [engine] kind = "vllm"']


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
def test_activations_are_those_that_torch_holds(bf16, checkpointing):
    wide = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 6}
    model = worlds.model("Llama", **wide)
    Policy(model, optim=OptimSettings(checkpointing=checkpointing))
    tree = worlds.random_trees(1)[0]
    tree.columns["advantage"] = [1.0] * len(tree)
    (pack,) = packs(collect([tree]), 4096, packed=True)
    seen = saved(model.train(), pack, bf16)
    job = memory_estimate.Workload(
        run_estimate.shape(model), 1, bf16=bf16, checkpointing=checkpointing, pack=pack.tokens
    )
    whole = memory_estimate.activations(job)
    if checkpointing:  # of which one layer's lie there only on the way back
        last = job.pack * (10 if bf16 else 12) * 64
        whole -= (memory_estimate.activations(replace(job, checkpointing=False)) - last) / 6
    assert seen == pytest.approx(whole, rel=0.25)


def saved(model, pack, bf16):
    """Bytes that the body keeps for the backward pass of a pack, weights left out."""
    weights = {p.data_ptr() for p in model.parameters()}
    shapes = {p.shape for p in model.parameters()} | {
        p.T.shape for p in model.parameters() if p.dim() == 2
    }
    held = {}

    def keep(tensor):
        if tensor.data_ptr() not in weights and tensor.shape not in shapes:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    kind = torch.autocast("cpu", torch.bfloat16, enabled=bf16)
    with attention.packed(model), kind, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        out = forward.hidden_states(model, pack)
    assert out.requires_grad
    return sum(held.values())


def test_published_shapes_have_the_weights_that_their_names_say():
    for size, count in {"0.5B": 494_032_768, "7B": 7_615_616_512}.items():
        made = run_estimate._model(f"Qwen/Qwen2.5-{size}-Instruct")
        assert run_estimate.shape(made).total == count
    tiny = worlds.model("Llama")
    for targets in ("all-linear", ("q_proj", "down_proj")):
        result = run_estimate._adapters(tiny, LoraSettings(rank=3, targets=targets))
        real = add_lora(worlds.model("Llama"), LoraSettings(rank=3, targets=targets), 0)
        assert result == sum(p.numel() for p in real.parameters() if p.requires_grad)


TOLD = """
[run]
steps = 2
tasks = 4
device = "cuda"
[model]
name = "Qwen/Qwen2.5-7B-Instruct"
[agents.seeker]
max_tokens = 100
[program]
name = "lookup"
[tools.lookup]
[[tasks.train]]
source = "lookup"
split = "train"
count = 20
[reward]
rule = "exact"
[grow]
strategy = "branch"
trunks = 2
nodes = 2
rounds = 1
[optim]
bf16 = true
"""


def dry(tmp_path, *more, text=TOLD):
    path = tmp_path / "told.toml"
    path.write_text(text)
    done = CliRunner().invoke(app, ["train", str(path), "--dry-run", *more])
    return done, [line for line in done.output.splitlines() if line.startswith("#")]


def test_dry_run_says_what_fits_and_what_would(tmp_path):
    done, lines = dry(tmp_path, "--gpu", "h100", "--episode", "1000")
    assert done.exit_code == 0, done.output
    text = "\n".join(lines)
    assert "7,616 M weights, all learn; GiB on each H100 (80 GB)" in text
    (row,) = [line for line in lines if "weights, float32" in line]
    assert row.split()[-3:] == ["28.4", "3.5", "0.4"]
    assert "DOES NOT FIT on 1:" in text and "[lora]" in text
    assert "a step trains at most 16,000 tokens (1,000 an episode" in text  # 24 x 1,000 x 2/3
    done, lines = dry(tmp_path, "--gpus", "2", "--set", "lora.rank=8")
    assert any(line.split()[-1:] == ["yes"] for line in lines if "fits" in line)
    assert not any("DOES NOT FIT" in line for line in lines)


def test_dry_run_refuses_a_gpu_it_does_not_know_and_says_what_it_knows_not(tmp_path):
    done, _ = dry(tmp_path, "--gpu", "h10")
    assert done.exit_code and "did you mean 'h100'" in str(done.exception)
    text = TOLD.replace("Qwen/Qwen2.5-7B-Instruct", "someone/unknown")
    _, lines = dry(tmp_path, text=text)
    assert any("memory and time are not known: someone/unknown" in line for line in lines)


def test_dry_run_on_a_cpu_measures_this_machine(tmp_path):
    text = TOLD.replace('device = "cuda"', "").replace("Qwen2.5-7B", "Qwen2.5-0.5B")
    done, lines = dry(tmp_path, text=text)
    assert done.exit_code == 0
    assert any("this CPU" in line for line in lines) and any("measured" in line for line in lines)


def test_dry_run_tells_what_matters_and_every_setting_when_asked(tmp_path):
    row = '{"messages": [{"role": "user", "content": "a"}], "text": "b"}\n'
    (tmp_path / "set.jsonl").write_text(5 * row)
    text = f'{TOLD}\n[sft]\ndata = "set.jsonl"\nepochs = 3\nbatch_size = 2\n'
    text = text.replace("Qwen/Qwen2.5-7B-Instruct", "tiny")
    done, lines = dry(tmp_path, text=text)
    assert lines == done.output.splitlines() and len(lines) < 12
    (warm_start,) = [line for line in lines if "warm start" in line]
    assert "5 rows of set.jsonl, 9 updates (3 x the set, batches of 2);" in warm_start
    tokens, trained = map(int, re.findall(r"(\d+) tokens, (\d+)", warm_start)[0])
    assert tokens == 5 * 8 and trained == 5 * 3  # a prompt of 5; the word's mark, 'b', the end
    done, lines = dry(tmp_path, "--all", text=text)
    settings = tomllib.loads(done.output)
    assert settings["sft"]["epochs"] == 3 and settings["loss"]["clip_low"]
    assert done.output.startswith(lines[0])


def test_dry_run_of_no_steps_tells_no_seconds_of_a_step(tmp_path):
    _, lines = dry(tmp_path)
    assert any("seconds of a step whose episodes all have that length" in line for line in lines)
    done, lines = dry(tmp_path, "--set", "run.steps=0")
    assert done.exit_code == 0 and not any("a step" in line for line in lines)
    assert any("no steps of RL (run.steps = 0); sampled tokens: at most 0 in" in x for x in lines)


def test_a_recipe_without_policies_to_measure_says_so():
    recipe = Recipe.model_validate({"model": {"name": "tiny"}})
    result = list(run_estimate._machines(recipe, None, "", 0, 10))
    assert result == ["a tiny model: memory and time are next to nothing"]
