#!/bin/sh
# openai 3.57.0: the final answer of a streamed one that was cut off cannot be had, though all of it came.
#
# Sent whole, a response that reached max_output_tokens is a value with status "incomplete" and the text so far. Streamed, its last event is
# `response.incomplete` and holds the same response; `stream.get_final_response()` wants `response.completed` and raises RuntimeError. The helper of chat
# completions raises LengthFinishReasonError at the last chunk, where create() answers with finish_reason "length". A loop that samples with a limit
# loses every cut answer.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check openai==3.57.0 httpx2==2.16.2
"$place/venv/bin/python" - <<'PYTHON'
import json

import httpx2
import openai

TEXT = "The answer is"
PART = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "incomplete", "content": [PART]}
WHOLE = {
    "id": "resp_1", "object": "response", "created_at": 0, "model": "m", "status": "incomplete",
    "incomplete_details": {"reason": "max_output_tokens"}, "error": None, "instructions": None, "metadata": {},
    "output": [ITEM], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": None, "top_p": None,
}  # fmt: skip
CHAT = {"id": "chatcmpl-1", "created": 0, "model": "m"}


def responses():
    at = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
    begun = {**WHOLE, "status": "in_progress", "output": []}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.output_item.added", "output_index": 0, "item": {**ITEM, "content": []}}
    yield {"type": "response.content_part.added", **at, "part": {**PART, "text": ""}}
    yield {"type": "response.output_text.delta", **at, "delta": TEXT, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": TEXT, "logprobs": []}
    yield {"type": "response.output_item.done", "output_index": 0, "item": ITEM}
    yield {"type": "response.incomplete", "response": WHOLE}


def chunks():
    for delta, finish in (({"role": "assistant", "content": TEXT}, None), ({}, "length")):
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        yield {**CHAT, "object": "chat.completion.chunk", "choices": [choice]}


def answer(request):
    chat, body = request.url.path.endswith("/chat/completions"), json.loads(request.content)
    if body.get("stream"):
        events = chunks() if chat else ({**e, "sequence_number": n} for n, e in enumerate(responses()))
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n" * chat
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=text)
    message = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": TEXT}, "logprobs": None}
    return httpx2.Response(200, json={**CHAT, "object": "chat.completion", "choices": [message]} if chat else WHOLE)


def last(stream):
    heard = ""
    try:
        with stream as events:
            for event in events:
                heard += event.delta if event.type.endswith(("output_text.delta", "content.delta")) else ""
            (getattr(events, "get_final_response", None) or events.get_final_completion)()
    except Exception as error:
        return heard, type(error).__name__
    return heard, "a final answer"


client = openai.OpenAI(api_key="-", base_url="http://x/v1", http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))
asked = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
whole = client.responses.create(model="m", input="?")
print("openai", openai.__version__)
print("responses, whole:", whole.status, repr(whole.output_text))
print("chat, whole:", client.chat.completions.create(**asked).choices[0].finish_reason)
told = last(client.responses.stream(model="m", input="?")), last(client.chat.completions.stream(**asked))
print("responses, streamed:", *map(repr, told[0]))
print("chat, streamed:", *map(repr, told[1]))
raise SystemExit(0 if told == ((TEXT, "RuntimeError"), (TEXT, "LengthFinishReasonError")) else 1)
PYTHON
