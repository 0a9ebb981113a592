"""vLLM for real, on a tiny model: skipped where it is not installed (.ci/vllm installs it)."""

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from functools import partial

import pytest
import torch
from peft import LoraConfig, get_peft_model

from hornbeam.chat import TemplateChat, user
from hornbeam.engine.local.local_engine import LocalEngine
from hornbeam.engine.request import Request, Sampling
from hornbeam.engine.vllm.serve_process import serve_command, update_server
from hornbeam.engine.vllm.vllm_engine import ENVIRONMENT, VllmEngine, VllmSettings
from hornbeam.engine.weight_transfer import write_weights
from hornbeam.errors import EngineError, PromptTooLong
from hornbeam.models import tiny_model
from hornbeam.train import weights
from hornbeam.train.forward import score
from hornbeam.tree.nodes import ids
from serving import serving

HERE = importlib.util.find_spec("vllm") is not None
needs_vllm = pytest.mark.skipif(not HERE, reason="vLLM is not installed: run .ci/vllm")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # vLLM's own, and those of what it imports
    pytest.mark.timeout(1200),
]
SHAPE = {"width": 128, "heads": 4}  # heads of 32: the least that vLLM knows on a CPU
SMALL = VllmSettings(dtype="float32", cache_gib=0.125, context=512, max_batch=16)
GREEDY = Sampling(max_tokens=24, temperature=0)


