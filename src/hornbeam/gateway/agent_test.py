"""The test of what an agent left: a command in its folder, after its end, whose verdict is kept.

Exit code 0 is 1, any other 0; a JSON object on the last line of its output with "reward" says
another number, and figures beside it, whatever the exit code. What takes too long is 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.gateway.agent_process import filled, gone, read_last
from hornbeam.gateway.agent_settings import AgentCommand
from hornbeam.gateway.last_words import last_words
from hornbeam.tree.task import Task
from hornbeam.workers.marked_processes import end_marked

Verdict = dict[str, Any]  # reward (None where there is none), figures, why


async def tested(how: AgentCommand, folder: Path, task: Task, answer: Any) -> Verdict:
    """What the test says in the agent's folder. Its files lie elsewhere: none is the agent's."""
    if not folder.is_dir():
        return _verdict(0.0, "the agent left no folder")
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    told = {
        "task_file": json.dumps(task.to_json(), ensure_ascii=False),
        "answer_file": "" if answer is None else text,
    }
    with tempfile.TemporaryDirectory(prefix="hornbeam-test-") as place:
        files = {name: Path(place) / name for name in told}
        for name, path in files.items():
            path.write_bytes(told[name].encode("utf-8", "replace"))
        return await _run(how, folder, [filled(w, task, files) for w in how.test_words()], files)


async def _run(
    how: AgentCommand, folder: Path, words: Sequence[str], files: Mapping[str, Path]
) -> Verdict:
    out, err = bytearray(), bytearray()
    own = {f"HORNBEAM_{name.upper()}": str(file) for name, file in files.items()}
    own["HORNBEAM_TEST"] = secrets.token_hex(8)
    mark = f"HORNBEAM_TEST={own['HORNBEAM_TEST']}"
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=folder,
            env={**os.environ, **own},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return _verdict(None, f"the test does not start: {error}")
    assert process.stdout is not None and process.stderr is not None
    reading = asyncio.gather(read_last(process.stdout, out), read_last(process.stderr, err))
    try:
        async with asyncio.timeout(how.test_seconds):
            await gone(process)
            await _end(process, mark)  # what it left behind, which would hold its output open
            code = await process.wait()
            await reading
    except TimeoutError:
        return _verdict(0.0, f"the test took more than {how.test_seconds:g} s")
    finally:
        await _end(process, mark)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        await process.wait()
    said = out.decode("utf-8", "replace")
    return _read(code, said, err.decode("utf-8", "replace"), folder)


def _read(code: int, out: str, err: str, folder: Path) -> Verdict:
    lines = [line for line in out.splitlines() if line.strip()]
    with contextlib.suppress(ValueError, RecursionError):
        said: Any = json.loads(lines[-1] if lines else "")
        if isinstance(said, dict) and "reward" in said:
            return {"reward": said.pop("reward"), "figures": said, "why": ""}
    if not code:
        return _verdict(1.0)
    said = last_words(err if err.strip() else out, str(folder))
    return _verdict(0.0, f"exit code {code}: {said}".removesuffix(": "))


def _verdict(reward: float | None, why: str = "") -> Verdict:
    return {"reward": reward, "figures": {}, "why": why}


async def _end(process: asyncio.subprocess.Process, mark: str) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.to_thread(end_marked, mark)
