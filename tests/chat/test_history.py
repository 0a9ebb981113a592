"""The conversation of a node, from messages that a tree keeps."""

import pytest

from hornbeam.chat import history, message_of, user
from hornbeam.errors import DataError
from hornbeam.tree.jsonl import from_json, to_json
from hornbeam.tree.nodes import Call, Node, Origin, Tree, canonical

ASKED = user("2 + 2?")


def tree() -> Tree:
    """Two calls in one step, their results, an answer; beside it an answer at once."""
    results = (
        {"role": "tool", "content": "4", "tool_call_id": "call00000"},
        {"role": "tool", "content": "5", "tool_call_id": "call00001"},
        user("Well?"),
    )
    calls = (Call("add", {"a": 2}, "4"), Call("add", {"": "{a:"}, "5"))
    nodes = [
        Node(-1, messages=(ASKED,)),
        Node(0, text="Let me see.", calls=calls),
        Node(1, text="", messages=results, calls=(Call("end", {}),), origin=Origin(step=1, turn=1)),
        Node(0, text="4", done=True, origin=Origin(1)),
    ]
    return Tree({"id": "q"}, nodes)


def test_the_conversation_before_each_node():
    calls = [
        {"id": "call00000", "type": "function", "function": {"name": "add", "arguments": {"a": 2}}},
        {"id": "call00001", "type": "function", "function": {"name": "add", "arguments": "{a:"}},
    ]
    grown = tree()
    assert history(grown, 1) == history(grown, 3) == history(grown, 0) == [ASKED]
    first = {"role": "assistant", "content": "Let me see.", "tool_calls": calls}
    assert history(grown, 2) == [ASKED, first, *grown.nodes[2].messages]
    assert message_of(grown.nodes[2], 2)["tool_calls"][0]["id"] == "call00002"
    assert message_of(grown.nodes[3]) == {"role": "assistant", "content": "4"}


def test_calls_of_messages_that_were_put_in_count_too():
    grown = tree()
    shown = {"role": "assistant", "content": "", "tool_calls": [{"id": "call00000"}]}
    root = Node(-1, messages=(ASKED, shown))
    moved = Tree(grown.task, [root, *grown.nodes[1:]])
    assert history(moved, 2)[2]["tool_calls"][0]["id"] == "call00001"


def test_messages_are_written_read_and_kept_in_order():
    grown = tree()
    back = from_json(to_json(grown))
    assert back.nodes == grown.nodes
    turned = Tree(grown.task, [grown.nodes[0], grown.nodes[3], grown.nodes[1]])
    assert canonical(turned).nodes[0].messages == (ASKED,)
    assert history(canonical(turned), 1) == [ASKED]


def test_a_tree_of_ids_says_that_it_keeps_none():
    with pytest.raises(DataError, match=r"task 'q': the tree keeps no messages"):
        history(Tree({"id": "q"}, [Node(-1), Node(0, text="4")]), 1)
    for bad in ("hello", {"role": "user"}, {"role": "user", "content": None}):
        with pytest.raises(DataError, match=r"node 0: a message is an object with texts 'role'"):
            from_json({"task": {"id": "q"}, "nodes": [{"parent": -1, "messages": [bad]}]})
    with pytest.raises(DataError, match="'messages' must be a list"):
        from_json({"task": {"id": "q"}, "nodes": [{"parent": -1, "messages": "hello"}]})
