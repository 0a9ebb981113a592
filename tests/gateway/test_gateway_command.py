"""`hornbeam gateway` as a process: it serves until it is told to stop, and goes on from there."""

import json
import signal
import socket
import subprocess
import sys

import pytest

from gateway.opened import request, said
from hornbeam.chat import user

RECIPE = """
[model]
name = "tiny"
options = {width = 16, layers = 1}
[agents.seeker]
max_tokens = 4
[reward]
rule = "exact"
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def started(recipe, out, *more):
    """(process, address) of a gateway."""
    words = [sys.executable, "-m", "hornbeam", "gateway", recipe, "--out", out, *more]
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if line.startswith("Gateway: "):
            return process, line.split()[1].removesuffix("/v1")
    raise AssertionError(process.wait())


def stopped(process, kind):
    """What it says while it is told to stop."""
    process.send_signal(kind)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0, text
    return text


def test_it_serves_until_it_is_told_to_stop_and_goes_on(recipe, tmp_path):
    out, body = tmp_path / "out", {"messages": [user("hi")]}
    process, address = started(recipe, out)
    _, told = request(f"{address}/sessions", {"question": "2+2?", "answer": "4"})
    chat = f"/s/{told['token']}/v1/chat/completions"
    first = request(address + chat, body)
    assert said(first) is not None
    assert "Stopped." in stopped(process, signal.SIGINT)
    assert (out / "trees.jsonl").read_text() == ""  # the session is open

    process, address = started(recipe, out)
    again = request(address + chat, body, **{"x-stainless-retry-count": "1"})
    assert again == first
    code, ended = request(f"{address}/sessions/{told['token']}/end", {"answer": "4"})
    assert code == 200 and ended["steps"] == 1 and ended["rewards"]["reward"] == 1.0
    stopped(process, signal.SIGTERM)
    (tree,) = map(json.loads, (out / "trees.jsonl").read_text().splitlines())
    assert tree["task"]["question"] == "2+2?"
    (row,) = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    assert row["kind"] == "gateway" and row["counts"]["sessions"] == 1
    assert row["costs"]["model_calls"] == 1
    # One request, a retry behind the stop, and what was asked again of the record meanwhile.
    assert row["counts"]["requests"] == 2 and row["counts"]["repeats"] == 1


def test_others_need_a_token(recipe, hornbeam):
    code, err, _ = hornbeam("gateway", recipe, "--host", "0.0.0.0")
    assert code == 2 and err.startswith("hornbeam: --host 0.0.0.0: others reach it there")


def test_a_port_that_is_taken_is_a_line(recipe, tmp_path, hornbeam):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, err, _ = hornbeam("gateway", recipe, "--out", tmp_path / "out", "--port", port)
    assert code == 2 and f"cannot listen on 127.0.0.1, port {port}" in err.splitlines()[-1]
