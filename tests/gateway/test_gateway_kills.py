"""A gateway that is killed loses nothing that was answered, and pays nothing twice."""

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
from pathlib import Path

from gateway.opened import request, said
from hornbeam.chat import assistant, user
from hornbeam.gateway.asked import Asked
from hornbeam.gateway.history_turns import Turns
from hornbeam.gateway.session import AgentSession
from hornbeam.jobs.gateway.kept_asks import KeptAsk, ask_again
from hornbeam.store.database import Store, Stored
from hornbeam.tree.nodes import Node, Origin, Tree, canonical

SERVER = Path(__file__).with_name("opened_server.py")
TURNS = 5
NOBODY = (OSError, urllib.error.URLError, http.client.HTTPException, json.JSONDecodeError)


class Served:
    """A gateway in a process of its own, that is started again whenever it is killed."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.answered = 0
        self.start()

    def start(self):
        """Start it, and wait until it serves."""
        command = [sys.executable, SERVER, self.folder, str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().strip() == self.address

    def kill(self):
        """End it at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def ask(self, path, body):
        """An answer, asked for again until it comes, as the clients do."""
        for tries in range(10_000):
            try:
                answer = request(
                    self.address + path, body, **{"x-stainless-retry-count": str(tries)}
                )
            except NOBODY:
                threading.Event().wait(0.02)
                continue
            if answer[0] < 500:
                self.answered += 1
                return answer
        raise AssertionError("nobody answers")


def agent(served, number, heard):
    """Opens a session, talks, ends it."""
    code, told = served.ask("/sessions", {"task": {"id": f"t{number}", "question": "?"}})
    assert code == 200, told
    messages, texts = [user(f"hello {number}")], []
    for _ in range(TURNS):
        text = said(served.ask(f"/s/{told['token']}/v1/chat/completions", {"messages": messages}))
        messages += [assistant(text), user("on")]
        texts.append(text)
    code, ended = served.ask(f"/sessions/{told['token']}/end", {"answer": text, "reward": 1.0})
    assert code == 200 and ended["answer"] == text
    heard[told["tree"]] = texts


def killed(folder, agents, moments):
    """What agents heard of a gateway that is killed at these counts of answers."""
    served, heard = Served(folder), {}
    threads = [
        threading.Thread(target=agent, args=[served, n, heard], daemon=True) for n in range(agents)
    ]
    for thread in threads:
        thread.start()
    try:
        for moment in moments:
            while served.answered < moment and any(t.is_alive() for t in threads):
                threading.Event().wait(0.001)
            served.kill()
            served.start()
        for thread in threads:
            thread.join(120)
    finally:
        served.kill()
    assert len(heard) == agents
    return heard


def check(folder, heard):
    """All that was heard is there, in its tree, paid for once."""
    with Store(folder) as store:
        trees = {str(key): store.read(key) for key in store.keys("session")}
        calls = {}
        for entry in store.entries("session"):
            if entry.kind == "model_calls":
                calls[entry.tree] = calls.get(entry.tree, 0) + entry.amount
    for name, texts in heard.items():
        stored = trees[name]
        tree = canonical(stored.tree)
        assert stored.done and not any(node.error for node in tree.nodes)
        assert [node.text for node in tree.nodes[1:]] == texts
        assert [node.parent for node in tree.nodes[1:]] == list(range(TURNS))
        assert tree.nodes[-1].answer == texts[-1] and calls[name] == TURNS


def test_what_was_answered_is_answered_again(tmp_path):
    heard = killed(tmp_path / "run", 3, (1, 6, 12))
    check(tmp_path / "run", heard)


def test_a_session_that_had_said_all_is_not_waited_for():
    """Killed between its last answer and its end: it is only scored, and hears no request."""
    task = Tree({"id": "t"}, [Node(-1, finish="ready")])
    task.append(Node(0, agent="a", finish="stop", origin=Origin(ask="x"), done=True))
    kept = [KeptAsk("a", Asked("a", ({"role": "user", "content": "?"},)), 0)]

    async def resumed():
        growing = asyncio.create_task(asyncio.sleep(0))
        again = ask_again(kept, Stored(task, False, []), AgentSession(("a",)), Turns(), growing)
        return await asyncio.wait_for(again, 60)

    assert asyncio.run(resumed()) == 1
