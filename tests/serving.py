"""A server in a process of its own on loopback, for the length of a block."""

import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager


@contextmanager
def serving(command, env):
    """The address of what `command(port)` starts, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(command(port), env=env)
    try:
        until_up(process, url)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def until_up(process, url):
    for _ in range(900):
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"{url}/health").close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server does not start")
