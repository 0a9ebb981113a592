"""OpenAI-style chats: all the ways in which people have them, and what is refused."""

import json

import pytest

from foreign_rows import SYSTEM, TOOLS, answer, asked, call, result, talk
from hornbeam.chat import history, message_of
from hornbeam.errors import DataError
from hornbeam.formats import ImportedTrees, read_runs
from hornbeam.tree.jsonl import from_json, to_json

OLD = call(2)["tool_calls"][0]["function"]


def runs_of(tmp_path, *records, name="", suffix="jsonl"):
    path = tmp_path / f"some.{suffix}"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    kind, found = read_runs(path, name)
    assert kind == (name or "chats")
    out = []
    for _, runs in found:
        if isinstance(runs, DataError):
            raise runs
        out += runs
    return out


def tree_of(tmp_path, *records):
    random_trees = ImportedTrees()
    for run in runs_of(tmp_path, *records):
        random_trees.add(run)
    (tree,) = random_trees.trees("some")
    assert from_json(to_json(tree)).nodes == tree.nodes
    return tree


def test_shared_beginnings_are_one_node(tmp_path):
    """Two runs call the same and part later; a third calls otherwise; ids of calls do not count."""
    rows = [
        {"messages": talk("4", 1), "reward": 1, "source": "x"},
        {"messages": talk("five", 2), "reward": 0},
        {"messages": talk("5", 3, a=3), "label": False},
    ]
    tree = tree_of(tmp_path, *rows)
    assert [node.parent for node in tree.nodes] == [-1, 0, 1, 1, 0, 4]
    assert [node.text for node in tree.nodes] == ["", "", "4", "five", "", "5"]
    assert tree.columns["reward"] == [None, None, 1.0, 0.0, None, 0.0]
    assert tree.columns["label"] == [None] * 5 + [0.0]
    assert tree.task["question"] == "2 + 2?" and tree.task["data"]["runs"][0] == {"source": "x"}
    assert tree.nodes[1].calls[0].arguments == {"a": 2} and tree.nodes[1].calls[0].result == "4"
    assert [(n.origin.episode, n.origin.step, n.origin.turn, n.done) for n in tree.nodes[1:]] == [
        (0, 0, 0, False),
        (0, 1, 1, True),
        (1, 0, 1, True),
        (2, 0, 0, False),
        (2, 1, 1, True),
    ]
    said = [*history(tree, 3), message_of(tree.nodes[3])]
    (run,) = runs_of(tmp_path, rows[1])
    assert said == run.messages and said[2]["tool_calls"][0]["id"] == "call00000"


def test_the_same_call_that_gave_something_else_is_another_step(tmp_path):
    other = [SYSTEM, asked(), call(2, 9), result("error", 9), answer("4")]
    tree = tree_of(tmp_path, {"messages": talk()}, {"messages": other})
    assert [node.parent for node in tree.nodes] == [-1, 0, 1, 0, 3]
    assert "reward" not in tree.columns


def test_equal_runs_count_as_often_as_there_are(tmp_path):
    row = {"messages": talk(), "reward": 1}
    random_trees = ImportedTrees()
    for run in runs_of(tmp_path, row, row, {**row, "reward": 0}):
        random_trees.add(run)
    (tree,) = random_trees.trees("some")
    assert tree.columns["reward"] == [None, None, 1.0, 1.0, 0.0] and random_trees.equal == 1
    # one that ends where another goes on keeps a leaf of its own
    short = {"messages": talk()[:4], "reward": 0.5}
    tree = tree_of(tmp_path, row, short)
    assert [node.parent for node in tree.nodes] == [-1, 0, 1, 0] and tree.is_leaf(3)
    assert tree.columns["reward"] == [None, None, 1.0, 0.5]


def test_runs_of_one_task_need_not_begin_alike(tmp_path):
    """By an id: what they share stands at node 0, the rest before their first answers."""
    rows = [
        {"task_id": 7, "messages": [SYSTEM, asked("2 + 2?"), answer("4")], "answer": 4},
        {"task_id": 7, "messages": [SYSTEM, asked("What is 2 + 2?"), answer("4")], "answer": 5},
    ]
    tree = tree_of(tmp_path, *rows)
    assert tree.task["id"] == 7 and tree.nodes[0].messages == (SYSTEM,)
    assert tree.task["answer"] == 4 and tree.task["data"]["runs"][1]["answer"] == 5
    assert tree.nodes[2].messages == (asked("What is 2 + 2?"),)
    assert history(tree, 2) == [SYSTEM, asked("What is 2 + 2?")]


