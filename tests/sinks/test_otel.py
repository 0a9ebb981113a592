"""Rollouts as spans: names, attributes, times and parents; a file, a collector, none there."""

import asyncio
import json
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from hornbeam.chat import user
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import RecipeError, ToolError
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.protocols import RunFacts
from hornbeam.recipe.recipe import Recipe
from hornbeam.search import Branch, Independent
from hornbeam.sinks import SinkThread, sink_settings
from hornbeam.sinks.otel_sink import OtelSettings, OtelSink
from hornbeam.store.database import TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.workers.local_workers import LocalWorkers

KEY = TreeKey("train", 3, 1)
RECIPE = {
    "model": {"name": "smollm2-135m"},
    "agents": {"solver": {"max_tokens": 16, "temperature": 0.7}},
    "program": {"name": "react"},
}


class Half:
    """Every leaf earns a half."""

    column = "reward"

    async def score(self, tree, nodes):
        return [0.5 for _ in nodes]


async def program(task, ep):
    said = await ep.ask("solver", [user(task.question)])
    await ep.call("add", a=1, b=2)
    with suppress(ToolError):
        await ep.call("fail")
    if task.question == "raise":
        raise ValueError("no way")
    return said.text


def fail():
    raise ValueError("no")


def grown(strategy, question="how much?"):
    """(tree, calls) of a growth."""
    heard = []
    agents = {"solver": Speaker(Scripted(lambda prompt, rng: "three"))}
    tools = LocalWorkers({"add": lambda a, b: a + b, "fail": fail})
    how = Grower(
        program, agents, strategy, Half(), tools, grown=lambda *what: heard.append(what[1:])
    )
    asyncio.run(how.grow(KEY, Tree({"id": "a", "question": question}, seed=1)))
    return heard[0]


def facts(folder):
    return RunFacts("1bb74e8e", "a run", folder, Recipe.model_validate(RECIPE).model_dump())


def spans_of(tmp_path, tree, calls, **settings):
    """What a sink exports of a tree."""
    sink = OtelSink(OtelSettings(**settings), kept := InMemorySpanExporter())
    sink.start(facts(tmp_path))
    sink.tree(KEY, tree, calls)
    found = kept.get_finished_spans()
    sink.close()
    return found


def test_an_episode_is_a_trace_with_a_span_a_call(tmp_path):
    tree, calls = grown(Independent(n=2))
    spans = spans_of(tmp_path, tree, calls)
    roots = [span for span in spans if span.parent is None]
    assert [root.name for root in roots] == ["invoke_agent react"] * 2
    assert len({root.context.trace_id for root in roots}) == 2
    for episode, root in enumerate(roots):
        own = [s for s in spans if s.parent and s.parent.span_id == root.context.span_id]
        names = ["chat smollm2-135m", "execute_tool add", "execute_tool fail"]
        assert [span.name for span in own] == names
        times = [(call.begin, call.end) for call in calls if call.episode == episode]
        assert [(span.start_time, span.end_time) for span in own] == times
        assert (root.start_time, root.end_time) == (times[0][0], times[-1][1])
        assert dict(root.attributes) == {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "hornbeam",
            "gen_ai.agent.name": "react",
            "gen_ai.conversation.id": f"1bb74e8e/train/3/1/{episode}",
            "hornbeam.tree": "train/3/1",
            "hornbeam.task": "a",
            "hornbeam.episode": episode,
            "hornbeam.reward": 0.5,
        }
        chat, add, failed = own
        tokens = len(tree.nodes[1].tokens)
        assert dict(chat.attributes) == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "hornbeam",
            "gen_ai.agent.name": "solver",
            "gen_ai.request.model": "smollm2-135m",
            "gen_ai.request.max_tokens": 16,
            "gen_ai.request.temperature": 0.7,
            "gen_ai.request.top_p": 1.0,
            "gen_ai.usage.input_tokens": len(tree.context(1)),
            "gen_ai.usage.output_tokens": tokens,
            "gen_ai.response.finish_reasons": ("stop",),
            "hornbeam.turn": 0,
        }
        assert chat.kind is SpanKind.INTERNAL and add.status.status_code is StatusCode.UNSET
        assert failed.status.status_code is StatusCode.ERROR
        assert failed.attributes["error.type"] == "ToolError"
    assert roots[0].resource.attributes["service.name"] == "hornbeam"


