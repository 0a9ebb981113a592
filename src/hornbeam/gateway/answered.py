"""What a request over HTTP is answered, whatever its format."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CALL_ID = re.compile(r"call_[0-9a-f]{24}")  # ids of calls, as they are made here


@dataclass(frozen=True, slots=True)
class CallOut:
    """A tool call as it is sent: its arguments as they were sampled, a JSON object."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One answer. `id` depends on the ask and what was said alone: a replay gives the same."""

    id: str
    model: str
    text: str
    finish: str  # "stop", "length" or "tool_calls"
    reasoning: str = ""
    calls: tuple[CallOut, ...] = ()
    logprobs: Sequence[tuple[str, float]] = ()
    prompt_tokens: int = 0
    cached_tokens: int = 0
    sampled_tokens: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)  # fields of ours beside the format's


def name_of(ask: str, tokens: array[int], number: int = 0) -> str:
    """A name of 24 letters and digits for an answer's part, from its ask's digest and its ids."""
    said = hashlib.blake2b(ask.encode(), digest_size=12, person=str(number).encode()[:16])
    said.update(b"|")
    said.update(",".join(map(str, tokens)).encode())
    return said.hexdigest()
