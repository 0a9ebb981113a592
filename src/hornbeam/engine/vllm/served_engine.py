"""A `vllm serve` whose weights are the trainer's: an http engine that loads.

`hornbeam serve` starts one. New weights pass through a folder that both sides see, and the server
reloads them in place, as the vLLM engine does in processes of its own; then its log-probs are
compared with the trainer's. A label that only this engine gives stands at the server for them and
is read after every answer: of a server that was started again, or that another trainer updates,
nothing is taken.

Left out: adapters sent alone, several servers behind one engine, transfer between GPUs.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from uuid import uuid4

from pydantic import Field

from hornbeam.chat import Chat
from hornbeam.engine.remote.completions import HttpEngine
from hornbeam.engine.remote.completions_probe import Abilities
from hornbeam.engine.remote.http_client import HttpSettings
from hornbeam.engine.remote.remote_engine import BrokenOff
from hornbeam.engine.remote.replies import PauseInfo, WeightInfo, prompt_logprobs
from hornbeam.engine.request import Completion, Probe, Request, Weights
from hornbeam.engine.vllm.serve_process import update_calls
from hornbeam.engine.weight_transfer import (
    BOUNDS,
    SEEN_TOKENS,
    Row,
    arrived,
    looked_at,
    place,
    write_weights,
)
from hornbeam.errors import EngineLost
from hornbeam.files.terminal import to_stderr

NAPS = 0.05  # seconds between two looks whether all requests have ended


class ServedSettings(HttpSettings):
    """Where the server is, and how weights come to it.

    `dtype` is the precision that they are sent in, `transfer` a folder that the server sees too
    (default: shared memory of this machine). `in_flight` and `bound` are those of the vLLM engine.
    """

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    in_flight: Literal["finish", "abort"] = "finish"
    bound: float | None = Field(None, gt=0)
    transfer: str = ""


class ServedEngine(HttpEngine):
    """Speaks through a `vllm serve` that takes what `weights` gives at each `load`.

    `probe` tells the trainer's log-probs; `gap` is the mean difference that was found last,
    `aborted` counts requests that a load broke off and that were asked again.
    """

    settings: ServedSettings

    def __init__(
        self,
        settings: ServedSettings,
        chat: Chat,
        weights: Weights,
        probe: Probe,
        say: Callable[[str], None] = to_stderr,
    ) -> None:
        super().__init__(settings, chat, say)
        self.gap: float | None = None
        self.aborted = 0
        self._weights, self._probe = weights, probe
        self._name, self._label = uuid4().hex, ""  # the label is "" before the first load
        self._seen: list[Row] = []
        self._asked = 0
        self._dead = ""  # why it may answer no more
        self._may_ask = asyncio.Event()
        self._may_ask.set()

    # --- asking ----------------------------------------------------------------------------------

    async def _sample(self, request: Request) -> Completion:
        """One completion, of the weights that were loaded last. Raises `EngineLost` otherwise."""
        while True:
            await self._may_ask.wait()
            if self._dead:
                raise EngineLost(self._dead)
            self._asked += 1
            try:
                return await self._once(request)
            except BrokenOff:
                self.aborted += 1
                await asyncio.sleep(NAPS)
            finally:
                self._asked -= 1

    async def _once(self, request: Request) -> Completion:
        if not self._label:
            raise EngineLost("load the weights first: those of the server may be any others")
        if why := self.only_search(request.sampling):
            raise EngineLost(f"what this engine says is for search only: {why}")
        done = await super()._sample(request)
        await self._ours()
        if len(request.prompt) + len(done.tokens) < min(SEEN_TOKENS, self._context or SEEN_TOKENS):
            self._seen = [(request.prompt, done.tokens)]
        return done

    async def _ours(self) -> None:
        """See that the server has the weights that it was given; what is lost never comes back."""
        answer = await self._call_server("weight_info", get=True)
        found = WeightInfo.model_validate(answer).weight_version
        if found != self._label:
            self._dead = (
                f"{self._server}: the server has other weights than version {self.version} that it"
                f" was given (they are called {found!r}): it was started again, or another trainer"
                " updates it. The same command goes on"
            )
            raise EngineLost(self._dead)

    # --- weights ---------------------------------------------------------------------------------

    async def load(self, version: int) -> None:
        """Send the trainer's weights; requests wait meanwhile. They must not change as it runs.

        Raises `EngineLost` where they do not arrive; then the engine answers no more.
        """
        if self._dead:
            raise EngineLost(self._dead)
        if not self._label:
            answer = await self._call_server("is_paused", get=True)
            if PauseInfo.model_validate(answer).is_paused:
                await self._call_server("resume")  # who paused it has gone
        able = await self.open()
        how = self.settings
        with TemporaryDirectory(prefix="hornbeam-", dir=how.transfer or place()) as folder:
            await asyncio.to_thread(write_weights, self._weights, Path(folder), how.dtype)
            self._may_ask = asyncio.Event()
            try:
                await self._still()
                if self._label:
                    await self._ours()
                await self._take(able, folder, version)
            except BaseException as error:
                self._dead = self._dead or str(error) or "a load was aborted: make a new engine"
                raise
            finally:
                self._may_ask.set()

    async def open(self) -> Abilities:
        """What the server can do. Raises `EngineLost` if unfit.

        Its log-probs are known to be vLLM's processed ones where the probe cannot tell, as with
        weights that are sure of every token.
        """
        able = await super().open()
        if able.gives_ids and able.logprobs and not able.scale:
            self.abilities = able = replace(able, scale="cut")
        return able

    async def _still(self) -> None:
        """Wait until no request is in flight, or break them off."""
        while self._asked:
            if self.settings.in_flight == "abort":
                await self._call_server("abort_requests")
            await asyncio.sleep(NAPS)

    async def _take(self, able: Abilities, folder: str, version: int) -> None:
        label = f"{self._name}/{version}"
        try:
            for path, body in update_calls(folder, label):  # they empty the prefix cache, too
                await self._call_server(path, **body)
        finally:
            await self._call_server("resume")
        self._label, self.version = label, version
        how, rows = self.settings, looked_at(self.chat, self._seen)

        async def score(context: array[int], tokens: array[int]) -> list[float]:
            return await self._score(able, context, tokens)

        bound = how.bound or BOUNDS[how.dtype]
        self.gap = await arrived(score, self._probe, rows, version, bound)

    async def _score(self, able: Abilities, context: array[int], tokens: array[int]) -> list[float]:
        """Log-probs of given tokens after a context, at temperature 1."""
        body: dict[str, Any] = {
            "model": able.model,
            "prompt": [*context, *tokens],
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 0,
            "add_special_tokens": False,
        }
        answer = await self._call_server("v1/completions", **body)
        logprobs = prompt_logprobs(answer, tokens, len(context))
        if logprobs is None:
            said = " ".join(str(answer).split())[:200]
            raise EngineLost(f"{self._server}/v1/completions: gives no prompt_logprobs: {said}")
        return logprobs

    @property
    def _server(self) -> str:
        """The address of the server itself."""
        return self.settings.root.removesuffix("/v1")

    async def _call_server(self, path: str, get: bool = False, **body: Any) -> Any:
        """What the server answers. Raises `EngineLost` where it does not do it."""
        url = f"{self._server}/{path}"
        status, answer = await self.client.once(url, None if get else body)
        if status == 200 and not (isinstance(answer, dict) and answer.get("error")):
            return answer
        if status == 404:
            why = "a server whose weights can change is started by `hornbeam serve`"
        elif "collective_rpc" in path:
            why = "see its log; engine.transfer has to be a folder that it sees"
        else:
            why = " ".join(str(answer or "see its log").split())[:200]
        raise EngineLost(f"{url}: refused ({status}): {why}")
