"""Requests that a search answers: it takes long, so who streams hears that it goes on.

Who hangs up stops the search.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from hornbeam.errors import HornbeamError, how_to_get
from hornbeam.gateway import completions_endpoint
from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.asked import Asked, BadRequest
from hornbeam.gateway.endpoint_formats import FORMATS
from hornbeam.gateway.hang_ups import gone
from hornbeam.gateway.searches import Searches

try:
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
except ImportError as error:
    raise HornbeamError(how_to_get("gateway")) from error

T = TypeVar("T")
ALIVE = 10.0  # seconds between two comments of a stream whose search goes on


async def chat_answer(request: Request, name: str, asked: Asked, searches: Searches) -> Response:
    """The answer to a request in the format of that name. Raises `BadRequest`."""
    form = FORMATS[name]
    search = await searches.ready(asked, _pages(request))
    if not asked.stream:
        answer = await _unless_gone(request, search)
        return JSONResponse(form.write(asked, [answer]))
    searches.check_room(1)
    return StreamingResponse(_events(name, asked, search), media_type="text/event-stream")


async def completions_answer(
    request: Request, body: Mapping[str, Any], searches: Searches
) -> Response:
    """The answer to a request of completions. Raises `BadRequest`."""
    asked = completions_endpoint.read(body)
    if not searches.knows(asked[0].model):
        raise BadRequest(f"no search {asked[0].model!r}, and nothing else completes", 404)
    found = [await searches.ready(each, _pages(request)) for each in asked]
    searches.check_room(len(found))

    async def all_of() -> list[HttpAnswer]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_awaited(search)) for search in found]
        return [task.result() for task in tasks]

    try:
        answers = await _unless_gone(request, all_of)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return JSONResponse(completions_endpoint.write(asked, answers))


def _pages(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}/trees"


async def _awaited(search: Callable[[], Awaitable[T]]) -> T:
    return await search()


async def _unless_gone(request: Request, search: Callable[[], Awaitable[T]]) -> T:
    """What a search answers; `ClientDisconnect` where nobody waits for it, and it is stopped."""
    work, left = asyncio.create_task(_awaited(search)), asyncio.create_task(gone(request.receive))
    try:
        await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        for task in (work, left):
            task.cancel()
        await asyncio.gather(work, left, return_exceptions=True)


async def _events(
    name: str, asked: Asked, search: Callable[[], Awaitable[HttpAnswer]]
) -> AsyncIterator[str]:
    """The events of an answer, comments until it is there."""
    form = FORMATS[name]
    work = asyncio.create_task(_awaited(search))
    try:
        while not work.done():
            yield ": searching\n\n"
            await asyncio.wait({work}, timeout=ALIVE)
        for event in form.events(asked, [work.result()]):
            yield event
    except BadRequest as error:
        told = json.dumps(form.error(str(error), error.code, error.status), ensure_ascii=False)
        kind = "" if name == "chat/completions" else "event: error\n"
        yield f"{kind}data: {told}\n\n"
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
