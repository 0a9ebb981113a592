"""The server of `hornbeam gateway`: a recipe's engines behind the endpoint, into a run folder."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from hornbeam.assembly.progress import Progress
from hornbeam.assembly.run_folder import Folder
from hornbeam.assembly.world import World
from hornbeam.errors import StoreError
from hornbeam.gateway.server import Gateway
from hornbeam.jobs.event_loop import run_loop
from hornbeam.jobs.gateway.gateway_options import GatewayOptions
from hornbeam.jobs.gateway.opened_sessions import OpenedSessions
from hornbeam.jobs.preparation import Say, planned
from hornbeam.jobs.service.served_answers import ServedAnswers
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import ProgramSection
from hornbeam.store.ledger import Ledger
from hornbeam.tree.jsonl import write_trees
from hornbeam.tree.nodes import canonical

Ready = Callable[[str], None]  # hears the address when it is served


def serve_gateway(
    recipe: Recipe,
    base: Path,
    folder: Path,
    how: GatewayOptions,
    progress: Progress,
    say: Say,
    ready: Ready,
) -> None:
    """Serve until the process is told to stop (Ctrl-C, SIGTERM). Raises as its parts do."""
    written = recipe
    if "program" not in recipe.model_fields_set:  # nobody runs it here
        only = ProgramSection.model_validate({"name": "single", "agent": next(iter(recipe.agents))})
        recipe = recipe.model_copy(update={"program": only})
    plan = planned(recipe, base, say, tasks=())

    async def serve() -> None:
        run = Folder(folder, recipe)
        try:
            world = World.load(recipe, plan, folder / "model", progress.say)
            try:
                searches = ServedAnswers.of(written, run.store, world, progress)
                await _serve(recipe, world, run, how, searches, ready)
            finally:
                await world.aclose()
            _write_trees(run)
        finally:
            run.store.close()

    run_loop(serve())


async def _serve(
    recipe: Recipe,
    world: World,
    run: Folder,
    how: GatewayOptions,
    searches: ServedAnswers,
    ready: Ready,
) -> None:
    store = run.store
    ledger = Ledger(recipe.budget, store.totals(), sink=store.enter)
    grower = world.grower(ledger, store, trained=False)
    door = OpenedSessions(grower, store, tuple(recipe.agents), recipe.run.seed, how.idle)
    gateway = door.gateway = Gateway(how.token, door)
    gateway.searches, service = searches, searches.service
    with ExitStack() as stack, _stop() as stopped:
        for barrier in grower.barriers():
            stack.enter_context(barrier.session())
        watching: asyncio.Task[None] | None = None
        try:
            await service.open()
            await door.resume()
            watching = asyncio.create_task(door.end_idle())
            ready(await gateway.start(how.port, how.host))
            await stopped.wait()
        finally:
            if watching is not None:
                watching.cancel()
            await service.aclose()
            await door.aclose()
            await gateway.aclose()
            _count(run, door.counts + gateway.counts + service.counts)


def _count(run: Folder, counts: Counter[str]) -> None:
    """Add what was seen to the run's row of metrics."""
    kind = "gateway"
    before = [row for row in run.store.metrics() if row["kind"] == kind]
    for row in before:
        counts.update(row["counts"])
    costs = run.costs()
    run.metric({"kind": kind, "step": 0, "counts": counts, "costs": costs}, again=True)


def _write_trees(run: Folder) -> None:
    """The trees of what has ended, as JSON lines."""
    left = {*run.store.unfinished()}
    keys = sorted({*run.store.keys()} - left)
    try:
        write_trees((canonical(run.store.read(key).tree) for key in keys), run.path / "trees.jsonl")
    except OSError as error:
        raise StoreError(f"{run.path}/trees.jsonl: cannot be written: {error}") from error


@contextlib.contextmanager
def _stop() -> Iterator[asyncio.Event]:
    """An event that is set when the process is told to stop."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    heard = threading.current_thread() is threading.main_thread()  # no other one hears of signals
    kinds = (signal.SIGINT, signal.SIGTERM) if heard else ()
    for kind in kinds:
        loop.add_signal_handler(kind, stopped.set)
    try:
        yield stopped
    finally:
        for kind in kinds:
            loop.remove_signal_handler(kind)
