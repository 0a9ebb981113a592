"""Agents that speak each format raw, whole or streamed: `python wire_agents.py HOW QUESTION`.

What is streamed is put together from the events as clients do it, and their order is checked.
"""

import json
import os
import sys
import urllib.request

from outside_agents import ADD, post

FUNCTION = ADD["function"]


def events(body, path):
    """The events of a streamed answer: (name, data) each."""
    headers = {"Content-Type": "application/json", "x-api-key": os.environ["OPENAI_API_KEY"]}
    address = f"{os.environ['OPENAI_BASE_URL']}/{path}"
    asked = urllib.request.Request(address, json.dumps({**body, "stream": True}).encode(), headers)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = answer.read().decode()
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = fields["data"]
        yield fields.get("event"), None if data == "[DONE]" else json.loads(data)


class Chat:
    """Chat completions; the history is what was answered."""

    path = "chat/completions"

    def __init__(self, question):
        self.messages = [{"role": "system", "content": "be brief"}]
        self.messages.append({"role": "user", "content": question})

    def body(self):
        return {"model": "solver", "messages": self.messages, "tools": [ADD]}

    def whole(self):
        return post(self.body(), self.path)["choices"][0]["message"]

    def streamed(self):
        """The message that the deltas make."""
        out, calls, ended = {"role": "assistant", "content": ""}, {}, []
        for _, data in events(
            {**self.body(), "stream_options": {"include_usage": True}}, self.path
        ):
            if data is None or not data["choices"]:
                ended.append(data and data["usage"]["completion_tokens"])
                continue
            assert not ended
            delta = data["choices"][0]["delta"]
            for name in {"content", "reasoning"} & set(delta):
                out[name] = out.get(name, "") + delta[name]
            for part in delta.get("tool_calls", ()):
                call = calls.setdefault(part["index"], {"id": part["id"], "type": "function"})
                held = call.setdefault("function", {"name": "", "arguments": ""})
                held["name"] += part["function"].get("name") or ""
                held["arguments"] += part["function"].get("arguments") or ""
        assert len(ended) == 2 and ended[0] > 0 and ended[1] is None
        return out | ({"tool_calls": [calls[n] for n in sorted(calls)]} if calls else {})

    def take(self, message):
        """Keep what was answered; (text, calls as (id, arguments))."""
        self.messages.append(message)
        calls = message.get("tool_calls", ())
        return message["content"], [(c["id"], c["function"]["arguments"]) for c in calls]

    def tell(self, ident, result):
        self.messages.append({"role": "tool", "tool_call_id": ident, "content": result})


class Responses:
    """Responses; the history is the items that were answered, or the id of the last response."""

    path = "responses"

    def __init__(self, question, by_id=False):
        self.items = [{"role": "developer", "content": "be brief"}]
        self.items.append({"role": "user", "content": question})
        self.by_id, self.last = by_id, None

    def body(self):
        tool = {"type": "function", **FUNCTION}
        more = {"previous_response_id": self.last} if self.by_id and self.last else {}
        return {"model": "solver", "input": self.items, "tools": [tool], **more}

    def whole(self):
        return post(self.body(), self.path)

    def streamed(self):
        """The response that ended the stream, held against its events."""
        parts, done, number = {}, [], -1
        for name, data in events(self.body(), self.path):
            number += 1
            assert (data["type"], data["sequence_number"]) == (name, number)
            if name.endswith(".delta"):
                key = data["item_id"]
                parts[key] = parts.get(key, "") + data["delta"]
            if name == "response.output_item.done":
                done.append(data["item"])
        assert name == "response.completed" and data["response"]["output"] == done
        for item in done:
            if item["type"] == "message":
                assert parts[item["id"]] == item["content"][0]["text"]
            elif item["type"] == "function_call":
                assert parts[item["id"]] == item["arguments"]
        return data["response"]

    def take(self, response):
        """The same of a response."""
        self.items = [] if self.by_id else [*self.items, *response["output"]]
        self.last, text, calls = response["id"], "", []
        for item in response["output"]:
            if item["type"] == "message":
                text += item["content"][0]["text"]
            elif item["type"] == "function_call":
                calls.append((item["call_id"], item["arguments"]))
        return text, calls

    def tell(self, ident, result):
        told = {"type": "function_call_output", "call_id": ident, "output": result}
        self.items.append(told)


class Messages:
    """Anthropic's messages."""

    path = "messages"

    def __init__(self, question):
        self.messages = [{"role": "user", "content": [{"type": "text", "text": question}]}]

    def body(self):
        tool = {"name": "add", "description": "Adds.", "input_schema": FUNCTION["parameters"]}
        system = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
        body = {"model": "solver", "max_tokens": 256, "system": system, "tools": [tool]}
        return {**body, "messages": self.messages}

    def whole(self):
        return post(self.body(), self.path)["content"]

    def streamed(self):
        """The blocks that the deltas make."""
        blocks, written, order = [], "", []
        for name, data in events(self.body(), self.path):
            order.append(name)
            assert data["type"] == name
            if name == "content_block_start":
                assert data["index"] == len(blocks)
                blocks.append(data["content_block"])
                written = ""
            elif name == "content_block_delta":
                delta = data["delta"]
                kind = delta["type"].removesuffix("_delta")
                if kind == "input_json":
                    written += delta["partial_json"]
                else:
                    blocks[-1][kind] += delta[kind]
            elif name == "content_block_stop" and blocks[-1]["type"] == "tool_use":
                blocks[-1]["input"] = json.loads(written)
        assert order[0] == "message_start" and order[-2:] == ["message_delta", "message_stop"]
        return blocks

    def take(self, blocks):
        """The same of blocks."""
        self.messages.append({"role": "assistant", "content": blocks})
        calls = [(b["id"], json.dumps(b["input"])) for b in blocks if b["type"] == "tool_use"]
        return "".join(b["text"] for b in blocks if b["type"] == "text"), calls

    def tell(self, ident, result):
        block = {"type": "tool_result", "tool_use_id": ident, "content": result}
        if self.messages[-1]["role"] == "assistant":
            self.messages.append({"role": "user", "content": []})
        self.messages[-1]["content"].append(block)


class ThoughtsAsTexts(Responses):
    """Gives reasoning back as a message of its own, as pydantic-ai does."""

    def take(self, response):
        """The same."""
        said = super().take(response)
        self.items = [self._told(item) for item in self.items]
        return said

    def _told(self, item):
        if item.get("type") != "reasoning":
            return item
        text = f"<think>\n{item['summary'][0]['text']}\n</think>"
        return {"role": "assistant", "content": text}


WAYS = {
    "responses_thoughts": ThoughtsAsTexts,
    "chat": Chat,
    "responses": Responses,
    "responses_by_id": lambda question: Responses(question, by_id=True),
    "messages": Messages,
}


def main(how, question):
    """Use a tool until no more calls come."""
    way, _, streamed = how.partition(" ")
    talk = WAYS[way](question)
    for _ in range(6):
        text, calls = talk.take(talk.streamed() if streamed else talk.whole())
        if not calls:
            return text
        for ident, arguments in calls:
            given = json.loads(arguments)
            talk.tell(ident, str(given["a"] + given["b"]))
    return "no end"


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2])))
