"""An engine that says what you tell it to say: for tests, for docs, and for trying a program out.

    Scripted("CALC[2+2]")                          always the same
    Scripted(["CALC[2+2]", "ANSWER[4]"])           one after the other, in the order of requests
    Scripted({"= 4": "ANSWER[4]", "": "CALC[2+2]"})   the key that stands last in the prompt speaks
    Scripted(lambda prompt, rng: rng.choice(["yes", "no"]))

A function and a mapping answer by prompt and seed alone, so equal seeds give equal trees; a list
counts requests and suits one episode at a time. Greedy requests (temperature 0) all get the same
random numbers, whatever their seed.

Left out: clocks, and a prefix cache: all prompt tokens count as computed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from random import Random

from hornbeam.answers.brackets import stop_end
from hornbeam.arguments import function, is_async, list_of, mapping, one_of, wrong
from hornbeam.chat import ByteChat, Chat, check_chat, end_of_answer
from hornbeam.engine.closing import ClosedByWith
from hornbeam.engine.request import Barrier, Completion, Request
from hornbeam.errors import EngineError, PromptTooLong
from hornbeam.tree.nodes import floats

Say = Callable[[str, Random], str]
LogProbs = Callable[[str, Sequence[int]], Sequence[float]]


class Scripted(ClosedByWith):
    """Says what `say` says, token by token as a model would, with the log-probs you name.

    `logprob` is one number for every token, or a function of prompt text and sampled ids that
    gives one a token. `context` is the window in tokens; None has no end.
    """

    def __init__(
        self,
        say: Say | Mapping[str, str] | Sequence[str],
        chat: Chat | None = None,
        *,
        logprob: float | LogProbs = -1.0,
        context: int | None = None,
    ) -> None:
        self.chat: Chat = check_chat(chat, "Scripted: chat") if chat else ByteChat()
        self.version = 0
        self.barrier = Barrier()
        self._say = _speaker(say)
        if callable(logprob):
            function(logprob, 2, "Scripted: logprob", "a number, or a function of prompt and ids")
        else:
            one_of(logprob, (int, float), "Scripted: logprob", "a number, or a function of those")
        if context is not None:
            one_of(context, int, "Scripted: context", "a number of tokens, or None")
        self._logprob = logprob
        self.context = context
        self._end = end_of_answer(self.chat)

    def __repr__(self) -> str:
        return f"<Scripted engine, version {self.version}>"

    async def generate(self, request: Request) -> Completion:
        """What the script says to this prompt, cut as a model's answer would be.

        Raises `PromptTooLong` where the window is full and `EngineError` where the script has
        nothing to say; errors that the script raises go through.
        """
        room = self._room(request)
        prompt = self.chat.decode(request.prompt)
        said = self._say(prompt, Random(request.seed if request.sampling.temperature else 0))
        if not isinstance(said, str):
            raise EngineError(f"the script must say a text, it said {said!r}"[:300])
        tokens, finish = self._cut(self.chat.encode(said), request.sampling.stop, room)
        return Completion(
            tokens=tokens,
            logprobs=self._logprobs(prompt, tokens),
            text=self.chat.text(tokens),
            finish=finish,
            version=self.version,
            computed=len(request.prompt),
        )

    def _room(self, request: Request) -> int:
        """How many tokens may be sampled."""
        if not len(request.prompt) or request.sampling.max_tokens < 1:
            raise EngineError("a request needs a prompt and max_tokens of at least 1")
        if self.context is None:
            return request.sampling.max_tokens
        room = self.context - len(request.prompt)
        if room < 1:
            raise PromptTooLong(
                f"a prompt of {len(request.prompt)} tokens leaves no room for an answer in the"
                f" window of {self.context}"
            )
        return min(room, request.sampling.max_tokens)

    def _cut(self, tokens: array[int], stop: Sequence[str], room: int) -> tuple[array[int], str]:
        """(ids, finish): up to an end token, a stop string or the room, whichever comes first."""
        ends = [tokens.index(end) for end in self.chat.ends if end in tokens]
        tokens = tokens[: min(ends)] if ends else tokens[:]
        length = _balanced(self.chat, tokens, stop)
        if length is None:
            tokens.append(self._end)
            length = len(tokens)
        return tokens[: min(length, room)], "stop" if length <= room else "length"

    def _logprobs(self, prompt: str, tokens: array[int]) -> array[float]:
        if not callable(self._logprob):
            return floats([self._logprob]) * len(tokens)
        logprobs = floats(self._logprob(prompt, tokens))
        if len(logprobs) != len(tokens):
            raise EngineError(f"the script gave {len(logprobs)} log-probs for {len(tokens)} tokens")
        return logprobs

    def cached(self, prompt: array[int]) -> int:
        """None: there is no cache."""
        return 0

    async def load(self, version: int) -> None:
        """Speak under this version from now on."""
        self.version = version

    async def aclose(self) -> None:
        """Nothing is held."""


def stop_at(chat: Chat, tokens: array[int], stop: Sequence[str]) -> int | None:
    """How many ids there are up to the one that completes a stop string; None without one."""

    def stops(length: int) -> bool:
        text = chat.text(tokens[:length])
        return any(s in text for s in stop)

    if not stop or not stops(len(tokens)):
        return None
    return bisect_left(range(len(tokens)), True, key=stops)


def _balanced(chat: Chat, tokens: array[int], stop: Sequence[str]) -> int | None:
    """The same, but not inside a bracket: there a model is asked to go on, which no script can."""
    if not stop:
        return None
    end = stop_end(chat.decode(tokens), stop)
    if end is None:
        return None
    return bisect_left(range(len(tokens) + 1), end, key=lambda n: len(chat.decode(tokens[:n])))


def _speaker(say: Say | Mapping[str, str] | Sequence[str]) -> Say:
    """One function for every way to write a script."""
    wants = "a text, a list of texts, texts by what a prompt holds, or a function (prompt, rng)"
    if callable(say):
        if is_async(function(say, 2, "Scripted", wants)):
            raise wrong("Scripted", wants, say).hint("it is async: write a plain def")
        return say
    if isinstance(say, str):
        return lambda prompt, rng: say
    if isinstance(say, Mapping):
        list_of(list(mapping(say, "Scripted", wants).values()), str, "Scripted", "texts by prompt")
        return lambda prompt, rng: _by_key(say, prompt)
    lines = iter(list_of(say, str, "Scripted", "texts"))

    def next_line(prompt: str, rng: Random) -> str:
        line = next(lines, None)
        if line is None:
            raise EngineError(f"the script is used up; next prompt: ...{prompt[-60:]!r}")
        return line

    return next_line


def _by_key(say: Mapping[str, str], prompt: str) -> str:
    """The value of the key that stands last in the prompt; the longest of those that end there."""
    found = [(prompt.rfind(key) + len(key), len(key), key) for key in say if key and key in prompt]
    if found:
        return say[max(found)[2]]
    if "" in say:
        return say[""]
    raise EngineError(f"the script has no key for the prompt ...{prompt[-60:]!r}")