class Trainer:
    """A model that changes, and what it tells an engine."""

    def __init__(self, folder):
        self.folder = tiny_model.make(folder, seed=1, **SHAPE)
        self.model, tokenizer = weights.load(self.folder)
        self.model.eval()
        self.chat = TemplateChat(tokenizer)

    def weights(self):
        return weights.merged(self.model).items()

    @property
    def probe(self):
        return partial(score, self.model, temperature=1.0)

    def change(self, seed):
        """Other weights, far enough from the old ones to be told apart."""
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(0.3 * parameter.std().nan_to_num() * torch.randn_like(parameter))

    def prompts(self, count):
        return [self.chat.render([user(f"what is {n} and {3 * n}?")]) for n in range(count)]

    def logits(self, prompt, tokens):
        given = torch.tensor([[*prompt, *tokens]])
        with torch.no_grad():
            return self.model(given).logits[0, len(prompt) - 1 : -1].float()


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    return Trainer(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(trainer):
    engine = VllmEngine(
        trainer.folder, trainer.chat, SMALL, weights=trainer.weights, probe=trainer.probe
    )
    yield engine
    asyncio.run(engine.aclose())


def ask(engine, *requests):
    async def all_of_them():
        return await asyncio.gather(*(engine.generate(r) for r in requests))

    return asyncio.run(all_of_them())


def gap(trainer, engine):
    """The most that log-probs of what the engine samples are from the trainer's."""
    requests = [Request(p, Sampling(12), seed=n) for n, p in enumerate(trainer.prompts(4))]
    gaps = [0.0]
    for request, answer in zip(requests, ask(engine, *requests)):
        theirs = trainer.probe(request.prompt, answer.tokens)
        gaps += [abs(a - b) for a, b in zip(answer.logprobs, theirs, strict=True)]
    return max(gaps)


@pytest.mark.skipif(HERE, reason="vLLM is installed")
def test_without_vllm_one_line_says_what_to_install(tmp_path):
    with pytest.raises(EngineError, match=r"pip install -e '\.\[vllm\]'") as caught:
        VllmEngine(tmp_path, None)
    assert "\n" not in str(caught.value)


def test_adapters_and_their_rank_go_together(tmp_path):
    with pytest.raises(EngineError, match="lora_rank"):
        VllmEngine(tmp_path, None, VllmSettings(lora_rank=8))


def test_weights_are_written_once_and_in_the_precision_asked_for(tmp_path):
    from safetensors.torch import load_file

    tied = torch.arange(6.0).view(2, 3)
    write_weights(lambda: [("a", tied), ("b", torch.ones(2)), ("head", tied)], tmp_path, "bfloat16")
    found = load_file(tmp_path / "0000.safetensors")
    assert {name: t.dtype for name, t in found.items()} == dict.fromkeys("ab", torch.bfloat16)
    with pytest.raises(EngineError, match=r"engine\.transfer"):
        write_weights(lambda: [("a", tied)], tmp_path / "none", "float32")


def test_merged_weights_have_the_names_that_the_plain_model_has(tmp_path):
    trainer = Trainer(tmp_path / "model")
    plain = list(weights.merged(trainer.model))
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    assert list(weights.merged(get_peft_model(trainer.model, config))) == plain


@needs_vllm
def test_greedy_answers_are_those_of_the_local_engine(trainer, engine):
    requests = [Request(p, GREEDY) for p in trainer.prompts(6)]
    ours = ask(engine, *requests)
    theirs = ask(LocalEngine(trainer.model, trainer.chat), *requests)
    for a, b in zip(ours, theirs):
        assert (a.tokens, a.text, a.finish, a.version) == (b.tokens, b.text, b.finish, b.version)
        assert list(a.logprobs) == pytest.approx(list(b.logprobs), abs=1e-4)


@needs_vllm
@pytest.mark.parametrize("how", [{}, {"temperature": 0.7}, {"temperature": 1.3, "top_p": 0.6}])
@pytest.mark.parametrize("top_k", [0, 5])
def test_log_probs_are_over_the_whole_vocabulary_at_the_temperature(trainer, engine, how, top_k):
    sampling = Sampling(max_tokens=16, top_k=top_k, **how)
    requests = [Request(p, sampling, seed=n) for n, p in enumerate(trainer.prompts(4))]
    greedy = Request(trainer.prompts(1)[0], GREEDY)  # beside them: the batch is mixed
    for request, answer in zip(requests, ask(engine, *requests, greedy)):
        scores = trainer.logits(request.prompt, answer.tokens) / sampling.temperature
        every = scores.log_softmax(-1)
        chosen = every.gather(1, torch.tensor(list(answer.tokens))[:, None])[:, 0]
        assert list(answer.logprobs) == pytest.approx(chosen.tolist(), abs=1e-4)
        above = (every > chosen[:, None] + 1e-4).sum(-1)
        assert not top_k or int(above.max()) < top_k
        likelier = torch.where(every > chosen[:, None] + 1e-4, every.exp(), 0.0).sum(-1)
        assert float(likelier.max()) < sampling.top_p + 1e-3


@needs_vllm
def test_equal_seeds_sample_equally_whoever_is_beside(trainer, engine):
    prompt = trainer.prompts(1)[0]
    alone = ask(engine, Request(prompt, Sampling(16), seed=7))[0]
    beside = ask(engine, *(Request(prompt, Sampling(16), seed=s) for s in (5, 2**63 + 6, 7)))
    assert beside[2].tokens == alone.tokens
    assert len({tuple(answer.tokens) for answer in beside}) == 3


@needs_vllm
def test_an_end_token_and_a_stop_string_are_kept(trainer, engine, monkeypatch):
    prompt = trainer.prompts(1)[0]
    free = ask(engine, Request(prompt, Sampling(24), seed=3))[0]
    texts = [trainer.chat.text([token]) for token in free.tokens]
    first = next(n for n, text in enumerate(texts) if n and text.isalnum() and text.isascii()) + 1
    cut = ask(engine, Request(prompt, Sampling(24, stop=("never said", texts[first - 1])), seed=3))
    assert (cut[0].tokens, cut[0].finish) == (free.tokens[:first], "stop")
    assert cut[0].text == trainer.chat.text(free.tokens[:first])
    assert len(cut[0].logprobs) == first
    monkeypatch.setattr(trainer.chat, "ends", frozenset({free.tokens[9]}))
    ended = ask(engine, Request(prompt, Sampling(24), seed=3))[0]
    assert ended.tokens == free.tokens[: free.tokens.index(free.tokens[9]) + 1]
    assert (len(ended.logprobs), ended.finish) == (len(ended.tokens), "stop")


@needs_vllm
def test_what_cannot_be_answered_is_refused_in_one_line(trainer, engine):
    long = ids([5] * 512)
    with pytest.raises(PromptTooLong, match="512 tokens"):
        ask(engine, Request(long, GREEDY))
    assert ask(engine, Request(long[:-1], GREEDY))[0].finish == "length"
    with pytest.raises(EngineError, match="ids outside"):
        ask(engine, Request(ids([10**6]), GREEDY))
    with pytest.raises(EngineError, match="temperature 0 or"):
        ask(engine, Request(long[:4], Sampling(temperature=0.001)))
    with pytest.raises(EngineError, match="max_tokens"):
        ask(engine, Request(ids(), GREEDY))


@needs_vllm
def test_a_prefix_is_computed_once_and_forgotten_with_the_weights(trainer, engine):
    prompt = ids(range(5, 105))
    first, second = (ask(engine, Request(prompt, GREEDY))[0] for _ in range(2))
    assert (first.cached, first.computed) == (0, len(prompt))
    assert second.cached == (len(prompt) - 1) // 32 * 32 > 0
    assert second.computed == len(prompt) - second.cached
    asyncio.run(engine.load(engine.version))
    assert ask(engine, Request(prompt, GREEDY))[0].cached == 0


@needs_vllm
def test_load_takes_the_present_weights(trainer, engine):
    assert gap(trainer, engine) < 1e-4
    trainer.change(1)
    assert gap(trainer, engine) > 0.02
    asyncio.run(engine.load(4))
    assert gap(trainer, engine) < 1e-4
    assert ask(engine, Request(trainer.prompts(1)[0], GREEDY))[0].version == engine.version == 4
    assert engine.gap < 1e-4


@needs_vllm
@pytest.mark.parametrize("in_flight", ["finish", "abort"])
def test_requests_in_flight_are_finished_or_asked_again(trainer, engine, monkeypatch, in_flight):
    how = engine.settings.model_copy(update={"in_flight": in_flight})
    monkeypatch.setattr(engine, "settings", how)
    monkeypatch.setattr(trainer.chat, "ends", frozenset())
    monkeypatch.setattr(engine, "aborted", 0)
    long = [Request(p, Sampling(300, 0)) for p in trainer.prompts(3)]

    async def work():
        before = [asyncio.create_task(engine.generate(r)) for r in long]
        while engine.in_flight < 3:
            await asyncio.sleep(0)
        await engine.load(engine.version + 1)
        return await asyncio.gather(*before), await engine.generate(long[0])

    old = engine.version
    before, after = asyncio.run(work())
    assert after.version == old + 1
    assert {answer.version for answer in before} == {old + (in_flight == "abort")}
    assert {len(answer.tokens) for answer in before} == {300}
    assert engine.aborted == (3 if in_flight == "abort" else 0)


@needs_vllm
def test_a_cancelled_request_leaves_vllm(trainer, engine, monkeypatch):
    monkeypatch.setattr(trainer.chat, "ends", frozenset())

    async def work():
        task = asyncio.create_task(engine.generate(Request(trainer.prompts(1)[0], Sampling(400))))
        while not engine.in_flight:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(200):
            if not engine.in_flight:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("vLLM goes on")

    asyncio.run(work())


@needs_vllm
def test_weights_that_arrive_wrong_are_found_and_the_engine_stops(tmp_path):
    trainer = Trainer(tmp_path / "model")
    kept = {name: tensor.clone() for name, tensor in trainer.weights()}
    engine = VllmEngine(
        trainer.folder, trainer.chat, SMALL, weights=kept.items, probe=trainer.probe
    )
    try:
        asyncio.run(engine.load(1))
        trainer.change(2)
        with pytest.raises(EngineError, match="version 2 vLLM's log-probs are"):
            asyncio.run(engine.load(2))
        with pytest.raises(EngineError, match="version 2"):
            ask(engine, Request(trainer.prompts(1)[0], GREEDY))
    finally:
        asyncio.run(engine.aclose())
    asyncio.run(engine.aclose())


@needs_vllm
def test_adapters_alone_are_taken_under_a_new_id(tmp_path):
    trainer = Trainer(tmp_path / "model")
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(trainer.model, config)
    settings = SMALL.model_copy(update={"lora_rank": 4})
    engine = VllmEngine(
        trainer.folder,
        trainer.chat,
        settings,
        adapter=adapted.save_pretrained,
        probe=trainer.probe,
    )
    try:
        assert gap(trainer, engine) < 1e-4
        for version in (1, 2):
            for name, weight in adapted.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(weight, std=0.3)
            assert gap(trainer, engine) > 0.02
            asyncio.run(engine.load(version))
            assert gap(trainer, engine) < 1e-3
    finally:
        asyncio.run(engine.aclose())


@needs_vllm
def test_a_server_is_updated_in_place_from_a_folder(tmp_path):
    trainer = Trainer(tmp_path / "model")
    env = {**ENVIRONMENT, **os.environ, "VLLM_SERVER_DEV_MODE": "1"}
    with serving(lambda port: serve_command(trainer.folder, SMALL, port=port), env) as url:
        prompt = trainer.prompts(1)[0]
        assert server_gap(trainer, url, prompt) < 1e-4
        trainer.change(3)
        assert server_gap(trainer, url, prompt) > 0.02
        weights.save(trainer.model, None, tmp_path / "step-1")
        update_server(url, tmp_path / "step-1", 1)
        assert server_gap(trainer, url, prompt) < 1e-4
        with pytest.raises(EngineError, match="collective_rpc: 500"):
            update_server(url, tmp_path, 2)
    with pytest.raises(EngineError, match="no answer"):
        update_server(url, tmp_path, 2)


def server_gap(trainer, url, prompt):
    """The same of a server's greedy answer."""
    body = {
        "model": str(trainer.folder),
        "prompt": list(prompt),
        "max_tokens": 16,
        "temperature": 0,
        "logprobs": 0,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        said = json.load(answer)["choices"][0]
    theirs = trainer.probe(prompt, said["token_ids"])
    ours = said["logprobs"]["token_logprobs"]
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


@needs_vllm
def test_vllm_ends_with_the_process_that_started_it(tmp_path):
    trainer = Trainer(tmp_path / "model")
    code = (
        "import sys, time, hornbeam.engine.vllm.vllm_engine as v\n"
        "if __name__ == '__main__':\n"
        "    v.VllmEngine(sys.argv[1], None, v.VllmSettings(dtype='float32', cache_gib=0.125))\n"
        "    print('up', flush=True)\n"
        "    time.sleep(600)\n"
    )
    path = tmp_path / "starts.py"
    path.write_text(code)
    parent = subprocess.Popen(
        [sys.executable, str(path), str(trainer.folder)], stdout=subprocess.PIPE, text=True
    )
    while "up" not in parent.stdout.readline():
        assert parent.poll() is None
    children = children_of(parent.pid)
    assert children
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while (left := [pid for pid in children if running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def children_of(pid):
    """All processes below one."""
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    below = [int(word) for word in out.stdout.split()]
    return below + [deeper for child in below for deeper in children_of(child)]


def running(pid):
    out = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(out.stdout.strip()) and not out.stdout.startswith("Z")
