"""The local engine against transformers itself, on tiny random models of several families."""

import asyncio
import os
from array import array
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from hornbeam.chat import ByteChat, TemplateChat, user
from hornbeam.engine.local.local_engine import LocalEngine, LocalSettings
from hornbeam.engine.local.network import batches
from hornbeam.engine.local.prefix_tree import PrefixRun
from hornbeam.engine.local.slots import NARROW
from hornbeam.engine.request import Request, Sampling
from hornbeam.errors import EngineError, PromptTooLong
from hornbeam.tree.nodes import ids

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"  # peft asks transformers by its old name
)

CACHE = Path(os.environ.get("HORNBEAM_CACHE") or "~/.cache/hornbeam").expanduser()
SMALL = CACHE / "models" / "smollm2-135m"
SHAPE = {
    "vocab_size": 256,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 160,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GEMMA = {"head_dim": 8, "num_key_value_heads": 1, "sliding_window": 6}
PROMPTS = [ids(range(10, 10 + n)) for n in (1, 4, 9, 17)] + [ids([10, 11, 12, 99, 98])]


class Chat(ByteChat):
    """Bytes, ended by 2 as the models here are."""

    ends = frozenset({2})


class Endless(ByteChat):
    """Bytes, and no end."""

    ends = frozenset()


def llama(**more):
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE, num_key_value_heads=2, initializer_range=0.3, **more)
    return LlamaForCausalLM(config).eval()


def lora():
    model = get_peft_model(llama(), LoraConfig(target_modules=["q_proj", "v_proj"], r=4))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    return model.eval()


def family(model, config, **more):
    torch.manual_seed(0)
    return model(config(**SHAPE, initializer_range=0.3, **more)).eval()


MODELS = {
    "llama": llama,
    "lora": lora,
    "qwen2": lambda: family(Qwen2ForCausalLM, Qwen2Config, num_key_value_heads=4),
    "qwen2 sliding": lambda: family(
        Qwen2ForCausalLM,
        Qwen2Config,
        num_key_value_heads=2,
        use_sliding_window=True,
        sliding_window=5,
        max_window_layers=1,
    ),
    "qwen3": lambda: family(Qwen3ForCausalLM, Qwen3Config, num_key_value_heads=2, head_dim=16),
    "mistral": lambda: family(
        MistralForCausalLM, MistralConfig, num_key_value_heads=2, sliding_window=7
    ),
    "gemma2": lambda: family(Gemma2ForCausalLM, Gemma2Config, **GEMMA),
    "gemma3": lambda: family(
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        **GEMMA,
    ),
}


def run(engine, *requests):
    """All at once."""

    async def all_of_them():
        return await asyncio.gather(*(engine.generate(r) for r in requests))

    return asyncio.run(all_of_them())


def full_logits(model, sequence):
    with torch.no_grad():
        return model(torch.tensor([list(sequence)])).logits[0].float()


@pytest.mark.parametrize("name", MODELS)
def test_greedy_equals_transformers(name):
    model = MODELS[name]()
    engine = LocalEngine(model, Chat())
    sampling = Sampling(max_tokens=24, temperature=0)
    for answer, prompt in zip(run(engine, *(Request(p, sampling) for p in PROMPTS)), PROMPTS):
        want = model.generate(
            torch.tensor([list(prompt)]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=24,
            do_sample=False,
        )[0, len(prompt) :]
        assert list(answer.tokens) == want.tolist()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [0.7, 0.0])