def test_what_was_said_stands_there_only_where_it_is_asked_for(tmp_path):
    tree, calls = grown(Independent(n=1))
    silent = spans_of(tmp_path, tree, calls)
    assert "three" not in "".join(span.to_json() for span in silent)
    chat, add, failed, _ = spans_of(tmp_path, tree, calls, content=True)
    (said,) = json.loads(chat.attributes["gen_ai.output.messages"])
    assert said["parts"] == [{"type": "text", "content": "three"}]
    assert (said["role"], said["finish_reason"]) == ("assistant", "stop")
    assert json.loads(add.attributes["gen_ai.tool.call.arguments"]) == {"a": 1, "b": 2}
    assert add.attributes["gen_ai.tool.call.result"] == "3"
    assert "gen_ai.tool.call.result" not in failed.attributes


def test_an_episode_that_branches_off_links_to_where_it_comes_from(tmp_path):
    async def turns(task, ep):
        for turn in range(3):
            said = await ep.ask("solver", [user(f"{task.question} {turn}")])
        return said.text

    heard = []
    agents = {"solver": Speaker(Scripted(lambda prompt, rng: rng.choice("abc")))}
    how = Grower(
        turns, agents, Branch(trunks=1, nodes=1, rounds=1), grown=lambda *w: heard.append(w[1:])
    )
    tree = asyncio.run(how.grow(KEY, Tree({"id": "a", "question": "?"}, seed=1)))
    roots = [s for s in spans_of(tmp_path, *heard[0]) if s.parent is None]
    forks = {n.origin.episode for n in tree.nodes[1:] if n.origin.episode}
    assert len(roots) == 1 + len(forks) and forks
    assert not roots[0].links
    for root in roots[1:]:
        (link,) = root.links
        assert link.context.trace_id == roots[0].context.trace_id
        assert root.attributes["gen_ai.conversation.id"].endswith(
            f"/{root.attributes['hornbeam.episode']}"
        )


def test_a_failed_episode_says_of_what(tmp_path):
    tree, calls = grown(Independent(n=1), "raise")
    root = spans_of(tmp_path, tree, calls)[-1]
    assert root.status.status_code is StatusCode.ERROR
    assert root.attributes["error.type"] == "ValueError"
    assert "hornbeam.reward" not in root.attributes


def told(tmp_path, settings, trees=1):
    """What is warned of when a sink is told of trees in its thread."""
    said = []
    thread = SinkThread("otel", OtelSink(settings), tmp_path / "otel.json", said.append)
    thread.start(facts(tmp_path))
    for _ in range(trees):
        thread.tell("tree", KEY, *grown(Independent(n=1)))
    thread.close()
    return said


@pytest.fixture
def nowhere(monkeypatch):
    """No collector is named in the environment."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_collector_spans_are_lines_in_the_run_folder(tmp_path, nowhere):
    assert told(tmp_path, OtelSettings(), 2) == []
    lines = (tmp_path / "spans.jsonl").read_text().splitlines()
    assert len(lines) == 8
    assert [json.loads(line)["name"] for line in lines[:4]] == [
        "chat smollm2-135m",
        "execute_tool add",
        "execute_tool fail",
        "invoke_agent react",
    ]


@contextmanager
def collector(status=200):
    """A server on loopback that takes spans; what it was sent."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("by", ["setting", "environment"])
def test_a_collector_gets_them_by_otlp(tmp_path, nowhere, monkeypatch, by):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    with collector() as (url, got):
        if by == "environment":
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        assert told(tmp_path, OtelSettings(endpoint=url if by == "setting" else "")) == []
    ((path, body),) = got
    request = ExportTraceServiceRequest.FromString(body)
    spans = request.resource_spans[0].scope_spans[0].spans
    assert path == "/v1/traces" and spans[-1].name == "invoke_agent react"
    assert not (tmp_path / "spans.jsonl").exists()


def test_a_collector_that_takes_none_is_told_once_and_counted(tmp_path, nowhere, capfd):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with collector(400) as (url, got):
        said = told(tmp_path, OtelSettings(endpoint=url), 3)
    assert len(got) == 3 and capfd.readouterr() == ("", "")
    assert said == [
        "sink otel: tree: OSError: 4 spans of train/3/1 were not taken; later failures are only"
        " counted",
        "sink otel: 3 of 5 calls failed",
    ]


@pytest.mark.parametrize(
    "endpoint, line",
    [
        ("localhost:4318", "a URL is expected"),
        ("http://me:hush@localhost", "OTEL_EXPORTER_OTLP_HEADERS"),
    ],
)
def test_an_endpoint_that_cannot_be_is_told(endpoint, line):
    with pytest.raises(RecipeError, match=line):
        sink_settings("otel", {"endpoint": endpoint})
