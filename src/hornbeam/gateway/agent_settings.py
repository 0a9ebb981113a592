"""How an agent outside is started and read."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from hornbeam.errors import ProgramError
from hornbeam.files import paths
from hornbeam.gateway.volatile import check_volatile
from hornbeam.own.own_parts import is_own
from hornbeam.settings import Settings

STARTER = str(Path(__file__).with_name("function_starter.py"))


class AgentCommand(Settings):
    """An agent that is a process of its own.

    `command` is its command line, without a shell: `{task}` in it is the question, `{task_file}`
    a file with the task as JSON, `python` the interpreter. Or "file.py:function": a function of
    (task, session) there, plain or async, called in a process of its own.
    """

    command: str
    python: str = ""  # the interpreter that has the agent's framework; by default that of the run
    # "fork": of one process that has imported what the file begins with, where it is Python.
    start: Literal["fork", "process"] = "fork"
    # Its answer: "last_line" of its output, all "output", or "file:NAME" in the folder it runs in.
    answer: str = Field("last_line", pattern="^(last_line|output|file:.+)$")
    gold: bool = False  # whether it is told the reference answer; what it can read it may repeat
    seconds: float = Field(600.0, gt=0)  # one run of the agent
    # A command in its folder, behind its end: `reward.rule = "test"` (agent_test).
    test: str = ""
    test_seconds: float = Field(60.0, gt=0)
    # A run that does not repeat its path fails, or goes on as a branch from where it left it.
    on_divergence: Literal["fail", "branch"] = "fail"
    # Patterns of what is not the same in each run (volatile), masked when requests are compared.
    volatile: tuple[str, ...] = ()
    patience: float = Field(5.0, gt=0)  # seconds that a request which the record lacks is held
    folder: str = "."  # where the files of the command lie; that of the recipe by default

    def beside(self, base: Path) -> Self:
        """The settings with their folder found. Raises `ProgramError` where nothing can start."""
        found = self.model_copy(update={"folder": str((base / self.folder).absolute())})
        if self.python and shutil.which(found.interpreter()) is None:
            raise ProgramError(f"program.python: there is no interpreter {self.python!r}")
        check_volatile(self.volatile)
        for key, words in (("agent", found.words()), ("test", found.test_words())):
            if words and shutil.which(words[0]) is None:
                raise ProgramError(
                    f"program.{key}: there is no command {words[0]!r}: give its path"
                )
        return found

    def interpreter(self) -> str:
        """The interpreter of a function, and of the word `python`."""
        if not self.python:
            return sys.executable
        path = paths.find(self.python, Path(self.folder))
        # A link in an environment is its interpreter, so it is not followed.
        return str(path.absolute()) if path.is_file() else self.python

    def words(self) -> list[str]:
        """The words of the command; files in its folder, else the working one, by whole path."""
        folder = Path(self.folder)
        if is_own(self.command) and " " not in self.command:
            file, _, name = self.command.rpartition(":")
            path = paths.find(file, folder)
            if not path.is_file():
                raise ProgramError(
                    f"program.agent = {self.command!r}: {paths.missing(file, folder)}"
                )
            return [self.interpreter(), "-P", STARTER, str(path.absolute()), name]
        return self._split(self.command, "program.agent")

    def test_words(self) -> list[str]:
        """The words of the test, found as those of the command; [] without one."""
        return self._split(self.test, "program.test") if self.test else []

    def _split(self, command: str, place: str) -> list[str]:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ProgramError(f"{place} = {command!r}: {error}") from error
        if not words:
            raise ProgramError(f"{place} is empty: give a command")
        found = [paths.find(word, Path(self.folder)) for word in words]
        here = [str(p.absolute()) if p.is_file() else w for p, w in zip(found, words, strict=True)]
        return [self.interpreter() if word == "python" else word for word in here]

    def files(self) -> dict[str, Path]:
        """The files of the command by name, whose contents a run is told apart by.

        Those in its folder or in the working directory, not those elsewhere, as an interpreter is.
        """
        own = is_own(self.command) and " " not in self.command
        named = [self.command.rpartition(":")[0]] if own else self.command.split()
        named += self.test.split()
        files: dict[str, Path] = {}
        for place in (Path().resolve(), Path(self.folder).resolve()):
            found = [path.resolve() for word in named if (path := place / word).is_file()]
            inside = [path for path in found if path.is_relative_to(place)]
            files |= {path.relative_to(place).as_posix(): path for path in inside}
        return files
