"""Weights that change under an engine, or a value model's guide, without a word to it."""

import asyncio

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import RwkvConfig, RwkvForCausalLM

import hornbeam as hb
from hornbeam.engine.fingerprint import Fingerprint
from hornbeam.engine.local.local_engine import LocalEngine
from hornbeam.engine.request import Request, Sampling
from hornbeam.errors import EngineError
from hornbeam.train.frontier import Frontier
from hornbeam.train.policy import Policy
from hornbeam.train.train_settings import OptimSettings
from train import value_worlds, worlds

from .test_local import PROMPTS, Chat, llama, lora, run

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"  # peft asks transformers by its old name
)
ASK = Request(PROMPTS[3], Sampling(max_tokens=6, temperature=0.7), seed=3)


def trained(**how):
    """A step of an optimiser of torch's own."""

    def change(model):
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.05, **how)
        model(torch.tensor([[5, 6, 7, 8]])).logits.square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()

    return change


def other(model):
    return {name: held + 0.1 for name, held in model.state_dict().items()}


def written(model):
    with torch.no_grad():
        model.model.norm.weight.mul_(1.5)


def uncounted(model):
    for weight in model.parameters():
        weight.data.add_(0.05)


def by_numpy(model):
    for weight in model.parameters():
        weight.detach().numpy()[:] *= 1.1


def pointed(model):
    model.model.norm.weight.data = model.model.norm.weight.data * 1.5


def replaced(model):
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() * 1.2)


def adapted(model):
    inner = get_peft_model(model, LoraConfig(target_modules=["q_proj"], r=4))
    for name, weight in inner.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)


CHANGES = {
    "adam": (llama, trained(foreach=False, fused=False)),
    "adam foreach": (llama, trained(foreach=True)),
    "adam fused": (llama, trained(fused=True)),
    "load_state_dict": (llama, lambda model: model.load_state_dict(other(model))),
    "load_state_dict, assign": (
        llama,
        lambda model: model.load_state_dict(other(model), assign=True),
    ),
    "in place": (llama, written),
    ".data in place": (llama, uncounted),
    "numpy": (llama, by_numpy),
    ".data set": (llama, pointed),
    "another parameter": (llama, replaced),
    "16 bits": (llama, lambda model: model.to(torch.bfloat16)),
    "adapters put on": (llama, adapted),
    "adapters off": (lora, lambda model: model.base_model.disable_adapter_layers()),
    "adapters scaled": (
        lora,
        lambda model: [
            layer.scale_layer(3.0) for layer in model.modules() if hasattr(layer, "scale_layer")
        ],
    ),
    "adapters trained": (lora, trained()),
    "adapters merged": (lora, lambda model: model.merge_adapter()),
}
SAME_FUNCTION = ("adapters merged",)


@pytest.mark.parametrize("name", CHANGES)
def test_what_old_weights_computed_is_dropped(name):
    make, change = CHANGES[name]
    model = make()
    engine = LocalEngine(model, Chat())
    (old,) = run(engine, ASK)
    (kept,) = run(engine, ASK)
    assert (kept.logprobs, kept.version, kept.computed) == (old.logprobs, 0, 0)
    change(model)
    (new,) = run(engine, ASK)
    (fresh,) = run(LocalEngine(model, Chat()), ASK)
    assert (new.tokens, new.logprobs) == (fresh.tokens, fresh.logprobs)
    assert (new.version, new.computed) == (1, len(ASK.prompt))
    assert new.logprobs != old.logprobs or name in SAME_FUNCTION, "the change is one"
    (again,) = run(engine, ASK)
    assert (again.logprobs, again.version, again.computed) == (new.logprobs, 1, 0)


def test_inference_tensors_count_no_writes_and_are_seen_all_the_same():
    with torch.inference_mode():
        model = llama()
    assert all(weight.is_inference() for weight in model.parameters())
    engine = LocalEngine(model, Chat())
    (old,) = run(engine, ASK)
    assert run(engine, ASK)[0].computed == 0
    with torch.inference_mode():
        for weight in model.parameters():
            weight.mul_(1.2)
    (new,) = run(engine, ASK)
    assert new.logprobs == run(LocalEngine(model, Chat()), ASK)[0].logprobs != old.logprobs
    assert (new.version, new.computed) == (1, len(ASK.prompt))


def test_a_gradient_alone_is_no_change():
    """Forward, backward, train and eval mode, a saved state: the cache stays."""
    model = llama()
    engine = LocalEngine(model, Chat())
    run(engine, ASK)
    model.train()(torch.tensor([[5, 6, 7, 8]])).logits.square().mean().backward()
    model.eval().zero_grad()
    model.state_dict()
    assert engine.cached(ASK.prompt) == len(ASK.prompt)
    (kept,) = run(engine, ASK)
    assert (kept.version, kept.computed) == (0, 0)


def test_what_is_known_of_a_prompt_is_nothing_after_a_change():
    model = llama()
    engine = LocalEngine(model, Chat())
    run(engine, ASK)
    written(model)
    assert engine.cached(ASK.prompt) == 0


