"""A gateway on loopback with scripted agents, and who speaks to it, by the standard library."""

import asyncio
import contextlib
import json
import urllib.error
import urllib.request

from hornbeam.engine.scripted import Scripted
from hornbeam.episode.program import Limits
from hornbeam.gateway.server import Gateway
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.jobs.gateway.opened_sessions import OpenedSessions
from hornbeam.score.reward_settings import RewardSettings
from hornbeam.score.rules import make_scorer
from hornbeam.search import Independent
from hornbeam.store.database import Store
from hornbeam.store.ledger import Ledger


def answer(prompt, rng):
    return f"{rng.choice(['red', 'blue', 'green'])} {rng.randint(1, 99)}"


@contextlib.asynccontextmanager
async def served(
    folder, engine=None, key="", idle=600.0, budget=None, limits=None, names=("one",), port=0
):
    """(address, door) of a gateway into a run folder."""
    store = Store(folder)
    how = {} if budget is None else {"budget": budget}
    grower = Grower(
        None,
        {name: Speaker(engine or Scripted(answer)) for name in names},
        Independent(n=1),
        make_scorer(RewardSettings(rule="exact")),
        ledger=Ledger(**how, spent=store.totals(), sink=store.enter),
        keeper=store,
        limits=limits or Limits(),
    )
    door = OpenedSessions(grower, store, tuple(names), seed=3, idle=idle)
    gateway = door.gateway = Gateway(key, door)
    await door.resume()
    try:
        yield await gateway.start(port), door
    finally:
        await door.aclose()
        await gateway.aclose()
        await grower.scorer.aclose()
        store.close()


def request(url, body=None, **headers):
    """(status, body) of an answer; `body` None is a GET."""
    data = json.dumps(body).encode() if body is not None and not isinstance(body, bytes) else body
    sent = {"Content-Type": "application/json", **headers}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, sent), timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


async def post(url, body=None, **headers):
    """The same, while the server runs in this thread."""
    return await asyncio.to_thread(request, url, {} if body is None else body, **headers)


def said(answer):
    status, body = answer
    assert status == 200, body
    return body["choices"][0]["message"]["content"]


def line(answer):
    status, body = answer
    return status, body["error"]["message"]
