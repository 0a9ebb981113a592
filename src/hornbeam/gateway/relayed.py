"""Between a request and an ask: the settings of one, the answer that a reply is."""

from __future__ import annotations

import json
from array import array
from collections import defaultdict, deque

from hornbeam.episode.reply import Reply
from hornbeam.errors import HornbeamError, PromptTooLong
from hornbeam.gateway.answered import CallOut, HttpAnswer, name_of
from hornbeam.gateway.asked import Asked, BadRequest

SEEN = 8  # sequences of one agent that prompts are held against


class SeenPrompts:
    """What stood in the prompts and answers of a session: the tokens that a cache would serve."""

    def __init__(self) -> None:
        self._seen: defaultdict[str, deque[array[int]]] = defaultdict(lambda: deque(maxlen=SEEN))

    def cached(self, reply: Reply) -> int:
        """How many first ids of the prompt stood before, and keep it with its answer."""
        if reply.source is None:
            return 0
        context, seen = reply.source.context(), self._seen[reply.agent]
        shared = [_shared(context, each) for each in seen]
        for at, size in enumerate(shared):
            if size == len(seen[at]):  # goes on here
                del seen[at]
                break
        seen.append(context + reply.tokens)
        return max(shared, default=0)


def _shared(a: array[int], b: array[int]) -> int:
    """How many first ids are equal."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def refused(error: HornbeamError) -> BadRequest:
    """What the sender of a request hears of an ask that failed."""
    if isinstance(error, BadRequest):
        return error
    if isinstance(error, PromptTooLong):
        return BadRequest(str(error), 400, "context_length_exceeded")
    return BadRequest(str(error), 500, "engine_error")


def answered(asked: Asked, agent: str, key: str, reply: Reply, cached: int = 0) -> HttpAnswer:
    """What is sent of a reply, of whose prompt so many ids stood before.

    Calls are sent as such where all can be made: read, of tools that were offered, the answer not
    cut off. Else the answer is the text that was sampled: clients run calls that are cut off, or
    fail of arguments that are no JSON.
    """
    ident, offered = name_of(key, reply.tokens), {t["function"]["name"] for t in asked.tools}
    whole = reply.finish != "length"
    sound = whole and all(not c.problem and c.name in offered for c in reply.calls)
    calls = tuple(
        CallOut(f"call_{name_of(key, reply.tokens, n + 1)}", call.name, _object(call.raw))
        for n, call in enumerate(reply.calls if sound else ())
    )
    finish = "length" if not whole else "tool_calls" if calls else "stop"
    plain = bool(reply.calls) and not calls
    return HttpAnswer(
        ident,
        asked.model or agent,
        reply.text if plain or not asked.tools else reply.content,
        finish,
        "" if plain or not asked.tools else reply.reasoning,
        calls,
        tuple((f"token_id:{t}", p) for t, p in zip(reply.tokens, reply.logprobs))
        if asked.logprobs
        else (),
        prompt_tokens=reply.prompt_tokens,
        cached_tokens=cached,
        sampled_tokens=len(reply.tokens),
    )


def _object(raw: str) -> str:
    """Arguments as they were sampled; none at all are an empty object."""
    return raw if raw.strip() else json.dumps({})
