"""Who teaches: a model in a folder, or one behind a server."""

from __future__ import annotations

from collections.abc import Callable

from hornbeam.assembly.endpoints import engine_at, folder_of, server_of
from hornbeam.assembly.judges import judge_engine
from hornbeam.chat import Chat
from hornbeam.engine.remote.chat_completions import ChatSettings
from hornbeam.engine.remote.http_client import HttpSettings
from hornbeam.protocols import Engine
from hornbeam.recipe.sections import AnchorSection


def endpoint(how: AnchorSection) -> HttpSettings | None:
    """The server that `anchor.teacher` is, None where it is a model. Raises `RecipeError`."""
    return server_of("anchor.endpoint", how.teacher, how.endpoint)


def teacher_engine(
    how: AnchorSection, own: Chat, device: str, say: Callable[[str], None]
) -> Engine:
    """What speaks for the teacher; `own` is the policy's chat, that of a server by default.

    Of one that chats it is not: what it says is text, encoded by the policy's tokenizer.
    """
    server = endpoint(how)
    if server is None:
        return judge_engine(folder_of(how.teacher), device)
    known = isinstance(server, ChatSettings) or server.tokenizer
    return engine_at(server, None if known else own, say)
