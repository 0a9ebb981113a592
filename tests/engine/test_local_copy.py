"""The local engine on a copy of the weights, taken up anew while requests are in flight."""

import asyncio

import torch

from hornbeam.engine.local.local_engine import LocalEngine, LocalSettings
from hornbeam.engine.request import Request, Sampling

from .test_local import PROMPTS, Chat, llama, run


def test_a_copy_takes_up_weights_between_two_answers():
    """What runs ends with the old weights, what waits is answered by the new ones."""
    source, copy = llama(), llama()
    engine = LocalEngine(copy, Chat(), LocalSettings(max_batch=1), weights=source.named_parameters)
    requests = [Request(PROMPTS[3], Sampling(max_tokens=40)), Request(PROMPTS[1])]
    old = run(LocalEngine(llama(), Chat()), requests[0])[0]
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.1)
    new = run(LocalEngine(source, Chat()), requests[1])[0]

    async def scene():
        jobs = [asyncio.create_task(engine.generate(request)) for request in requests]
        while not engine._running:
            await asyncio.sleep(0)
        await asyncio.gather(engine.load(7), engine.load(7))
        return await asyncio.gather(*jobs)

    first, second = asyncio.run(scene())
    assert (first.tokens, first.version) == (old.tokens, 0)
    assert (second.tokens, second.logprobs, second.version) == (new.tokens, new.logprobs, 7)
    assert new.tokens != run(LocalEngine(llama(), Chat()), requests[1])[0].tokens
