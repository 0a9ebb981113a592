"""`hornbeam doctor --server`: what a server is good for, by both ways to ask it."""

import json
import sys

import pytest

from hornbeam.assembly.judges import judge_engine
from hornbeam.cli.main import main
from hornbeam.models import tiny_model
from little_server import LittleServer, Manners


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("seen") / "model", seed=3, width=32)


def doctor(capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["hornbeam", "doctor", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    return end.value.code or 0, said.out, said.err


SERVERS = {
    "chats": ({"chat_only": True}, True, False),
    "completes": ({}, False, True),
}


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_is_asked_in_both_ways(kind, model, capsys, monkeypatch):
    manners, chats, completes = SERVERS[kind]
    monkeypatch.setenv("DOOR_KEY", "s3cret")
    with LittleServer(judge_engine(model), manners=Manners(key="s3cret", **manners)) as server:
        how = ("--server", server.url, "--key-env", "DOOR_KEY", "--tokenizer", model)
        code, result, err = doctor(capsys, monkeypatch, *how, "--json")
        assert code == 0, err
        found = {row["name"]: row for row in json.loads(result)}
        assert (found['kind = "chat"']["state"] == "ok") == chats
        assert (found['kind = "http"']["state"] == "ok") == completes
        assert "s3cret" not in result
        code, result, err = doctor(capsys, monkeypatch, "--server", server.url)
        assert code == 1 and "key_env" in result  # nobody is asked without a key


def test_an_address_that_cannot_be_is_one_line(capsys, monkeypatch):
    code, _, err = doctor(capsys, monkeypatch, "--server", "localhost:8000")
    assert code == 2 and "http://localhost:8000/v1 is expected" in err and err.count("\n") == 1
    code, _, err = doctor(capsys, monkeypatch, "--model", "m")
    assert code == 2 and "--model is of a --server" in err