def test_logprobs_are_those_of_a_full_forward(name, temperature):
    model = MODELS[name]()
    engine = LocalEngine(model, Chat())
    sampling = Sampling(max_tokens=12, temperature=temperature, top_p=0.9)
    requests = [Request(p, sampling, seed=i) for i, p in enumerate(PROMPTS)]
    for answer, prompt in zip(run(engine, *requests), PROMPTS):
        logits = full_logits(model, prompt + answer.tokens) / (temperature or 1)
        rows = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        want = rows.gather(1, torch.tensor(list(answer.tokens))[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(answer.logprobs), want, atol=1e-4, rtol=1e-4)


def test_batched_equals_one_by_one():
    model = llama()
    requests = [
        Request(p, Sampling(max_tokens=5 + 2 * i, top_p=1 - 0.05 * i), seed=i)
        for i, p in enumerate(PROMPTS * 3)
    ]
    together = run(LocalEngine(model, Chat()), *requests)
    narrow = run(LocalEngine(model, Chat(), LocalSettings(max_batch=3)), *requests)
    alone = [run(LocalEngine(model, Chat()), r)[0] for r in requests]
    assert [c.tokens for c in together] == [c.tokens for c in alone]
    assert [c.tokens for c in narrow] == [c.tokens for c in alone]
    for one, other in zip(together, alone):
        assert list(one.logprobs) == pytest.approx(list(other.logprobs), abs=1e-4)


def test_seeds_differ_and_repeat():
    engine = LocalEngine(llama(), Chat())
    requests = [Request(PROMPTS[1], Sampling(max_tokens=16), seed=s) for s in (1, 2, 1)]
    first, second, again = run(engine, *requests)
    assert first.tokens == again.tokens != second.tokens


def test_a_shared_prompt_is_run_once():
    engine = LocalEngine(llama(), Chat())
    prompt = ids(range(10, 40))
    requests = [Request(prompt, Sampling(max_tokens=4), seed=s) for s in range(8)]
    answers = run(engine, *requests)
    assert sum(a.computed for a in answers) == 30
    assert all(a.computed + a.cached == 30 for a in answers)
    assert run(engine, requests[0])[0].cached == 30  # and not again later


def test_branches_run_only_what_is_theirs():
    engine = LocalEngine(llama(), Chat())
    trunk = ids(range(10, 30))
    prompts = [trunk + ids([50]), trunk + ids([60, 61]), trunk, trunk[:12]]
    answers = run(engine, *(Request(p, Sampling(max_tokens=2)) for p in prompts))
    assert [a.computed for a in answers] == [21, 2, 0, 0]


def test_the_next_turn_runs_only_what_is_new():
    engine = LocalEngine(llama(), Chat())
    prompt = ids(range(10, 40))
    first = run(engine, Request(prompt, Sampling(max_tokens=10), seed=3))[0]
    turn = prompt + first.tokens + ids([70, 71, 72])
    second = run(engine, Request(turn, Sampling(max_tokens=3)))[0]
    assert second.computed == 1 + 3  # the last sampled token has no keys and values yet
    inside = run(engine, Request(turn[:35], Sampling(max_tokens=3)))[0]
    assert inside.computed == 1  # its keys and values were there, its logits were not


def test_long_prompts_run_in_chunks_and_rows_move_on_when_they_outgrow_their_slots():
    model = llama()
    model.config.max_position_embeddings = 3000
    engine = LocalEngine(model, Endless())
    prompts = [ids([10 + i * i % 200 for i in range(n)]) for n in (1100, NARROW - 5, NARROW, 9)]
    requests = [Request(p, Sampling(max_tokens=4 + 4 * i), i) for i, p in enumerate(prompts)]
    for answer, request in zip(run(engine, *requests), requests):
        assert len(answer.tokens) == request.sampling.max_tokens
        rows = full_logits(model, request.prompt + answer.tokens)[len(request.prompt) - 1 : -1]
        want = rows.log_softmax(-1).gather(1, torch.tensor(list(answer.tokens))[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(answer.logprobs), want, atol=1e-4, rtol=1e-4)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 90)), max_size=20))
def test_batches_hold_every_run_once_and_little_padding(shapes):
    runs = [PrefixRun(None, ids([1] * n), start) for n, start in shapes]
    made = list(batches(runs, limit=64))
    assert sorted(map(id, runs)) == sorted(id(run) for batch in made for run in batch)
    for batch in made:
        sizes = [len(run.tokens) for run in batch]
        assert len(batch) == 1 or len(batch) * max(sizes) <= 64
        assert 4 * min(sizes) >= 3 * max(sizes) - 4


def test_a_small_budget_changes_cost_only():
    model = llama()
    requests = [Request(p, Sampling(max_tokens=9), seed=i) for i, p in enumerate(PROMPTS * 2)]
    rich, poor = (
        LocalEngine(model, Chat()),
        LocalEngine(model, Chat(), LocalSettings(cache_tokens=0)),
    )
    for _ in range(2):
        a, b = run(rich, *requests), run(poor, *requests)
        assert [c.tokens for c in a] == [c.tokens for c in b]
    assert sum(c.computed for c in a) == 0 < sum(c.computed for c in b)


