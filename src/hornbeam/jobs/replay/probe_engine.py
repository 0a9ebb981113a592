"""An engine for checking agents: it calls the tools that it is offered, each once, then answers.

What it says depends on how far a conversation is, and on nothing that its messages say: so whatever
differs between two runs of an agent is the agent's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hornbeam.engine.request import Completion, Request
from hornbeam.engine.scripted import Scripted

ANSWER = "The answer is 42."
CALLS = 3  # of tools, in one conversation


class ProbeEngine(Scripted):
    """Calls each tool that a request offers once, `CALLS` at most, and then says `ANSWER`."""

    def __init__(self) -> None:
        super().__init__(ANSWER)

    async def generate(self, request: Request) -> Completion:
        """A call of the next tool, or the answer."""
        heard = sum(message["role"] == "tool" for message in request.messages)
        tools = request.tools[:CALLS]
        said = call_of_tool(tools[heard]) if heard < len(tools) else ANSWER
        whole = replace(request, sampling=replace(request.sampling, max_tokens=100_000))
        return await Scripted(said, self.chat).generate(whole)


def call_of_tool(tool: Mapping[str, Any]) -> str:
    """A call of a tool, as the chat of scripted engines writes one."""
    function = tool["function"]
    arguments = example_of(function.get("parameters") or {})
    call = {"name": function["name"], "arguments": arguments}
    return f"<tool_call>\n{json.dumps(call)}\n</tool_call>"


def example_of(schema: Mapping[str, Any]) -> Any:
    """A value that fits a JSON schema, as far as its types say."""
    for name in ("default", "const"):
        if schema.get(name) is not None:
            return schema[name]
    if schema.get("enum"):
        return schema["enum"][0]
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return example_of(schema[name][0])
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema:
        known = schema.get("properties", {})
        wanted = schema.get("required", known)
        return {name: example_of(each) for name, each in known.items() if name in wanted}
    values: dict[Any, Any] = {"integer": 2, "number": 2.0, "boolean": True, "null": None}
    if kind == "array":
        return [example_of(schema.get("items") or {})]
    return values.get(kind, "2")