@pytest.mark.parametrize(
    ("given", "text", "calls"),
    [
        (call(2), "", [{"a": 2}]),
        (call(2, arguments={"a": 2}), "", [{"a": 2}]),
        (call(2, arguments=""), "", [{}]),
        (call(2, arguments='{"a": 2'), "", [{"": '{"a": 2'}]),
        ({**call(2), "tool_calls": json.dumps(call(2)["tool_calls"])}, "", [{"a": 2}]),
        ({"role": "assistant", "function_call": OLD}, "", [{"a": 2}]),
        ({**answer("4"), "reasoning_content": "easy"}, "<think>\neasy\n</think>\n\n4", []),
        ({**answer("<think>a</think>4"), "reasoning": "a"}, "<think>a</think>4", []),
        ({"role": "assistant", "content": None, "refusal": "No."}, "No.", []),
        (answer([{"type": "text", "text": "4"}, {"type": "text", "text": "."}]), "4.", []),
        (
            answer([{"type": "thinking", "thinking": "a"}, {"type": "output_text", "text": "4"}]),
            "<think>\na\n</think>\n\n4",
            [],
        ),
    ],
)  # fmt: skip
def test_an_answer_in_every_shape(tmp_path, given, text, calls):
    tree = tree_of(tmp_path, {"messages": [asked(), given]})
    assert tree.nodes[1].text == text
    assert [dict(call.arguments) for call in tree.nodes[1].calls] == calls


def test_several_answers_in_a_row_developers_and_what_is_only_shown(tmp_path):
    rows = [
        {"role": "developer", "content": "Add."},
        asked(),
        {**answer("3"), "weight": 0},
        asked("No."),
        answer("Let me see."),
        answer("4"),
        asked("Thanks."),
    ]
    tree = tree_of(tmp_path, {"messages": rows, "tools": TOOLS})
    assert [node.text for node in tree.nodes[1:]] == ["Let me see.", "4"]
    assert [m["role"] for m in tree.nodes[0].messages] == ["developer", "user", "assistant", "user"]
    assert tree.nodes[2].messages == () and tree.task["data"]["tools"] == TOOLS
    assert tree.task["data"]["runs"][0]["after"] == [asked("Thanks.")]
    (run,) = runs_of(tmp_path, {"messages": rows})
    assert [m.get("weight") for m in run.messages] == [None, None, 0, None, None, None, None]
    assert runs_of(tmp_path, {"messages": run.messages})[0].messages == run.messages


def test_prompt_and_completion(tmp_path):
    row = {"prompt": [SYSTEM, asked(), answer("5"), asked("No.")], "completion": [answer("4")]}
    tree = tree_of(tmp_path, row)
    assert len(tree) == 2 and len(tree.nodes[0].messages) == 4
    tree = tree_of(tmp_path, {"prompt": "2 + 2?", "completion": "4", "score": 0.5})
    assert tree.nodes[0].messages == (asked(),) and tree.nodes[1].text == "4"
    assert tree.columns["reward"] == tree.columns["score"] == [None, 0.5]


def test_parallel_calls_whose_results_come_in_another_order(tmp_path):
    two = [*call(1, 1)["tool_calls"], *call(2, 2)["tool_calls"]]
    both = {"role": "assistant", "content": "Both.", "tool_calls": two}
    tree = tree_of(
        tmp_path, {"messages": [asked(), both, result("4", 2), result("3", 1), answer("")]}
    )
    assert [c.result for c in tree.nodes[1].calls] == ["3", "4"]
    assert [m["tool_call_id"] for m in tree.nodes[2].messages] == ["call00001", "call00000"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"messages": []}, "the conversation is empty"),
        ({"messages": [asked()]}, "nothing is said"),
        ({"messages": [answer("4")]}, "nothing was asked"),
        ({"messages": [asked(), "4"]}, "message 2 is no object"),
        ({"messages": [{"role": "human", "content": "a"}]}, "role 'human'"),
        ({"messages": [asked(), answer(3)]}, "neither a text nor parts"),
        (
            {"messages": [asked([{"type": "image_url", "image_url": {"url": "x"}}]), answer("4")]},
            "message 1 has a part of type 'image_url': only text is read",
        ),
        ({"messages": [asked(), call(2, 1), result("4", 2)]}, "'call_x2', which was never made"),
        ({"messages": [asked(), {"role": "tool", "content": "4"}]}, "no call waits"),
        ({"messages": [asked(), {**answer(""), "tool_calls": [{"id": "a"}]}]}, "names no function"),
        ({"messages": [asked(), {**answer(""), "tool_calls": "{"}]}, "is text that is no JSON"),
        ({"messages": [asked(), {**answer(""), "tool_calls": 3}]}, "tool_calls is no list"),
        ({"messages": talk(), "tools": "add"}, "tools is no list"),
        ({"messages": talk(), "agent": 3}, "agent is no name"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(tmp_path, record, message):
    with pytest.raises(DataError, match=message):
        runs_of(tmp_path, record)
