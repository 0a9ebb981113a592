"""A machine of small commands on each kind of world, and what an undisturbed run hears of it."""

from __future__ import annotations

import copy
import json
import os

import hornbeam as hb
from hornbeam.chat import user
from hornbeam.errors import ToolError
from hornbeam.protocols import Opinions
from hornbeam.search import Beam, Branch, Dvts, Independent, Mcts, Particle, Reset, Rollouts, Vote
from hornbeam.worlds import (
    E2bWorld,
    FolderWorld,
    OwnWorld,
    PythonWorld,
    SandboxWorld,
    SqliteWorld,
)

from .repository import repository
from .sandbox_server import shared_server

WORDS = ("add", "drop", "count", "last", "fail")


class Machine:
    """A list that commands change: the model of all worlds here."""

    def __init__(self):
        self.items = []

    def act(self, word, text):
        if word == "add":
            self.items.append(text)
        elif word == "drop" and self.items:
            self.items.pop(0)
        elif word == "fail":
            self.items.append("!")
            raise ToolError(f"failed at {len(self.items)}")
        return [len(self.items), self.items[-1] if word == "last" and self.items else None]


class Forking(Machine):
    """One that forks itself, and tells how many are open."""

    open = 0

    def __init__(self):
        super().__init__()
        Forking.open += 1

    def fork(self):
        other = Forking()
        other.items = [*self.items]
        return other

    def close(self):
        Forking.open -= 1


class Saved(Machine):
    """One that saves and loads."""

    def snapshot(self):
        return [*self.items]

    def restore(self, found):
        assert self.items == []
        self.items = [*found]


def on_python(word, text, world):
    machine = Machine()
    machine.items = world.setdefault("items", [])
    return machine.act(word, text)


def on_object(word, text, world):
    return world.act(word, text)


def on_folder(word, text, world):
    machine, path = Machine(), world / "deep/items.json"
    path.parent.mkdir(exist_ok=True)
    machine.items = json.loads(path.read_text()) if path.exists() else []
    try:
        return machine.act(word, text)
    finally:
        with path.open("r+" if path.exists() else "w") as stream:  # in place
            stream.truncate()
            json.dump(machine.items, stream)


def on_sandbox(word, text, world):
    if word == "add":
        world.run(f"echo {text} >> items")
    elif word == "drop":
        world.run("touch items; sed -i 1d items")
    elif word == "fail":
        count = world.run("echo ! >> items; wc -l < items").output.strip()
        raise ToolError(f"failed at {count}")
    lines = world.run("touch items; cat items").output.split()
    return [len(lines), lines[-1] if word == "last" and lines else None]


def on_checkout(word, text, world):
    """Each item is a commit, and a line of a file that is not committed."""
    items = world / "items"
    lines = items.read_text().split() if items.exists() else []
    if word in ("add", "fail"):
        lines.append(text if word == "add" else "!")
        world.run(f"git commit -q --allow-empty -m '{lines[-1]}'; git branch b{len(lines)}")
    elif word == "drop":
        world.run(f"git stash; git branch -D b{len(lines)}")
        lines = lines[1:]
    items.write_text("\n".join(lines))
    if word == "fail":
        raise ToolError(f"failed at {len(lines)}")
    if word == "last" and lines:
        assert world.run("git log -1 --format=%s").output.strip() == lines[-1]
    return [len(lines), lines[-1] if word == "last" and lines else None]


def on_sqlite(word, text, world):
    world.execute("CREATE TABLE IF NOT EXISTS items (n INTEGER PRIMARY KEY, text)")
    if word == "drop":
        world.execute("DELETE FROM items WHERE n = (SELECT min(n) FROM items)")
    elif word in ("add", "fail"):
        world.execute("INSERT INTO items (text) VALUES (?)", (text if word == "add" else "!",))
    rows = world.execute("SELECT text FROM items ORDER BY n")
    if word == "fail":
        raise ToolError(f"failed at {len(rows)}")
    return [len(rows), rows[-1][0] if word == "last" and rows else None]


