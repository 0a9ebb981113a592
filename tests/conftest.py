"""Every test runs on one thread, without a network, and is not judged by the clock."""

import os

# Set before torch is imported: two torch processes of several threads each collapse on two cores.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import sys

import pytest
from hypothesis import HealthCheck, settings

from postgres import Server, why_not

# A machine that is busy with other things fails no test.
settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")


@pytest.fixture(scope="session")
def postgres():
    """A private PostgreSQL server; skips where there can be none."""
    if why_not():
        pytest.skip(why_not())
    server = Server()
    yield server
    server.close()


@pytest.fixture
def hornbeam(monkeypatch, capsys):
    """Runs a command; (exit code, stderr, stdout), the line that names a recipe's code left out."""
    from hornbeam.cli.main import main
    from told import without_code

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hornbeam", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return end.value.code or 0, without_code(said.err).strip(), said.out

    return run
