"""Checker processes: time-outs kill them, crashes are survived, none is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from hornbeam.errors import ScoreError
from hornbeam.score.checker_pool import NoVerdict, Pool
from score import sleeper


def request(answer, accepted="4"):
    return {"readings": [answer], "accepted": [accepted]}


def alive(pid):
    """Whether the process runs (a zombie does not)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids, seconds=30.0):
    """Whether all processes end within some seconds."""
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, pids))


linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")


@pytest.fixture
def sleeps(monkeypatch):
    """One reading sleeps in the checker's process."""
    monkeypatch.setattr("hornbeam.score.checker_pool.COMMAND", sleeper.COMMAND)


@linux
@pytest.mark.usefixtures("sleeps")
def test_processes_start_late_time_out_and_leave_nothing():
    async def run():
        pool = Pool("symbolic", 1, seconds=3.0)
        assert pool.pids() == []  # none before it is needed
        assert await pool.check(request("2+2")) == 1.0
        (first,) = pool.pids()
        with pytest.raises(NoVerdict) as caught:
            await pool.check(request(sleeper.FOREVER))
        assert caught.value.kind == "timeouts"
        assert gone([first]) and pool.pids() == []
        assert await pool.check(request("5")) == 0.0  # a new one took its place
        (second,) = pool.pids()
        os.kill(second, signal.SIGKILL)
        with pytest.raises(NoVerdict) as caught:
            await pool.check(request("4"))
        assert caught.value.kind == "crashes"
        with pytest.raises(NoVerdict) as caught:  # the checker raises: its process lives on
            await pool.check({"nothing": "that it knows"})
        assert caught.value.kind == "crashes"
        (third,) = pool.pids()
        assert await pool.check(request("4")) == 1.0
        assert pool.pids() == [third]
        await pool.aclose()
        await pool.aclose()  # twice is once
        assert gone([third])

    asyncio.run(run())


@linux
@pytest.mark.timeout(60)
@pytest.mark.usefixtures("sleeps")
def test_closing_ends_a_check_under_way():
    async def run():
        pool = Pool("symbolic", 1, seconds=600.0)
        await pool.check(request("4"))
        pids = pool.pids()
        hanging = asyncio.create_task(pool.check(request(sleeper.FOREVER)))
        await asyncio.sleep(0.2)
        await pool.aclose()
        with pytest.raises((NoVerdict, asyncio.CancelledError)):
            await hanging
        assert gone(pids)

    asyncio.run(run())


@linux
def test_from_threads_and_from_one_loop_after_another():
    pools = [Pool("symbolic", 2, seconds=20.0)]
    verdicts = []

    def work(answer):
        verdicts.append(asyncio.run(pools[0].check(request(answer))))

    threads = [threading.Thread(target=work, args=(answer,)) for answer in ("4", "8/2", "5")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(verdicts) == [0.0, 1.0, 1.0]
    pids = pools[0].pids()
    assert 1 <= len(pids) <= 2
    work("2*2")
    assert verdicts[-1] == 1.0
    pools.clear()
    assert gone(pids)  # a pool that is forgotten takes its processes along


def test_a_checker_that_does_not_start_is_told(monkeypatch):
    monkeypatch.setattr("hornbeam.score.checker_pool.COMMAND", (sys.executable, "-c", "1/0"))
    pool = Pool("symbolic")
    with pytest.raises(ScoreError, match=r"does not start; to see why, run .* 1/0 symbolic"):
        asyncio.run(pool.check(request("4")))
    assert pool.pids() == []


TESTS = str(Path(__file__).parents[1])
SCRIPT = textwrap.dedent("""
    import asyncio, sys, time
    sys.path.insert(0, sys.argv[2])
    from hornbeam.score import checker_pool
    from score import sleeper

    async def run():
        checker_pool.COMMAND = sleeper.COMMAND
        checker = checker_pool.Pool("symbolic", 1, seconds=3.0)
        await checker.check({"readings": ["4"], "accepted": ["4"]})
        print(*checker.pids(), flush=True)
        if sys.argv[1] == "busy":
            await checker.check({"readings": [sleeper.FOREVER], "accepted": ["4"]})
        elif sys.argv[1] == "idle":
            time.sleep(60)

    asyncio.run(run())
""")


@linux
@pytest.mark.parametrize("how", ["end", "idle", "busy"])
def test_no_process_outlives_its_parent(how):
    """Neither after a plain end without aclose nor after kill -9, idle or in the midst of it."""
    command = [sys.executable, "-c", SCRIPT, how, TESTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        if how != "end":
            time.sleep(0.2)
            parent.kill()
    assert len(pids) == 1
    assert gone(pids)