def test_a_load_says_which_version_it_is():
    model = llama()
    engine = LocalEngine(model, Chat())
    run(engine, ASK)
    written(model)
    asyncio.run(engine.load(5))
    (new,) = run(engine, ASK)
    assert (new.version, new.computed) == (5, len(ASK.prompt))


def test_weights_that_change_while_requests_run_fail_those():
    model = llama()
    engine = LocalEngine(model, Chat())
    long = Request(PROMPTS[3], Sampling(max_tokens=60, temperature=2.0))

    async def scene():
        job = asyncio.create_task(engine.generate(long))
        while not engine._running:
            await asyncio.sleep(0)
        written(model)
        with pytest.raises(EngineError, match="weights changed while 1 requests ran: await them"):
            await job
        return await engine.generate(ASK)

    new = asyncio.run(scene())
    assert new.logprobs == run(LocalEngine(model, Chat()), ASK)[0].logprobs
    assert new.version == 1


def test_what_a_forward_writes_to_its_own_weights_is_no_change():
    """RWKV divides the weights of its later layers before it samples, and undoes it to train."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 4, "context_length": 64, "rescale_every": 2}
    model = RwkvForCausalLM(RwkvConfig(vocab_size=256, attention_hidden_size=32, **shape))
    engine = LocalEngine(model, Chat())
    model.train()(torch.tensor([[5, 6, 7, 8]]))  # undone
    (new,) = run(engine, ASK)
    assert len(new.tokens) == 6 or new.finish == "stop"
    assert run(engine, ASK)[0].computed == 0, "nor is it one for the next request"


def test_a_copy_takes_up_what_was_trained_under_the_same_version():
    source, copy = llama(), llama()
    engine = LocalEngine(copy, Chat(), weights=source.named_parameters)
    asyncio.run(engine.load(1))
    (old,) = run(engine, ASK)
    trained()(source)
    asyncio.run(engine.load(1))
    (new,) = run(engine, ASK)
    assert new.logprobs == run(LocalEngine(source, Chat()), ASK)[0].logprobs != old.logprobs
    assert new.version == 1


def test_states_of_recurrent_layers_go_with_the_rest():
    model = worlds.model("Mamba")
    engine = LocalEngine(model, Chat())
    (old,) = run(engine, ASK)
    assert run(engine, ASK)[0].computed == 0
    uncounted(model)
    (new,) = run(engine, ASK)
    assert new.logprobs == run(LocalEngine(model, Chat()), ASK)[0].logprobs != old.logprobs


@pytest.mark.parametrize("change", [uncounted, written, trained()], ids=["data", "place", "adam"])
def test_a_value_model_s_tokens_are_run_again(change):
    model = value_worlds.value_model("Llama")
    tree = value_worlds.labelled(0, nodes=12)
    nodes = value_worlds.readable(tree)
    frontier = Frontier(model, 10_000)
    ((old, ran),) = frontier.read([(tree, nodes)])
    assert frontier.read([(tree, nodes)]) == [(old, 0)] and frontier.new(tree, nodes) == 0
    if change is uncounted or change is written:
        change(model.model)
    else:
        with torch.enable_grad():
            optimiser = torch.optim.AdamW(model.model.parameters(), lr=0.05)
            model.model(torch.tensor([[5, 6, 7]])).logits.square().mean().backward()
            optimiser.step()
    ((new, again),) = frontier.read([(tree, nodes)])
    assert again == ran and new != old
    assert new == pytest.approx([value_worlds.plain(model.model, tree, i) for i in nodes], abs=1e-5)


def test_a_look_is_cheap_and_reads_few_entries():
    """Of a tensor of any size and stride some entries are read, never all."""
    for tensor in (
        torch.zeros(1000, 1000),
        torch.zeros(1000, 1000).t(),
        torch.zeros(3),
        torch.ones(()),
    ):
        module = torch.nn.Module()
        module.held = torch.nn.Parameter(tensor)
        mark = Fingerprint(module)
        (entries,) = mark._entries.values()
        assert 0 < len(entries) <= 4 * 128 and not mark.differs()
        module.held.data.add_(1)
        assert mark.differs()
        mark.take()
        assert not mark.differs()


def test_training_in_place_from_python_leaves_no_gap():
    """Grow, credit, step and grow again, without a word to the engine: what it says stays exact."""
    model = llama()
    engine, policy = LocalEngine(model, Chat()), Policy(model, optim=OptimSettings(lr=3e-3))

    async def solver(task, ep):
        return len((await ep.ask("a", [hb.user(task.question)], max_tokens=12)).text)

    tasks = [hb.Task(f"t{i}", f"question {i}, say") for i in range(4)]
    result, spoke = [], []
    for seed in range(3):
        agents, score = {"a": engine}, lambda task, answer: float(answer % 2)
        trees = hb.grow_trees(solver, tasks, agents, score=score, seed=seed)
        hb.credit_trees(trees, "grpo")
        result.append(policy.step(trees))
        spoke.append({node.origin.version for tree in trees for node in tree.nodes[1:]})
    assert [row["updates"] for row in result] == [1, 1, 1]
    assert max(row["engine_gap"] for row in result) < 1e-5
    assert spoke == [{0}, {1}, {2}]
