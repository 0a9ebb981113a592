"""Agents of their own processes, by the standard library alone: `python outside_agents.py HOW`."""

import json
import os
import sys
import threading
import urllib.error
import urllib.request
import uuid


def post(body, path="chat/completions", retry=0, base=None, headers=False, key=None):
    """The answer's body, or (status, body) of an error, its headers too where they are wanted."""
    base = base or os.environ["OPENAI_BASE_URL"]
    key = key or {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    sent = {"Content-Type": "application/json", "x-stainless-retry-count": str(retry), **key}
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{base}/{path}", data, sent), timeout=60
        ) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        told = error.code, json.load(error)
        return (*told, error.headers) if headers else told


def said(answer):
    return answer["choices"][0]["message"]["content"]


def talk(question, turns=3):
    """Asks, repeats what was said and asks again."""
    messages = [{"role": "user", "content": question}]
    for _ in range(turns):
        text = said(post({"model": "solver", "messages": messages}))
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "go on"}]
    return text


def stripped(question):
    """As `talk`, with white space around what was said, parts for texts and other settings."""
    messages = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": question}]
    for number in range(3):
        parts = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
        body = {"model": "gpt-5", "messages": parts, "seed": number, "temperature": 0.3}
        text = said(post(body))
        messages += [
            {"role": "assistant", "content": f" {text}\n"},
            {"role": "user", "content": "on"},
        ]
    return text


def twice(question):
    """Asks each question twice, the second time as a retry."""
    messages = [{"role": "user", "content": question}]
    first = said(post({"messages": messages}))
    again = said(post({"messages": messages}, retry=1))
    fresh = said(post({"messages": messages}))
    return [first == again, first, fresh]


def again(question):
    """Asks once more where the server failed, as clients do."""
    body = {"messages": [{"role": "user", "content": question}]}
    code, _, headers = post(body, headers=True)
    return [code, headers["x-should-retry"], said(post(body, retry=1))]


def both(question):
    """Two sub-agents at once, the slower one first or last as it comes."""
    out = {}

    def ask(name):
        messages = [{"role": "user", "content": f"{name}: {question}"}]
        for _ in range(2):
            text = said(post({"messages": messages}))
            messages += [
                {"role": "assistant", "content": text},
                {"role": "user", "content": f"{name} again"},
            ]
        out[name] = text

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


def changing(question):
    """Asks something else in every process."""
    messages = [{"role": "user", "content": f"{os.getpid()}: {question}"}]
    said(post({"messages": messages}))
    return said(post({"messages": [*messages, {"role": "user", "content": "and?"}]}))


def broken(question):
    """Bodies that nobody can answer, each told in a line; then a proper one."""
    ask = {"messages": [{"role": "user", "content": question}]}
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    bad = [
        b"no json",
        b"[1]",
        {"messages": []},
        {"messages": [{"role": "user", "content": [image]}]},
        {"messages": [{"role": "wizard", "content": "x"}]},
        {**ask, "max_tokens": -1},
        {**ask, "tools": [{"type": "web_search"}]},
    ]
    told = [post(body) for body in bad]
    elsewhere = os.environ["OPENAI_BASE_URL"].replace(os.environ["OPENAI_API_KEY"], "other")
    told.append(post(ask, base=elsewhere))
    return [[code, body["error"]["message"]] for code, body in told] + [said(post(ask))]


def refused_between(question):
    """One bad request, an ask, two bad ones, an ask."""
    messages = [{"role": "user", "content": question}]
    for bad in (1, 2):
        for _ in range(bad):
            post(b"no json")
        text = said(post({"messages": messages}))
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "on"}]
    return text


ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        },
    },
}


