"""The endpoint: a web server on loopback that finds each request's session and format.

POST /s/TOKEN/v1/chat/completions     a session of the agent's main model
POST /s/TOKEN/a/NAME/v1/...           the same session, agent NAME speaks
POST /v1/chat/completions             the session by its API key; of no session, where a door is
GET  .../v1/models                    who can be asked
POST /sessions                        open one, for whoever starts agents himself (with a door)
POST /sessions/TOKEN/end              end it, with its answer and reward
POST /v1/completions                  prompts that searches answer (where there are any)
GET  /trees/ID                        the page of a search's tree

Models of no session that are searches are answered by those, in all formats.
With a `key` it opens and ends sessions, and asks without one; without, only this machine does.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from reprlib import repr as short
from typing import Any

from hornbeam.errors import HornbeamError, how_to_get
from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.asked import Asked, BadRequest
from hornbeam.gateway.bodies import parsed_body, read_bytes
from hornbeam.gateway.endpoint_formats import FORMATS, EndpointFormat, remember
from hornbeam.gateway.hang_ups import Sending, gone
from hornbeam.gateway.searches import Searches
from hornbeam.gateway.session import HOST, LOOPBACK, AgentSession, Arrival, SessionDoor, client_of

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    from hornbeam.gateway.connections import IDLE, Connections
    from hornbeam.gateway.search_answers import chat_answer, completions_answer
except ImportError as error:
    raise HornbeamError(how_to_get("gateway")) from error

CLIENTS = 16  # names of clients that are told apart
BACKLOG = 4096  # connections that wait to be taken


class Gateway:
    """Serves the sessions that it is given, and with a `door` those that are opened there."""

    def __init__(self, key: str = "", door: SessionDoor | None = None) -> None:
        self.counts: Counter[str] = Counter()  # of what reached no session
        self.searches: Searches | None = None  # by models' names; set before the start
        self.key, self.door = key, door
        self._alone = AgentSession()  # bounds the requests of no session
        self._sessions: dict[str, AgentSession] = {}
        self._clients: set[str] = set()
        self._server: uvicorn.Server | None = None
        self._running: asyncio.Task[None] | None = None
        self.address = ""

    # --- its life --------------------------------------------------------------------------------

    async def start(self, port: int = 0, host: str = HOST) -> str:
        """Listen on loopback (a free port by default); its address. A second start is nothing.

        Raises `HornbeamError` where it cannot, or others could reach it without a key.
        """
        if self._running is not None:
            return self.address
        if host not in LOOPBACK and not self.key:
            raise HornbeamError(f"{host} is reached from elsewhere: give a token with it")
        listening = _listening(host, port)
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{listening.getsockname()[1]}"
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
        if self.door is not None:
            routes.append(Route("/sessions", self._open, methods=["POST"]))
            routes.append(Route("/sessions/{token}/end", self._end, methods=["POST"]))
        if self.searches is not None:
            routes.append(Route("/v1/completions", self._complete, methods=["POST"]))
            routes.append(Route("/trees/{ident}", self._tree, methods=["GET"]))
        return Starlette(routes=routes, exception_handlers={404: self._nowhere, 405: self._nowhere})

    async def _nowhere(self, request: Request, error: Exception) -> Response:
        """What has no route is told so."""
        self.counts["refused/no_endpoint"] += 1
        text = f"there is no endpoint {request.method} {short(request.scope['path'])} here"
        return _refused(BadRequest(text, 404, "no_endpoint"))

    def _session(self, request: Request) -> AgentSession | None:
        """The session that asks; None for who may ask without one. Raises `BadRequest`."""
        key = _key_of(request)
        token = request.path_params.get("token", key)
        session = self._sessions.get(token)
        if session is None and self.door is not None:
            if (gone := self.door.gone(token)) is not None:
                raise gone
            if "token" not in request.path_params and (not self.key or self._has_key(key)):
                self._check_key(request)
                return None
        if session is None:
            self.counts["refused/no_session"] += 1
            raise BadRequest("there is no such session", 401, "no_session")
        said = {token, key, _api_key(request)}
        if len([one for one in said if one in self._sessions]) > 1:
            session.counts["refused/other_key"] += 1
            text = "the request names one session and has the API key of another"
            raise BadRequest(text, 403, "other_key")
        return session

    def _has_key(self, key: str) -> bool:
        return secrets.compare_digest(key.encode(), self.key.encode())

    def _check_key(self, request: Request) -> None:
        """Raise `BadRequest` for who has no key, where there is one, or is a page from elsewhere.

        A page that a browser shows here can send requests to this machine, but names its own host.
        """
        if self.key:
            if not self._has_key(_key_of(request)):
                self.counts["refused/key"] += 1
                raise BadRequest("wrong key: this gateway was started with a token", 401, "key")
        elif request.url.hostname not in LOOPBACK or "origin" in request.headers:
            self.counts["refused/host"] += 1
            raise BadRequest("this gateway is of this machine only: give it a token", 403, "host")

    def _client(self, request: Request) -> str:
        """Who asks; behind so many names "other", as anybody can say anything."""
        name = client_of(request.headers)
        if len(self._clients) < CLIENTS:
            self._clients.add(name)
        return name if name in self._clients else "other"

    def _agents(self, session: AgentSession | None) -> tuple[str, ...]:
        if session is not None:
            return session.agents
        assert self.door is not None
        return self.door.agents

    async def _models(self, request: Request) -> Response:
        try:
            session = self._session(request)
        except BadRequest as error:
            return _refused(error)
        searches = None if session is not None else self.searches
        names = [*self._agents(session), *(searches.names() if searches is not None else ())]
        kinds = {"object": "model", "created": 0, "owned_by": "hornbeam"}
        return JSONResponse({"object": "list", "data": [{"id": name, **kinds} for name in names]})

    async def _ask(self, request: Request) -> Response:
        name = request.scope["path"].rpartition("/v1/")[2]
        form = FORMATS[name]
        try:
            session = self._session(request)
            holder = session or self._alone
            with holder.request() as take:
                asked = form.read(parsed_body(await read_bytes(request.stream(), take)), holder)
                search = self._search(session, asked)
                if search is None:
                    answers, arrival = await self._answers(request, name, session, asked)
            if search is not None:
                return await chat_answer(request, name, asked, search)
        except BadRequest as error:
            return _refused(error, form)
        except ClientDisconnect:
            self.counts["refused/hung_up"] += 1
            return Response(status_code=400)
        sending = Sending(arrival)
        ended = BackgroundTask(sending.ended)
        if asked.stream:
            events, kind = sending.events(form.events(asked, answers)), "text/event-stream"
            return StreamingResponse(events, media_type=kind, background=ended)
        return JSONResponse(form.write(asked, answers), background=ended)

    def _search(self, session: AgentSession | None, asked: Asked) -> Searches | None:
        """Who searches for an answer to this request; None where agents answer."""
        if self.searches is None or not self.searches.knows(asked.model):
            return None
        if session is not None and asked.model in session.agents:
            return None
        if session is not None:
            text = "searches answer requests of no session: ask with another key, at /v1"
            raise BadRequest(text, 400, "in_session")
        return self.searches

    async def _complete(self, request: Request) -> Response:
        assert self.searches is not None
        try:
            return await completions_answer(request, await self._given(request), self.searches)
        except BadRequest as error:
            return _refused(error)
        except ClientDisconnect:
            self.counts["refused/hung_up"] += 1
            return Response(status_code=400)

    async def _tree(self, request: Request) -> Response:
        assert self.searches is not None
        try:
            self._check_key(request)
            return HTMLResponse(self.searches.page(request.path_params["ident"]))
        except BadRequest as error:
            return _refused(error)

    async def _answers(
        self, request: Request, name: str, session: AgentSession | None, asked: Asked
    ) -> tuple[list[HttpAnswer], Arrival | None]:
        """The answers to a request, and the request where a session waits to hear it was sent."""
        agent = _agent(request, self._agents(session), asked)
        if session is None:
            assert self.door is not None
            return list(await self.door.alone(agent, asked)), None
        session.client = session.client or self._client(request)
        retry = request.headers.get("x-stainless-retry-count", "0")[:9]
        number = int(retry) if retry.isdecimal() else 0
        waits = asyncio.create_task(gone(request.receive))
        try:
            arrival = await session.submit(agent, asked, number, waits)
            if not arrival.answer.done():
                raise ClientDisconnect
        finally:
            waits.cancel()
        answers = list(arrival.answer.result())
        remember(name, session, asked, answers[0])
        return answers, arrival

    # --- sessions of who starts agents himself ---------------------------------------------------

    async def _open(self, request: Request) -> Response:
        assert self.door is not None
        try:
            session, told = await self.door.open(await self._given(request))
        except BadRequest as error:
            return _refused(error)
        root = f"{str(request.base_url).rstrip('/')}/s/{session.token}"
        urls = {"token": session.token, "root": root, "base_url": f"{root}/v1"}
        return JSONResponse({**urls, "env": session.environment(root), **told})

    async def _end(self, request: Request) -> Response:
        assert self.door is not None
        try:
            given = await self._given(request)
            return JSONResponse(await self.door.end(request.path_params["token"], given))
        except BadRequest as error:
            return _refused(error)

    async def _given(self, request: Request) -> Mapping[str, Any]:
        """The body of who has the key; none at all is empty. Raises `BadRequest`."""
        self._check_key(request)
        try:
            with self._alone.request() as take:
                text = await read_bytes(request.stream(), take)
                return parsed_body(text) if text.strip() else {}
        except ClientDisconnect:
            raise BadRequest("its sender hung up") from None


def _refused(error: BadRequest, form: EndpointFormat = FORMATS["chat/completions"]) -> Response:
    """What the sender is told. Clients of OpenAI and Anthropic try again unless told not to.

    Where the engine failed they may, and at once: a replay waits as they do.
    """
    told = {} if error.status == 429 else {"x-should-retry": "false"}
    if error.status >= 500:
        told = {"retry-after-ms": "50"}
    if error.close:
        told["connection"] = "close"
    return JSONResponse(form.error(str(error), error.code, error.status), error.status, told)


def _key_of(request: Request) -> str:
    """The session that a request names beside its address: by a header, else by its API key."""
    return request.headers.get("x-hornbeam-session", _api_key(request))


def _api_key(request: Request) -> str:
    header = request.headers.get("authorization", "")
    return header.removeprefix("Bearer ").strip() or request.headers.get("x-api-key", "")


def _agent(request: Request, agents: tuple[str, ...], asked: Asked) -> str:
    """Who is asked: by the address, else by the model's name where an agent has it."""
    named = request.path_params.get("agent")
    if named is not None and named not in agents:
        raise BadRequest(f"there is no agent {short(named)}", 404, "model_not_found")
    return named or (asked.model if asked.model in agents else agents[0])


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises `HornbeamError`."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        raise HornbeamError(f"cannot listen on {host}, port {port}: {error}") from error
    return listening


class _Quiet(uvicorn.Server):
    """A server that leaves signals to the run it belongs to."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield
