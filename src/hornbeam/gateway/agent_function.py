"""An agent that is a function of a file, in the process that `function_starter` began.

It is called with the task and its session, plain or async; what it returns is the answer.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
from dataclasses import dataclass
from pathlib import Path

from hornbeam.own.own_code import load_module
from hornbeam.tree.task import Task


@dataclass(slots=True)
class FunctionSession:
    """Where an agent asks: OpenAI's clients take `base_url`, Anthropic's `root`."""

    base_url: str
    root: str
    api_key: str
    model: str
    said: float | None = None

    def reward(self, value: float) -> None:
        """Its own reward, in place of any that was said before."""
        self.said = float(value)


def main(file: str, name: str) -> None:
    """Call the function and write what it answers, as the last line."""
    told = Path(os.environ["HORNBEAM_TASK"]).read_text("utf-8")
    session = FunctionSession(
        os.environ["OPENAI_BASE_URL"],
        os.environ["HORNBEAM_SESSION"],
        os.environ["OPENAI_API_KEY"],
        os.environ["HORNBEAM_MODEL"],
    )
    function = getattr(load_module(Path(file)), name)
    answer = function(Task.from_json(json.loads(told)), session)
    if inspect.isawaitable(answer):
        answer = asyncio.run(_awaited(answer))
    print("\n" + json.dumps({"answer": answer, "reward": session.said}, default=str), flush=True)


async def _awaited(answer: object) -> object:
    return await answer if inspect.isawaitable(answer) else answer
