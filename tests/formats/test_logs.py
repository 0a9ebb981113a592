"""Logs of verifiers, inspect_ai, agent-lightning and rLLM, in the shapes that they write."""

import gzip
import json

import pytest

from foreign_rows import (
    TOOLS,
    answer,
    asked,
    eval_file,
    events,
    inspect_log,
    inspect_sample,
    rllm_episode,
    spans,
    verifiers_episode,
    verifiers_result,
)
from hornbeam.chat import history
from hornbeam.errors import DataError
from hornbeam.formats import FORMATS, ImportedTrees, Options, read_runs
from hornbeam.tree.jsonl import from_json, to_json


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def trees_of(path, kind, options=Options(), name=""):
    """The trees of a file, which is of that format; they are the same when written and read."""
    found, records = read_runs(path, name, options)
    assert found == kind
    random_trees = ImportedTrees()
    for _, runs in records:
        if isinstance(runs, DataError):
            raise runs
        for run in runs:
            random_trees.add(run)
    trees = random_trees.trees("some")
    assert [from_json(to_json(tree)) for tree in trees] == trees
    return trees


# --- verifiers -----------------------------------------------------------------------------------


def test_results_of_verifiers(tmp_path):
    rows = [verifiers_result(n, n // 2, float(n % 2)) for n in range(4)]
    first, second = trees_of(lines(tmp_path / "results.jsonl", *rows), "verifiers")
    assert [first.task["id"], second.task["id"]] == [0, 1] and first.task["answer"] == "4"
    assert [node.parent for node in first.nodes] == [-1, 0, 1, 1]
    assert first.nodes[1].text == "<think>\neasy\n</think>\n\n"
    assert first.nodes[1].calls[0].tool == "add" and first.nodes[1].calls[0].result == "4"
    assert first.columns == {
        name: [None, None, 0.0, 1.0] for name in ("right", "reward")
    } | {"turns": [None, None, 2.0, 2.0]}  # fmt: skip
    assert first.task["data"]["runs"][1]["info"] == {"level": 1}
    assert first.task["data"]["tools"][0]["function"]["name"] == "add"


def test_results_with_ids_errors_and_texts(tmp_path):
    tokens = [
        {"prompt_ids": [1, 2], "completion_ids": [3, 4], "completion_logprobs": [-0.5, -0.25]},
        {"prompt_ids": [1, 2, 3, 4, 5], "completion_ids": [6], "completion_logprobs": [-1.0]},
    ]
    steps = [{"tokens": each} for each in tokens]
    failed = {"error": "SandboxError", "error_chain_repr": "SandboxError()"}
    plain = {"prompt": "1 + 1?", "completion": "2", "is_truncated": True, "tool_defs": None}
    rows = [
        verifiers_result(0, trajectory=steps),
        verifiers_result(1, error=failed, reward=0.0),
        verifiers_result(2, 2, **plain),
    ]
    first, second = trees_of(lines(tmp_path / "results.jsonl", *rows), "verifiers")
    assert list(first.sequence(2)) == [1, 2, 3, 4, 5, 6]
    assert list(first.nodes[1].logprobs) == [-0.5, -0.25]
    assert [node.parent for node in first.nodes] == [-1, 0, 1, 0, 3]  # one with ids, one without
    assert first.nodes[4].error == "SandboxError" and first.columns["reward"][4] is None
    assert second.nodes[1].finish == "length" and second.nodes[0].messages == (asked("1 + 1?"),)


def test_traces_of_verifiers_keep_their_ids(tmp_path):
    rows = [verifiers_episode(0), verifiers_episode(1, said=7), verifiers_episode(2)]
    (tree,) = trees_of(lines(tmp_path / "traces.jsonl", *rows), "verifiers-traces")
    assert [node.parent for node in tree.nodes] == [-1, 0, 1, 0, 3, 1]  # by ids, not by text
    assert list(tree.sequence(4)) == [1, 2, 3, 4, 5, 7, 8, 9, 10]
    assert list(tree.context(1)) == [1, 2, 3, 4] and list(tree.nodes[2].logprobs) == [-0.125]
    assert tree.columns["reward"] == [None, None, 0.1, None, 1.1, 0.1]
    assert tree.columns["right"][4] == 1.0 and tree.task["answer"] == "1"


def test_a_trace_that_branches_is_a_run_a_branch(tmp_path):
    (tree,) = trees_of(
        lines(tmp_path / "t.jsonl", verifiers_episode(0, branch=True)), "verifiers-traces"
    )
    assert [node.parent for node in tree.nodes] == [-1, 0, 1, 0]
    assert tree.columns["reward"] == [None, None, 0.1, 0.1]
    assert [run["branches"] for run in tree.task["data"]["runs"]] == [2, 2]


# --- inspect_ai ----------------------------------------------------------------------------------


def logged():
    samples = [inspect_sample("a", n, "CIP"[n], f"It is {n}.") for n in range(3)]
    broken = {"message": "TimeoutError()", "traceback": "..."}
    return inspect_log([*samples, inspect_sample("b", 1, "I", error=broken)])


@pytest.mark.parametrize("kind", ["json", "eval", "old eval"])
def test_logs_of_inspect(tmp_path, kind):
    if kind == "json":
        path = tmp_path / "log.json"
        path.write_text(json.dumps(logged(), indent=1), "utf-8")
    else:
        path = eval_file(tmp_path / "log.eval", logged(), zstandard=kind == "eval")
    first, second = trees_of(path, "inspect")
    assert first.task["id"] == "a" and first.task["answer"] == ["4", "four"]
    assert [node.parent for node in first.nodes] == [-1, 0, 1, 1, 1]
    assert first.columns["reward"] == first.columns["includes"] == [None, None, 1.0, 0.0, 0.5]
    assert first.columns["graded_form"] == [None, None, 0.5, 0.5, 0.5]
    assert first.task["data"]["tools"] == TOOLS
    assert first.task["data"]["runs"][2]["epoch"] == 2
    assert first.nodes[1].calls[0].result == "4"
    assert second.nodes[2].error == "TimeoutError()" and "reward" not in second.columns


def test_a_scorer_can_be_chosen_and_attachments_come_back(tmp_path):
    sample = inspect_sample(value=float("nan"), attachments={"k": "2 + 2?"})
    sample["messages"][1]["content"] = "attachment://k"
    path = tmp_path / "log.json"
    path.write_text(json.dumps(inspect_log([sample])), "utf-8")
    (tree,) = trees_of(path, "inspect", Options("graded_form"))
    assert tree.task["question"] == "2 + 2?" and tree.columns["reward"] == [None, None, 0.5]
    assert "includes" not in tree.columns
    with pytest.raises(
        DataError, match=r"no number of scorer 'match', .* \(there is graded_form\)"
    ):
        trees_of(path, "inspect", Options("match"))
    del sample["attachments"]["k"]
    path.write_text(json.dumps(inspect_log([sample])), "utf-8")
    with pytest.raises(DataError, match="attachment 'k' is not in the sample"):
        trees_of(path, "inspect")


def test_an_archive_that_is_not_whole_or_damaged_is_told(tmp_path):
    path = eval_file(tmp_path / "log.eval", logged())
    data = bytearray(path.read_bytes())
    at = data.index(b"\x28\xb5\x2f\xfd") + 40  # inside the first frame
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"cannot be read as an \.eval log"):
        trees_of(path, "inspect")
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"cannot be read as an \.eval log"):
        trees_of(path, "inspect")


# --- agent-lightning -----------------------------------------------------------------------------


def test_spans_of_agent_lightning_in_any_order(tmp_path):
    rows = [row for n in range(2) for row in spans(n, float(n))]
    for order in (rows, rows[::-1]):
        (tree,) = trees_of(lines(tmp_path / "spans.jsonl", *order), "agent-lightning")
        assert [node.parent for node in tree.nodes] == [-1, 0, 1, 1]
        assert sorted(tree.columns["reward"][2:]) == [0.0, 1.0]
        assert tree.columns["brief"] == [None, None, 0.5, 0.5]
        assert list(tree.context(1)) == [1, 2] and list(tree.nodes[1].tokens) == [3, 4]
        assert tree.nodes[1].calls[0].arguments == {"a": 2} and tree.nodes[1].calls[0].result == "3"
        assert not tree.nodes[2].tokens and tree.nodes[2].finish == "length"


def test_triplets_and_events(tmp_path):
    prompt = {"token_ids": [1, 2], "raw_content": [asked()], "image_urls": []}
    said = {"token_ids": [3], "raw_content": {"0": {**answer("4"), "finish_reason": "stop"}}}
    triplet = {"prompt": prompt, "response": said, "reward": 0.5, "metadata": {"agent_name": "*"}}
    row = {"rollout_id": "r", "final_reward": None, "triplets": [triplet]}
    (tree,) = trees_of(lines(tmp_path / "r.jsonl", row), "agent-lightning")
    assert tree.columns["reward"] == [None, 0.5] and list(tree.sequence(1)) == [1, 2, 3]
    path = tmp_path / "events.json"
    path.write_text(json.dumps([row for n in range(2) for row in events(n, n / 2)]), "utf-8")
    (tree,) = trees_of(path, "agent-lightning")
    assert [node.parent for node in tree.nodes] == [-1, 0, 1, 1]
    assert tree.columns["reward"] == [None, None, 0.0, 0.5] and tree.task["data"]["tools"] == TOOLS
    assert list(tree.sequence(2)) == [1, 2, 3, 4, 5, 6]
    assert list(tree.nodes[1].logprobs) == [-0.5, -0.25]
    del triplet["prompt"]["raw_content"]
    with pytest.raises(DataError, match="without 'raw_content'"):
        trees_of(lines(tmp_path / "r.jsonl", row), "agent-lightning")


