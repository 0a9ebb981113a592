"""An agent's process: started for one task in a folder of its own, ended with its episode."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hornbeam.errors import ProgramError
from hornbeam.gateway.agent_settings import AgentCommand
from hornbeam.gateway.fork_host import Forked, ForkHost
from hornbeam.gateway.session import AgentSession, Ended
from hornbeam.tree.task import Task

KEPT = 65_536  # bytes of its output that are kept, the last ones
TAIL = 300  # characters of standard error in a failure


class AgentProcess:
    """One run of an agent."""

    def __init__(self, how: AgentCommand, host: ForkHost) -> None:
        self.how, self.host = how, host
        self.folder: Path | None = None
        self.process: asyncio.subprocess.Process | Forked | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self, task: Task, session: AgentSession, address: str) -> None:
        """Start it; `session` hears when it ends. Raises `ProgramError` where it does not start."""
        self.folder = folder = Path(tempfile.mkdtemp(prefix="hornbeam-agent-"))
        told = folder / "task.json"
        told.write_text(json.dumps(task.to_json(), ensure_ascii=False), "utf-8")
        root = f"{address}/s/{session.token}"
        own = {**session.environment(root), "HORNBEAM_TASK": str(told)}
        words = [filled(word, task, {"task_file": told}) for word in self.how.words()]
        env = {"PYTHONHASHSEED": "0", **os.environ, **own}
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
        assert process.stdin is not None and process.stdout is not None
        assert process.stderr is not None
        out, err = bytearray(), bytearray()
        with contextlib.suppress(OSError):
            process.stdin.write(task.question.encode())
            process.stdin.close()
        reading = asyncio.gather(read_last(process.stdout, out), read_last(process.stderr, err))
        try:
            async with asyncio.timeout(self.how.seconds):
                code = await process.wait()
                self.kill()  # what it left behind, which would hold its output open
                await reading
        except TimeoutError:
            self.kill()
            session.end(Ended(error=f"the agent took more than {self.how.seconds:g} s"))
            return
        except ProgramError as error:
            session.end(Ended(error=str(error)))
            return
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        if code:
            text = err.decode("utf-8", "replace")
            # Its folder has another name in each run: equal failures say the same.
            text = text.replace(f"{self.folder}/", "")
            tail = " ".join(text.split())[-TAIL:]
            session.end(Ended(error=f"the agent ended with exit code {code}: {tail}"))
            return
        session.end(self._answer(out.decode("utf-8", "replace")))

    def _answer(self, out: str) -> Ended:
        """What the agent answered: its last line, all of it, or a file that it wrote."""
        if self.how.answer.startswith("file:"):
            assert self.folder is not None
            path = self.folder / self.how.answer.removeprefix("file:")
            try:
                return _result(path.read_text("utf-8", "replace")[:KEPT].strip())
            except OSError as error:
                return Ended(error=f"the agent left no answer: {error}")
        if self.how.answer == "output":
            return Ended(answer=out.strip() or None)
        lines = [line for line in out.splitlines() if line.strip()]
        return _result(lines[-1].strip()) if lines else Ended()

    def kill(self) -> None:
        """End the process and all that it started in its session."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """The same, and its folder goes."""
        self.kill()
        if self._watch is not None and not self._watch.done():
            self._watch.cancel()
        if isinstance(self.process, Forked):
            self.process.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


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
            return Ended(answer=said["answer"], reward=float(reward))
    return Ended(answer=text or None)


async def read_last(stream: asyncio.StreamReader, into: bytearray) -> None:
    """Read to the end and keep the last bytes."""
    while chunk := await stream.read(KEPT):
        into.extend(chunk)
        del into[:-KEPT]
