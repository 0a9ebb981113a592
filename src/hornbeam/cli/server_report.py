"""What a server is good for, as `hornbeam doctor --server` tells it: both ways to ask it are tried.

Some fifteen short requests; nothing is sampled beyond them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from hornbeam.errors import HornbeamError, RecipeError

Kind = Literal["chat", "http"]
USES = {
    "chat": "search, eval, label, judges and teachers; no training",
    "http": "search, eval, label, judges and teachers, in steps inside an answer too",
}


class Seen(NamedTuple):
    """The result of one way of asking: a line, and whether it can be used."""

    kind: Kind
    fit: bool
    line: str


def look(url: str, model: str, key_env: str, tokenizer: str) -> list[Seen]:
    """What the server at an address can do by each kind of engine.

    Raises `RecipeError` for an address that cannot be. Without a `tokenizer` it is not asked at
    /completions.
    """
    from hornbeam.assembly.endpoints import server_of

    if not url.startswith(("http://", "https://")):
        raise RecipeError(f"--server {url}: an address as http://localhost:8000/v1 is expected")
    given: dict[str, Any] = {"model": model, "key_env": key_env, "tokenizer": tokenizer}
    given |= {"patience": 0, "timeout": 60}
    kinds: Sequence[Kind] = ("chat", "http") if tokenizer else ("chat",)
    servers = [server_of("--server", url, {**given, "kind": kind}) for kind in kinds]

    async def all_of() -> list[Seen]:
        return [await _seen(kind, server) for kind, server in zip(kinds, servers)]

    found = asyncio.run(all_of())
    if not tokenizer:
        why = "not asked at /completions: name its model's tokenizer, --tokenizer DIR"
        found.append(Seen("http", False, why))
    return found


async def _seen(kind: Kind, server: Any) -> Seen:
    from hornbeam.assembly.endpoints import engine_at

    try:
        engine = engine_at(server, say=lambda line: None)
    except HornbeamError as error:
        return Seen(kind, False, str(error))
    try:
        able = await engine.open()
    except HornbeamError as error:
        return Seen(kind, False, str(error))
    finally:
        await engine.aclose()
    return Seen(kind, True, f"{able.describe()}: {USES[kind]}")
