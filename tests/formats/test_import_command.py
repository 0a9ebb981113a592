"""`hornbeam import`: files in, trees and sets out, whole or not at all."""

import json

import pytest
from typer.testing import CliRunner

from foreign_rows import TOOLS, answer, asked, inspect_log, inspect_sample, rllm_episode, talk
from hornbeam.assembly.examples import examples
from hornbeam.assembly.sft_set import read_set
from hornbeam.chat import TemplateChat, history
from hornbeam.cli.main import app
from hornbeam.credit import credit, method
from hornbeam.errors import DataError
from hornbeam.train.rows import collect
from hornbeam.tree.jsonl import read_trees
from little_chats import CALLS, saved, words


def hornbeam(*args):
    result = CliRunner().invoke(app, [*map(str, args)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def flat(example):
    """The ids of an example with whether each is trained."""
    spans = [(example.prompt, False), *example.spans]
    return [(token, trained) for ids, trained in spans for token in ids]


@pytest.fixture
def chats(tmp_path):
    """Six runs of two tasks, half of them right; one is told twice."""
    rows = [{"messages": talk(str(n), n), "reward": n % 2, "tools": TOOLS} for n in range(4)]
    rows.append({"messages": [asked("1?"), answer("1")], "reward": 1})
    path = tmp_path / "chats.jsonl"
    lines = [json.dumps(row) + "\n" for row in [*rows, rows[-1]]]
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_chats_become_trees_and_a_set(chats, tmp_path):
    out, sft = tmp_path / "trees.jsonl", tmp_path / "set.jsonl"
    said = hornbeam("import", chats, "--out", out, "--sft", sft, "--where", "reward>=1")
    assert "chats, 6 runs of 2 tasks; 6 with a reward, mean 0.667\n" in said
    assert "6 runs without token ids" in said and "1 run the same as an earlier one" in said
    assert f"Trees:   {out} (2)" in said and "4 of 6 runs, 4 lines" in said
    first, second = read_trees(out)
    assert len(first) == 6 and first.task["id"] == "chats-1" and len(second) == 3
    rows = [json.loads(line) for line in sft.read_text("utf-8").splitlines()]
    assert [row["messages"][-1]["content"] for row in rows] == ["1", "3", "1", "1"]
    assert rows[0]["tools"] == TOOLS and len(read_set(sft)) == 4
    assert said.count("--tools-as-text") == 1 and "chat templates have no place" in said
    # the other commands read them
    assert 'add {"a": 2}' in hornbeam("view", out, "--tree", 1)
    page = (tmp_path / "trees.html", hornbeam("view", out))[0].read_text("utf-8")
    assert "user: 2 + 2?" in page and "tool: 4" in page
    assert '"advantage"' in hornbeam("credit", "dr_grpo", out)
    assert f"Trees:   {tmp_path / 'chats.trees.jsonl'}" in hornbeam("import", chats)


def test_a_model_gives_ids_to_trees_and_sets(chats, tmp_path):
    """By its own template; a set of ids is what the set of messages becomes in training."""
    saved(tmp_path / "model", words(CALLS, special=("<|im_start|>",)))
    out, sft = tmp_path / "trees.jsonl", tmp_path / "ids.jsonl"
    result = hornbeam(
        "import", chats, "--out", out, "--sft", sft, "--model", tmp_path / "model"
    )  # fmt: skip
    assert "without token ids" not in result and "--tools-as-text" not in result
    hornbeam("import", chats, "--out", tmp_path / "x", "--sft", tmp_path / "text.jsonl")
    plain = tmp_path / "plain.jsonl"  # no tools in it
    plain.write_text(json.dumps({"messages": [asked(), answer("4")]}), "utf-8")
    result = hornbeam("import", plain, "--out", tmp_path / "x", "--sft", tmp_path / "y")
    assert "--tools-as-text" not in result
    from transformers import AutoTokenizer

    chat = TemplateChat(AutoTokenizer.from_pretrained(tmp_path / "model"))
    exact = [flat(example) for row in read_set(sft) for example in examples(row, chat)]
    text = [*read_set(tmp_path / "text.jsonl")]
    assert exact == [flat(example) for row in text for example in examples(row, chat)]
    tree = next(read_trees(out))
    said = chat.words.decode(list(tree.sequence(tree.leaves()[0])), skip=False)
    assert said.endswith("<|im_start|>assistant\n0<|im_end|>") and "<tool_call>" in said
    assert history(tree, 1) and tree.columns["reward"][tree.leaves()[0]] == 0
    credit([tree], method("dr_grpo"))
    assert collect([tree]).segments == len(tree) - 1  # what was said, each once


def test_one_bad_record_refuses_the_file_unless_it_may_be_left_out(chats, tmp_path):
    with chats.open("a", encoding="utf-8") as stream:
        stream.write('{"messages": []}\n{"messages": \n')
    out, sft = tmp_path / "trees.jsonl", tmp_path / "set.jsonl"
    with pytest.raises(DataError, match=r"chats.jsonl, line 12: .*empty \(nothing is written"):
        hornbeam("import", chats, "--out", out, "--sft", sft)
    assert not out.exists() and not sft.exists()
    said = hornbeam("import", chats, "--out", out, "--sft", sft, "--skip-bad")
    assert "6 runs of 2 tasks" in said and "left out: " in said and "line 13: not JSON" in said
    chats.write_text('{"messages": []}\n' * 7, "utf-8")
    with pytest.raises(DataError, match=r"none of 7 records can be read, the first: .*line 1"):
        hornbeam("import", chats, "--out", tmp_path / "none", "--skip-bad")
    chats.write_text('{"messages": []}\n' * 7 + json.dumps({"messages": talk()}), "utf-8")
    assert "left out: 2 more" in hornbeam("import", chats, "--out", out, "--skip-bad")


def test_several_files_of_several_formats(chats, tmp_path):
    log, episode = tmp_path / "log.json", tmp_path / "episode.json"
    log.write_text(json.dumps(inspect_log([inspect_sample(value="I")])), "utf-8")
    episode.write_text(json.dumps(rllm_episode(0)), "utf-8")
    said = hornbeam("import", chats, log, episode, "--out", tmp_path / "all.jsonl")
    assert "chats and inspect and rllm, 8 runs of 4 tasks" in said
    assert "7 runs without token ids" in said


def test_wrong_words_are_told_before_anything_is_read(chats, tmp_path):
    with pytest.raises(DataError, match="--where chooses for --sft"):
        hornbeam("import", chats, "--where", "reward>=1")
    with pytest.raises(DataError, match="is what is read"):
        hornbeam("import", chats, "--out", chats)
    with pytest.raises(DataError, match="no run has a number 'rewrd': did you mean 'reward'"):
        hornbeam("import", chats, "--sft", tmp_path / "s", "--where", "rewrd>=1")
    with pytest.raises(DataError, match="none of 6 runs is left for --sft"):
        hornbeam("import", chats, "--sft", tmp_path / "s", "--where", "reward>1")
    with pytest.raises(DataError, match="line 1: no number in 'quality'"):
        hornbeam("import", chats, "--reward", "quality")
    with pytest.raises(DataError, match=r"line 1: a span or an event has"):
        hornbeam("import", chats, "--format", "agent-lightning")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chats.jsonl"]
