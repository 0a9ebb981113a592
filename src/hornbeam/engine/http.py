"""An engine behind HTTP: any server that has the /completions of OpenAI (vLLM, SGLang, llama.cpp).

Ids go in where the server takes them and come back where it gives them, with log-probs; a probe
(probe.py) finds out before the first request. What only tells text is for search: its answers are
encoded again here, and nothing of it is trained.

The weights are the server's own. This engine never moves on: it loads version 0 and no other.

Left out: /chat/completions, which cannot go on from a given prefix and would begin its answer
anew; streams; weights sent to the server.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from hornbeam.chat import Chat, end_of_answer
from hornbeam.engine.base import Completion, Request, Sampling, Turnstile
from hornbeam.engine.probe import Abilities, probe
from hornbeam.engine.replies import TOO_LONG, Said, completion, message, said
from hornbeam.engine.scripted import stop_at
from hornbeam.engine.wire import Account, HttpSettings, Refused, Wire
from hornbeam.errors import EngineError, EngineLost, PromptTooLong
from hornbeam.tree import floats, ids

__all__ = ["HttpEngine", "HttpSettings"]

WINDOW = re.compile(r"(?:context (?:length|size|window)|n_ctx)\D{0,20}(\d+)", re.IGNORECASE)
PLAIN = {"presence_penalty": 0, "frequency_penalty": 0}  # a server's own defaults may be others


class BrokenOff(EngineLost):
    """An answer that the server broke off: its weights are changed, or it ends."""


class HttpEngine:
    """Speaks through a server; `chat` is the local tokenizer of the model there.

    `say` is told what the probe found, and when a server that is down is waited for.
    """

    def __init__(
        self, settings: HttpSettings, chat: Chat, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self.settings, self.chat, self.say = settings, chat, say
        self.version = 0
        self.turnstile = Turnstile()
        self.wire = Wire(settings, say)
        self.abilities: Abilities | None = None
        self._opening: asyncio.Task[Abilities] | None = None
        self._flying: set[asyncio.Task[Completion]] = set()
        self._context = settings.context
        self._closed = False

    @property
    def account(self) -> Account:
        """What was asked of the server so far."""
        return self.wire.account

    @property
    def bill(self) -> dict[str, float]:
        """The account by its names, and `cost` by the settings' prices."""
        return {**asdict(self.account), "cost": self.account.cost(self.settings)}

    async def open(self) -> Abilities:
        """What the server can do: asked once, told in a line. Raises `EngineError` if unfit."""
        if self.abilities is None:
            if self._opening is None or self._opening.done():
                self._opening = asyncio.create_task(probe(self))
            self.abilities = await asyncio.shield(self._opening)
            self._context = self._context or self.abilities.context
        return self.abilities

    def only_search(self, sampling: Sampling) -> str:
        """Why what is sampled like this cannot be trained on, or "". After `open`."""
        if self.abilities is None:
            return f"{self.settings.root} has not been probed yet"
        why = self.abilities.only_search(sampling)
        return f"{self.settings.root} {why}" if why else ""

    def tells_logprobs(self, sampling: Sampling) -> bool:
        """Whether answers that are sampled like this come with log-probs. After `open`."""
        able = self.abilities
        return able is not None and able.gives_ids and able.tells(sampling)

    async def generate(self, request: Request) -> Completion:
        """Sample one completion. Raises `PromptTooLong`, and `EngineError` for the rest."""
        if self._closed:
            raise EngineError("the engine is closed: make a new one")
        if not len(request.prompt) or request.sampling.max_tokens < 1:
            raise EngineError("a request needs a prompt and max_tokens of at least 1")
        task = asyncio.ensure_future(self._sample(request))
        self._flying.add(task)
        task.add_done_callback(self._flying.discard)
        try:
            return await task
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if self._closed and not (me and me.cancelling()):
                raise EngineError(
                    "the engine was closed while this request was in flight"
                ) from None
            raise

    async def _sample(self, request: Request) -> Completion:
        able, size, how = await self.open(), len(request.prompt), request.sampling
        if how.top_k and not able.extras:
            raise EngineError(f"{self.settings.root} takes no top_k: leave it 0")
        while True:
            room, known = self._room(size, how.max_tokens), self._context
            try:
                told = await self.ask(able, request.prompt, how, room, request.seed)
                return self._completion(able, told, request, room)
            except PromptTooLong:
                if self._context == known:  # nothing was learned of the window
                    raise

    def _room(self, size: int, most: int) -> int:
        """How many tokens may be sampled."""
        if self._context and size >= self._context:
            raise PromptTooLong(
                f"a prompt of {size} tokens leaves no room in the context of {self._context} of"
                f" {self.settings.root}: shorten it, or limit turns"
            )
        return min(most, self._context - size) if self._context else most

    async def ask(
        self, able: Abilities, prompt: Sequence[int], how: Sampling, room: int, seed: int
    ) -> Said:
        """What the server says. Raises `PromptTooLong`, and `Refused` where it says no."""
        url = f"{self.settings.root}/completions"
        body = self._body(able, prompt, how, room, seed)
        most = len(prompt) + room
        status, answer = await self.wire.call(url, body, most, completion)
        if status != 200:
            self.wire.tokens.give(most)
            told = " ".join(str(message(answer)).split())[:300]
            if status in (400, 413, 422) and TOO_LONG.search(told):
                window = WINDOW.search(told)
                self._context = self._context or (int(window[1]) if window else 0)
                raise PromptTooLong(f"{url}: a prompt of {len(prompt)} tokens is too long: {told}")
            raise Refused(f"{url}: refused ({status}): {told}")
        done = said(answer, self.chat)
        held, size = self.account, done.prompt_tokens or len(prompt)
        held.prompt_tokens += size
        held.cached_tokens += min(done.cached, size)
        held.sampled_tokens += done.sampled
        self.wire.tokens.give(most - size - done.sampled)
        if done.finish == "abort":
            raise BrokenOff(
                f"{url}: an answer was broken off: somebody changes the server's weights"
            )
        return done

    def _body(
        self, able: Abilities, prompt: Sequence[int], how: Sampling, room: int, seed: int
    ) -> dict[str, Any]:
        """The request. 31 bits of the seed, as servers differ in how many they take."""
        body: dict[str, Any] = {
            "model": able.model,
            "prompt": list(prompt) if able.takes_ids else self.chat.spell(prompt),
            "max_tokens": room,
            "temperature": how.temperature,
            "top_p": how.top_p,
            "seed": seed % 2**31,
            **PLAIN,
        }
        if able.logprobs:
            body["logprobs"] = 1
        if how.stop and able.stops:
            body["stop"] = list(how.stop)
        if able.extras:
            body |= {
                "top_k": how.top_k or -1,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
                "stop_token_ids": sorted(self.chat.ends),
                "add_special_tokens": False,
                "skip_special_tokens": False,
                "return_token_ids": True,
                "return_tokens_as_token_ids": True,  # of vLLM before 0.10.2
                "include_stop_str_in_output": True,
                "no_stop_trim": True,  # the same, of SGLang
            }
        return body

    def _completion(self, able: Abilities, told: Said, request: Request, room: int) -> Completion:
        """The answer up to an end token, a stop string or the room, whichever comes first.

        One that ends for no known reason ended by itself where there was room for more.
        """
        tokens = self.chat.encode(told.text) if told.tokens is None else told.tokens
        logprobs = told.logprobs if told.tokens is not None else None
        ended = next((n for n, token in enumerate(tokens, 1) if token in self.chat.ends), None)
        tokens = tokens[:ended]
        length = stop_at(self.chat, tokens, request.sampling.stop) or ended
        by_itself = told.finish == "stop" or (not told.finish and told.sampled < room)
        if length is None and by_itself:
            if not tokens or told.tokens is None or told.sampled > len(tokens):
                # The server keeps the end token to itself.
                tokens, logprobs = tokens + ids([end_of_answer(self.chat)]), None
            length = len(tokens)
        tokens = tokens[: min(length or room, room)]
        if logprobs is None or len(logprobs) < len(tokens) or not able.tells(request.sampling):
            logprobs = []
        cached = min(told.cached, len(request.prompt))
        return Completion(
            tokens=tokens,
            logprobs=floats(logprobs[: len(tokens)]),
            text=self.chat.text(tokens),
            finish="stop" if length is not None and length <= room else "length",
            version=self.version,
            computed=len(request.prompt) - cached,
            cached=cached,
        )

    def cached(self, prompt: array[int]) -> int:
        """None: what a server keeps is not known beforehand."""
        return 0

    async def load(self, version: int) -> None:
        """Probe the server. Raises `EngineError` for a version other than 0: weights stay there."""
        if version != self.version:
            raise EngineError(
                f"{self.settings.root}: the weights are the server's own and cannot become version"
                f' {version}: to train, take [engine] kind = "local" or "vllm"'
            )
        await self.open()

    async def aclose(self) -> None:
        """Fail what is in flight, which ends it at the server too, and close the connections."""
        if self.account.requests and not self._closed:
            self.say(f"{self.settings.root}: {self.account.told(self.settings)}")
        self._closed = True
        opening = self._opening if self._opening and not self._opening.done() else None
        tasks = [*self._flying, *([opening] if opening else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.wire.aclose()
