"""The endpoint: a web server on loopback that finds each request's session and format.

POST /s/TOKEN/v1/chat/completions     a session of the agent's main model
POST /s/TOKEN/a/NAME/v1/...           the same session, agent NAME speaks
POST /v1/chat/completions             the session by its API key
GET  .../v1/models                    who can be asked
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from reprlib import repr as short
from typing import Any

from hornbeam.errors import HornbeamError, how_to_get
from hornbeam.gateway import chat_endpoint
from hornbeam.gateway.asked import Asked, BadRequest
from hornbeam.gateway.bodies import read_body
from hornbeam.gateway.endpoint_formats import FORMATS, EndpointFormat, remember
from hornbeam.gateway.session import AgentSession, client_of

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    from hornbeam.gateway.connections import IDLE, Connections
except ImportError as error:
    raise HornbeamError(how_to_get("gateway")) from error

CLIENTS = 16  # names of clients that are told apart
HOST = "127.0.0.1"
BACKLOG = 4096  # connections that wait to be taken


class Gateway:
    """Serves the sessions that it is given."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()  # of what reached no session
        self._sessions: dict[str, AgentSession] = {}
        self._clients: set[str] = set()
        self._server: uvicorn.Server | None = None
        self._running: asyncio.Task[None] | None = None
        self.address = ""

    # --- its life --------------------------------------------------------------------------------

    async def start(self, port: int = 0) -> str:
        """Listen on loopback (a free port by default); its address. A second start is nothing."""
        if self._running is not None:
            return self.address
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(BACKLOG)
        self.address = f"http://{HOST}:{listening.getsockname()[1]}"
        kind: Any = Connections(self.counts).protocol  # uvicorn makes one for each connection
        config = uvicorn.Config(
            self._app(),
            http=kind,
            log_level="error",
            lifespan="off",
            access_log=False,
            backlog=BACKLOG,
            timeout_keep_alive=IDLE,
        )
        self._server = _Quiet(config)
        self._running = asyncio.create_task(self._server.serve([listening]))
        while not self._server.started:
            await asyncio.sleep(0.01)
        return self.address

    async def aclose(self) -> None:
        """End all sessions and the server."""
        for session in list(self._sessions.values()):
            self.remove(session)
        if self._server is not None and self._running is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            await self._running
        self._server = self._running = None

    def add(self, session: AgentSession) -> None:
        """Serve a session from now on."""
        self._sessions[session.token] = session

    def remove(self, session: AgentSession) -> None:
        """Serve it no longer."""
        session.close()
        self._sessions.pop(session.token, None)
        self.counts.update(session.counts)

    # --- requests --------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        routes = []
        for root in ("/s/{token}/v1", "/s/{token}/a/{agent}/v1", "/v1"):
            for path in FORMATS:
                routes.append(Route(f"{root}/{path}", self._ask, methods=["POST"], name=path))
            routes.append(Route(f"{root}/models", self._models, methods=["GET"]))
        return Starlette(routes=routes, exception_handlers={404: self._nowhere, 405: self._nowhere})

    async def _nowhere(self, request: Request, error: Exception) -> Response:
        """What has no route is told so."""
        self.counts["refused/no_endpoint"] += 1
        text = f"there is no endpoint {request.method} {short(request.scope['path'])} here"
        return _refused(FORMATS["chat/completions"], BadRequest(text, 404, "no_endpoint"))

    def _session(self, request: Request) -> AgentSession:
        header = request.headers.get("authorization", "")
        key = header.removeprefix("Bearer ").strip() or request.headers.get("x-api-key", "")
        token = request.path_params.get("token", key)
        session = self._sessions.get(token)
        if session is None:
            self.counts["refused/no_session"] += 1
            raise BadRequest("there is no such session", 401, "no_session")
        if key != token and key in self._sessions:
            session.counts["refused/other_key"] += 1
            text = "the address is one session's, the API key another's"
            raise BadRequest(text, 403, "other_key")
        return session

    def _client(self, request: Request) -> str:
        """Who asks; behind so many names "other", as anybody can say anything."""
        name = client_of(request.headers)
        if len(self._clients) < CLIENTS:
            self._clients.add(name)
        return name if name in self._clients else "other"

    async def _models(self, request: Request) -> Response:
        try:
            session = self._session(request)
        except BadRequest as error:
            return JSONResponse(
                chat_endpoint.error(str(error), error.code, error.status), error.status
            )
        kinds = {"object": "model", "created": 0, "owned_by": "hornbeam"}
        return JSONResponse(
            {"object": "list", "data": [{"id": name, **kinds} for name in session.agents]}
        )

    async def _ask(self, request: Request) -> Response:
        name = request.scope["path"].rpartition("/v1/")[2]
        form = FORMATS[name]
        try:
            session = self._session(request)
            with session.request() as take:
                asked = form.read(await read_body(request.stream(), take), session)
                agent = _agent(request, session, asked)
                session.client = session.client or self._client(request)
                retry = request.headers.get("x-stainless-retry-count", "0")[:9]
                number = int(retry) if retry.isdecimal() else 0
                arrival = await session.submit(agent, asked, number)
        except BadRequest as error:
            return _refused(form, error)
        except ClientDisconnect:
            self.counts["refused/hung_up"] += 1
            return Response(status_code=400)
        answers = list(arrival.answer.result())
        remember(name, session, asked, answers[0])

        async def sent() -> None:
            arrival.delivered = True

        after = BackgroundTask(sent)
        if asked.stream:
            kind = "text/event-stream"
            events = form.events(asked, answers)
            return StreamingResponse(events, media_type=kind, background=after)
        return JSONResponse(form.write(asked, answers), background=after)


def _refused(form: EndpointFormat, error: BadRequest) -> Response:
    """What the sender is told. Clients of OpenAI and Anthropic try again unless told not to.

    Where the engine failed they may, and at once: a replay waits as they do.
    """
    told = {} if error.status == 429 else {"x-should-retry": "false"}
    if error.status >= 500:
        told = {"retry-after-ms": "50"}
    if error.close:
        told["connection"] = "close"
    return JSONResponse(form.error(str(error), error.code, error.status), error.status, told)


def _agent(request: Request, session: AgentSession, asked: Asked) -> str:
    """Who is asked: by the address, else by the model's name where an agent has it."""
    named = request.path_params.get("agent")
    if named is not None and named not in session.agents:
        raise BadRequest(f"there is no agent {short(named)}", 404, "model_not_found")
    return named or (asked.model if asked.model in session.agents else session.agents[0])


class _Quiet(uvicorn.Server):
    """A server that leaves signals to the run it belongs to."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield
