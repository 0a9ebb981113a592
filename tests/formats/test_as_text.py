"""Tools as text (`import --tools-as-text`): what Qwen2.5's own template would have written."""

import json

import pytest
from typer.testing import CliRunner

from foreign_rows import (
    SYSTEM,
    TOOLS,
    answer,
    asked,
    call,
    eval_file,
    events,
    inspect_log,
    inspect_sample,
    result,
    rllm_episode,
    spans,
    talk,
    verifiers_episode,
    verifiers_result,
)
from hornbeam.assembly.examples import examples
from hornbeam.assembly.sft_set import read_set
from hornbeam.chat import history, message_of
from hornbeam.chat.rendered import with_ids
from hornbeam.chat.tool_text import HINT, call_text, calls_in_text, read_calls
from hornbeam.cli.main import app
from hornbeam.errors import DataError, ModelError, ToolError
from hornbeam.formats import as_text, read_runs
from hornbeam.jobs.select.selection import lines_of_texts
from hornbeam.tasks.judge_tasks import step_texts
from hornbeam.tree.jsonl import read_trees
from little_chats import CHATML, GEMMA, QWEN, chat_of, saved, words

ADD = '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'
FOUR = {"role": "user", "content": "<tool_response>\n4\n</tool_response>"}
TWO = {**call(2), "content": "Both.", "tool_calls": [call(2, n)["tool_calls"][0] for n in (0, 1)]}
BOTH = [
    SYSTEM,
    asked(),
    TWO,
    result("5", 1),
    result("4", 0),
    answer("4"),
    asked("And?"),
    call(3, 2),
]


