"""Between a request and an ask: the settings of one, the answer that a reply is."""

from __future__ import annotations

import json

from hornbeam.episode.reply import Reply
from hornbeam.gateway.answered import CallOut, HttpAnswer, name_of
from hornbeam.gateway.asked import Asked


def answered(asked: Asked, agent: str, key: str, reply: Reply) -> HttpAnswer:
    """What is sent of a reply.

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
        sampled_tokens=len(reply.tokens),
    )


def _object(raw: str) -> str:
    """Arguments as they were sampled; none at all are an empty object."""
    return raw if raw.strip() else json.dumps({})
