"""An agent's process: started for one task in a folder of its own, ended with its episode."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from reprlib import repr as short
from typing import Any

from hornbeam.errors import ProgramError
from hornbeam.gateway.agent_group import AgentGroup
from hornbeam.gateway.agent_settings import AgentCommand
from hornbeam.gateway.fork_host import Forked, ForkHost
from hornbeam.gateway.last_words import last_words
from hornbeam.gateway.session import AgentSession, Ended
from hornbeam.tree.task import Task
from hornbeam.workers.marked_processes import end_marked

KEPT = 65_536  # bytes of its output that are kept, the last ones
GRACE = 5.0  # seconds that its output may be held open after its end


class AgentProcess:
    """One run of an agent."""

    def __init__(self, how: AgentCommand, host: ForkHost, group: AgentGroup) -> None:
        self.how, self.host, self.group = how, host, group
        self.folder: Path | None = None
        self.mark = ""  # of its environment
        self._over = False  # ended, with all that it started
        self.process: asyncio.subprocess.Process | Forked | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self, task: Task, session: AgentSession, address: str) -> None:
        """Start it; `session` hears when it ends. Raises `ProgramError` where it does not start."""
        self.folder = folder = self.group.folder()
        told = folder / "task.json"
        known = task if self.how.gold else replace(task, answer=None)
        told.write_text(json.dumps(known.to_json(), ensure_ascii=False), "utf-8")
        root = f"{address}/s/{session.token}"
        own = {**session.environment(root), "HORNBEAM_TASK": str(told)}
        words = [filled(word, task, {"task_file": told}) for word in self.how.words()]
        env = {"PYTHONHASHSEED": "0", **os.environ, **own, **self.group.environment}
        self.mark = f"HORNBEAM_SESSION={root}"
        try:
            async with asyncio.timeout(self.how.seconds):
                self.process = await self.host.start(words, folder, env, task.id)
            if self.process is None:
                self.process = await asyncio.create_subprocess_exec(
                    *words,
                    cwd=folder,
                    env=env,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    start_new_session=True,
                )
        except TimeoutError:
            raise ProgramError(f"the agent took more than {self.how.seconds:g} s") from None
        except (OSError, ValueError) as error:  # a null byte in the question, say
            raise ProgramError(f"agent {self.how.command!r} does not start: {error}") from error
        self._watch = asyncio.create_task(self._run(self.process, task, session))

    async def _run(
        self, process: asyncio.subprocess.Process | Forked, task: Task, session: AgentSession
    ) -> None:
        """Until it ends; `session` hears of it whatever happens."""
        try:
            async with asyncio.timeout(self.how.seconds):
                ended = await self._ended(process, task)
        except TimeoutError:
            ended = Ended(error=f"the agent took more than {self.how.seconds:g} s")
        except (ProgramError, OSError, ValueError) as error:
            ended = Ended(error=str(error))
        await asyncio.to_thread(self.kill)
        session.end(ended)

    async def _ended(self, process: asyncio.subprocess.Process | Forked, task: Task) -> Ended:
        """What it answered, or how it ended."""
        assert process.stdin is not None and process.stdout is not None
        assert process.stderr is not None
        out, err = bytearray(), bytearray()
        with contextlib.suppress(OSError):
            process.stdin.write(task.question.encode())
            process.stdin.close()
        reading = asyncio.gather(read_last(process.stdout, out), read_last(process.stderr, err))
        try:
            await gone(process)
            await asyncio.to_thread(self.kill)  # what it left behind, which holds its output open
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    await process.wait()
                    await asyncio.shield(reading)
            code = process.returncode
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        if code is None:
            return Ended(error="the agent ended, and nobody knows how")
        if not code:
            return self._answer(out.decode("utf-8", "replace"))
        python = self.how.interpreter()
        python = python if self.how.words()[0] == python else ""
        said = last_words(err.decode("utf-8", "replace"), str(self.folder), python)
        return Ended(error=f"{_told(code)}: {said}".removesuffix(": "))

    def _answer(self, out: str) -> Ended:
        """What the agent answered: its last line, all of it, or a file that it wrote."""
        if self.how.answer.startswith("file:"):
            assert self.folder is not None
            path = self.folder / self.how.answer.removeprefix("file:")
            try:
                return _result(_begin_of(path).strip())
            except OSError as error:
                text = str(error).replace(f"{self.folder}/", "")
                return Ended(error=f"the agent left no answer: {text}")
        if self.how.answer == "output":
            return Ended(answer=out.strip() or None)
        lines = [line for line in out.splitlines() if line.strip()]
        return _result(lines[-1].strip()) if lines else Ended()

    def kill(self) -> None:
        """End the process and all that it started, once: its number may be another's later."""
        if self._over or not self.mark:
            return
        self._over = True
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        end_marked(self.mark, self.group.mark, str(self.folder))

    def close(self) -> None:
        """The same, and its folder goes."""
        self.kill()
        if self._watch is not None and not self._watch.done():
            self._watch.cancel()
        if isinstance(self.process, Forked):
            self.process.close()
        if self.folder is not None:
            self.group.drop(self.folder)


async def gone(process: asyncio.subprocess.Process | Forked) -> None:
    """Until it has ended.

    `wait` of asyncio waits, in some versions, for the end of its output as well, which a process
    that it left behind may hold open.
    """
    if isinstance(process, Forked) or not hasattr(os, "pidfd_open"):
        await process.wait()
        return
    try:
        watched = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(watched, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)


def _told(code: int) -> str:
    """How a process ended, by its exit code: less than 0 is a signal, whoever sent it."""
    if code > 0:
        return f"the agent ended with exit code {code}"
    known = {one.value for one in signal.Signals}
    return f"the agent was ended by {signal.Signals(-code).name if -code in known else -code}"


def _begin_of(path: Path) -> str:
    """The first `KEPT` bytes of a plain file. Raises `OSError`."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would not open
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path.name} is no plain file")
        return file.read(KEPT).decode("utf-8", "replace")


def filled(word: str, task: Task, files: Mapping[str, Path]) -> str:
    """A word of a command with the names of files, and the question, in place of their marks."""
    for name, path in files.items():
        word = word.replace(f"{{{name}}}", str(path))
    return word.replace("{task}", task.question)


def _result(text: str) -> Ended:
    """A JSON object with "answer" (and "reward") says both; any other text is the answer."""
    with contextlib.suppress(ValueError, RecursionError):
        said: Any = json.loads(text)
        if isinstance(said, dict) and "answer" in said:
            reward = said.get("reward")
            if isinstance(reward, bool) or not isinstance(reward, (int, float)):
                return Ended(answer=said["answer"])
            try:
                return Ended(answer=said["answer"], reward=float(reward))
            except OverflowError:
                return Ended(error=f"the agent's reward is no number: {short(reward)}")
    return Ended(answer=text or None)


async def read_last(stream: asyncio.StreamReader, into: bytearray) -> None:
    """Read to the end and keep the last bytes."""
    while chunk := await stream.read(KEPT):
        into.extend(chunk)
        del into[:-KEPT]
