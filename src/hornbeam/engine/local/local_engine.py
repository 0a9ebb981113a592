"""The local engine: samples in this process, from the weights that are trained or a copy of them.

A prefix is run once and kept in a prefix tree; requests join and leave a running batch; what was
sampled stays in the tree, so that the next turn runs only its own new tokens. One asyncio task
does the work and gives way to others between rounds; it lives only while there are requests.

Left out: several devices, fork of a running request.
"""

from __future__ import annotations

import asyncio
from array import array
from typing import Any

import torch
from torch import Tensor

from hornbeam.chat import Chat, check_chat
from hornbeam.engine.closing import ClosedByWith
from hornbeam.engine.fingerprint import Fingerprint, marks
from hornbeam.engine.local.network import Network
from hornbeam.engine.local.prefix_tree import PrefixRun, PrefixTree
from hornbeam.engine.local.running_batch import SamplingJob, SlotGroup
from hornbeam.engine.local.slots import Slots, widths
from hornbeam.engine.local.trial import narrow, settled
from hornbeam.engine.request import Barrier, Completion, LocalSettings, Request, Weights, room
from hornbeam.engine.token_sampling import pick, uniforms
from hornbeam.errors import EngineError, EngineLost

FEW = 8  # see `_admissible`
HOPS = 8  # turns of the event loop without news after which no client is on its way


DEFAULT = LocalSettings()


