"""What a conversation is as a task, and where the tree of its search stands in the store."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hornbeam.assembly.task_order import question_seed
from hornbeam.chat import Message
from hornbeam.errors import RecipeError
from hornbeam.jobs.service.served_names import PREFIX, ServedSearch
from hornbeam.own.own_parts import is_own
from hornbeam.settings import digest
from hornbeam.store.database import TreeKey
from hornbeam.tree.task import Task

STAGE = "serve "  # prefix of the stages of served searches
IDENT = re.compile("[0-3][0-9a-f]{15}")  # a tree's id: 62 bits


def task_of(
    search: ServedSearch,
    program: str,
    messages: Sequence[Message],
    sampling: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]] = (),
) -> Task:
    """The task that a conversation is. Raises `RecipeError` where the program cannot take it.

    A program's question is the one message of the user. One's own, and an agent outside, are given
    other conversations too: in `task.data["messages"]`, the user's last one being the question.
    """
    plain = [dict(message) for message in messages]
    users = [message for message in plain if message["role"] == "user"]
    question = str((users or plain)[-1]["content"])
    alone = len(plain) == 1 and len(users) == 1
    data: dict[str, Any] = {} if alone and search.program else {"messages": plain}
    if not search.program:
        data |= {"sampling": dict(sampling)} if sampling else {}
        data |= {"tools": [dict(tool) for tool in tools]} if tools else {}
    elif tools:
        raise RecipeError(
            f"{PREFIX}{search.name}: tools: its program has tools of its own: leave them out, or"
            " serve the bare model: a section [serve.NAME] with program = false"
        )
    if search.program and not alone and not (is_own(program) or program == "agent"):
        raise RecipeError(
            f"{PREFIX}{search.name}: program {program!r} answers one question: send one message of"
            " the user, or serve the bare model: a section [serve.NAME] with program = false"
        )
    return Task("", question, data=data)


def seed_of(run: int, task: Task) -> int:
    """The seed of a question is that of `hornbeam search`; of other conversations their own."""
    messages = task.data.get("messages") or []
    alone = len(messages) < 2 and all(message["role"] == "user" for message in messages)
    return question_seed(run, task.question if alone else json.dumps(messages, sort_keys=True))


def stage_of(search: ServedSearch) -> str:
    """Where the trees of a search stand."""
    bare = "" if search.program else f" {digest([search.agent, search.answer])}"
    return f"{STAGE}{search.job.stage}{bare}"


def key_of(search: ServedSearch, task: Task) -> TreeKey:
    """Where the tree of a task stands: equal tasks of one search have one."""
    stage = stage_of(search)
    said = json.dumps([stage, task.to_json()], sort_keys=True)
    whole = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return TreeKey(stage, *places_of(int.from_bytes(whole, "big") >> 2))


def places_of(whole: int) -> tuple[int, int]:
    """62 bits as two numbers that every database holds."""
    return whole >> 31, whole & (2**31 - 1)


def ident_of(key: TreeKey) -> str:
    """A tree's id: sixteen digits."""
    return f"{(key.step << 31) | key.number:016x}"
