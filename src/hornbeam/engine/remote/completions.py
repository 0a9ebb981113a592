"""An engine behind HTTP: any server that has the /completions of OpenAI (vLLM, SGLang, llama.cpp).

Ids go in where the server takes them and come back where it gives them, with log-probs; a probe
(completions_probe.py) finds out before the first request. What only tells text is for search: its
answers are encoded again here, and nothing of it is trained.

The weights are the server's own. This engine never moves on: it loads version 0 and no other.

Left out: /chat/completions, which cannot go on from a given prefix (chat_completions.py); streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hornbeam.chat import end_of_answer
from hornbeam.engine.remote.completions_probe import Abilities, probe
from hornbeam.engine.remote.http_client import HttpSettings, Refused
from hornbeam.engine.remote.remote_engine import WINDOW, ServerEngine
from hornbeam.engine.remote.replies import ServerAnswer, completion, said
from hornbeam.engine.remote.server_errors import TOO_LONG, message
from hornbeam.engine.request import Completion, Request, Sampling
from hornbeam.engine.scripted import stop_at
from hornbeam.errors import EngineError, PromptTooLong
from hornbeam.tree.nodes import floats, ids

__all__ = ["HttpEngine", "HttpSettings"]

PLAIN = {"presence_penalty": 0, "frequency_penalty": 0}  # a server's own defaults may be others


class HttpEngine(ServerEngine[Abilities]):
    """Speaks through a server; `chat` is the local tokenizer of the model there."""

    async def _able(self) -> Abilities:
        return await probe(self)

    def only_search(self, sampling: Sampling) -> str:
        """Why what is sampled like this cannot be trained on, or "". After `open`."""
        if self.abilities is None:
            return f"{self.settings.root} has not been probed yet"
        why = self.abilities.only_search(sampling)
        return f"{self.settings.root} {why}" if why else ""

    def gives_logprobs(self, sampling: Sampling) -> bool:
        """Whether answers that are sampled like this come with log-probs. After `open`."""
        able = self.abilities
        return able is not None and able.gives_ids and able.gives_plain_logprobs(sampling)

    async def _sample(self, request: Request) -> Completion:
        able, size, how = await self.open(), len(request.prompt), request.sampling
        if how.top_k and not able.extras:
            raise EngineError(f"{self.settings.root} takes no top_k: leave it 0")
        while True:
            room, known = self._room(size, how.max_tokens), self._context
            try:
                answer = await self.ask(able, request.prompt, how, room, request.seed)
                return self._completion(able, answer, request, room)
            except PromptTooLong:
                if self._context == known:  # nothing was learned of the window
                    raise

    async def ask(
        self, able: Abilities, prompt: Sequence[int], how: Sampling, room: int, seed: int
    ) -> ServerAnswer:
        """What the server says. Raises `PromptTooLong`, and `Refused` where it says no."""
        url = f"{self.settings.root}/completions"
        body = self._body(able, prompt, how, room, seed)
        most = len(prompt) + room
        status, answer = await self.client.call(url, body, most, completion)
        if status != 200:
            self.client.tokens.give(most)
            text = " ".join(str(message(answer)).split())[:300]
            if status in (400, 413, 422) and TOO_LONG.search(text):
                window = WINDOW.search(text)
                self._context = self._context or (int(window[1]) if window else 0)
                raise PromptTooLong(f"{url}: a prompt of {len(prompt)} tokens is too long: {text}")
            raise Refused(f"{url}: refused ({status}): {text}")
        done = said(answer, self.chat, room)
        self._enter(done, len(prompt), most)
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

    def _completion(
        self, able: Abilities, answer: ServerAnswer, request: Request, room: int
    ) -> Completion:
        """The answer up to an end token, a stop string or the room, whichever comes first.

        One that ends for no known reason ended by itself where there was room for more.
        """
        tokens = self.chat.encode(answer.text) if answer.tokens is None else answer.tokens
        logprobs = answer.logprobs if answer.tokens is not None else None
        ended = next((n for n, token in enumerate(tokens, 1) if token in self.chat.ends), None)
        tokens = tokens[:ended]
        length = stop_at(self.chat, tokens, request.sampling.stop) or ended
        by_itself = answer.finish == "stop" or (not answer.finish and answer.sampled < room)
        if length is None and by_itself:
            if not tokens or answer.tokens is None or answer.sampled > len(tokens):
                # The server keeps the end token to itself.
                tokens, logprobs = tokens + ids([end_of_answer(self.chat)]), None
            length = len(tokens)
        tokens = tokens[: min(length or room, room)]
        if (
            logprobs is None
            or len(logprobs) < len(tokens)
            or not able.gives_plain_logprobs(request.sampling)
        ):
            logprobs = []
        cached = min(answer.cached, len(request.prompt))
        return Completion(
            tokens=tokens,
            logprobs=floats(logprobs[: len(tokens)]),
            text=self.chat.text(tokens),
            finish="stop" if length is not None and length <= room else "length",
            version=self.version,
            computed=len(request.prompt) - cached,
            cached=cached,
        )
