from pathlib import Path

import pytest

from hornbeam.errors import HornbeamError
from hornbeam.programs import make_program, programs

GOOD = """
from dataclasses import dataclass
import beside

@dataclass
class Plan:
    text: str

async def team(task, ep, *, rounds=2):
    return Plan(f"{beside.NAME} {rounds}").text

async def needs(task, ep, rounds): ...
async def alone(task): ...
def plain(task, ep): ...
number = 3

def demonstration(task):
    return [([], "gold")]
"""


TEAM = "async def team(task, ep): ...\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(GOOD)
    (tmp_path / "beside.py").write_text("NAME = 'beside'")
    (tmp_path / "syntax.py").write_text("x = 1\n\nz = = 2\n")
    (tmp_path / "raises.py").write_text(f"\n\ndef f():\n    1 / 0\n\nf()\n{TEAM}")
    (tmp_path / "imports.py").write_text(f"import no_such_module_here\n{TEAM}")
    (tmp_path / "leaves.py").write_text(f"raise SystemExit('bye')\n{TEAM}")
    (tmp_path / "text.txt").write_text("hello")
    return tmp_path


def run(program) -> str:
    """What a program that asks nothing returns."""
    coroutine = program(None, None)
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    return end.value.value


def test_a_program_of_ones_own(folder: Path) -> None:
    program, show = make_program("mine.py:team", {"rounds": 5}, folder)
    assert run(program) == "beside 5"
    assert show is not None and show(None) == [([], "gold")]
    assert run(make_program(f"{folder}/mine.py:team")[0]) == "beside 2"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mine.py", {}, "name what it is in its file too, as in mine.py:name"),
        ("mine.py:", {}, "name what it is in its file too"),
        ("nobody.py:team", {}, "program 'nobody.py:team': no such file in"),
        ("mine.py:taem", {}, "program: mine.py has no 'taem': did you mean 'team'?"),
        ("beside.py:team", {}, "beside.py has no 'team': there is none"),
        ("mine.py:plain", {}, "plain is not async: write async def plain(task, ep)"),
        ("mine.py:number", {}, "number is not async"),
        ("mine.py:alone", {}, "alone must take task and ep"),
        ("mine.py:team", {"round": 1}, "no setting 'round': did you mean 'rounds'?"),
        ("mine.py:needs", {}, "needs needs a setting 'rounds'"),
        ("syntax.py:team", {}, "syntax.py, line 3: SyntaxError: invalid syntax"),
        ("raises.py:team", {}, "raises.py, line 4: ZeroDivisionError: division by zero"),
        ("imports.py:team", {}, "imports.py, line 1: ModuleNotFoundError: No module named"),
        ("leaves.py:team", {}, "leaves.py, line 1: SystemExit: bye"),
        ("text.txt:team", {}, "its name must end with .py"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    folder: Path, name: str, settings: dict, message: str
) -> None:
    with pytest.raises(HornbeamError) as result:
        make_program(name, settings, folder)
    assert message in str(result.value)
    assert "\n" not in str(result.value)


def test_ready_programs_are_made_without_settings() -> None:
    needy = {"agent", "commands", "verifiers"}  # which need a command, some, an environment
    for name in set(programs) - needy:
        assert callable(make_program(name)[0])