class LocalEngine(ClosedByWith):
    """Samples from a `transformers` causal LM (plain or LoRA) in this process.

    With `deterministic`, requests are admitted and rounds run only while no client is busy on the
    barrier, in the order of `Request.order`, so that equal submissions give equal bits.

    With `weights` the model is a copy, which `load` brings up to date by parameter names: it lets
    what is running end, holds back what waits, and goes on with the new weights.

    Weights that change without a `load` are noticed before the next request (`fingerprint`): what
    the old ones computed is dropped and `version` goes up by one. While requests are in flight
    they must not change: those fail with `EngineError`.
    """

    def __init__(
        self,
        model: Any,
        chat: Chat,
        settings: LocalSettings = DEFAULT,
        *,
        deterministic: bool = False,
        weights: Weights | None = None,
    ) -> None:
        self.chat = check_chat(chat, "LocalEngine")
        self.settings = settings
        self.deterministic, self.version = deterministic, 0
        self.barrier = Barrier(self._at_rest)
        self._network = settled(Network(model))
        self.context = self._network.context
        self._model, self._weights = model, weights
        self._network.linears.pack(settings.weights)
        narrow(self._network)
        self._fingerprint = Fingerprint(self._network.model)
        self._loaded: list[Any] = []  # marks of the weights that were copied
        self._held = 0  # loads that wait for what is running
        self._free = asyncio.Event()
        costs = self._network.logits_cost, self._network.state_cost
        self._prefixes = PrefixTree(settings.cache_tokens, *costs)
        bounds = widths(self._network.context, self._network.turn)
        self._groups = [SlotGroup(Slots(self._network, bound)) for bound in bounds]
        self._waiting: list[SamplingJob] = []
        self._rounds_held = 0  # since when few requests wait to be admitted
        self._task: asyncio.Task[None] | None = None
        self._arrivals = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<LocalEngine of {type(self._network.model).__name__}, version {self.version}>"

    @property
    def _running(self) -> list[SamplingJob]:
        return [job for group in self._groups for job in group.jobs]

    async def generate(self, request: Request) -> Completion:
        """Sample one completion. Raises `PromptTooLong`, and `EngineError` for the rest."""
        if self._closed:
            raise EngineError("the engine is closed: make a new one")
        end = self._network.end(len(request.prompt))
        limit = room(request, self._network.vocabulary, end)
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        draws = uniforms(request.seed, limit)
        self._waiting.append(SamplingJob(request, future, self._arrivals, limit, draws))
        self._arrivals += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        return await future

    @property
    def keeps(self) -> bool:
        """Whether what was run for a prompt is kept for the next, as long as there is room."""
        return self.settings.cache_tokens > 0

    def cached(self, prompt: array[int]) -> int:
        """How many of the prompt's first tokens the prefix tree holds."""
        if self._fingerprint.touched():
            return 0
        return self._prefixes.known(prompt, self._network.far(len(prompt)))

    async def load(self, version: int) -> None:
        """The weights have changed: forget what the old ones computed, speak as `version`."""
        if self._weights is not None:
            await self._copy(self._weights, version)
            return
        live = [job for job in self._waiting + self._running if not job.future.done()]
        if live:
            raise EngineError(f"load while {len(live)} requests are in flight: await them first")
        await self._stopped()
        self._forget()
        self._take()
        self.version = version

    async def _copy(self, weights: Weights, version: int) -> None:
        """Take up the trainer's weights between two answers."""
        if version == self.version and self._loaded == marks(weights()):
            return
        self._held += 1
        self._free.clear()
        try:
            while self._running:
                await asyncio.sleep(0)
            own = dict(self._model.named_parameters())
            with torch.no_grad():
                for name, value in weights():
                    own[name].copy_(value)
            self._prefixes.clear()
            self._take()
            self.version, self._loaded = version, marks(weights())
        finally:
            self._held -= 1
            if not self._held:
                self._free.set()

    async def aclose(self) -> None:
        """Fail what is in flight, end the task, give the memory back."""
        self._closed = True
        self._fail(EngineError("the engine was closed while this request was in flight"))
        await self._stopped()
        self._forget()

    async def _serve(self) -> None:
        """Rounds until nothing is left to do; an error reaches all who wait."""
        try:
            await asyncio.sleep(0)  # let those come who start together
            self._renew(self._fingerprint.differs())
            with self._network.sampling():
                while self._waiting or self._running:
                    await self._settle()
                    self._drop_cancelled()
                    self._renew(self._fingerprint.touched())
                    if not self._held:
                        self._admit()
                    elif not self._running:
                        await self._free.wait()
                    self._round()
                    if self._fingerprint.settle():
                        self._network.linears.forget()
            if not self.barrier.sessions:
                self._rest()
        except BaseException as error:
            known = isinstance(error, EngineError)
            why = f"{error}" if known else f"sampling failed: {type(error).__name__}: {error}"
            self._fail(EngineError(why), error)
            self._forget()
            if not isinstance(error, Exception):
                raise
        finally:
            self._task = None

    def _renew(self, changed: bool) -> None:
        """Weights that changed without a load: forget what the old ones computed."""
        if not changed:
            return
        if running := len(self._running):
            raise EngineError(f"the weights changed while {running} requests ran: await them first")
        self._prefixes.clear()
        self._rest()
        self._take()
        self.version, self._loaded = self.version + 1, []

    async def _settle(self) -> None:
        """Give way to others; if deterministic, until no client is busy or on its way."""
        await asyncio.sleep(0)
        calm = 0
        while self.deterministic and calm < HOPS:
            await self.barrier.quiet()
            before = self._arrivals
            await asyncio.sleep(0)
            calm = calm + 1 if self._arrivals == before else 0

    def _drop_cancelled(self) -> None:
        self._waiting = [job for job in self._waiting if not job.future.done()]
        for group in self._groups:
            for row in reversed(range(len(group.jobs))):
                if group.jobs[row].future.done():
                    group.leave(row)

    def _admissible(self) -> int:
        """How many of those who wait may join now.

        Few newcomers wait some rounds for more: a prefill costs about a round, however short.
        """
        running = len(self._running)
        count = min(len(self._waiting), self.settings.max_batch - running)
        if count < running // FEW and self._rounds_held < FEW:
            self._rounds_held += bool(count)
            return 0
        self._rounds_held = 0
        return count

    def _admit(self) -> None:
        """Move waiting requests into the batch, each with its first token sampled."""
        count = self._admissible()
        if not count:
            return
        if self.deterministic:
            self._waiting.sort(key=lambda job: job.place)
        jobs = self._waiting[:count]
        ends = [self._add(job) for job in jobs]
        while self._prefixes.pending:
            for runs in self._network.batches(self._prefixes.ready()):
                for run, prefilled in zip(runs, self._network.prefill(runs)):
                    self._prefixes.fill(run, *prefilled)
        self._sample(jobs, torch.stack([run.known_logits() for run in ends]))
        for job in jobs:
            if job.finish or not job.sound:
                self._answer(job)
        self._join([(job, run) for job, run in zip(jobs, ends) if job.sound and not job.finish])
        del self._waiting[:count]
        self._prefixes.trim()

    def _add(self, job: SamplingJob) -> PrefixRun:
        prompt = job.request.prompt
        run, job.computed = self._prefixes.add(prompt, self._network.far(len(prompt)))
        return run

    def _join(self, going: list[tuple[SamplingJob, PrefixRun]]) -> None:
        """Give each job a row in the narrowest slots that hold its prompt."""
        least = 0
        for group in self._groups:
            bound = group.slots.bound
            fit = [(job, run) for job, run in going if least <= len(job.request.prompt) < bound]
            if fit:
                group.slots.join([run.path() for _, run in fit])
                group.jobs += [job for job, _ in fit]
            least = bound

    def _round(self) -> None:
        """One more token for every request of the batch."""
        groups = [group for group in self._groups if group.jobs]
        if not groups:
            return
        steps = [group.slots.step([job.tokens[-1] for job in group.jobs]) for group in groups]
        self._sample([job for group in groups for job in group.jobs], torch.cat(steps))
        for group in groups:
            self._part(group)
        self._prefixes.trim()

    def _part(self, group: SlotGroup) -> None:
        """Let go who is finished, and pass on who has outgrown the slots."""
        for row in reversed(range(len(group.jobs))):
            job = group.jobs[row]
            if job.finish or not job.sound:
                if job.sound:
                    known = job.request.prompt + job.tokens[:-1]
                    kv, state = group.slots.row(row), group.slots.state(row)
                    self._prefixes.give(known, kv, state, self._network.far(len(known)))
                group.leave(row, wipe=not job.sound)
                self._answer(job)
            elif group.slots.lengths[row] >= group.slots.bound:
                wider = self._groups[self._groups.index(group) + 1]
                wider.slots.adopt(group.slots.row(row), group.slots.state(row))
                wider.jobs.append(job)
                group.leave(row)

    def _sample(self, jobs: list[SamplingJob], logits: Tensor) -> None:
        """Append a token to each job, and tell it whether its logits were finite."""
        samplings = [job.request.sampling for job in jobs]
        picks = pick(logits, samplings, [job.draws[len(job.tokens)] for job in jobs])
        for job, token, logprob, sound in zip(jobs, *picks):
            job.tokens.append(token)
            job.logprobs.append(logprob)
            job.sound = sound
            job.finish = self._finish(job)

    def _finish(self, job: SamplingJob) -> str:
        """Why the job is finished now, or ""."""
        if job.tokens[-1] in self.chat.ends or self._stopped_at_string(job):
            return "stop"
        return "length" if len(job.tokens) == job.limit else ""

    def _stopped_at_string(self, job: SamplingJob) -> bool:
        stop = job.request.sampling.stop
        if not stop:
            return False
        # A token is a byte or more; the rest is room for what decoding does at the cut.
        tail = max(len(text.encode()) for text in stop) + 8
        text = self.chat.text(job.tokens[-tail:])
        return any(mark in text for mark in stop)

    def _answer(self, job: SamplingJob) -> None:
        if job.future.done():
            return
        if not job.sound:
            job.future.set_exception(
                EngineLost("the model's logits are not finite: its weights are damaged")
            )
            return
        try:
            text = self.chat.text(job.tokens)
        except Exception as error:  # the job has left the batch: nobody else would tell
            wrong = EngineError(f"the chat cannot read what was sampled: {error}")
            wrong.__cause__ = error
            job.future.set_exception(wrong)
            return
        job.future.set_result(
            Completion(
                tokens=job.tokens,
                logprobs=job.logprobs,
                text=text,
                finish=job.finish,
                version=self.version,
                computed=job.computed,
                cached=len(job.request.prompt) - job.computed,
            )
        )

    def _fail(self, error: EngineError, cause: BaseException | None = None) -> None:
        error.__cause__ = cause
        for job in self._waiting + self._running:
            if not job.future.done():
                job.future.set_exception(error)

    def _forget(self) -> None:
        self._waiting = []
        self._prefixes.clear()
        self._network.linears.forget()
        for group in self._groups:
            group.jobs.clear()
            group.slots.clear()

    def _rest(self) -> None:
        """Give the rows' memory to whoever trains now; rows that still run keep theirs."""
        for group in self._groups:
            if not group.jobs:
                group.slots.clear()

    def _at_rest(self) -> None:
        """Nobody will ask for a while: give the memory of copied weights back, too."""
        self._rest()
        if not self._running:
            self._network.linears.forget()

    def _take(self) -> None:
        """The present weights are those that are run from now on."""
        self._fingerprint.take()
        self._network.linears.forget()

    async def _stopped(self) -> None:
        """Wait until the task has ended, which it does once no request is left."""
        while self._task is not None and not self._task.done():
            await asyncio.sleep(0)
