"""Actors on a Ray cluster that do jobs; one that dies is replaced and its jobs are done again.

The only import of ray (extra `ray`). What the actors are, and what they do, is their caller's
business; Ray places them and moves what passes. A result is returned once or not at all.

Left out: actors that outlive their driver, tasks without actors, files for other machines.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import Field

from hornbeam.errors import EngineLost, HornbeamError, RecipeError, WorkerError, how_to_get
from hornbeam.settings import Settings

J = TypeVar("J")
DEATHS = 3  # of actors under one job, or before one has ever worked: then it is given up
STARTS = 3  # tries to start a cluster here: Ray gives its own processes few seconds to come up
PATIENCE = 30.0  # seconds without room for an actor after which that is told
REACH = 5.0  # seconds in which an address must answer
BEAT, MISSES = 5.0, 6  # seconds between looks at the cluster, and how many it may miss


class Cluster(Settings):
    """Where actors run: so many `growers`, with `cpus` and `gpus` each.

    `address` is Ray's: "auto" (the cluster of this machine), "host:6379", "ray://host:10001"; ""
    starts a cluster here that ends with the run.
    """

    address: str = ""
    growers: int = Field(2, ge=1)
    cpus: float = Field(1.0, ge=0)
    gpus: float = Field(0.0, ge=0)


class _RayActor:
    """What Ray runs: a thing that is made there, whose async methods are called from here."""

    thing: Any

    async def make(self, maker: Callable[[], Any]) -> None:
        self.thing = maker()

    async def call(self, method: str, *args: Any) -> Any:
        return await getattr(self.thing, method)(*args)


class RayActors:
    """Actors that hold what `maker` makes; made when there is work. `say` is told who died.

    Raises `RecipeError` without ray or where a cluster here cannot have such actors, `WorkerError`
    where there is no cluster.
    """

    def __init__(
        self, cluster: Cluster, maker: Callable[[], Any], say: Callable[[str], None]
    ) -> None:
        self.cluster, self._maker, self._say = cluster, maker, say
        if cluster.address:
            _reach(cluster.address)
            os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # twenty take minutes
        self._ray = _ray()
        self._own = not self._ray.is_initialized() and _join(self._ray, cluster, say)
        options = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus}
        self._kind = self._ray.remote(_RayActor).options(**options)
        self._made: dict[int, asyncio.Future[Any]] = {}  # by place
        self._waits = self._gone = False

    def put(self, value: Any) -> Any:
        """Hand a value to the cluster, once for all actors; what comes back can be awaited there.

        It is kept as long as what comes back is.
        """
        return self._ray.put(value)

    async def each(
        self,
        method: str,
        jobs: Iterable[J],
        at_once: int,
        give: Callable[[J], tuple[Any, ...] | None],
        deliver: Callable[[J, Any], None],
    ) -> None:
        """Have every job done by a method; at most `at_once` of them are out, spread evenly.

        `give` returns a job's arguments when it is handed out, or None to leave it out. `deliver`
        takes the result, once a job. The first error stops all and is raised as it was there.
        """
        queue: asyncio.Queue[tuple[J, int]] = asyncio.Queue()
        for job in jobs:
            queue.put_nowait((job, 0))
        count = self.cluster.growers
        each = math.ceil(min(at_once, queue.qsize()) / count)
        over = [asyncio.create_task(queue.join()), asyncio.create_task(self._watch())]
        for place in [place for _ in range(each) for place in range(count)]:
            over.append(asyncio.create_task(self._hand(place, method, queue, give, deliver)))
        try:
            done, _ = await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in over:
                task.cancel()
            await asyncio.gather(*over, return_exceptions=True)

    async def call_all(self, method: str, *args: Any) -> None:
        """Call a method of all actors that are at work. One that dies of it is replaced later."""
        ready = [p for p, f in self._made.items() if f.done() and not f.cancelled()]
        actors = [(place, await self._made[place]) for place in ready]
        results = await asyncio.gather(
            *(self._call(actor, method, args) for _, actor in actors), return_exceptions=True
        )
        for (place, actor), result in zip(actors, results):
            if isinstance(result, self._deaths):
                self._fell(place, actor, result)
            elif isinstance(result, BaseException):
                raise result

    def close(self) -> None:
        """End the actors, and leave the cluster; one that was started here ends."""
        if self._gone:
            return
        self._gone = True
        for made in self._made.values():
            if not made.done():
                made.cancel()
            elif not made.cancelled() and not made.exception():
                self._ray.kill(made.result())
        self._made.clear()
        if self._own:
            self._ray.shutdown()

    # --- one actor -------------------------------------------------------------------------------

    @property
    def _deaths(self) -> tuple[type[Exception], ...]:
        """Errors that tell of an actor, its engine or its machine, not of the work."""
        known = self._ray.exceptions
        return (known.RayActorError, known.ObjectLostError, known.NodeDiedError, EngineLost)

    async def _hand(
        self,
        place: int,
        method: str,
        queue: asyncio.Queue[tuple[J, int]],
        give: Callable[[J], tuple[Any, ...] | None],
        deliver: Callable[[J, Any], None],
    ) -> None:
        """Do jobs one after the other with the actor of a place."""
        while True:
            await self._at(place)  # whoever is ready takes the next
            job, deaths = await queue.get()
            actor = await self._at(place)  # another one, if that has died meanwhile
            if (args := give(job)) is not None:
                try:
                    result = await self._call(actor, method, args)
                except self._deaths as error:
                    self._fell(place, actor, error)
                    if deaths + 1 == DEATHS:
                        text = f"{DEATHS} actors died at one job, the last so: {_line(error)}"
                        raise WorkerError(text) from error
                    queue.put_nowait((job, deaths + 1))
                else:
                    deliver(job, result)
            queue.task_done()

    async def _at(self, place: int) -> Any:
        """The actor of a place, made where there is none."""
        if place not in self._made or self._made[place].cancelled():
            self._made[place] = asyncio.ensure_future(self._make())
        return await asyncio.shield(self._made[place])

    async def _make(self) -> Any:
        """A new actor with its thing; says where it waits for room."""
        for _ in range(DEATHS):
            actor = self._kind.remote()
            made = asyncio.ensure_future(self._result(actor.make.remote(self._maker)))
            done, _ = await asyncio.wait([made], timeout=PATIENCE)
            if not done and not self._waits:
                self._waits = True
                there = {k: v for k, v in self._ray.cluster_resources().items() if k in "CPU GPU"}
                self._say(
                    f"Waiting for an actor of {self.cluster.cpus:g} CPUs and"
                    f" {self.cluster.gpus:g} GPUs to start; the cluster has {there}"
                )
            try:
                await made
                return actor
            except self._deaths as error:
                last = error
        raise WorkerError(f"{DEATHS} actors died as they started: {_line(last)}") from last

    async def _call(self, actor: Any, method: str, args: tuple[Any, ...]) -> Any:
        return await self._result(actor.call.remote(method, *args))

    async def _result(self, ref: Any) -> Any:
        """What comes of a call; its own error where it failed. Cancelled, it stops there too."""
        try:
            return await asyncio.wrap_future(ref.future())  # which both kinds of Ray driver have
        except asyncio.CancelledError:
            if not self._gone:  # else it would start another cluster
                self._ray.cancel(ref)
            raise
        except self._ray.exceptions.RayTaskError as error:
            known = isinstance(error.cause, HornbeamError)
            raise error.cause from (None if known else error)  # with its trace where it is a bug

    def _fell(self, place: int, actor: Any, error: BaseException) -> None:
        """Make room for a new actor where one died; several jobs of it may tell."""
        made = self._made.get(place)
        if made is not None and made.done() and made.result() is actor:
            del self._made[place]
            self._ray.kill(actor)  # it may be alive and only out of reach
            self._say(f"An actor died, its jobs are done again: {_line(error)}")

    async def _watch(self) -> None:
        """Raise where the cluster itself is gone: Ray would wait a minute and end the process."""
        given, misses = self.cluster.address, 0
        if not given.startswith("ray://"):
            given = self._ray.get_runtime_context().gcs_address
        host, port = _place(given)
        while True:
            await asyncio.sleep(BEAT)
            try:
                async with asyncio.timeout(REACH):
                    _, writer = await asyncio.open_connection(host, port)
                writer.close()
                if not any(node["Alive"] for node in self._ray.nodes()):
                    raise OSError("none of its machines is alive")
                misses = 0
            except OSError as error:
                misses += 1
                if misses == MISSES:
                    self._gone = True
                    raise WorkerError(
                        f"the Ray cluster at {host}:{port} is gone ({_why(error)}): what was"
                        " returned is kept, and the same command goes on from there"
                    ) from error


def _ray() -> Any:
    """The module. `RecipeError` where it is not installed."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # no warning about it
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent home
    try:
        import ray
    except ImportError as error:
        raise RecipeError(f"workers on Ray need the extra; {how_to_get('ray')}") from error
    return ray


