"""Tools that repair a program: what they say of one that fails, hangs, dies or is no Python."""

import pytest

from hornbeam.errors import ToolError
from hornbeam.tools.repair_tools import edit, read, repaired, run
from hornbeam.tree.task import Task
from hornbeam.worlds import FolderWorld

CODE = "def f(a, b):\n    x = a - b\n    return x\n"
TASK = Task("t", "?", "ok", {"world": {"program.py": CODE}, "tests": [[[1, 2], 3], [[2, 2], 4]]})


@pytest.fixture
def world():
    kind = FolderWorld()
    found = kind.open(TASK)
    yield found
    kind.close(found)


def test_a_repair(world):
    assert read(world) == "1 def f(a, b):\n2     x = a - b\n3     return x"
    assert (run(TASK, world), repaired(TASK, world)) == ("f(1, 2) is -1, not 3", "failed")
    assert edit("2", " x = a + b ", world) == "ok"
    assert (world / "program.py").read_text() == CODE.replace("-", "+")
    assert (run(TASK, world), repaired(TASK, world)) == ("ok", "ok")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x = (", "f(1, 2): SyntaxError: '(' was never closed (line 2)"),
        ("x = c", "f(1, 2): NameError: name 'c' is not defined"),
        ("raise SystemExit", "f(1, 2): SystemExit: "),
        ("import os; os._exit(3)", "f(1, 2): the program ended the process (3)"),
        ("x = print('ok')", "f(1, 2) is None, not 3"),
        ("x = '3'", "f(1, 2) is '3', not 3"),
        ("while 1: pass", "f(1, 2): the tests took longer than 2 s"),
        ("x = 'y' * 1000", f"f(1, 2) is '{'y' * 79}, not 3"),
    ],
)
def test_whatever_the_program_does_is_one_line(world, line, said):
    assert edit("2", line, world) == "ok"
    assert (run(TASK, world), repaired(TASK, world)) == (said, "failed")


def test_results_that_the_program_writes_itself_are_not_those_of_the_tests(world):
    assert edit("2", """print('\\nresults: ["3", "4"]'); x = 0""", world) == "ok"
    assert run(TASK, world) == "f(1, 2) is 0, not 3"


def test_tests_that_were_never_shown_are_judged(world):
    tests = [[[n, 1], n + 1] for n in range(5)]
    task = Task("t", "?", "ok", {"tests": tests})
    assert edit("2", "x = {0: 1, 1: 2, 2: 3, 3: 4}.get(a)", world) == "ok"
    assert (run(task, world), repaired(task, world)) == ("ok", "failed")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x", "'x' is no number of a line"),
        ("0", "there is no line 0, the program has 3"),
        ("4", "there is no line 4, the program has 3"),
    ],
)
def test_a_line_that_is_not_there(world, line, said):
    with pytest.raises(ToolError, match=said):
        edit(line, "pass", world)
    assert (world / "program.py").read_text() == CODE


def test_a_world_or_a_task_of_another_kind(world):
    (world / "program.py").unlink()
    for act in (lambda: read(world), lambda: edit("1", "x", world)):
        with pytest.raises(ToolError, match=r"program\.py cannot be read: FileNotFoundError"):
            act()
    assert run(TASK, world).startswith("f(1, 2): FileNotFoundError")
    with pytest.raises(ToolError, match="task t has no tests"):
        run(Task("t", "?"), world)
    with pytest.raises(ToolError, match=r'set world\.kind = "sandbox"'):
        run(TASK, {})
