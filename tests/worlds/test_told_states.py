"""What worlds tell of their state: equal where they are in one, whatever way led there."""

import os
import threading

import pytest

from hornbeam.errors import WorldError
from hornbeam.tree.task import Task
from hornbeam.worlds import FolderWorld, OwnWorld, PythonWorld, SqliteWorld

TASK = Task("t", "?", data={"world": {"a": "1"}})


def test_python_state_in_whatever_order():
    kind = PythonWorld()
    one, two = kind.open(TASK), kind.open(TASK)
    one["b"], one["c"] = 1, [2]
    two["c"], two["b"] = [2], 1
    assert kind.state(one) == kind.state(two) != kind.state(kind.open(TASK))
    one["d"], two["d"] = {3}, {3}  # a set is no JSON
    assert kind.state(one) == kind.state(two)


def test_state_that_nobody_can_tell():
    with pytest.raises(WorldError, match=r"cannot be told \(TypeError: .*: give its class state"):
        PythonWorld().state({"lock": threading.Lock()})


def test_folders_by_what_they_hold(tmp_path):
    kind = FolderWorld(scratch=str(tmp_path))
    one, two = kind.open(TASK), kind.open(TASK)
    fresh = kind.state(one)
    for world in (one, two):
        (world / "sub").mkdir()
        (world / "sub/b").write_text("2")
        os.symlink("b", world.path / "sub/link")
        (world / ".git").mkdir()
        (world / ".git/index").write_text(world.path.name + str(world is one))
    assert kind.state(one) == kind.state(two) != fresh
    assert {*kind.state(one)} == {"a", "sub", "sub/b", "sub/link"}
    (two / "a").write_text("2")
    assert kind.state(one) != kind.state(two)
    for world in (one, two):
        kind.close(world)


def test_databases_by_their_rows(tmp_path):
    kind, task = (
        SqliteWorld(scratch=str(tmp_path)),
        Task("t", "?", data={"world": "create table t(a)"}),
    )
    one, two = kind.open(task), kind.open(task)
    one.execute("insert into t values (1)")
    assert kind.state(one) != kind.state(two)
    two.execute("insert into t values (?)", [1])
    assert kind.state(one) == kind.state(two)
    for world in (one, two):
        kind.close(world)


class Told:
    def __init__(self):
        self.seen, self.calls = [], 0

    def state(self):
        return self.seen


class Kept(Told):
    state = None

    def snapshot(self):
        return [*self.seen]

    def restore(self, found):
        self.seen = found


@pytest.mark.parametrize("make", [Told, Kept])
def test_worlds_of_ones_own_tell_it_themselves(make):
    kind = OwnWorld().made_by(make)
    one, two = kind.open(TASK), kind.open(TASK)
    one.calls = 7  # is no part of it
    assert kind.state(one) == kind.state(two)
    two.seen.append("x")
    assert kind.state(one) != kind.state(two)
