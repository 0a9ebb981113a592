"""`hornbeam doctor` and `hornbeam models` answer at once, without a network."""

import json
import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from hornbeam.cli import doctor_command
from hornbeam.cli.models_command import app as models_app


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBEAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HORNBEAM_DATA", raising=False)
    app = typer.Typer()
    app.command("doctor")(doctor_command.doctor_command)
    app.add_typer(models_app, name="models")
    return lambda *words: CliRunner().invoke(app, words)


def by_name(result):
    return {finding["name"]: finding for finding in json.loads(result.stdout)}


def test_doctor_tells_versions_and_what_the_machine_can_do(run):
    result = run("doctor", "--json")
    found = by_name(result)
    assert result.exit_code == 0
    assert found["torch"]["state"] == "ok" and found["torch"]["found"].startswith("2.")
    assert int(found["cores"]["found"]) >= 1
    assert {f["group"] for f in found.values()} == {
        "install",
        "machine",
        "packages",
        "extras",
        "data",
    }


def test_whatever_is_missing_comes_with_a_remedy(run):
    found = by_name(run("doctor", "--json"))
    assert "hornbeam models pull smollm2-135m" in found["smollm2-135m"]["remedy"]
    assert "HORNBEAM_DATA" in found["data directory"]["remedy"]
    assert found["hub"]["state"] == "note" and "HF_HUB_OFFLINE" in found["hub"]["found"]
    assert all(f["remedy"] for f in found.values() if f["state"] != "ok")
    text = run("doctor").stdout
    assert "What would help" in text and "hornbeam models pull smollm2-135m" in text


def test_a_data_directory_is_shown_and_a_wrong_one_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBEAM_DATA", str(tmp_path))
    assert by_name(run("doctor", "--json"))["data directory"]["state"] == "ok"
    monkeypatch.setenv("HORNBEAM_DATA", str(tmp_path / "gone"))
    assert by_name(run("doctor", "--json"))["data directory"]["found"].endswith("gone is no folder")


def test_a_missing_package_is_bad_and_a_missing_extra_is_a_note():
    asked = [("torch", ""), ("no-such-package", ""), ("no-such-extra", "fancy"), ("rich", "plain")]
    torch, gone = doctor_command.packages(asked)
    assert (torch.state, gone.state, gone.found) == ("ok", "bad", "missing") and gone.remedy
    fancy, plain = doctor_command.extras(asked)
    assert (fancy.state, fancy.found) == ("note", "lacks no-such-extra")
    assert fancy.remedy == "in the clone of Hornbeam: pip install -e '.[fancy]'"
    assert (plain.state, plain.found) == ("ok", "rich")


def test_doctor_imports_nothing_heavy():
    code = "import sys; from hornbeam.cli.doctor_command import examine; examine();"
    code += "print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "False", done.stderr


def test_models_are_listed_and_a_wrong_name_is_one_line(run):
    listed = json.loads(run("models", "list", "--json").stdout)
    assert [row["name"] for row in listed] == ["smollm2-135m"] and not listed[0]["folder"]
    assert "Apache-2.0" in run("models", "list").stdout
    refused = run("models", "pull", "nonsense")
    assert refused.exit_code == 2 and "known: smollm2-135m" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_names_that_packages_add_are_listed_and_not_imported(run, tmp_path, monkeypatch):
    info = tmp_path / "hb_broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hb-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hornbeam.strategy]\nwidest = no_such_module:Wide\n")
    assert "strategy widest" not in by_name(run("doctor", "--json"))
    monkeypatch.syspath_prepend(str(tmp_path))
    found = by_name(run("doctor", "--json"))["strategy widest"]
    assert (found["group"], found["found"]) == ("added", "no_such_module:Wide of hb-broken")
