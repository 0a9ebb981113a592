"""Searches as the server of the gateway asks for them: requests in, answers out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hornbeam.assembly.progress import Progress
from hornbeam.assembly.tree_growth import StoreGrower
from hornbeam.assembly.world import World
from hornbeam.errors import EngineError, HornbeamError, ModelError, PromptTooLong, RecipeError
from hornbeam.gateway.answered import CallOut, HttpAnswer
from hornbeam.gateway.asked import Asked, BadRequest
from hornbeam.jobs.service.outcome import Outcome
from hornbeam.jobs.service.search_service import SearchService, ServiceStopped, TooMany
from hornbeam.jobs.service.served_names import PREFIX, NoSuchSearch, is_search
from hornbeam.recipe.recipe import Recipe
from hornbeam.store.database import Store
from hornbeam.view.report import trees_html


class ServedAnswers:
    """What a service answers to requests. It is a `Searches` (gateway/searches)."""

    def __init__(self, service: SearchService) -> None:
        self.service = service

    @classmethod
    def of(cls, recipe: Recipe, store: Store, world: World, progress: Progress) -> ServedAnswers:
        """Searches of a recipe into a store, on the engines of a world."""
        return cls(SearchService(recipe, StoreGrower(recipe, store, world, progress)))

    def names(self) -> list[str]:
        """The names to show."""
        return self.service.names()

    def knows(self, model: str) -> bool:
        """Whether a model's name is a search's, be it one that cannot be here."""
        return model.startswith(PREFIX) or is_search(self.service.recipe, model)

    async def ready(self, asked: Asked, pages: str) -> Callable[[], Awaitable[HttpAnswer]]:
        """What searches and answers. Raises `BadRequest`, as what it returns does."""
        _check(asked)
        try:
            await self.service.check(asked.model, asked.messages, asked.sampling, asked.tools)
        except HornbeamError as error:
            raise _told(error) from error

        async def answer() -> HttpAnswer:
            try:
                given = asked.messages, asked.sampling, asked.tools
                found = await self.service.answer(asked.model, *given)
            except HornbeamError as error:
                raise _told(error) from error
            return _http(asked, found, pages)

        return answer

    def check_room(self, searches: int) -> None:
        """Raise `BadRequest` where so many more cannot be taken now."""
        try:
            self.service.check_room(searches)
        except HornbeamError as error:
            raise _told(error) from error

    def page(self, ident: str) -> str:
        """The page of a tree. Raises `BadRequest`."""
        tree = self.service.tree(ident)
        if tree is None:
            raise BadRequest(f"there is no tree {ident[:32]!r} here", 404, "no_tree")
        return trees_html(str(tree.task.get("question") or ident)[:80], [tree])


def _check(asked: Asked) -> None:
    """Raise `BadRequest` for what a search cannot do."""
    if asked.n > 1:
        raise BadRequest("n: a search has one answer: its model's name says how many it looks at")
    if asked.logprobs:
        raise BadRequest("logprobs: a search tells none of its answer")


def _told(error: HornbeamError) -> BadRequest:
    """An error of a search as its client is told it."""
    if isinstance(error, BadRequest):
        return error
    if isinstance(error, NoSuchSearch):
        return BadRequest(str(error), 404, "model_not_found")
    if isinstance(error, TooMany):
        return BadRequest(str(error), 429, "too_many")
    if isinstance(error, ServiceStopped):
        return BadRequest(str(error), 503, "stopped")
    if isinstance(error, PromptTooLong):
        return BadRequest(str(error), 400, "context_length_exceeded")
    if isinstance(error, (RecipeError, ModelError)):
        return BadRequest(str(error))
    code = "engine_error" if isinstance(error, EngineError) else "search_failed"
    return BadRequest(str(error), 500, code)


def _http(asked: Asked, found: Outcome, pages: str) -> HttpAnswer:
    """The answer that an outcome is; what of the request was not read is told beside it."""
    ignored = [*asked.ignored, *(asked.sampling if found.program else ())]
    calls = tuple(
        CallOut(f"call_{found.tree}{n}", name, arguments)
        for n, (name, arguments) in enumerate(found.calls_made)
    )
    more = {**found.to_json(), "url": f"{pages}/{found.tree}", "ignored": ignored}
    return HttpAnswer(
        found.tree,
        asked.model,
        found.text,
        "tool_calls" if calls else found.finish,
        calls=calls,
        prompt_tokens=found.prompt,
        cached_tokens=found.cached,
        sampled_tokens=found.sampled,
        more={"hornbeam": more},
    )