# --- rLLM ----------------------------------------------------------------------------------------


def test_episodes_of_rllm(tmp_path):
    rows = [rllm_episode(n, float(n)) for n in range(2)]
    (tree,) = trees_of(lines(tmp_path / "e.jsonl", *rows), "rllm")
    assert tree.task["id"] == "q7" and tree.task["answer"] == "4"
    assert [node.parent for node in tree.nodes] == [-1, 0, 1, 1]
    assert tree.nodes[1].text == "<think>\neasy\n</think>\n\n"  # thoughts gone from later prompts
    assert tree.columns["reward"] == tree.columns["acc"] == [None, None, 0.0, 1.0]
    assert tree.columns["step_reward"] == [None, 0.0, 1.0, 1.0]
    assert list(tree.sequence(2)) == [1, 2, 3, 4, 5, 6] and list(tree.nodes[2].logprobs) == [-0.125]


def test_compact_episodes_trajectories_and_plain_steps(tmp_path):
    whole = rllm_episode(0, ids=False)
    (trajectory,) = whole["trajectories"]
    nodes, steps = {}, []
    for step in trajectory["steps"]:
        parent = None
        for n, message in enumerate(step["chat_completions"]):
            name = f"{n}{json.dumps(message)}"
            nodes[name] = {"p": parent, "m": message}
            parent = name
        left = {k: v for k, v in step.items() if k != "chat_completions"}
        steps.append({**left, "chat_completions_ref": [parent, len(step["chat_completions"])]})
    compact = {**whole, "episode_schema": 2}
    compact["trajectories"] = [{**trajectory, "steps": steps, "message_nodes": nodes}]
    found = [
        trees_of(lines(tmp_path / f"{n}.jsonl", row), "rllm")[0]
        for n, row in enumerate((whole, compact, trajectory))
    ]
    assert found[0] == found[1] and found[0].nodes == found[2].nodes
    plain = {"name": "agent", "reward": 1.0, "steps": [{"input": "2 + 2?", "output": "4"}]}
    (tree,) = trees_of(lines(tmp_path / "p.jsonl", plain), "rllm")
    assert tree.nodes[0].messages == (asked(),) and tree.nodes[1].text == "4"
    assert tree.nodes[1].agent == "solver"  # "agent" is nobody's name
    steps[0]["chat_completions_ref"] = ["none", 3]
    with pytest.raises(DataError, match="not in message_nodes"):
        trees_of(lines(tmp_path / "c.jsonl", compact), "rllm")