def hornbeam(*args):
    done = CliRunner().invoke(app, [*map(str, args)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def file_of(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def runs_of(path):
    return [run for _, found in read_runs(path)[1] for run in found]


def imported(tmp_path, *records):
    """The trees of chats, their tools as text."""
    path, out = file_of(tmp_path / "chats.jsonl", *records), tmp_path / "trees.jsonl"
    hornbeam("import", path, "--tools-as-text", "--out", out)
    return list(read_trees(out))


@pytest.mark.parametrize(
    "messages", [talk(), BOTH, [SYSTEM, asked(), call(2, arguments="{"), *BOTH]]
)
@pytest.mark.parametrize("tools", [TOOLS, [*TOOLS, {"name": "größer"}], []])
def test_it_is_what_qwens_template_writes(tmp_path, messages, tools):
    """A plain template of the text shows what that of Qwen2.5 does of calls, results and tools."""
    ((run),) = runs_of(file_of(tmp_path / "a.jsonl", {"messages": messages, "tools": tools}))
    results = as_text(run)
    own, plain = words(QWEN), words(CHATML)
    wanted = own.apply_chat_template(run.messages, tools=tools or None, tokenize=False)
    assert plain.apply_chat_template(results.messages, tokenize=False) == wanted
    assert [results.messages[n]["role"] for n in results.said] == ["assistant"] * len(run.said)
    assert not results.tools and as_text(results) == results


def test_calls_are_kept_beside_their_text(tmp_path):
    rows = [{"messages": talk(text, n), "reward": n, "tools": TOOLS} for n, text in enumerate("54")]
    (tree,) = imported(tmp_path, *rows)
    assert [node.parent for node in tree.nodes] == [-1, 0, 1, 1]  # the call is shared
    step = tree.nodes[1]
    assert step.text == ADD and calls_in_text(tree) and "tools" not in tree.task["data"]
    assert (step.calls[0].tool, step.calls[0].arguments, step.calls[0].result) == (
        "add",
        {"a": 2},
        "4",
    )
    assert tree.columns["reward"] == [None, None, 0.0, 1.0] and tree.task["question"] == "2 + 2?"
    system, question = tree.nodes[0].messages
    assert system["content"].startswith("You add.\n\n# Tools\n") and question == asked()
    assert json.dumps(TOOLS[0]) in system["content"]
    # told once where it is read: as messages, as a row of a set, by a judge
    said = [system, asked(), {"role": "assistant", "content": ADD}, FOUR]
    assert history(tree, 3) == said and message_of(step, in_text=True) == said[2]
    (line,) = map(json.loads, lines_of_texts(tree, 3))
    assert line == {"messages": [*said, answer("4")], "agent": "solver"}
    assert step_texts(tree, 3) == (f"{ADD}\n{FOUR['content']}", "4")
    assert '1  solver  +0.5  add {"a": 2}' in hornbeam(
        "view", tmp_path / "trees.jsonl", "--tree", 1
    )


def test_several_results_are_one_message_and_what_came_last_is_no_talk(tmp_path):
    shown = {**call(1, 5), "weight": 0}  # not the agent's: its result is no question
    messages = [asked(), shown, result("3", 5), *BOTH[2:], result("5", 2)]
    (tree,) = imported(tmp_path, {"messages": messages})
    first, _, last = tree.nodes[1:]
    assert tree.task["question"] == "2 + 2?" and [m["role"] for m in tree.nodes[0].messages] == [
        "user",
        "assistant",
        "user",
    ]
    assert first.text == "Both.\n" + "\n".join([ADD, ADD])
    assert [each.result for each in first.calls] == ["4", "5"]
    (heard,) = tree.nodes[2].messages
    assert heard["content"].count("<tool_response>\n") == 2 and heard["content"][16:17] == "5"
    assert last.calls[0].result == "5" and "runs" not in tree.task["data"]


@pytest.mark.parametrize(
    ("name", "records"),
    [
        ("a.jsonl", [verifiers_result(1)]),
        ("a.jsonl", [verifiers_episode(1)]),
        ("a.eval", [inspect_sample()]),
        ("a.jsonl", spans(1, 1.0)),
        ("a.jsonl", events(1, 1.0)),
        ("a.jsonl", [rllm_episode(1)]),
        ("a.jsonl", [{"prompt": BOTH[:2], "completion": talk()[2:]}]),
    ],
)
def test_every_format_goes_through_a_template_without_tools(tmp_path, name, records):
    path, chat = tmp_path / name, chat_of(CHATML)
    if name.endswith("eval"):
        eval_file(path, inspect_log(records))
    else:
        file_of(path, *records)
    native, out, sft = tmp_path / "native", tmp_path / "trees.jsonl", tmp_path / "set.jsonl"
    hornbeam("import", path, "--out", native)
    results = hornbeam("import", path, "--tools-as-text", "--out", out, "--sft", sft)
    assert "tools as text in 1 run: 1 call with results" in results
    exact = any(node.tokens for tree in read_trees(native) for node in tree.nodes)
    assert ("token ids of 1 run left out: they spell other text" in results) == exact
    (tree,), (before,) = read_trees(out), read_trees(native)
    assert [node.calls for node in tree.nodes] == [node.calls for node in before.nodes]
    assert tree.columns == before.columns
    assert "<tool_call>\n" in tree.nodes[1].text and tree.nodes[1].text.count("<tool_call>") == 1
    called = tree.nodes[1].calls[0]
    assert json.dumps({"name": called.tool, "arguments": called.arguments}) in tree.nodes[1].text
    # the same ids by the set, by the tree, and by --model
    (row,) = read_set(sft)
    (example,) = examples(row, chat)
    assert example.spans and all(node.tokens for node in with_ids(tree, chat).nodes[1:])
    saved(tmp_path / "model", words(CHATML, special=("<|im_start|>",)))
    by = ("--tools-as-text", "--model", tmp_path / "model")
    assert "left out" not in hornbeam("import", path, *by, "--out", out, "--sft", sft)
    (exact_row,), (in_ids,) = read_set(sft), read_trees(out)
    whole = [*example.prompt, *(token for span, _ in example.spans for token in span)]
    assert list(exact_row.ids) == whole == list(in_ids.sequence(in_ids.leaves()[0]))


def test_a_file_without_tools_is_imported_as_ever_and_says_so(tmp_path):
    path, out = file_of(tmp_path / "a.jsonl", {"messages": [asked(), answer("4")]}), tmp_path / "b"
    results = hornbeam("import", path, "--out", out, "--tools-as-text")
    assert "no run uses tools: --tools-as-text changes nothing" in results
    (tree,) = read_trees(out)
    hornbeam("import", path, "--out", tmp_path / "c")
    assert not calls_in_text(tree) and out.read_bytes() == (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("tools", [[], TOOLS])
def test_a_refusal_names_the_way_out_wherever_it_is_met(tmp_path, tools):
    path, chat = (
        file_of(tmp_path / "a.jsonl", {"messages": talk(), "tools": tools}),
        chat_of(CHATML),
    )
    saved(tmp_path / "model", words(CHATML, special=("<|im_start|>",)))
    with pytest.raises(DataError, match=rf"a.jsonl, line 1: .* leaves out .*; {HINT}"):
        hornbeam("import", path, "--model", tmp_path / "model", "--out", tmp_path / "b")
    (row,) = read_set(path)
    with pytest.raises(ModelError, match=f"leaves out .*; {HINT}"):
        examples(row, chat)
    hornbeam("import", path, "--out", tmp_path / "b")
    (tree,) = read_trees(tmp_path / "b")
    with pytest.raises(ModelError, match=f"leaves out the tool calls .*; {HINT}"):
        with_ids(tree, chat)
    odd = [{"role": "system", "content": "a"}, asked(), answer("4")]
    (row,) = read_set(file_of(tmp_path / "c.jsonl", {"messages": odd}))
    with pytest.raises(
        ModelError, match="System role not supported"
    ) as results:  # of another thing
        examples(row, chat_of(GEMMA, "<end_of_turn>", ("<start_of_turn>",)))
    assert HINT not in str(results.value)


def test_trees_that_were_imported_before_are_told_again(tmp_path):
    """The same trees as by importing their file, with the columns that they got since."""
    rows = [{"messages": talk(text, n), "reward": n, "tools": TOOLS} for n, text in enumerate("54")]
    rows += [{"messages": BOTH, "tools": TOOLS, "task_id": 7}]
    rows += [{"messages": BOTH[1:], "tools": TOOLS, "task_id": 7}]  # its tree begins with nothing
    path = file_of(tmp_path / "chats.jsonl", *rows)
    native, again, wanted = (tmp_path / f"{name}.jsonl" for name in "nab")
    hornbeam("import", path, "--out", wanted, "--tools-as-text")
    hornbeam("import", path, "--out", native)
    with pytest.raises(DataError, match=r"these are trees already: .*--tools-as-text"):
        hornbeam("import", native, "--out", again)
    with pytest.raises(DataError, match=r"nothing beside --out"):
        hornbeam("import", native, "--out", again, "--tools-as-text", "--skip-bad")
    results = hornbeam("import", native, "--out", again, "--tools-as-text")
    assert results == f"Trees:   {again} (2, tools as text in 2)\n"
    assert list(read_trees(again)) == list(read_trees(wanted))
    assert [node.answer for node in list(read_trees(again))[1].nodes if node.done] == [None, None]
    out = tmp_path / "c.jsonl"
    results = hornbeam("import", again, "--out", out, "--tools-as-text")
    assert "tools as text in 0" in results and out.read_bytes() == again.read_bytes()
    rows[1]["tools"] = [{"name": "other"}]
    rows = [{**row, "task_id": 1} for row in rows[:2]]
    hornbeam("import", file_of(path, *rows), "--out", native)
    with pytest.raises(DataError, match=r"n.jsonl, tree 1: its runs have different tools"):
        hornbeam("import", native, "--out", again, "--tools-as-text")


# --- read back -----------------------------------------------------------------------------------


def test_calls_are_read_back_as_they_were_written():
    given = [("add", {"a": 2}), ("say", {"text": "</tool_call>\n<tool_call>{", "n": [1, {}]})]
    text = "First.\n" + "\n".join(call_text(*each) for each in given)
    assert read_calls(text) == given
    assert read_calls(text.removesuffix("\n</tool_call>")) == given  # a stop string took it
    assert read_calls("none") == [] and read_calls('<tool_call>{"name": "now"}') == [("now", {})]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"name": "add", "arguments": {"a": ', "number 2 holds no JSON"),
        ("", "number 2 holds no JSON"),
        ('{"name": 1, "arguments": {}}', '{"name": "...", "arguments": {...}} is expected'),
        ('{"name": "add", "arguments": "{}"}', "is expected"),
        ("[]", "is expected"),
    ],
)
def test_a_call_that_cannot_be_read_is_told_to_the_agent(text, why):
    with pytest.raises(ToolError) as error:
        read_calls(f"{ADD}\n<tool_call>\n{text}")
    assert why in str(error.value) and "\n" not in str(error.value)
