"""A sink in a thread of its own: order, failures, a sink that hangs, what was told before."""

import threading

import pytest

from hornbeam.protocols import RunFacts, Sink
from hornbeam.sinks import SinkThread, sink_thread


class Listening(Sink):
    """Keeps what it hears, and raises where it is told to."""

    def __init__(self, fails=(), error=ValueError):
        self.heard, self.fails, self.error = [], fails, error

    def start(self, run):
        self._hear("start", run.told)

    def row(self, kind, step, figures):
        self._hear("row", kind, step, dict(figures))

    def close(self):
        self._hear("close")

    def _hear(self, *what):
        self.heard.append(what)
        if what[0] in self.fails:
            raise self.error("no more\nof this")


@pytest.fixture
def threads(tmp_path):
    """Makes a thread for a sink, in one folder; and what was warned of."""
    said = []

    def make(sink):
        thread = SinkThread("mine", sink, tmp_path / "sinks" / "mine.json", said.append)
        thread.start(RunFacts("id", "title", tmp_path, {}))
        return thread

    return make, said


def train(step):
    return {"kind": "train", "step": step, "reward": step / 2, "failure": "why"}


def test_it_hears_all_in_order_and_is_closed(threads):
    make, said = threads
    thread = make(sink := Listening())
    thread.row({"kind": "eval", "stage": "start", "step": 0, "accuracy": 0.5})
    thread.row(train(0))
    thread.close()
    start, first, second, close = sink.heard
    assert start == ("start", 0) and close == ("close",)
    assert first == ("row", "eval", 0, {"stage": "start", "accuracy": 0.5})
    assert second == ("row", "train", 0, {"reward": 0.0, "failure": "why"})
    assert not said


def test_what_was_told_is_not_told_again_and_what_was_not_is(threads):
    make, _ = threads
    evals = [{"kind": "eval", "stage": stage, "step": 0} for stage in ("start", "warm start")]
    first = make(Listening())
    for row in (evals[0], train(0), train(1)):
        first.row(row)
    first.close()
    second = make(sink := Listening())
    for row in (*evals, train(0), train(1), train(2)):
        second.row(row)
    second.close()
    assert sink.heard[0] == ("start", 3)
    assert [what[1:3] for what in sink.heard[1:-1]] == [("eval", 0), ("train", 2)]
    assert sink.heard[1][3] == {"stage": "warm start"}


@pytest.mark.parametrize("error", [ValueError, SystemExit, OSError])
def test_what_a_row_raises_is_told_once_and_counted(threads, error):
    make, said = threads
    thread = make(sink := Listening(["row"], error))
    for step in range(3):
        thread.row(train(step))
    thread.close()
    assert len(sink.heard) == 5  # it is asked again each time, and closed
    assert said == [
        f"sink mine: row: {error.__name__}: no more; later failures are only counted",
        "sink mine: 3 of 5 calls failed",
    ]


def test_a_sink_that_does_not_start_is_left_out(threads):
    make, said = threads
    thread = make(sink := Listening(["start"]))
    thread.row(train(0))
    thread.close()
    assert sink.heard == [("start", 0)]
    assert said == ["sink mine: start: ValueError: no more; it is left out of this run"]


def test_a_sink_that_hangs_holds_up_nobody(threads, monkeypatch):
    monkeypatch.setattr(sink_thread, "WAIT", 0.01)
    monkeypatch.setattr(sink_thread, "ROOM", 2)
    make, said = threads
    go, done = threading.Event(), threading.Event()

    class Hanging(Sink):
        def start(self, run):
            go.wait()

        def close(self):
            done.set()

    thread = make(Hanging())
    for step in range(5):
        thread.row(train(step))
    thread.close()
    assert said == [
        "sink mine: has not started in 0.01 s: training begins",
        "sink mine: it is too slow: 2 calls wait; later failures are only counted",
        "sink mine: has not closed in 0.01 s: what it holds may be lost",
        "sink mine: 3 of 7 calls failed",
    ]
    go.set()  # of this test's own thread, which then ends


def test_a_note_that_cannot_be_kept_is_a_failure_and_no_more(threads, tmp_path):
    (tmp_path / "sinks").write_text("a file where the folder goes")
    make, said = threads
    thread = make(sink := Listening())
    thread.row(train(0))
    thread.close()
    assert [what[0] for what in sink.heard] == ["start", "row", "close"]
    assert len(said) == 1 and "mine.json" in said[0]


def test_a_class_need_not_have_every_method(threads):
    make, said = threads

    class Rows:
        def __init__(self):
            self.steps = []

        def row(self, kind, step, figures):
            self.steps.append(step)

    thread = make(rows := Rows())
    thread.row(train(0))
    thread.close()
    assert rows.steps == [0] and not said and not thread.wants_trees
