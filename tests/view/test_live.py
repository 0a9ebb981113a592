"""The live page in a real browser: it follows, and what a person chose stays."""

import shutil
import threading

import pytest

from cli.test_cli_live import HOSTILE, keep
from hornbeam.cli.live_server import LiveRun, LiveServer
from hornbeam.store.database import Store

from .browser import Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed"),
]
STATE = "document.getElementById('live').textContent"
STEP = "document.querySelector('#trees output').textContent"


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A browser on the page of a run that has not begun."""
    monkeypatch.setattr("hornbeam.cli.live_server.SHARE", 0)
    run = tmp_path / "run"
    with LiveServer(LiveRun(run)) as server, Browser() as tab:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        tab.open(server.url)
        yield tab, run
        server.shutdown()
        thread.join()


def test_it_waits_follows_and_keeps_what_was_chosen(page):
    tab, run = page
    tab.until(f"{STATE}.startsWith('Waiting for a run to begin')")
    assert not tab.troubles()
    with Store(run) as store:
        keep(store, 1, of=30)
        tab.until(f"{STATE} == 'Running: step 1 of 30.' && DATA.steps.length == 1")
        assert tab.run("document.querySelector('h1').textContent") == "Doors & keys"
        keep(store, 3, of=30)
        tab.until("DATA.steps.length == 3")
        assert tab.run(STEP) == "step 2"  # nothing was chosen: the latest
        tab.run("document.querySelector('.steps input').focus()")
        tab.press("ArrowLeft")
        tab.run("choose(drawing, 1, false)")
        tab.run("document.querySelectorAll('details.table')[0].open = true")
        tab.run("document.getElementById('recipe').open = true")
        tab.run("document.querySelector('#axis input[value=tokens]').click()")
        tab.run("window.mark = document.querySelector('.drawing').firstChild; scrollTo(0, 200)")
        keep(store, 6, of=30)
        tab.until("DATA.steps.length == 6")
        assert tab.run(STEP) == "step 1" and tab.run("drawing.node") == 1
        assert tab.run("window.mark === document.querySelector('.drawing').firstChild")
        assert tab.run("document.querySelectorAll('details.table')[0].open")
        assert tab.run("document.getElementById('recipe').open") and tab.run("axis") == "tokens"
        assert tab.run("scrollY") == 200
        assert tab.run("document.querySelector('.steps input').max") == "5"
        tab.run("choose(drawing, 1, true)")  # its texts are those of the new data
        assert "said 1" in tab.run("document.querySelector('.step').textContent")
        assert tab.run("document.querySelector('.question').textContent") == HOSTILE
    tab.until(f"{STATE}.startsWith('Stopped at step 6 of 30')")
    with Store(run) as store:
        keep(store, 7, of=30)
        tab.until(f"{STATE} == 'Running: step 7 of 30.'")
    assert tab.run("document.querySelectorAll('img').length") == 0
    assert not tab.troubles()


def test_a_server_that_has_ended_is_told_and_the_page_stays(page):
    tab, run = page
    with Store(run) as store:
        keep(store, 2, of=2)
    tab.until("DATA.steps.length == 2")
    tab.run("window.fetch = () => Promise.reject(new TypeError('nobody'))")
    tab.until(f"{STATE}.startsWith('hornbeam view has ended')")
    assert tab.run("DATA.steps.length") == 2
