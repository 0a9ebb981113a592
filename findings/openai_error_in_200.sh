#!/bin/sh
# openai 3.57.0: an error inside a 200 is a completion without choices, not tried again and not raised.
#
# Routers in front of several providers tell a provider's passing fault inside an answer of status 200: {"error": {"code": 502, ...}}. The client tries a
# status of 502 again by itself (max_retries = 2) and raises APIStatusError for it; inside a 200 it does neither: it returns a Completion whose `choices` is
# None, though the type says List. Its models are pydantic, but answers are built without validation, so `text` null stays None where the type says str.
# A rollout that reads `completion.choices[0].text` fails with a TypeError, or one that catches errors scores the fault of a server as a wrong answer.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check openai==3.57.0
"$place/venv/bin/python" - <<'PYTHON'
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

from openai import APIStatusError, OpenAI

FAULT = {"error": {"message": "Provider overloaded", "code": 502}}
ODD = {
    "id": "c", "object": "text_completion", "created": 0, "model": "m",
    "choices": [{"index": 0, "text": None, "finish_reason": "stop", "logprobs": None}],
}  # fmt: skip
answers, asked = [], []


class Server(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        asked.append(1)
        status, body = answers[0]
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = OpenAI(base_url=f"http://127.0.0.1:{server.server_address[1]}/v1", api_key="none")


def ask(status, body):
    """(the completion or the error, how many requests it took)."""
    answers[:], asked[:] = [(status, body)], []
    try:
        return client.completions.create(model="m", prompt="2 + 2 ="), len(asked)
    except APIStatusError as error:
        return error, len(asked)


plain, tries = ask(502, FAULT)
inside, once = ask(200, FAULT)
odd, _ = ask(200, ODD)
text = odd.choices[0].text
print("openai", version("openai"))
print(f"status 502: {type(plain).__name__} after {tries} requests")
print(f"502 inside a 200: {type(inside).__name__} with choices {inside.choices!r} after {once} request")
print(f"text null: {text!r}")
same = (type(plain).__name__, tries) == ("InternalServerError", 3)
same &= type(inside).__name__ == "Completion" and inside.choices is None and once == 1
same &= text is None
print("as described" if same else "it has changed")
raise SystemExit(not same)
PYTHON
