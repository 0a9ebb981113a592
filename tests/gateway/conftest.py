"""Commands called in this process."""

import sys

import pytest

from hornbeam.cli.main import main


@pytest.fixture
def hornbeam(monkeypatch, capsys):
    """Runs a command; (exit code, stderr, stdout)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hornbeam", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return end.value.code or 0, said.err.strip(), said.out

    return run
