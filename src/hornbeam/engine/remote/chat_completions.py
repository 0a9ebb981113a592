"""An engine for servers that chat: the /chat/completions of OpenAI, hosted ones included.

It sends the messages of a request and hears text, for search, evaluation, labels, judges and
teachers. There are no ids and no log-probs, so nothing of it is trained, and an answer cannot be
gone on with. Without a tokenizer what is said is kept in pieces of text (`PieceChat`). Tools go to
the server in its own form, and what it calls is kept as the text that the chat reads calls from.

Answers are cut here at stop strings: the API leaves them out of the text and does not say whether
one ended it. What was said behind them is paid for.

Left out: streams, several choices (n), log-probs, reasoning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from hornbeam.answers.brackets import stop_end
from hornbeam.chat import Chat, Message, PieceChat, end_of_answer
from hornbeam.engine.remote.chat_probe import LIMITS, OPTIONS, ChatAbilities, probe
from hornbeam.engine.remote.http_client import HttpSettings, Refused
from hornbeam.engine.remote.remote_engine import WINDOW, ServerEngine
from hornbeam.engine.remote.replies import Answered, ServerAnswer, completion, within
from hornbeam.engine.remote.server_errors import TOO_LONG, message
from hornbeam.engine.request import Completion, Request, Sampling
from hornbeam.errors import EngineLost, PromptTooLong

# Refused with what a model that reasons had paid by then: an answer without words.
SPENT = re.compile(r"could not finish the message", re.IGNORECASE)
# How long the prompt of a request is that was too long with its answer.
SIZE = re.compile(
    r"(\d+)\s(?:input tokens|in the (?:messages|prompt))|prompt contains(?: at least)? (\d+)",
    re.IGNORECASE,
)
OWN = {*LIMITS, *OPTIONS, "model", "messages", "stream", "n", "stop", "top_k"}


class ChatSettings(HttpSettings):
    """Where a server that chats is and how it is asked; `url` ends before "/chat/completions".

    With a `tokenizer`, a folder or known model, what is said is kept in its ids, so that value
    models that read them can guide, and can be fitted on it. `extra_body` goes into every request
    as it is: {reasoning_effort = "low"}.
    """

    extra_body: dict[str, Any] = Field(default_factory=dict)

    @field_validator("extra_body")
    @classmethod
    def _others(cls, value: dict[str, Any]) -> dict[str, Any]:
        if own := OWN & value.keys():
            raise ValueError(f"{min(own)!r} is set by engine and agents: leave it out")
        return value


class ChatEngine(ServerEngine[ChatAbilities]):
    """Speaks through a server that chats; `chat` keeps what is said."""

    settings: ChatSettings
    continues = False

    def __init__(
        self,
        settings: ChatSettings,
        chat: Chat | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        super().__init__(settings, chat or PieceChat(), say)

    async def _able(self) -> ChatAbilities:
        return await probe(self)

    def only_search(self, sampling: Sampling) -> str:
        """Why nothing that is sampled can be trained on."""
        return f"{self.settings.root} chats: it gives text, not the sampled ids"

    def gives_logprobs(self, sampling: Sampling) -> bool:
        """Never."""
        return False

    async def _sample(self, request: Request) -> Completion:
        root = self.settings.root
        if not request.messages:
            raise EngineLost(
                f"{root} chats: it begins every answer anew and cannot go on inside one; leave the"
                ' agent\'s segment out, or take kind = "http" where the server has /completions'
            )
        able, how, size = await self.open(), request.sampling, len(request.prompt)
        room = self._room(size, how.max_tokens)
        while True:
            try:
                asked = able, request.messages, size, how, room, request.seed, request.tools
                answer = await self.ask(*asked)
            except Crowded as full:
                if not 0 < full.left < room:
                    raise
                room = full.left
            else:
                return self._completion(answer, request, room)

    async def ask(
        self,
        able: ChatAbilities,
        messages: Sequence[Message],
        size: int,
        how: Sampling,
        room: int,
        seed: int,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> ServerAnswer:
        """What the server says; `size` is the prompt's as it is counted here.

        Raises `PromptTooLong`, and `Refused` where the server says no.
        """
        url = f"{self.settings.root}/chat/completions"
        body = self._body(able, messages, how, room, seed)
        if tools:
            body["tools"] = [dict(each) for each in tools]
        status, answer = await self.client.call(url, body, size + room, completion)
        if status != 200:
            words = " ".join(str(message(answer)).split())[:300]
            if status == 400 and SPENT.search(words):
                done = ServerAnswer("", None, None, "length", None, 0, room, None)
                self._enter(done, size, size + room)
                return done
            self.client.tokens.give(size + room)
            if status in (400, 413, 422) and TOO_LONG.search(words):
                raise Crowded(f"{url}: a prompt of some {size} tokens is too long: {words}", words)
            raise Refused(f"{url}: refused ({status}): {words}", status, answer)
        done = self._said(answer, messages, tools, room)
        self._enter(done, size, size + room)
        return done

    def _body(
        self, able: ChatAbilities, messages: Sequence[Message], how: Sampling, room: int, seed: int
    ) -> dict[str, Any]:
        """The request. 31 bits of the seed, as servers differ in how many they take."""
        given = {"temperature": how.temperature, "top_p": how.top_p, "seed": seed % 2**31}
        return {
            "model": able.model,
            "messages": [dict(each) for each in messages],
            able.limit: room,
            **{name: value for name, value in given.items() if name in able.takes},
            **({"top_k": how.top_k} if how.top_k else {}),
            **self.settings.extra_body,
        }

    def _said(
        self,
        answer: Answered,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        room: int,
    ) -> ServerAnswer:
        choice, usage = answer.choice, answer.usage
        text = choice.message.content or choice.message.refusal or choice.text or ""
        if choice.message.tool_calls:
            said = {"role": "assistant", "content": text, "tool_calls": choice.message.tool_calls}
            text = self.chat.written(messages, said, tools)
        text, fault = within(text, room)
        return ServerAnswer(
            text=text,
            tokens=None,
            logprobs=None,
            finish=choice.finish,
            prompt_tokens=usage.prompt,
            cached=usage.prompt_tokens_details.cached_tokens or 0,
            sampled=usage.sampled or len(self.chat.encode(text)),
            prompt=None,
            fault=fault,
        )

    def _completion(self, answer: ServerAnswer, request: Request, room: int) -> Completion:
        """The answer up to a stop string.

        One that ends for no known reason ended by itself where there was room for more.
        """
        end = stop_end(answer.text, request.sampling.stop)
        tokens = self.chat.encode(answer.text[:end])
        ended = next((n for n, token in enumerate(tokens) if token in self.chat.ends), None)
        tokens = tokens[:ended]
        by_itself = answer.finish == "stop" or (not answer.finish and answer.sampled < room)
        if end is None and (by_itself or ended is not None):
            tokens.append(end_of_answer(self.chat))
        size = answer.prompt_tokens or len(request.prompt)
        cached = min(answer.cached, size)
        stopped = end is not None or by_itself or ended is not None
        return Completion(
            tokens=tokens,
            text=self.chat.text(tokens),
            finish="stop" if stopped else "length",
            version=self.version,
            computed=size - cached,
            cached=cached,
            sampled=answer.sampled,
        )


class Crowded(PromptTooLong):
    """A prompt that is too long with its answer; `left` is the room that the server's words leave.

    0 where they do not tell.
    """

    def __init__(self, answer: str, words: str) -> None:
        super().__init__(answer)
        window, size = WINDOW.search(words), SIZE.search(words)
        self.left = int(window[1]) - int(size[1] or size[2]) if window and size else 0
