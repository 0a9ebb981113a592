"""The tools of a `verifiers` environment, and its stops and scores, in rollouts of episodes.

A rollout is set up at the first call of an episode. Behind a fork, and when a run goes on, the
calls of the path are made again in a new one, so that its state is that of the path; a call that
then gives another result is told once.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.errors import ToolError
from hornbeam.tasks.verifiers_environment import Rollout, VerifiersEnvironment, environment
from hornbeam.tools.schema import hidden, schema_of, with_schema
from hornbeam.tree.nodes import Call
from hornbeam.tree.task import Task
from hornbeam.workers.background_loop import BackgroundLoop
from hornbeam.workers.local_workers import pure

SCORE, STOP = "verifiers_score", "verifiers_stop"  # what the program calls besides
_loops: list[BackgroundLoop] = []  # at most one: environments stay on one loop, whoever calls


class EnvironmentServer:
    """The rollouts of this process in one environment."""

    def __init__(self, played: VerifiersEnvironment) -> None:
        self.played = played
        self.warn: Callable[[str], None] = warnings.warn
        self._open: dict[Hashable, asyncio.Task[Rollout]] = {}
        self._differs = self._told = False

    async def open(self, session: Hashable, task: Task, before: Sequence[Call]) -> None:
        """See that there is a rollout, as the calls of the path left it. Raises `ToolError`."""
        await _loop().run(self._rollout(session, task, before))
        if self._differs and not self._told:
            self._told = True
            self.warn(
                f"verifiers {self.played.name!r}: a call that was made again behind a fork gave"
                " another result than the recorded one: the environment's state there is not that"
                ' of the path; take grow.strategy = "independent"'
            )

    async def call(self, session: Hashable, name: str, arguments: Mapping[str, Any]) -> Any:
        """The result of a tool, of the stops, or of the rewards."""
        return await _loop().run(self._call(session, name, arguments))

    def end(self, session: Hashable) -> None:
        """Give back what a rollout holds; nobody waits for it."""
        if _loops:
            _loop().start(self._end(session))

    async def aclose(self) -> None:
        """Give back all rollouts."""
        if _loops:
            await _loop().run(self._end_all())

    async def _rollout(self, session: Hashable, task: Task, before: Sequence[Call]) -> Rollout:
        if session not in self._open:
            self._open[session] = asyncio.create_task(self._begin(session, task, before))
        return await asyncio.shield(self._open[session])

    async def _begin(self, session: Hashable, task: Task, before: Sequence[Call]) -> Rollout:
        try:
            rollout = await self.played.open(task)
            names = self.played.tools()
            for call in before:
                if call.tool in names:
                    self._differs |= await _again(rollout, call) != call.result
            return rollout
        except BaseException as error:
            self._open.pop(session, None)
            if isinstance(error, (ToolError, asyncio.CancelledError)):
                raise
            line = f"{type(error).__name__}: {error}".split("\n", 1)[0]
            raise ToolError(f"the environment cannot be set up: {line}") from error

    async def _call(self, session: Hashable, name: str, arguments: Mapping[str, Any]) -> Any:
        rollout = await self._open[session]
        if name == SCORE:
            return await rollout.score(arguments["messages"], arguments["ended"])
        if name == STOP:
            return await rollout.stopped(arguments["messages"])
        return await rollout.call(name, arguments)

    async def _end(self, session: Hashable) -> None:
        task = self._open.pop(session, None)
        if task is None:
            return
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await task.result().close()

    async def _end_all(self) -> None:
        for session in list(self._open):
            await self._end(session)


class EnvironmentTool:
    """A tool of an environment. Its state is rebuilt behind forks, so it counts as pure."""

    def __init__(self, name: str, server: EnvironmentServer) -> None:
        self.name, self.server = name, server
        pure(self)

    def __repr__(self) -> str:
        return f"<EnvironmentTool {self.name} of {self.server.played.name!r}>"

    async def __call__(self, /, **arguments: Any) -> Any:
        """A call outside of episodes, of which there is none."""
        raise ToolError(f"{self.name} is called in episodes alone")

    async def call_in(self, session: Hashable, arguments: Mapping[str, Any]) -> Any:
        """The result of a call in the rollout of an episode."""
        return await self.server.call(session, self.name, arguments)


def environment_tools(name: str, settings: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The tools by name. Raises `RecipeError` for an environment that cannot be played here."""
    played = environment(name, json.dumps(settings, sort_keys=True), base)
    server = EnvironmentServer(played)
    found: dict[str, Any] = {}
    for tool, function in played.tools().items():
        found[tool] = with_schema(EnvironmentTool(tool, server), schema_of(tool, function))
    for tool in (STOP, SCORE):
        found[tool] = hidden(EnvironmentTool(tool, server))
    return found


async def _again(rollout: Rollout, call: Call) -> Any:
    try:
        return await rollout.call(call.tool, call.arguments)
    except Exception:  # as it did then
        return None


def _loop() -> BackgroundLoop:
    if not _loops:
        _loops.append(BackgroundLoop("verifiers"))
    return _loops[0]
