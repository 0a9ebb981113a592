#!/bin/sh
# agno 3.1.10, agent-framework-core 1.23.0: the answer of a run is the text of all its turns, joined with nothing between.
#
# A model may say something beside a tool call ("Let me work it out: 6 * 7.") and answer in a later turn ("42"). `agent.run(question).content` of agno and
# `(await agent.run(question)).text` of agent-framework are then "Let me work it out: 6 * 7.42": not the final message, as in other frameworks, and no
# space between. A reward by equality fails a right answer; one that reads the last number of the text finds 7.42. Whoever trains on such a reward trains
# models not to think aloud beside their calls. agno's messages and agent-framework's `messages[-1].text` have the final answer alone.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check agno==3.1.10 agent-framework-core==1.23.0 agent-framework-openai==1.17.0 openai==3.57.0
"$place/venv/bin/python" - <<'PYTHON'
import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

from agent_framework import Agent as MicrosoftAgent
from agent_framework.openai import OpenAIChatCompletionClient
from agno.agent import Agent
from agno.models.openai import OpenAIChat

BESIDE, FINAL = "Let me work it out: 6 * 7.", "42"
CALL = {"name": "calculator", "arguments": '{"expression": "6*7"}'}


class Server(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message = {"role": "assistant", "content": FINAL}
        if asked["messages"][-1]["role"] != "tool":
            message["content"] = BESIDE
            message["tool_calls"] = [{"id": "call_1", "type": "function", "function": CALL}]
        why = "tool_calls" if "tool_calls" in message else "stop"
        choice = {"index": 0, "message": message, "finish_reason": why}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        told = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "usage": usage}
        data = json.dumps({**told, "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def calculator(expression: str) -> str:
    """Work out an expression."""
    return "42"


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}/v1"
model = OpenAIChat(id="m", base_url=url, api_key="none")
agno = Agent(model=model, tools=[calculator], telemetry=False).run("What is 6 * 7?")
client = OpenAIChatCompletionClient(model="m", base_url=url, api_key="none")
microsoft = asyncio.run(MicrosoftAgent(client, tools=[calculator]).run("What is 6 * 7?"))
print("agno", version("agno"), repr(agno.content), "- last message", repr(agno.messages[-1].content))
print("agent-framework-core", version("agent-framework-core"), repr(microsoft.text), end=" ")
print("- last message", repr(microsoft.messages[-1].text))
same = agno.content == microsoft.text == BESIDE + FINAL
same &= agno.messages[-1].content == microsoft.messages[-1].text == FINAL
print("as described" if same else "it has changed")
raise SystemExit(not same)
PYTHON
