"""`hornbeam credit` as a filter: what it writes, and how it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hornbeam.cli.credit_command import credit_command

app = typer.Typer()
app.command("credit")(credit_command)


def run(*arguments: object, stdin: str | None = None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)


def line(parents: list[int], reward: list[float | None], **task: object) -> str:
    nodes = [{"parent": p} for p in (-1, *parents)]
    record = {"task": {"id": "q", **task}, "nodes": nodes, "columns": {"reward": reward}}
    return json.dumps(record) + "\n"


ONE = line([0, 1, 1, 0], [None, None, 1, 0, 1])
TWO = line([0], [None, 0])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trees.jsonl"
    path.write_text(ONE + TWO)
    return path


def test_bare_parents_and_a_reward_column(file: Path) -> None:
    # one group of 1, 0, 1, 0 over two lines
    done = run("dr_grpo", file)
    assert done.exit_code == 0 and done.stderr == ""
    one, two = (json.loads(text)["columns"] for text in done.stdout.splitlines())
    assert one["advantage"] == [None, None, 0.5, -0.5, 0.5]
    assert one["advantage_pos"] == [1.0, 0.5, 0.5, 0.0, 0.5]
    assert one["advantage_neg"] == [-0.5, -0.5, 0.0, -0.5, 0.0]
    assert one["leaves"] == [3, 2, 1, 1, 1]
    assert two["advantage"] == [None, -0.5]


def test_delegations_are_credited_by_scope(tmp_path: Path) -> None:
    # two rollouts of one delegation each, at node 1; the main agent speaks at node 2
    file = tmp_path / "t.jsonl"
    lines = [json.loads(line([0, 1], [None, sub, main])) for sub, main in ((1, 0), (0, 1))]
    for record in lines:
        record["nodes"][1]["scope"] = "s.1"
    file.write_text("".join(json.dumps(record) + "\n" for record in lines))
    for align in ("weight", "resample"):
        done = run(
            "m_grpo", file, "--set", f"align={align}", "--set", "d=2", "--set", "std=population"
        )
        one, two = (json.loads(text)["columns"] for text in done.stdout.splitlines())
        assert one["advantage"] == [None, 1.0, -1.0] and two["advantage"] == [None, -1.0, 1.0]
        assert one["mass"] == two["mass"] == [None, 2.0, None]
    result = run("m_grpo", file, "--set", "d=0")
    assert result.exit_code == 2 and "d = 0" in result.stderr


def test_stdin_and_out_say_the_same(file: Path, tmp_path: Path) -> None:
    plain = run("tree_grpo", file, "--set", "std=population", "--set", "mode=intra")
    piped = run("tree_grpo", "-", "--set", "std=population", "--set", "mode=intra", stdin=ONE + TWO)
    out = tmp_path / "out.jsonl"
    filed = run("tree_grpo", file, "--set", "std=population", "--set", "mode=intra", "--out", out)
    assert plain.stdout == piped.stdout == out.read_text() and filed.stdout == ""
    columns = json.loads(plain.stdout.splitlines()[0])["columns"]
    assert columns["advantage"] == [None, None, 1.0, -1.0, 0.0]


def test_a_file_may_be_credited_in_place_and_again(file: Path) -> None:
    assert run("grpo", file, "--out", file).exit_code == 0
    once = file.read_text()
    assert run("grpo", file, "--out", file).exit_code == 0
    assert file.read_text() == once != ONE + TWO


def test_all_else_stands_as_it_was(tmp_path: Path) -> None:
    record = {
        "version": 1,
        "task": {"id": "ü", "answer": {"deep": [1, None]}},
        "seed": 4,
        "nodes": [
            {"parent": -1},
            {"parent": 0, "tokens": [5], "logprobs": [-0.1234567], "text": "", "answer": 3},
        ],
        "columns": {"reward": [None, 1], "visits": [2, 1]},
    }
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps(record))
    written = json.loads(run("grpo", file).stdout)
    added = {name: written["columns"].pop(name) for name in list(written["columns"])[2:]}
    assert written == record
    assert list(added) == ["advantage", "advantage_pos", "advantage_neg", "leaves"]


def test_trees_of_failed_leaves_pass_with_a_note(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(ONE + line([0], [None, None], id="failed"))
    done = run("grpo", file)
    assert done.exit_code == 0
    assert done.stderr == ("hornbeam: 1 of 2 trees have no scored leaf and get no credit\n")
    assert json.loads(done.stdout.splitlines()[1])["columns"]["advantage"] == [None, None]


BAD_LINE = '{"task": {"id": 1}, "nodes": [{"parent": -1}, {"parent": 5}]}\n'
UNSCORED = '{"task": {"id": 1}, "nodes": [{"parent": -1}, {"parent": 0}]}\n'


@pytest.mark.parametrize(
    "arguments, content, text",
    [
        (["gpro"], ONE, "unknown credit method 'gpro': did you mean 'grpo'?"),
        (["grpo", "--set", "sdt=sample"], ONE, "no setting 'sdt': did you mean 'std'?"),
        (["grpo", "--set", "std=other"], ONE, "std = 'other'"),
        (["grpo", "--set", "std=3"], ONE, "std = 3"),
        (["grpo", "--set", "name=3"], ONE, "no setting 'name'"),
        (["rloo", "--set", "std=sample"], ONE, "no setting 'std': known: discount, returns"),
        (["grpo", "--set", "std"], ONE, "--set 'std': write it as key=value"),
        (["grpo"], ONE + "{\n", "trees.jsonl, line 2: not JSON"),
        (["grpo"], ONE + "\n" + BAD_LINE, "trees.jsonl, line 3: node 1 has parent 5"),
        (["grpo"], ONE + UNSCORED, "trees.jsonl, line 2: task 1: no column 'reward'"),
        (["grpo"], ONE + line([0, 1], [None, 1, None]), "line 2: task 'q': node 1 has a 'reward'"),
        (["grpo"], "", "trees.jsonl: holds no tree"),
        (["grpo"], line([0, 0], [None, 1.7e308, 1.7e307]), "too large to add"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    arguments: list[str], content: str, text: str, tmp_path: Path
) -> None:
    file, out = tmp_path / "trees.jsonl", tmp_path / "out.jsonl"
    file.write_text(content)
    out.write_text("as it was\n")
    done = run(arguments[0], file, *arguments[1:], "--out", out)
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr.startswith("hornbeam: ") and done.stderr.count("\n") == 1
    assert text in done.stderr
    assert out.read_text() == "as it was\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl", "trees.jsonl"]


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    done = run("grpo", tmp_path / "none.jsonl")
    assert done.exit_code == 2
    assert done.stderr.endswith(f"none.jsonl: no such file in {tmp_path}\n")


@pytest.mark.parametrize("out", ["no/such/folder/out.jsonl", ".", ""])
def test_a_target_that_cannot_be_written_is_one_line(out: str, file: Path, monkeypatch) -> None:
    monkeypatch.chdir(file.parent)
    done = run("grpo", file, "--out", out)
    assert done.exit_code == 2 and "cannot be written" in done.stderr
    assert done.stderr.count("\n") == 1
    assert [p.name for p in file.parent.iterdir()] == ["trees.jsonl"]


def test_a_pipe_is_written_to_and_not_replaced(file: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    assert run("grpo", file, "--out", pipe).exit_code == 0
    assert os.read(reader, 1 << 16).decode() == run("grpo", file).stdout
    os.close(reader)
    assert pipe.is_fifo()


def test_a_link_is_followed_and_not_replaced(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(file)
    assert run("grpo", link, "--out", link).exit_code == 0
    assert link.is_symlink() and "advantage" in file.read_text()
