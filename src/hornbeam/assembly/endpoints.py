"""Models that are named: a folder, a known model, or the address of a server and how it is asked.

A server is asked at /completions in token ids, for which its tokenizer must be here ("http"), or
by messages ("chat").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.chat import Chat, TemplateChat
from hornbeam.chat.ready_templates import template_text, with_format, with_template
from hornbeam.engine.remote.chat_completions import ChatSettings
from hornbeam.engine.remote.http_client import HttpSettings
from hornbeam.errors import RecipeError
from hornbeam.files import paths
from hornbeam.files.terminal import to_stderr
from hornbeam.models import catalogue
from hornbeam.recipe.recipe import Recipe
from hornbeam.settings import build

if TYPE_CHECKING:
    from hornbeam.engine.remote.remote_engine import ServerEngine

KINDS: dict[str, type[HttpSettings]] = {"http": HttpSettings, "chat": ChatSettings}


def folder_of(name: str, base: Path = Path()) -> Path:
    """The folder of a model: a path, beside the recipe in `base` or from here; or a known model.

    Raises `ModelError` where it is not here.
    """
    found = paths.find(name, base, folder=True)
    return found if found.exists() else catalogue.resolve(name)


def server_of(where: str, model: str, endpoint: Mapping[str, Any]) -> HttpSettings | None:
    """How the server at an address is asked, as key `where` says; None where it is no address.

    Raises `RecipeError` for settings that cannot be, or that nobody is asked by.
    """
    if not model.startswith(("http://", "https://")):
        if endpoint:
            raise RecipeError(f"{where} is of a server, and {model!r} is not its address")
        return None
    values = {**endpoint, "url": model}
    return build(f"{where} of engine", KINDS, str(values.pop("kind", "http")), values)


def identity(server: HttpSettings) -> list[Any]:
    """What tells the answers of a server from those of another one."""
    if isinstance(server, ChatSettings):
        return [server.root, server.model, "chat", server.extra_body]
    return [server.root, server.model]


def own_template(recipe: Recipe, tokenizer: Any) -> Any:
    """The tokenizer of a recipe's model with the chat template and the form of calls that the
    recipe names, if any.
    """
    name, form = recipe.model.chat_template, recipe.model.tool_format
    if form:
        tokenizer = with_format(tokenizer, form)
    return with_template(tokenizer, name, recipe.base) if name else tokenizer


def template_marks(recipe: Recipe) -> list[str]:
    """What tells chats of a recipe's own template from those of the model's; [] without one."""
    name, form = recipe.model.chat_template, recipe.model.tool_format
    return [*([template_text(name, recipe.base)] if name else []), *([form] if form else [])]


def chat_of(name: str, folder: Path, recipe: Recipe | None = None) -> Chat:
    """The chat of a folder's tokenizer, by its name, with the recipe's own template if it has one.

    Raises `ModelError` where there is none.
    """
    from transformers import AutoTokenizer

    inside = catalogue.inside(folder).removeprefix("; ")
    with catalogue.reading(f"{folder}:", "no tokenizer can be read", inside):
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, **catalogue.AS_DATA)
    return TemplateChat(own_template(recipe, tokenizer) if recipe else tokenizer, name)


def engine_at(
    server: HttpSettings,
    chat: Chat | None = None,
    say: Callable[[str], None] | None = None,
    base: Path = Path(),
) -> ServerEngine[Any]:
    """What speaks through a server; `chat` is that of its model, else of the tokenizer named.

    `base` is the recipe's folder. Raises `RecipeError` where it is to be asked in ids and no
    tokenizer is known.
    """
    from hornbeam.engine.remote.chat_completions import ChatEngine
    from hornbeam.engine.remote.completions import HttpEngine

    say = say or to_stderr
    if chat is None and server.tokenizer:
        chat = chat_of(server.tokenizer, folder_of(server.tokenizer, base))
    if isinstance(server, ChatSettings):
        return ChatEngine(server, chat, say)
    if chat is None:
        raise RecipeError(
            f"{server.root}: asked at /completions the model's tokenizer is expected here: name its"
            ' folder as tokenizer, or take kind = "chat"'
        )
    return HttpEngine(server, chat, say)
