"""Which engine samples for a policy, as the recipe's section [engine] says."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.assembly.endpoints import chat_of, engine_at, folder_of
from hornbeam.chat import Chat, PieceChat, TemplateChat
from hornbeam.engine.remote.http_client import HttpSettings
from hornbeam.engine.request import LocalSettings
from hornbeam.errors import RecipeError
from hornbeam.protocols import Engine
from hornbeam.recipe.recipe import EngineSettings, Recipe
from hornbeam.settings import Settings, build

if TYPE_CHECKING:
    from hornbeam.engine.remote.remote_engine import ServerEngine


AWAY = ("http", "chat")  # a server's own weights speak; none are here


def engine_settings(section: EngineSettings) -> Settings:
    """The settings of the kind that is named. Raises `RecipeError` for what it does not know."""
    from hornbeam.engine.remote.chat_completions import ChatSettings
    from hornbeam.engine.vllm.served_engine import ServedSettings
    from hornbeam.engine.vllm.vllm_engine import VllmSettings

    kinds: dict[str, type[Settings]] = {"local": LocalSettings, "vllm": VllmSettings}
    kinds |= {"vllm_server": ServedSettings, "http": HttpSettings, "chat": ChatSettings}
    given = section.model_dump(include=section.model_fields_set - {"kind"}) | (
        section.model_extra or {}
    )
    if section.kind != "local":  # a recipe that is kept whole has them at their defaults
        plain = EngineSettings().model_dump()
        given = {name: value for name, value in given.items() if plain.get(name) != value}
    return build("engine", kinds, section.kind, given)


def engine_of(
    recipe: Recipe, name: str, model: Any, tokenizer: Any, folder: Path, copied: bool = False
) -> Engine:
    """What samples for the agents of a policy; the one place that makes it.

    `model` is the trainer's, whose first weights are those of `folder`. A local engine samples from
    it, or with `copied` from a copy, while the model trains; vLLM has a copy in any case.
    """
    chat = TemplateChat(tokenizer, recipe.of(name).model.name)
    how = engine_settings(recipe.engine)
    exact = recipe.run.resume == "exact"
    if isinstance(how, LocalSettings):
        from hornbeam.engine.local.local_engine import LocalEngine

        own = deepcopy(model) if copied else model
        weights = model.named_parameters if copied else None
        return LocalEngine(own, chat, how, deterministic=exact, weights=weights)
    if exact:
        raise RecipeError(
            f'run.resume = "exact" needs engine.kind = "local": {recipe.engine.kind!r} decides by'
            " arrival which requests share a batch"
        )
    return _vllm(recipe, model, chat, folder, how)


def check_trains(recipe: Recipe) -> None:
    """`RecipeError` where what samples has weights that training would not change."""
    if recipe.engine.kind in AWAY:
        raise RecipeError(
            f'engine.kind = "{recipe.engine.kind}": the server has weights of its own,'
            " which training here does not change; it is for search, label and eval. Train with"
            ' "local", "vllm" or "vllm_server"'
        )
    if recipe.engine.kind == "vllm_server":
        if len(recipe.names) > 1:
            names = ", ".join(recipe.names)
            raise RecipeError(f'engine.kind = "vllm_server": one server cannot serve {names}')
        if recipe.workers.kind != "local":
            raise RecipeError(
                'engine.kind = "vllm_server": actors would all update the one server; take'
                ' workers.kind = "local", or engine.kind = "vllm" in every actor'
            )


def check_segments(recipe: Recipe) -> None:
    """`RecipeError` where an agent is to go on inside an answer and its engine cannot."""
    if recipe.engine.kind != "chat":
        return
    for name, agent in recipe.agents.items():
        if agent.segment is not None:
            raise RecipeError(
                f'agents.{name}.segment: engine.kind = "chat" begins every answer anew and cannot'
                " go on inside one: leave segment out (every strategy then steps from answer to"
                ' answer), or take kind = "http" where the server has /completions'
            )


def needs_folder(recipe: Recipe) -> bool:
    """Whether a policy's engine is made of a folder: not where a server speaks in text alone.

    Nor where the tokenizer of what the server speaks is named.
    """
    how = recipe.engine
    return how.kind not in AWAY or (how.kind == "http" and not how.rest().get("tokenizer"))


def keeps_ids(recipe: Recipe) -> bool:
    """Whether trees are kept in token ids of a model, and not in pieces of text."""
    return recipe.engine.kind != "chat" or bool(recipe.engine.rest().get("tokenizer"))


def spoken_in(recipe: Recipe, name: str, folder: Path) -> Chat:
    """The chat in which a policy's trees are kept, whose model lies in `folder` where one does."""
    how = engine_settings(recipe.engine)
    if recipe.engine.kind in AWAY and isinstance(how, HttpSettings) and how.tokenizer:
        own = recipe.of(name)
        return chat_of(how.tokenizer, folder_of(how.tokenizer, recipe.base), own)
    if recipe.engine.kind == "chat":
        return PieceChat()
    return chat_of(recipe.of(name).model.name, folder, recipe.of(name))


def server_engine(recipe: Recipe, name: str, folder: Path) -> ServerEngine[Any]:
    """The server that speaks for a policy; of `folder` only the tokenizer is read."""
    how = engine_settings(recipe.engine)
    assert isinstance(how, HttpSettings)
    return engine_at(how, spoken_in(recipe, name, folder))


def _vllm(recipe: Recipe, model: Any, chat: Chat, folder: Path, how: Any) -> Engine:
    """What runs in processes of vLLM: ours, or those of a server whose weights follow."""
    from hornbeam.engine.vllm.served_engine import ServedEngine, ServedSettings
    from hornbeam.engine.vllm.vllm_engine import VllmEngine
    from hornbeam.train import forward
    from hornbeam.train.weights import merged

    def probe(context: Sequence[int], tokens: Sequence[int]) -> list[float]:
        return forward.score(model, context, tokens, 1.0)

    def weights() -> Any:
        return merged(model).items()

    if isinstance(how, ServedSettings):
        return ServedEngine(how, chat, weights, probe)
    sent: dict[str, Any] = {"weights": weights}
    if how.lora_rank:
        sent = {"adapter": model.save_pretrained}
    return VllmEngine(folder, chat, how, probe=probe, seed=recipe.run.seed, **sent)