def test_steps_that_do_not_go_on_are_runs_of_their_own(tmp_path):
    """Two roles, each with prompts of its own."""
    solver = {"name": "solver", "reward": 1.0, "steps": [{"input": "a?", "output": "b"}]}
    steps = [{"input": "Is b right?", "output": "yes"}, {"input": "Sure?", "output": "no"}]
    judge = {"name": "judge", "reward": 0.5, "steps": steps}
    row = {"id": "q:0", "task": "a?", "is_correct": True, "trajectories": [solver, judge]}
    first, second = trees_of(lines(tmp_path / "e.jsonl", row), "rllm")
    assert first.nodes[1].agent == "solver" and [n.agent for n in second.nodes[1:]] == ["judge"] * 2
    assert history(second, 2) == [asked("Sure?")] and second.columns["reward"] == [None, 0.5, 0.5]


# --- files ---------------------------------------------------------------------------------------


def test_formats_are_told_by_what_records_hold(tmp_path):
    row = {
        "verifiers": verifiers_result(0),
        "verifiers-traces": verifiers_episode(0),
        "inspect": inspect_sample(),
        "agent-lightning": spans(0, 1.0)[0],
        "rllm": rllm_episode(0),
        "chats": {"messages": []},
    }
    assert set(row) == set(FORMATS)
    for name, record in row.items():
        fitting = [each for each, how in FORMATS.items() if how.fits(record)]
        assert fitting[0] == name
        with_broken = lines(tmp_path / "x.jsonl", record)
        with_broken.write_text("{\n" + with_broken.read_text("utf-8"), "utf-8")
        assert read_runs(with_broken)[0] == name  # the first record that is JSON says it


def test_files_may_begin_with_a_mark_and_be_packed(tmp_path):
    path = lines(tmp_path / "x.jsonl", {"messages": [asked(), answer("4")]})
    text = path.read_text("utf-8")
    path.write_text("\ufeff" + text.replace("\n", "\r\n"), "utf-8", newline="")
    packed = tmp_path / "y.jsonl.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    whole = tmp_path / "z.json.gz"
    whole.write_bytes(gzip.compress(json.dumps([json.loads(text)], indent=1).encode()))
    first, *others = [trees_of(each, "chats") for each in (path, packed, whole)]
    assert all(other == first for other in others)
    packed.write_bytes(gzip.compress(text.encode())[:-9])
    with pytest.raises(DataError, match=r"y\.jsonl\.gz: cannot be read"):
        read_runs(packed)


def test_a_file_of_no_format_says_what_there_is(tmp_path):
    path = lines(tmp_path / "x.jsonl", {"question": "2 + 2?", "answer": 4})
    with pytest.raises(DataError, match=r"keys 'question', 'answer'.*one of inspect, .*chats"):
        read_runs(path)
    with pytest.raises(DataError, match="unknown format 'chat': did you mean 'chats'"):
        read_runs(path, "chat")
    with pytest.raises(DataError, match="these are trees already"):
        read_runs(lines(path, {"task": {"id": 1}, "nodes": [{"parent": -1}]}))
    path.write_text("\n", "utf-8")
    with pytest.raises(DataError, match="holds nothing"):
        read_runs(path)
    path.write_text("no\n", "utf-8")
    with pytest.raises(DataError, match="no line of it is JSON"):
        read_runs(path)
    with pytest.raises(DataError, match="a folder: name its files"):
        read_runs(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_runs(tmp_path / "none.jsonl")
    _, found = read_runs(lines(path, [1], {"messages": 3}), "chats")
    assert [str(error) for _, error in found] == [
        "a JSON object is expected, not [1]",
        "a list of messages is expected, not 3",
    ]
