#!/bin/sh
# google-adk 2.13.0 on litellm 1.110.2: JSON that a plain text quotes is run as a tool call, and cut out of the text.
#
# `LiteLlm` looks for {"name": ..., "arguments": ...} in the content of an answer that has no tool calls, whatever the server and the model, and makes calls
# of it, with an id of its own drawing. An answer that explains a call ("I could have asked {...}, but 42 is known.") runs the tool, is no final answer any
# more, and stands in the history as "I could have asked , but 42 is known." with a call that the server never sent. A server that hands a call back as text
# on purpose (unknown tool, arguments that break the schema) sees it run all the same; two runs that heard the same ask for different things, by that id.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check google-adk==2.13.0 litellm==1.110.2
LITELLM_LOCAL_MODEL_COST_MAP=True "$place/venv/bin/python" - <<'PYTHON'
import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

from google.adk.agents import LlmAgent
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from google.genai import types

QUOTED = '{"name": "calculator", "arguments": {"expression": "6*7"}}'
SAID = f"I could have asked {QUOTED}, but 42 is known."
asked, ran = [], []


class Server(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        message = {"role": "assistant", "content": SAID if len(asked) == 1 else "42"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
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
    ran.append(expression)
    return "42"


async def run(url):
    model = LiteLlm(model="openai/m", api_base=url, api_key="none")
    agent = LlmAgent(name="a", model=model, instruction="Answer.", tools=[calculator])
    runner = InMemoryRunner(agent=agent, app_name="app")
    await runner.session_service.create_session(app_name="app", user_id="u", session_id="s")
    question = types.Content(role="user", parts=[types.Part(text="What is 6 * 7?")])
    async for _ in runner.run_async(user_id="u", session_id="s", new_message=question):
        pass


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
asyncio.run(run(f"http://127.0.0.1:{server.server_address[1]}/v1"))
print("google-adk", version("google-adk"), "litellm", version("litellm"))
print("the server said a text, no call:", SAID)
print("tool ran with", ran, "- requests:", len(asked))
turn = next((m for m in asked[-1]["messages"] if m["role"] == "assistant"), {})
print("in the history:", repr(turn.get("content")), [c["id"] for c in turn.get("tool_calls", [])])
same = ran == ["6*7"] and len(asked) == 2
same &= turn.get("content") == "I could have asked , but 42 is known."
print("as described" if same else "it has changed")
raise SystemExit(not same)
PYTHON