def test_a_stop_string_ends_with_the_token_that_completes_it():
    class Pairs(Chat):
        """Every id is two letters."""

        def decode(self, tokens):
            return "".join(chr(97 + t % 26) + chr(97 + t // 26) for t in tokens)

    engine = LocalEngine(llama(), Pairs())
    free = run(engine, Request(PROMPTS[2], Sampling(max_tokens=12), seed=5))[0]
    stop = free.text[9:12]  # ends in the middle of token 5, or earlier by chance
    cut = run(engine, Request(PROMPTS[2], Sampling(max_tokens=12, stop=("??", stop)), seed=5))[0]
    assert cut.finish == "stop" and stop in cut.text
    assert stop not in Pairs().decode(cut.tokens[:-1])
    assert cut.tokens == free.tokens[: len(cut.tokens)] and len(cut.tokens) <= 6


def test_end_tokens_are_part_of_the_answer():
    model = llama()
    with torch.no_grad():
        first = int(full_logits(model, PROMPTS[2])[-1].argmax())

    class Ended(Chat):
        ends = frozenset({first})

    answer = run(LocalEngine(model, Ended()), Request(PROMPTS[2], Sampling(temperature=0)))[0]
    assert list(answer.tokens) == [first] and answer.finish == "stop"


def test_the_context_limits_prompt_and_answer():
    engine = LocalEngine(llama(), Chat())
    answer = run(engine, Request(ids([10] * 155), Sampling(max_tokens=50)))[0]
    assert len(answer.tokens) == 5 and answer.finish == "length"
    with pytest.raises(PromptTooLong, match=r"160 tokens .* context of 160"):
        run(engine, Request(ids([10] * 160)))


@pytest.mark.parametrize(
    "request_", [Request(ids()), Request(ids([5]), Sampling(max_tokens=0)), Request(ids([256]))]
)
def test_a_request_that_cannot_be_answered_is_refused(request_):
    with pytest.raises(EngineError):
        run(LocalEngine(llama(), Chat()), request_)


def test_new_weights_speak_after_load():
    model = llama()
    engine = LocalEngine(model, Chat())
    request = Request(PROMPTS[3], Sampling(max_tokens=12), seed=1)
    before = run(engine, request)[0]
    rows = torch.tensor([list(request.prompt + before.tokens)])
    model(rows, labels=rows).loss.backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    asyncio.run(engine.load(7))
    after = run(engine, request)[0]
    fresh = run(LocalEngine(model, Chat()), request)[0]
    assert after.version == 7 and after.computed == len(PROMPTS[3])
    assert after.tokens == fresh.tokens != before.tokens


def test_modes_are_as_before():
    model = llama(attention_dropout=0.5).train()
    model.model.norm.eval()
    engine = LocalEngine(model, Chat())
    requests = [Request(PROMPTS[2], Sampling(max_tokens=8, temperature=0)) for _ in range(2)]
    assert len({tuple(a.tokens) for a in run(engine, *requests)}) == 1
    assert model.training and model.model.layers[0].self_attn.training
    assert not model.model.norm.training


def test_logits_that_are_not_finite_fail_their_request_alone():
    model = llama()
    engine = LocalEngine(model, Chat())
    with torch.no_grad():
        model.model.embed_tokens.weight[200] = torch.nan

    async def both():
        good = engine.generate(Request(PROMPTS[1], Sampling(max_tokens=4, temperature=0)))
        bad = engine.generate(Request(ids([10, 200]), Sampling(max_tokens=4)))
        return await asyncio.gather(good, bad, return_exceptions=True)

    good, bad = asyncio.run(both())
    assert isinstance(bad, EngineError) and "not finite" in str(bad)
    assert len(good.tokens) == 4


def test_a_failing_model_fails_all_who_wait_and_the_engine_goes_on():
    model = llama()
    engine = LocalEngine(model, Chat())
    forward, calls = model.forward, []

    def broken(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError("no room")
        return forward(*args, **kwargs)

    model.forward = broken

    async def some():
        jobs = [engine.generate(Request(p, Sampling(max_tokens=9))) for p in PROMPTS]
        return await asyncio.gather(*jobs, return_exceptions=True)

    failed = asyncio.run(some())
    assert all(isinstance(f, EngineError) and "no room" in str(f) for f in failed)
    assert all(len(a.tokens) <= 9 for a in asyncio.run(some()))


def test_newcomers_are_admitted_together_but_never_starve():
    engine = LocalEngine(llama(), Chat())

    async def scene():
        long = [Request(PROMPTS[i % 5], Sampling(max_tokens=60), i) for i in range(32)]
        jobs = [asyncio.create_task(engine.generate(r)) for r in long]
        for _ in range(6):
            await asyncio.sleep(0)
        late = await engine.generate(Request(ids([77, 78]), Sampling(max_tokens=2)))
        busy = [job for job in jobs if not job.done()]
        await asyncio.gather(*jobs)
        return late, busy

    late, busy = asyncio.run(scene())
    assert late.computed == 2 and busy


def test_cancelled_requests_leave_the_batch():
    engine = LocalEngine(llama(), Chat())

    async def scene():
        long = asyncio.create_task(engine.generate(Request(PROMPTS[3], Sampling(max_tokens=140))))
        short = asyncio.create_task(engine.generate(Request(PROMPTS[2], Sampling(max_tokens=20))))
        for _ in range(5):
            await asyncio.sleep(0)
        long.cancel()
        answer = await short
        with pytest.raises(asyncio.CancelledError):
            await long
        await engine.load(1)
        return answer

    assert (
        asyncio.run(scene()).tokens
        == run(LocalEngine(llama(), Chat()), Request(PROMPTS[2], Sampling(max_tokens=20)))[0].tokens
    )


def test_rows_are_kept_while_more_may_come_and_given_back_after():
    engine = LocalEngine(llama(), Chat())
    last = Request(PROMPTS[3], Sampling(max_tokens=20))

    def held():
        return any(group.slots.rows for group in engine._groups)

    async def scene():
        with engine.barrier.session():
            for prompt in PROMPTS[:3]:  # longer ones into the rows that others left
                await engine.generate(Request(prompt, Sampling(max_tokens=4)))
                while engine._task is not None:
                    await asyncio.sleep(0)
                assert held()
            again = await engine.generate(last)
        await engine._stopped()
        return again.tokens

    assert asyncio.run(scene()) == run(LocalEngine(llama(), Chat()), last)[0].tokens
    assert not held()


def test_load_and_close_with_requests_in_flight():
    engine = LocalEngine(llama(), Chat())

    async def scene():
        job = asyncio.create_task(engine.generate(Request(PROMPTS[3], Sampling(max_tokens=140))))
        await asyncio.sleep(0)
        with pytest.raises(EngineError, match="1 requests are in flight"):
            await engine.load(1)
        await engine.aclose()
        with pytest.raises(EngineError, match="closed"):
            await job
        with pytest.raises(EngineError, match="closed"):
            await engine.generate(Request(PROMPTS[3]))

    asyncio.run(scene())


def test_an_engine_outlives_an_event_loop_that_broke():
    engine = LocalEngine(llama(), Chat())
    request = Request(PROMPTS[1], Sampling(max_tokens=3))

    async def broken():
        job = asyncio.create_task(engine.generate(request))
        await asyncio.sleep(0)  # the engine's own task is made, and has not begun
        raise KeyError(job)

    with pytest.raises(KeyError):
        asyncio.run(broken())
    assert run(engine, request)[0].tokens


def test_deterministic_runs_are_equal_bit_for_bit_whatever_arrives_when():
    model = llama()

    async def client(engine, number, delays):
        prompt, out = PROMPTS[number % 5], []
        for turn in range(3):
            with engine.barrier.busy():
                await asyncio.sleep(delays[number] * 0.001)
            request = Request(prompt, Sampling(max_tokens=4 + number), number, (number, turn))
            answer = await asyncio.wait_for(engine.generate(request), 60)
            out.append((answer.tokens, answer.logprobs.tobytes(), answer.computed))
            prompt = prompt + answer.tokens + ids([number + 5])
        return out

    async def team(delays):
        engine = LocalEngine(model, Chat(), LocalSettings(max_batch=4), deterministic=True)
        order = sorted(range(len(delays)), key=lambda i: delays[i])
        jobs = {i: asyncio.create_task(client(engine, i, delays)) for i in order}
        return [await jobs[i] for i in range(len(delays))]

    first = asyncio.run(team([0, 3, 1, 7, 2, 5]))
    assert first == asyncio.run(team([6, 0, 9, 1, 4, 0]))


@pytest.mark.model
@pytest.mark.skipif(not SMALL.exists(), reason="`hornbeam models pull smollm2-135m` fetches it")
def test_the_small_real_model_speaks_as_in_transformers():
    model = AutoModelForCausalLM.from_pretrained(SMALL, dtype=torch.float32).eval()
    chat = TemplateChat(AutoTokenizer.from_pretrained(SMALL))
    prompt = chat.render([user("Name a tree.")])
    sampling = Sampling(max_tokens=12, temperature=0, stop=("tree",))
    (answer,) = run(LocalEngine(model, chat), Request(prompt, sampling))
    rows = full_logits(model, prompt + answer.tokens)[len(prompt) - 1 : -1]
    assert list(answer.tokens) == rows.argmax(-1).tolist()
    assert answer.text == chat.text(answer.tokens)
    assert "tree" not in chat.text(answer.tokens[:-1])
    ended = "tree" in answer.text or answer.tokens[-1] in chat.ends
    assert (answer.finish == "stop") == ended


def test_an_answer_that_the_chat_cannot_read_is_told():
    class Broken(Endless):
        def decode(self, tokens):
            raise ValueError("no such token")

    engine = LocalEngine(llama(), Broken())
    with pytest.raises(EngineError, match="cannot read what was sampled: no such token"):
        run(engine, Request(PROMPTS[0], Sampling(max_tokens=3)))


def test_answers_are_compact_arrays():
    answer = run(LocalEngine(llama(), Chat()), Request(PROMPTS[0], Sampling(max_tokens=3)))[0]
    assert isinstance(answer.tokens, array) and answer.logprobs.typecode == "f"
