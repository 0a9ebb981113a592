"""What an agent was asked on the way to a leaf, in messages: a stored path, run again.

A tree holds the ids of prompts; messages are the program's. It runs again on what is recorded and
nothing is sampled.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hornbeam.chat import Chat, Message
from hornbeam.episode.driver import Driver
from hornbeam.episode.program import Limits
from hornbeam.episode.reply import Reply
from hornbeam.episode.seams import Piece, Place
from hornbeam.errors import DataError, ProgramError
from hornbeam.protocols import Program
from hornbeam.settings import nearest
from hornbeam.tree.nodes import Node, Tree
from hornbeam.tree.task import Task

Turn = tuple[list[Message], Reply]


async def transcript(
    program: Program,
    limits: Limits,
    chats: Mapping[str, Chat],
    tree: Tree,
    leaf: int,
    tools: Mapping[str, Callable[..., Any]] = {},
) -> list[Turn]:
    """(messages before, reply) of every ask on the path to a leaf where an episode ended.

    `chats` are those of the agents, `tools` the run's, none of which is called.
    Raises `DataError` where the program does not go that path: it is another one, or changed.
    """
    indices = [0, *tree.path(leaf)]
    ends: list[Node] = []
    driver = _Listener(
        program,
        Task.from_json(tree.task),
        [tree.nodes[i] for i in indices],
        _Recorded(chats, tools),
        contexts=lambda k: tree.context(indices[k]),
        commit=lambda node, context: ends.append(node),
        limits=limits,
        seed=tree.seed,
    )
    await driver.run()
    if ends and ends[-1].error:
        raise DataError(
            f"task {tree.task.get('id')!r}: the program does not reproduce the tree: was it"
            f" grown by this recipe? {ends[-1].error}"
        )
    said = [(messages, future) for messages, future in driver.heard if not future.cancelled()]
    return [(messages, f.result()) for messages, f in said if f.done() and f.exception() is None]


class _Listener(Driver):
    """A driver that keeps what was asked."""

    heard: list[tuple[list[Message], asyncio.Future[Any]]]

    def issue(
        self, kind: str, name: str, scope: str, payload: Any, **how: Any
    ) -> asyncio.Future[Any]:
        """As above, and an ask's messages are kept."""
        future = super().issue(kind, name, scope, payload, **how)
        if kind == "ask":
            self.heard.append((payload[0], future))
        return future

    async def run(self) -> bool:
        """As above."""
        self.heard = []
        return await super().run()


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A world in which nothing is sampled and no tool runs."""

    chats: Mapping[str, Chat]
    tools: Mapping[str, Callable[..., Any]]

    def functions(self) -> Mapping[str, Callable[..., Any]]:
        return self.tools

    def names(self) -> tuple[str, ...]:
        return tuple(self.chats)

    def chat(self, agent: str) -> Chat:
        if agent not in self.chats:
            raise ProgramError(f"no agent {agent!r} in the recipe: {nearest(agent, self.chats)}")
        return self.chats[agent]

    def seed(self, place: Place) -> int:
        return 0

    async def sample(
        self, agent: str, context: array[int], sampling: Mapping[str, Any], place: Place
    ) -> list[Piece]:
        raise ProgramError(f"it asks agent {agent!r} once more")

    async def tool(
        self, name: str, arguments: Mapping[str, Any], place: Place, refused: str = ""
    ) -> Any:
        raise ProgramError(f"it calls tool {name!r} once more")

    def enter(self) -> None:
        pass

    def leave(self) -> None:
        pass
