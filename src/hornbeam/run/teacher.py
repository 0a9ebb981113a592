"""Who teaches: a model in a folder, or one behind a server."""

from __future__ import annotations

from collections.abc import Callable

from hornbeam.chat import Chat, TemplateChat
from hornbeam.engine.base import Engine
from hornbeam.engine.wire import HttpSettings
from hornbeam.errors import RecipeError
from hornbeam.run.choices import AnchorChoice
from hornbeam.run.judges import judge_engine, judge_folder
from hornbeam.settings import build


def endpoint(how: AnchorChoice) -> HttpSettings | None:
    """The server that `anchor.teacher` is, None where it is a model. Raises `RecipeError`."""
    if how.teacher.startswith(("http://", "https://")):
        values = {**how.endpoint, "url": how.teacher}
        return build("anchor.endpoint of engine", {"http": HttpSettings}, "http", values)
    if how.endpoint:
        raise RecipeError("anchor.endpoint is of a server: set anchor.teacher to its address")
    return None


def teacher_engine(how: AnchorChoice, own: Chat, device: str, say: Callable[[str], None]) -> Engine:
    """What speaks for the teacher; `own` is the policy's chat, that of a server by default."""
    server = endpoint(how)
    if server is None:
        return judge_engine(judge_folder(how.teacher), device)
    from hornbeam.engine.http import HttpEngine

    return HttpEngine(server, served_chat(server, own), say)


def served_chat(server: HttpSettings, own: Chat) -> Chat:
    """The chat of the model that a server has: of the tokenizer that its settings name."""
    if not server.tokenizer:
        return own
    from transformers import AutoTokenizer

    folder = judge_folder(server.tokenizer)
    return TemplateChat(AutoTokenizer.from_pretrained(folder), str(folder))
