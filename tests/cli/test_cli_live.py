"""`hornbeam view --live`: the page of a run that goes on, on this machine only."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from hornbeam.cli.live_server import LiveRun, LiveServer
from hornbeam.cli.main import app
from hornbeam.errors import StoreError
from hornbeam.store.database import Store, TreeKey
from hornbeam.store.locks import holder
from hornbeam.tree.nodes import Node, Origin, Tree

HOSTILE = "</script><img src=x onerror=alert(1)>"


def keep(store, steps, of):
    """A run of `of` steps that has trained so many."""
    store.set("recipe", {"run": {"steps": of, "title": "Doors & keys"}})
    for step in range(len(store.metrics()), steps):
        tree = Tree({"id": "a", "question": HOSTILE})
        tree.append(Node(0, "solver", text=f"said {step}", done=True, origin=Origin()))
        store.begin(key := TreeKey("train", step, 0), tree)
        store.columns(key, {"reward": [None, 1.0]})
        store.done(key)
        store.metric({"kind": "train", "step": step, "reward": step / 10, "seconds": 1.0})
    store.flush()


@contextmanager
def served(run, **how):
    """A server of a run's page; asks it: (status, headers, body)."""
    with LiveServer(LiveRun(run, **how)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def ask(path, host=None):
            link = http.client.HTTPConnection("127.0.0.1", server.server_port)
            link.request("GET", path, headers={"Host": host or f"localhost:{server.server_port}"})
            answer = link.getresponse()
            body = answer.read().decode()
            link.close()
            return answer.status, answer.headers, body

        try:
            yield ask
        finally:
            server.shutdown()
            thread.join()


def test_a_run_is_waited_for_then_runs_stops_goes_on_and_ends(tmp_path):
    run = tmp_path / "run"
    live = LiveRun(run)
    assert live.state()["state"] == "waiting"
    with Store(run) as store:
        keep(store, 2, of=4)
        assert live.state()["line"] == "Running: step 2 of 4."
    assert live.state()["line"] == "Stopped at step 2 of 4; the same command goes on."
    with Store(run) as store:
        assert live.state()["state"] == "running"
        keep(store, 4, of=4)
        store.metric({"kind": "eval", "stage": "final", "step": 4, "accuracy": 1.0})
        store.flush()
        assert live.state()["line"] == "Running: step 4 of 4."  # it still writes its weights
    assert live.state()["line"] == "Ended: step 4 of 4."
    with Store(run) as store:  # more steps are asked for
        keep(store, 5, of=6)
    assert live.state()["state"] == "stopped"


def test_who_holds_a_folder_is_seen_from_another_process(tmp_path):
    code = "import sys; from hornbeam.store.database import Store; s = Store(sys.argv[1])"
    code += "; print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        assert holder(tmp_path) == process.pid
        assert holder(tmp_path) == process.pid  # and looking has not let it go
        with pytest.raises(StoreError, match=f"is open in process {process.pid}"):
            Store(tmp_path)
        process.stdin.close()
    assert holder(tmp_path) == 0
    assert holder(tmp_path / "nowhere") == 0


def test_the_page_is_made_anew_when_there_is_something_new_but_not_all_the_time(tmp_path):
    now = [0.0]
    live = LiveRun(tmp_path, clock=lambda: now[0])
    with Store(tmp_path) as store:
        keep(store, 1, of=9)
        first = live.page()
        assert live.page() is first
        keep(store, 2, of=9)
        assert live.page() is first  # too soon
        now[0] = 1e9
        second = live.page()
    assert b"said 1" in second and b"said 1" not in first
    assert b'data-version="1 running"' in first and b'data-version="2 running"' in second


def test_it_answers_only_to_its_own_name_and_says_what_is_new(tmp_path):
    with Store(tmp_path) as store:
        keep(store, 3, of=3)
    with served(tmp_path) as ask:
        status, headers, text = ask("/")
        assert status == 200 and headers["Content-Type"].startswith("text/html")
        assert headers["Cache-Control"] == "no-store" and headers["X-Frame-Options"] == "DENY"
        assert "connect-src 'self'" in text and "default-src 'none'" in text
        assert "Doors &amp; keys" in text and HOSTILE not in text
        status, _, told = ask("/state")
        assert json.loads(told)["state"] == "stopped"
        assert ask("/run.db")[0] == 404 and ask("/../run.db")[0] == 404
        for host in ("evil.example", "127.0.0.1", "evil.example:80"):
            assert ask("/", host)[0] == ask("/state", host)[0] == 403


def test_a_page_that_is_no_live_one_reaches_nothing(tmp_path):
    with Store(tmp_path) as store:
        keep(store, 1, of=1)
    assert CliRunner().invoke(app, ["view", str(tmp_path)]).exit_code == 0
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "connect-src" not in text and "fetch(" not in text and 'id="live"' not in text


def test_a_damaged_run_is_told_in_the_page(tmp_path):
    (tmp_path / "run.db").write_text("no database, but some text that is long enough " * 40)
    with served(tmp_path) as ask:
        status, _, told = ask("/state")
    assert status == 500 and told.count("\n") == 1 and "run.db" in told


BAD = [
    (["--port", "80"], "--port 80: is of --live"),
    (["--live", "--tree", "train/0/0"], "--tree train/0/0: leave it out with --live"),
    (["--live", "--out", "page.html"], "--out page.html: leave it out with --live"),
    (["--live", "--port", "99999"], "--port 99999: "),
]


@pytest.mark.parametrize("words, line", BAD, ids=[" ".join(words) for words, _ in BAD])
def test_what_goes_with_it_is_checked(tmp_path, words, line):
    told = CliRunner().invoke(app, ["view", str(tmp_path), *words]).exception
    assert isinstance(told, StoreError) and line in str(told) and "\n" not in str(told)


def test_a_port_that_is_taken_is_one_line(tmp_path):
    with LiveServer(LiveRun(tmp_path)) as first, pytest.raises(StoreError, match="in use"):
        LiveServer(LiveRun(tmp_path), first.server_port)


def test_ctrl_c_ends_it_at_once(tmp_path):
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # nohup's not
    program = f"{heard}; from hornbeam.cli.main import main; main()"
    command = [sys.executable, "-c", program, "view", str(tmp_path), "--live"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        line = process.stdout.readline().decode()
        port = int(line.split(":")[3].split("/")[0])
        link = http.client.HTTPConnection("127.0.0.1", port)
        link.connect()  # a browser that keeps its connection holds nothing up
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        link.close()
    assert line.startswith("Live: http://127.0.0.1:") and process.returncode == 0
    assert said == b""
