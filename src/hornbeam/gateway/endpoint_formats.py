"""The formats that are served, by the path that they are asked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hornbeam.gateway import chat_endpoint, messages_endpoint, responses_endpoint
from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.asked import Asked
from hornbeam.gateway.session import AgentSession


@dataclass(frozen=True, slots=True)
class EndpointFormat:
    """One way to ask: reading a body, writing answers whole or as events, writing errors."""

    read: Callable[[Mapping[str, Any], AgentSession], Asked]
    write: Callable[[Asked, list[HttpAnswer]], dict[str, Any]]
    events: Callable[[Asked, list[HttpAnswer]], Iterator[str]]
    error: Callable[[str, str, int], dict[str, Any]]


FORMATS = {
    "chat/completions": EndpointFormat(
        lambda body, session: chat_endpoint.read(body, session.read),
        chat_endpoint.write,
        chat_endpoint.events,
        chat_endpoint.error,
    ),
    "responses": EndpointFormat(
        lambda body, session: responses_endpoint.read(body, session.responses),
        responses_endpoint.write,
        responses_endpoint.events,
        chat_endpoint.error,
    ),
    "messages": EndpointFormat(
        lambda body, session: messages_endpoint.read(body),
        messages_endpoint.write,
        messages_endpoint.events,
        messages_endpoint.error,
    ),
}


def remember(name: str, session: AgentSession, asked: Asked, answer: HttpAnswer) -> None:
    """Keep what a later request may refer to instead of saying it."""
    if name == "responses":
        said = responses_endpoint.message_of(answer)
        messages = asked.messages[1:] if asked.instructed else asked.messages
        session.responses[responses_endpoint.identity(answer)] = (*messages, said)
