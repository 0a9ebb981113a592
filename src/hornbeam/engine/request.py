"""What an engine is: token ids in, sampled ids with their log-probs out.

A request holds the messages too that its prompt was made of, for servers that take nothing else.

`Barrier` lets an engine wait until all its clients wait for it, so that which requests share a
batch does not hang on how long a tool took; growth counts its busy episodes on it.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal

from pydantic import Field

from hornbeam.arguments import short
from hornbeam.chat import Message
from hornbeam.errors import ArgumentError, EngineError, PromptTooLong
from hornbeam.settings import Settings
from hornbeam.tree.nodes import floats, ids

# What engines with a copy of the weights take: (Hugging Face name, tensor) of the present ones.
Weights = Callable[[], Iterable[tuple[str, Any]]]
# The trainer's log-probs of tokens after a context, at temperature 1.
Probe = Callable[[Sequence[int], Sequence[int]], Sequence[float]]


SampledBy = Literal["trained", "auto", "bfloat16", "float16", "int8"]


class LocalSettings(Settings):
    """Room of the local engine; they stand here, as that imports torch."""

    max_batch: int = Field(64, ge=1)  # requests in flight; more wait
    cache_tokens: int = Field(32768, ge=0)  # budget of kept prefixes, in tokens
    weights: SampledBy = "trained"  # a packed copy of the linear layers' weights, for CPUs


# What sampling is set by, and in which bounds.
SETTINGS = {
    "max_tokens": "a number of tokens, at least 1",
    "temperature": "a number from 0 to 1e6; 0 is greedy",
    "top_p": "a number from 0 to 1",
    "top_k": "a number of tokens; 0 keeps all",
    "stop": "texts, none of them empty",
}
BOUNDS: dict[str, tuple[float, float, type]] = {
    "max_tokens": (1, 2**31, Integral),
    "temperature": (0, 1e6, Real),
    "top_p": (0, 1, Real),
    "top_k": (0, 2**31, Integral),
}


def fits(name: str, value: Any) -> bool:
    """Whether a setting of sampling can have this value."""
    if name == "stop":
        return isinstance(value, (list, tuple)) and all(isinstance(s, str) and s for s in value)
    low, high, kind = BOUNDS[name]
    plain = type(value) is int or (type(value) is float and kind is Real)  # the rest is slow
    number = plain or (isinstance(value, kind) and not isinstance(value, bool))
    return number and low <= value <= high


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 keep every token."""

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    # ends the sample with the token that completes one of these (growth lets a sample go on that a
    # closing bracket ended inside another: `hornbeam.answers.brackets`)
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.stop, (str, list)):  # a text is one stop string, not its letters
            stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
            object.__setattr__(self, "stop", stop)
        for name in SETTINGS:
            value = getattr(self, name)
            if not fits(name, value) and not (name == "max_tokens" and value == 0):
                raise ArgumentError(f"Sampling: {name} = {value!r} cannot be: {SETTINGS[name]}")


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to sample: a prompt and a seed of its own.

    `messages` are those that the prompt was made of, `tools` the schemas it tells of; none where it
    goes on inside an answer.
    """

    prompt: array[int]
    sampling: Sampling = Sampling()
    seed: int = 0
    order: tuple[Any, ...] = ()  # decides the place in a batch where arrival must not
    messages: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()

    def __repr__(self) -> str:
        return f"<Request of {len(self.prompt)} tokens, {self.sampling}, seed {self.seed}>"


@dataclass(frozen=True, slots=True)
class Completion:
    """What was sampled, the ending token included.

    `logprobs` are log-softmax(logits / temperature) over the whole vocabulary (temperature 1 where
    greedy), shape [len(tokens)], float32. `finish` is "stop" (an end token or a stop string) or
    "length". `computed` and `cached` split the prompt's tokens by whether the engine ran them.
    `sampled` is how many tokens were sampled where that is told and not the number of `tokens`.
    """

    tokens: array[int] = field(default_factory=ids)
    logprobs: array[float] = field(default_factory=floats)
    text: str = ""
    finish: str = "stop"
    version: int = 0
    computed: int = 0
    cached: int = 0
    sampled: int | None = None

    @property
    def paid(self) -> int:
        """How many tokens were sampled."""
        return len(self.tokens) if self.sampled is None else self.sampled

    def __repr__(self) -> str:
        said = f"{short(self.text)}, {len(self.tokens)} tokens, {self.finish}"
        return f"<Completion {said}, version {self.version}>"


def room(request: Request, vocabulary: int, context: int) -> int:
    """How many tokens a request may sample; raises for what no model can answer."""
    size = len(request.prompt)
    if not size or request.sampling.max_tokens < 1:
        raise EngineError("a request needs a prompt and max_tokens of at least 1")
    if min(request.prompt) < 0 or max(request.prompt) >= vocabulary:
        raise EngineError(
            f"the prompt has ids outside the model's {vocabulary}: model and tokenizer disagree"
        )
    if size >= context:
        raise PromptTooLong(
            f"a prompt of {size} tokens leaves no room in the model's context of {context}:"
            " shorten it, or limit turns"
        )
    return min(request.sampling.max_tokens, context - size)


class Barrier:
    """Counts clients that are busy elsewhere; `quiet` waits until none is.

    While a session is open more requests will come, so working memory is worth keeping; `at_rest`
    is called when the last one ends.
    """

    def __init__(self, at_rest: Callable[[], None] = lambda: None) -> None:
        self._busy = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._at_rest = at_rest
        self.sessions = 0

    @contextmanager
    def session(self) -> Iterator[None]:
        """Requests may come for the length of a block."""
        self.sessions += 1
        try:
            yield
        finally:
            self.sessions -= 1
            if not self.sessions:
                self._at_rest()

    def enter(self) -> None:
        """One more client is busy outside the engine."""
        if not self._busy:
            self._quiet.clear()
        self._busy += 1

    def leave(self) -> None:
        """One client waits for the engine, or has gone."""
        self._busy -= 1
        if not self._busy:
            self._quiet.set()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Busy for the length of a block."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    async def quiet(self) -> None:
        """Wait until no client is busy outside the engine."""
        while self._busy:
            await self._quiet.wait()
