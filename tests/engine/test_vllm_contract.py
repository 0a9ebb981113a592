"""The contract of all engines, held by vLLM: in this process, and behind `vllm serve` over HTTP.

Skipped where vLLM is not installed (.ci/vllm installs it).
"""

import asyncio
import copy
import importlib.util
import os

import pytest
import torch

from hornbeam.chat import TemplateChat, user
from hornbeam.engine.remote.completions import HttpEngine
from hornbeam.engine.remote.http_client import HttpSettings
from hornbeam.engine.vllm.serve_process import serve_command
from hornbeam.engine.vllm.vllm_engine import ENVIRONMENT, VllmEngine, VllmSettings
from hornbeam.models import tiny_model
from hornbeam.train import weights
from serving import serving

from .test_contract import (  # noqa: F401
    WINDOW,
    test_a_stop_string_ends_with_the_token_that_completes_it,
    test_an_answer_is_whole,
    test_an_end_token_ends_an_answer_and_is_part_of_it,
    test_greedy_is_one_answer_whatever_the_seed,
    test_max_tokens_ends_an_answer,
    test_seeds_make_samples_and_company_does_not,
    test_the_version_is_stamped_and_closing_ends_what_runs,
    test_the_window_limits_prompt_and_answer,
    test_what_cannot_be_answered_is_refused,
    test_who_is_cancelled_disturbs_nobody,
)

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: run .ci/vllm"
    ),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own, and those of what it imports
    pytest.mark.timeout(1200),
]
SMALL = VllmSettings(dtype="float32", cache_gib=0.125, context=WINDOW, max_batch=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose next tokens are far from equally likely, with heads that vLLM knows."""
    path = tmp_path_factory.mktemp("model")
    model, tokenizer = weights.load(tiny_model.make(path / "made", width=128, heads=4, layers=1))
    words = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    embeddings = model.get_input_embeddings().weight  # of the head too
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(20 if weight is embeddings else 8)
        # vLLM waits for whole characters before it looks for a stop string: hardly any lone bytes
        embeddings[[word.startswith("<") for word in words]] = 0
    weights.save(model, tokenizer, path / "model")
    return path / "model"


@pytest.fixture(scope="module")
def chat(folder):
    return TemplateChat(weights.load(folder)[1])


@pytest.fixture(scope="module")
def held(folder, chat):
    """The vLLM engine of this process, made anew where a test has closed it."""
    engines = []

    def engine():
        if not engines or engines[-1]._llm is None:
            engines.append(VllmEngine(folder, chat, SMALL))
        return engines[-1]

    yield engine
    for each in engines:
        asyncio.run(each.aclose())


@pytest.fixture(scope="module")
def server(folder):
    """The address of a `vllm serve` on loopback."""
    env = {**ENVIRONMENT, **os.environ}
    with serving(lambda port: serve_command(folder, SMALL, port=port), env) as url:
        yield f"{url}/v1"


@pytest.fixture(params=["vllm", "vllm serve"])
def run(request, chat):
    """Runs a scene with an engine."""
    in_process = request.param == "vllm"
    place = request.getfixturevalue("held" if in_process else "server")

    def go(scene):
        own = copy.copy(chat)

        async def played():
            engine = place() if in_process else HttpEngine(HttpSettings(url=place), own)
            engine.chat = own
            try:
                prompt = own.render([user("k01 k02 k03")])
                return await asyncio.wait_for(scene(engine, prompt), 300)
            finally:
                if not in_process:
                    await engine.aclose()

        return asyncio.run(played())

    return go
