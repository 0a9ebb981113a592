"""Code that holds a thread is interrupted, whatever it swallows; the process is as it was."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from hornbeam.workers.time_slices import Overrun, TimeSlice, _timer, in_slice, is_interrupt


def swallows():
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(600)


def swallows_in_a_function():
    while True:
        try:
            swallows_within()
        except BaseException:
            continue


def swallows_within():
    for _ in range(10**9):
        try:
            time.sleep(600)
        except BaseException:
            continue


def spins():
    while True:
        pass


@pytest.mark.parametrize(
    "work", [spins, lambda: time.sleep(600), swallows, swallows_in_a_function, swallows_within]
)
def test_a_slice_ends_whatever_holds_it(work):
    with pytest.raises(Overrun, match=r"held the run for more than 0\.1 s"), TimeSlice(0.1):
        work()
    assert not in_slice()


def test_a_loop_in_another_thread_is_interrupted_too():
    met = []

    def work():
        try:
            with TimeSlice(0.1):
                spins()
        except Overrun as error:
            met.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(60)
    assert len(met) == 1


def test_what_ends_in_time_is_left_alone():
    with TimeSlice(600):
        assert in_slice()
        with TimeSlice(600):
            pass
        assert in_slice()
    assert not in_slice()


def test_a_timer_that_is_late_is_set_anew():
    with TimeSlice(600):
        _timer[0] = time.monotonic() - 1  # as of a process that had no processor for so long
    with TimeSlice(0.1):
        assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] < 1


def test_the_timer_of_slices_that_are_over_ends_itself():
    with TimeSlice(0.1):
        pass
    while signal.getitimer(signal.ITIMER_VIRTUAL)[0]:
        pass
    with TimeSlice(600):
        assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] > 1


ENDS = """
from hornbeam.workers.time_slices import TimeSlice
class Last:
    def __del__(self):  # when modules go, behind the handlers of signals
        sum(range(30_000_000))
last = Last()
with TimeSlice(0.01):
    pass
"""


def test_no_timer_ends_a_process_that_ends():
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_handlers_and_folder_are_as_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with TimeSlice(600):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        os.chdir("/")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert os.getcwd() == str(tmp_path)


def test_whose_interrupt_it_is(monkeypatch):
    class Asked(KeyboardInterrupt):
        """As who interrupts a thread raises it."""

    def _on_sigint():
        raise KeyboardInterrupt

    def raised(function):
        try:
            function()
        except KeyboardInterrupt as error:
            return error

    def program():
        raise KeyboardInterrupt

    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    assert is_interrupt(raised(_on_sigint)) and is_interrupt(Asked())
    assert not is_interrupt(raised(program)) and not is_interrupt(ValueError())
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.default_int_handler)
    assert is_interrupt(raised(program))  # nobody can tell
