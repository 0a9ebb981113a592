"""OpenAI's own client inside a program: its requests are asks of the episode, without a socket.

    client = hb.openai_client(ep)          # an openai.AsyncOpenAI
    agent = Agent(model=OpenAIChatCompletionsModel("solver", client), ...)   # or any that takes one

So that an async framework on that client runs inside the replaying loop. Its retries are off, as
they wait on the clock; its tools go through `ep.call` where they are not pure.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from hornbeam.episode.program import Episode
from hornbeam.errors import EngineError, how_to_get
from hornbeam.gateway.asked import BadRequest
from hornbeam.gateway.bodies import parsed_body
from hornbeam.gateway.delegations import Delegations
from hornbeam.gateway.endpoint_formats import FORMATS, remember
from hornbeam.gateway.history_turns import Turns
from hornbeam.gateway.relayed import SeenPrompts, answered, refused
from hornbeam.gateway.session import AgentSession, client_of, key_of


class EpisodeTransport(httpx2.AsyncBaseTransport):
    """Answers requests of a client by an episode. `agent` speaks for models that are no agent."""

    def __init__(self, ep: Episode, agent: str) -> None:
        self._ep, self._agent, self._turns, self._session = (
            ep,
            agent,
            Turns(),
            AgentSession(),
        )
        self._seen = SeenPrompts()
        self._delegations = Delegations(ep, agent)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer to a request; errors of the ask are answers with a status."""
        name = request.url.path.rpartition("/v1/")[2]
        form = FORMATS.get(name)
        if form is None:
            return httpx2.Response(404, json={"error": {"message": f"no endpoint {name}"}})
        try:
            asked = form.read(parsed_body(await request.aread()), self._session)
            agent = asked.model if asked.model in self._ep.effects.names() else self._agent
            client = client_of(request.headers)
            messages, earlier = self._turns.restore(asked, client)
            payload = self._ep.payload(messages, asked.tools, asked.sampling)
            told = [earlier, *[earlier._replace(rewritten=())] * (asked.n - 1)]
            issue, scope = self._ep.effects.issue, self._delegations.scope(agent, asked.messages)
            asks = [issue("ask", agent, scope, payload, earlier=each) for each in told]
            replies = await asyncio.gather(*asks)
        except (BadRequest, EngineError) as error:
            no = refused(error)
            return httpx2.Response(no.status, json=form.error(str(no), no.code, no.status))
        answers = []
        for reply in replies:
            seen = self._seen.cached(reply)
            answers.append(answered(asked, agent, key_of(agent, asked), reply, seen))
            self._turns.add(asked, answers[-1], reply)
        remember(name, self._session, asked, answers[0])
        if asked.stream:
            text = "".join(form.events(asked, answers))
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=text)
        return httpx2.Response(200, json=form.write(asked, answers))


def openai_client(ep: Episode, agent: str = "", **options: Any) -> Any:
    """An `openai.AsyncOpenAI` whose requests are asks of this episode.

    A model that is one of the run's agents answers, any other name is `agent` (by default the main
    one).
    Options are the client's own. Raises `ImportError` where the package is missing.
    """
    try:
        from openai import AsyncOpenAI
        from openai._base_client import get_platform
    except ImportError as error:
        raise ImportError(f"openai is not installed: {how_to_get('openai')}") from error
    transport = EpisodeTransport(ep, agent or ep.effects.names()[0])
    client = AsyncOpenAI(
        **{"api_key": "none", "base_url": "http://episode/v1", "max_retries": 0, **options},
        http_client=httpx2.AsyncClient(transport=transport),
    )
    # Otherwise asked for in a thread at the first request, which cannot be replayed.
    client._platform = get_platform()
    return client