def tools(question, spell=json.dumps, name=lambda ident: ident):
    """Uses a tool of its own until it is told no call; arguments go back as `spell` writes them."""
    messages = [{"role": "user", "content": question}]
    for _ in range(6):
        message = post({"messages": messages, "tools": [ADD]})["choices"][0]["message"]
        calls = message.get("tool_calls")
        if not calls:
            return message["content"]
        for call in calls:
            given = json.loads(call["function"]["arguments"])
            call["function"]["arguments"] = spell(given)
            call["id"] = name(call["id"])
        messages.append({**message, "tool_calls": calls})
        for call in calls:
            given = json.loads(call["function"]["arguments"])
            result = str(given["a"] + given["b"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    return "no end"


def compact(question):
    """As `tools`, with arguments written without spaces."""
    return tools(question, lambda given: json.dumps(given, separators=(",", ":")))


def renames(question):
    """As `tools`, with ids of its own drawing for all calls."""
    return tools(question, name=lambda ident: f"call_{uuid.uuid4()}")


def reads(question):
    """Reads a call from the text that it is told, as google-adk does: its id is drawn."""
    messages = [{"role": "user", "content": question}]
    for _ in range(3):
        text = said(post({"messages": messages, "tools": [ADD]}))
        function = {"name": "other", "arguments": json.dumps({"said": text})}
        call = {"id": f"call_{uuid.uuid4()}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": "no such tool"})
    return text


def meddles(question):
    """As `tools`, with an argument of its own added to each call."""
    return tools(question, lambda given: json.dumps({"request": "add", **given}))


def strange(question):
    """Asks with settings that nobody does, and such as no API has."""
    odd = {f"x{n}": n for n in range(50)}
    body = {"messages": [{"role": "user", "content": question}], "logit_bias": {"5": 1}, **odd}
    return said(post(body))


def usage(question):
    """The tokens of each request of a conversation, and of one that begins anew."""
    messages, out = [{"role": "user", "content": question}], []
    for _ in range(3):
        answer = post({"messages": messages})
        told = answer["usage"]
        cached = told["prompt_tokens_details"]["cached_tokens"]
        out.append([told["prompt_tokens"], told["completion_tokens"], cached])
        messages += [answer["choices"][0]["message"], {"role": "user", "content": "go on"}]
    other = post({"messages": [{"role": "user", "content": "Else"}]})
    return [*out, other["usage"]["prompt_tokens_details"]["cached_tokens"]]


def by_header(question):
    """Its session is told by a header, at an address that has no session."""
    root = os.environ["HORNBEAM_SESSION"].partition("/s/")[0]
    ask = {"messages": [{"role": "user", "content": question}]}
    token = os.environ["OPENAI_API_KEY"]
    keys = [{"x-hornbeam-session": token}, {"x-api-key": token}, {"Authorization": token}]
    return [said(post(ask, base=f"{root}/v1", key=key)) for key in keys]


def formats(question):
    """Asks for forms of an answer that no engine here can hold to, and for such as says nothing."""
    ask = {"messages": [{"role": "user", "content": question}], "tools": [ADD]}
    named = {"type": "function", "function": {"name": "add"}}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    post({**ask, "tool_choice": "required", "response_format": {"type": "json_object"}})
    post({**ask, "tool_choice": named, "response_format": schema, "top_logprobs": 3})
    post({**ask, "tool_choice": "auto", "response_format": {"type": "text"}, "audio": None})
    given = {"input": question, "text": {"format": schema["json_schema"] | {"type": "json_schema"}}}
    post(given, "responses")
    return said(post({**ask, "presence_penalty": 0, "logit_bias": {}, "temperature": 0}))


def shrugs(question):
    """Takes what it hears for an answer, also an error."""
    messages = [{"role": "user", "content": question}]
    first = post({"messages": messages})
    more = post({"messages": [*messages, {"role": "user", "content": "and?"}]})
    return [first[1] if isinstance(first, tuple) else said(first), str(more)]


def fails(question):
    """Asks once and dies."""
    post({"messages": [{"role": "user", "content": question}]})
    print("a word of its own", file=sys.stderr)
    raise SystemExit(3)


def hangs(question):
    """Leaves a child behind and never ends."""
    import subprocess
    import time

    sleeps = "import time; time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", sleeps, os.environ["MARK"]])
    time.sleep(600)


def rewarded(question):
    """Says its own reward."""
    text = said(post({"messages": [{"role": "user", "content": question}]}))
    return {"answer": text, "reward": 0.5}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](sys.argv[2])))