def _join(ray: Any, cluster: Cluster, say: Callable[[str], None]) -> bool:
    """Join the cluster of an address, or start one here; always true."""
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = cluster.address
    if address:
        try:
            ray.init(address=address, **common)
        except Exception as error:  # Ray raises what it likes
            raise WorkerError(f"no Ray cluster at {address!r}: {_line(error)}") from error
        return True
    count = math.ceil(cluster.growers * cluster.cpus) or 1
    # Ray starts workers at niceness 15: beside the trainer, on the same cores, they would starve.
    os.environ.setdefault("RAY_worker_niceness", "0")
    for left in reversed(range(STARTS)):
        try:
            ray.init(address="local", num_cpus=count, include_dashboard=False, **common)
            break
        except Exception as error:
            ray.shutdown()
            if not left:
                raise WorkerError(f"Ray does not start here: {_line(error)}") from error
            say(f"Ray did not start, once more: {_line(error)}")
    wanted, found = cluster.growers * cluster.gpus, ray.cluster_resources().get("GPU", 0)
    if wanted > found:
        ray.shutdown()
        raise RecipeError(
            f"workers: {wanted:g} GPUs for all growers, and this machine has {found:g}"
        )
    return True


def _reach(address: str) -> None:
    """`WorkerError` where nobody listens at an address: Ray itself would try for minutes."""
    given = os.environ.get("RAY_ADDRESS", "auto") if address == "auto" else address
    if given == "auto":
        return
    try:
        socket.create_connection(_place(given), REACH).close()
    except OSError as error:
        raise WorkerError(
            f"no answer from {given} ({_why(error)}): start Ray there with `ray start --head`,"
            " or give the address of a cluster that runs"
        ) from error


def _place(address: str) -> tuple[str, int]:
    """(host, port) of an address."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        raise WorkerError(f"{address!r} is no Ray address: auto, HOST:6379 or ray://HOST:10001")
    return host.strip("[]"), int(port)


def _why(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _line(error: BaseException) -> str:
    """What an error says, on one line."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    where = [line for line in lines[1:] if line.startswith("ip: ")]
    return ", ".join([lines[0] if lines else type(error).__name__, *where])[:200]
