"""Agents that mean harm, by the standard library alone: `python hostile_agents.py HOW`."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from urllib.parse import urlsplit

ROOT = urlsplit(os.environ["HORNBEAM_SESSION"])
KEY = os.environ["OPENAI_API_KEY"]
ASK = {"messages": [{"role": "user", "content": "hello"}]}


def connect():
    return socket.create_connection((ROOT.hostname, ROOT.port), timeout=60)


def head(length, key=KEY, path=f"{ROOT.path}/v1/chat/completions", more=""):
    return (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        f"content-length: {length}\r\n{more}\r\n"
    ).encode()


def heard(sock):
    """(status, body) of what comes, (0, "") where the connection is ended without a word."""
    try:
        with sock, sock.makefile("rb") as stream:
            status = int(stream.readline().split()[1])
            length = 0
            while line := stream.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            return status, stream.read(length).decode()
    except (OSError, IndexError):
        return 0, ""


def post(body, **how):
    """(status, the answer's text or the error's line)."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with_head = connect()
    with_head.sendall(head(len(data), **how) + data)
    status, text = heard(with_head)
    try:
        told = json.loads(text)
    except ValueError:
        return status, text
    return status, told["error"]["message"] if "error" in told else said(told)


def said(told):
    return told["choices"][0]["message"]["content"]


def hello():
    """A proper request, which every one of these can still make."""
    status, text = post(ASK)
    assert status == 200, text
    return text


def odd_bodies():
    """Bodies that are wrong in one place each."""
    deep = b'{"a":' * 500 + b"1" + b"}" * 500
    nested = {"type": "object", "properties": {}}
    for _ in range(200):
        nested = {"type": "object", "properties": {"a": nested}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    call = {"id": "c", "function": {"name": "f", "arguments": "[" * 900 + "]" * 900}}
    bodies = [
        b"{",
        b"\xff\xfe{}",
        b'{"messages": NaN}',
        b"[" * 100_000,
        deep,
        {**ASK, "tools": [{**tool, "function": {"name": "f", "parameters": nested}}]},
        {"messages": [{"role": "assistant", "content": "", "tool_calls": [call]}]},
        {"messages": [{"role": "w" * 5000, "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"messages": [{"role": "user", "content": "half \ud800"}]},
        {"messages": "hello"},
        {**ASK, "tools": [tool] * 10_000},
        {**ASK, "tools": 5},
        {**ASK, "model": "m" * 2**20},
        {**ASK, "n": 10**9},
        {**ASK, "max_tokens": -5},
        {**ASK, "max_tokens": True},
        {**ASK, "stop": [""]},
        {**ASK, "stop": 5},
        {**ASK, "stop": ["x"] * 10_000},
        {**ASK, "stream_options": [1]},
        {**ASK, "tool_choice": ["auto"]},
        {**ASK, "tools": [tool, tool]},
    ]
    return [*map(post, bodies), (200, hello())]


def too_large():
    """A body of 50 MB, and one that is told as such and never comes."""
    return [post(b'{"messages": "' + b"x" * (50 * 2**20) + b'"}'), (200, hello())]


def no_http():
    """What is no request: a negative length, two lengths, a head without an end, noise."""
    out = []
    for text in (
        head(-1),
        head("1\r\ncontent-length: 2"),
        b"x" * 100_000,
        b"GET nowhere\r\n\r\n",
    ):
        sock = connect()
        sock.sendall(text)
        out.append(heard(sock)[0])
    return [*out, hello()]


def elsewhere():
    """Addresses that are nobody's, another's key, no route."""
    out = [
        post(ASK, path="/s/guessed/v1/chat/completions"),
        post(ASK, path="/s/guessed/v1/chat/completions", key="guessed"),
        post(ASK, path="/v1/chat/completions", key="guessed"),
        post(ASK, path=f"{ROOT.path}/a/nobody/v1/chat/completions"),
        post(ASK, path=f"{ROOT.path}/../v1/chat/completions"),
        post(ASK, path=f"{ROOT.path}/v1/embeddings"),
    ]
    return [*out, (200, hello())]


def generous():
    """Settings beyond all bounds that have a meaning, and a content type of something else."""
    form = "content-type: application/x-www-form-urlencoded\r\n"
    return [post({**ASK, "max_tokens": 10**12}), post(ASK, more=form)]


def unknown_settings():
    """Settings with names of its own, many and long."""
    names = {f"{n}-{'x' * 1000}": n for n in range(1000)}
    return [post({**ASK, **names}), (200, hello())]


def hangs_up():
    """Leaves in the middle of a head, of a body, of a wait, of a stream."""
    stream = json.dumps({**ASK, "stream": True}).encode()
    for text in (head(10)[:20], head(1000) + b"{", head(len(stream)) + stream):
        connect().sendall(text)
    sock = connect()
    sock.sendall(head(len(stream)) + stream)
    sock.recv(10)
    sock.close()
    return hello()


def flood():
    """Thousands of requests at once, none of them any good."""
    told = []

    def many():
        told.extend(post(b"no json")[0] for _ in range(600))

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(set(told))


def asks_without_end():
    """Asks and asks."""
    n = 0
    while post({"messages": [{"role": "user", "content": f"{n}"}]})[0] == 200:
        n += 1
    return n


def talks_without_end():
    """Writes 300 MB beside its answer."""
    for _ in range(150):
        sys.stdout.write("x" * 2**20 + "\n")
        sys.stderr.write("y" * 2**20)
    print()
    return hello()


def says_nothing_more():
    """Closes its output and goes on until it is ended."""
    os.close(1)
    os.close(2)
    hello()
    time.sleep(600)


def leaves_children():
    """Ends, and leaves a child in its group, one in a session of its own and one that forked."""
    sleeper = [sys.executable, "-c", "import time; time.sleep(601)"]
    children = [subprocess.Popen(sleeper), subprocess.Popen(sleeper, start_new_session=True)]
    forked = os.fork()
    if not forked:
        os.setsid()
        time.sleep(601)
    return [*(child.pid for child in children), forked]


def never_ends():
    """Asks, has a child in a session of its own, says so in its folder, and waits."""
    hello()
    sleeper = [sys.executable, "-c", "import time; time.sleep(602)"]
    child = subprocess.Popen(sleeper, start_new_session=True)
    with open("here", "w") as file:
        file.write(str(child.pid))
    time.sleep(602)


def dies():
    """Ended from outside in the middle, as by the system where memory is short."""
    hello()
    print("its last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def odd_reward():
    """A reward that is a number as JSON has it, and no float."""
    print(f'{{"answer": 1, "reward": 1{"0" * 400}}}')
    sys.exit()


def pipe_as_answer():
    """Where its answer is looked for, there is a pipe that nobody writes."""
    os.mkfifo("answer.txt")
    return hello()


def large_answer():
    """An answer that is a file of a gigabyte."""
    with open("answer.txt", "w") as file:
        file.write("the answer\n")
        file.truncate(2**30)
    return hello()


def honest():
    """Somebody else's agent, in the same run."""
    messages = [{"role": "user", "content": "hello"}]
    for _ in range(3):
        request = urllib.request.Request(
            f"{os.environ['OPENAI_BASE_URL']}/chat/completions",
            json.dumps({"messages": messages}).encode(),
            {"authorization": f"Bearer {KEY}"},
        )
        with urllib.request.urlopen(request) as answer:
            text = said(json.load(answer))
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "on"}]
    with open("answer.txt", "w") as file:
        json.dump(text, file)
    return text


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
