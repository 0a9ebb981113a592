"""OpenAI's completions, for searches: prompts as texts, several at once, each a user's message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.asked import Asked, BadRequest, ignored_of, model_of, number, sampling_of

PROMPTS = 1024  # texts of one request
# Settings that are read, or say nothing of what is sampled here.
QUIET = {"model", "prompt", "max_tokens", "stop", "n", "best_of", "echo", "logprobs", "suffix"}
QUIET |= {"seed", "user", "stream", "stream_options"}


def read(body: Mapping[str, Any]) -> list[Asked]:
    """The asks of a request's body, one a prompt. Raises `BadRequest`."""
    prompt = body.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not prompts:
        raise BadRequest("prompt: a text or a list of texts is expected")
    if not all(isinstance(each, str) for each in prompts):
        raise BadRequest("prompt: ids of tokens are not read: send texts")
    for name in ("echo", "logprobs", "suffix", "stream"):
        if body.get(name):
            raise BadRequest(f"{name}: a search tells its answer, whole and without log-probs")
    if max(number(body, "n", 1, True) or 1, number(body, "best_of", 1, True) or 1) > 1:
        raise BadRequest("n: a search has one answer: its model's name says how many it looks at")
    if len(prompts) > PROMPTS:
        raise BadRequest(f"prompt: a request has at most {PROMPTS}, not {len(prompts)}")
    ignored = tuple(ignored_of(body, QUIET, False))
    sampling = sampling_of(body, "max_tokens", body.get("stop"))
    model = model_of(body)
    return [
        Asked(model, ({"role": "user", "content": text},), sampling=sampling, ignored=ignored)
        for text in prompts
    ]


def write(asked: Sequence[Asked], answers: Sequence[HttpAnswer]) -> dict[str, Any]:
    """The body of the answers, in the order of the prompts."""
    choices = [
        {"index": n, "text": each.text, "finish_reason": each.finish, "logprobs": None, **each.more}
        for n, each in enumerate(answers)
    ]
    prompt, sampled = (sum(values) for values in zip(*map(_tokens, answers)))
    cached = {"cached_tokens": sum(each.cached_tokens for each in answers)}
    usage = {"prompt_tokens": prompt, "completion_tokens": sampled}
    usage |= {"total_tokens": prompt + sampled, "prompt_tokens_details": cached}
    head = {"id": f"cmpl-{answers[0].id}", "object": "text_completion", "created": 0}
    return {**head, "model": asked[0].model, "choices": choices, "usage": usage}


def _tokens(answer: HttpAnswer) -> tuple[int, int]:
    return answer.prompt_tokens, answer.sampled_tokens
