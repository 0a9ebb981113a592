"""Rollouts as OpenTelemetry spans; the only import of it (extra `otel`).

One trace an episode: a span `invoke_agent`, below it a span `chat` a call of a model and a span
`execute_tool` a call of a tool, with their own times. An episode that branches off another links to
that one's. Names and attributes are those of the GenAI semantic conventions (in development,
github.com/open-telemetry/semantic-conventions-genai); what they do not have begins with hornbeam.

What was said stands in spans only with `content`, as the conventions ask. Not told: calls that an
episode only replays, and those from before a run was stopped.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import field_validator

from hornbeam.protocols import RunFacts, Sink, TimedCall
from hornbeam.sinks.sink_settings import SinkSettings
from hornbeam.store.keys import TreeKey
from hornbeam.tree.nodes import Node, Tree

FILE = "spans.jsonl"  # in the run folder
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROVIDERS = {"local": "hornbeam", "vllm": "vllm", "vllm_server": "vllm"}  # others speak as OpenAI's


class OtelSettings(SinkSettings):
    """`endpoint` takes OTLP over HTTP ("http://localhost:4318"); its headers come from
    OTEL_EXPORTER_OTLP_HEADERS. Without one, here or in the environment, spans are JSON lines in the
    run folder. `content`: with what was said, and what tools were given and gave.
    """

    extra = "otel"
    needs = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

    endpoint: str = ""
    service: str = "hornbeam"
    content: bool = False

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, endpoint: str) -> str:
        found = urlsplit(endpoint)
        if endpoint and (found.scheme not in ("http", "https") or not found.hostname):
            raise ValueError("a URL is expected, as http://localhost:4318")
        if found.username or found.password:
            raise ValueError("no password in it: set OTEL_EXPORTER_OTLP_HEADERS in the environment")
        return endpoint

    def make(self) -> Sink:
        """The sink."""
        return OtelSink(self)


class OtelSink(Sink):
    """Makes the spans of a tree when it is grown, and exports them at once."""

    def __init__(self, settings: OtelSettings, exporter: Any = None) -> None:
        self.settings, self._exporter = settings, exporter
        self._stream: Any = None

    def start(self, run: RunFacts) -> None:
        """Make the exporter; that nobody takes spans is told when there are some."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SpanExportResult

        self._run, self._good = run, SpanExportResult.SUCCESS
        about = {"service.name": self.settings.service, "hornbeam.run": run.title}
        about |= {"service.instance.id": run.id}
        self._spans = _Ended()
        provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        provider.add_span_processor(self._spans)  # type: ignore[arg-type]
        self._tracer = provider.get_tracer("hornbeam")
        self._exporter = self._exporter or self._made(run)
        self._engine = run.recipe["engine"]["kind"]

    def _made(self, run: RunFacts) -> Any:
        endpoint = self.settings.endpoint
        if endpoint or any(os.environ.get(name) for name in ENDPOINTS):
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.CRITICAL)
            if endpoint and urlsplit(endpoint).path in ("", "/"):
                endpoint = endpoint.rstrip("/") + "/v1/traces"  # the exporter takes it as it is
            return OTLPSpanExporter(endpoint=endpoint or None)
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        self._stream = (run.folder / FILE).open("a", encoding="utf-8")
        as_line = lambda span: span.to_json(indent=None) + "\n"  # noqa: E731
        return ConsoleSpanExporter(out=self._stream, formatter=as_line)

    def tree(self, key: TreeKey, tree: Tree, calls: Sequence[TimedCall]) -> None:
        """Export the spans of a tree. Raises `OSError` where they are not taken."""
        self._spans.clear()
        episodes: dict[int, Any] = {}  # the context of each one's span
        for episode in sorted({call.episode for call in calls}):
            own = [call for call in calls if call.episode == episode]
            episodes[episode] = self._episode(key, tree, episode, own, episodes)
        if self._spans and self._exporter.export(list(self._spans)) is not self._good:
            raise OSError(f"{len(self._spans)} spans of {key} were not taken")

    def close(self) -> None:
        """Give back what is held."""
        if self._exporter is not None:
            self._exporter.shutdown()
        if self._stream is not None:
            self._stream.close()

    # --- spans -------------------------------------------------------------------------------

    def _episode(
        self,
        key: TreeKey,
        tree: Tree,
        episode: int,
        calls: Sequence[TimedCall],
        others: Mapping[int, Any],
    ) -> Any:
        """The spans of one episode; returns the context of the first."""
        from opentelemetry.trace import Link, SpanKind, set_span_in_context

        nodes = [i for i, n in enumerate(tree.nodes) if i and n.origin.episode == episode]
        program = str(self._run.recipe["program"]["name"])
        about: dict[str, Any] = {
            **self._operation("invoke_agent", "hornbeam"),
            "gen_ai.agent.name": program,
            "gen_ai.conversation.id": f"{self._run.id}/{key}/{episode}",
            "hornbeam.tree": str(key),
            "hornbeam.task": str(tree.task.get("id")),
            "hornbeam.episode": episode,
        }
        about |= _reward(tree, nodes)
        before = tree.nodes[nodes[0]].parent if nodes else 0
        fork = others.get(tree.nodes[before].origin.episode) if before else None
        span = self._tracer.start_span(
            f"invoke_agent {program}",
            kind=SpanKind.INTERNAL,
            attributes=about,
            links=[Link(fork, {"hornbeam.forked_at": before})] if fork is not None else [],
            start_time=min(call.begin for call in calls),
        )
        inside = set_span_in_context(span)
        for call in calls:
            self._call(call, key, inside)
        failed = next((tree.nodes[i].error for i in nodes if _failed(tree.nodes[i])), "")
        _end(span, max(call.end for call in calls), failed)
        return span.get_span_context()

    def _call(self, call: TimedCall, key: TreeKey, inside: Any) -> None:
        from opentelemetry.trace import SpanKind

        chat = call.kind == "chat"
        model = self._model(call.name) if chat else ""
        name = f"chat {model}" if chat else f"execute_tool {call.name}"
        span = self._tracer.start_span(
            name,
            context=inside,
            kind=SpanKind.CLIENT if chat and self._engine != "local" else SpanKind.INTERNAL,
            attributes=self._chat(call, key, model) if chat else self._tool(call),
            start_time=call.begin,
        )
        _end(span, call.end, call.error)

    def _chat(self, call: TimedCall, key: TreeKey, model: str) -> dict[str, Any]:
        agent = self._run.recipe["agents"].get(call.name, {})
        found = {
            **self._operation("chat", PROVIDERS.get(self._engine, "openai")),
            "gen_ai.agent.name": call.name,
            "gen_ai.request.model": model,
            "gen_ai.request.max_tokens": agent.get("max_tokens"),
            "gen_ai.request.temperature": agent.get("temperature") if key.stage == "train" else 0.0,
            "gen_ai.request.top_p": agent.get("top_p"),
            "gen_ai.usage.input_tokens": call.read,
            "gen_ai.usage.output_tokens": call.sampled,
            "gen_ai.response.finish_reasons": [call.finish] if call.finish else None,
            "hornbeam.turn": call.turn,
            "hornbeam.scope": call.scope or None,
        }
        if self.settings.content and not call.error:
            parts = [{"type": "text", "content": call.said}]
            said = [{"role": "assistant", "parts": parts, "finish_reason": call.finish}]
            found["gen_ai.output.messages"] = json.dumps(said, ensure_ascii=False)
        return {name: value for name, value in found.items() if value is not None}

    def _tool(self, call: TimedCall) -> dict[str, Any]:
        found = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.type": "function",
            "hornbeam.turn": call.turn,
        }
        if self.settings.content:
            found["gen_ai.tool.call.arguments"] = json.dumps(dict(call.given), default=str)
            if not call.error:
                found["gen_ai.tool.call.result"] = json.dumps(call.said, default=str)
        return found

    def _operation(self, name: str, provider: str) -> dict[str, str]:
        return {"gen_ai.operation.name": name, "gen_ai.provider.name": provider}

    def _model(self, agent: str) -> str:
        """The name of the model that speaks for an agent."""
        recipe = self._run.recipe
        policy = recipe["agents"].get(agent, {}).get("policy")
        own = recipe["policies"].get(policy, {}).get("model")
        return str(own or recipe["model"]["name"])


class _Ended(list[Any]):
    """Collects the spans that have ended, as a span processor."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Nothing is known yet."""

    def _on_ending(self, span: Any) -> None:
        """It may change no more."""

    def on_end(self, span: Any) -> None:
        """Keep it."""
        self.append(span)

    def shutdown(self) -> None:
        """Nothing is held."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits."""
        return True


def _reward(tree: Tree, nodes: Sequence[int]) -> dict[str, float]:
    """What the episode's leaf earned, where it has a reward."""
    column = tree.columns.get("reward", [])
    leaf = next((i for i in nodes if tree.nodes[i].done), len(column))
    value = column[leaf] if leaf < len(column) else None
    return {} if value is None else {"hornbeam.reward": value}


def _failed(node: Node) -> bool:
    return bool(node.done and node.error)


def _end(span: Any, when: int, error: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    if error:
        span.set_attribute("error.type", error.partition(":")[0])
        span.set_status(Status(StatusCode.ERROR, error[:300]))
    span.end(end_time=when)