def checkouts(**more):
    return FolderWorld(folder=str(repository()), copies="worktree", **more)


def remote(**more):
    url = os.environ.get("URL_OF_SANDBOXES") or shared_server().url
    return E2bWorld(url=url, sandbox_url=url, key_env="", **more)


KINDS = {
    "python": (lambda **more: PythonWorld(**more), on_python),
    "copied": (lambda **more: OwnWorld(**more).made_by(Machine), on_object),
    "forking": (lambda **more: OwnWorld(**more).made_by(Forking), on_object),
    "saved": (lambda **more: OwnWorld(**more).made_by(Saved), on_object),
    "folder": (lambda **more: FolderWorld(**more), on_folder),
    "worktree": (lambda **more: checkouts(**more), on_checkout),
    "sqlite": (lambda **more: SqliteWorld(**more), on_sqlite),
    "e2b": (lambda **more: remote(**more), on_sandbox),
    "sandbox": (lambda **more: SandboxWorld(**more), on_sandbox),
}

STEERED = {"column": "value"}
STRATEGIES = {
    "independent": Independent(n=3),
    "vote": Vote(n=3),
    "branch": Branch(trunks=2, nodes=2, rounds=2),
    "rollouts": Rollouts(trunks=2, rollouts=2),
    "beam": Beam(beams=2, width=2, depth=4),
    "dvts": Dvts(subtrees=2, width=2, depth=3),
    "reset": Reset(attempts=2, threshold=0.3, depth=4),
    "particle": Particle(particles=3, depth=4),
    "mcts": Mcts(simulations=4, children=2, depth=4),
    "mcts runs": Mcts(simulations=5, children=2, rollout=True, parallel=2),
}


class ByText:
    """A value of each step by its text."""

    column, reads_ids = "value", False

    def __init__(self):
        from hornbeam.engine.request import Barrier

        self.barrier = Barrier()

    def most(self, tree, nodes):
        return 0

    async def judge(self, tree, nodes):
        texts = [tree.nodes[i].text for i in nodes]
        return Opinions([sum(map(ord, text)) % 7 / 3.5 - 0.95 for text in texts])

    def forget(self, tree):
        pass

    async def aclose(self):
        pass


def program_of(script, first=()):
    """Asks once a turn; what was said chooses among the turn's commands. `first` comes before."""

    async def program(task, ep):
        heard = []

        async def act(word, text):
            try:
                return await ep.call("act", word=word, text=text)
            except ToolError as error:
                return str(error)

        for word in first:
            heard.append(await act(word, "f"))
        for number, turn in enumerate(script):
            reply = await ep.ask("walker", [user(f"{number} {json.dumps(heard)}")])
            for place, word in enumerate(turn):
                word = WORDS[(WORDS.index(word) + ord(reply.text[0])) % len(WORDS)]
                heard.append(await act(word, f"{reply.text}{place}"))
        return heard

    return program


def undisturbed(tree, leaf):
    """What a run of the leaf's calls hears, alone."""
    machine, heard = Machine(), []
    for i in [0, *tree.path(leaf)]:
        for call in tree.nodes[i].calls:
            try:
                heard.append(machine.act(call.arguments["word"], call.arguments["text"]))
            except ToolError as error:
                heard.append(str(error))
    return heard


def heard(tree, leaf):
    """What a run of the tree heard of its calls."""
    calls = [call for i in [0, *tree.path(leaf)] for call in tree.nodes[i].calls]
    return [call.error or call.result for call in calls]


def check(tree):
    """Every path of the tree heard what it would have heard alone."""
    for leaf in tree.leaves():
        assert tree.nodes[leaf].error == ""
        assert heard(tree, leaf) == undisturbed(tree, leaf)
    return copy.copy(tree)


def say(prompt, rng):
    return rng.choice("abcdefgh")


def speakers():
    return {"walker": hb.Scripted(say)}
