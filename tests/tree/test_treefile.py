"""Tree files: what is written is read again, and what is wrong is told in one line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.errors import DataError
from hornbeam.store.keys import TreeKey
from hornbeam.store.tables import node_row
from hornbeam.tree.jsonl import FINISHES, from_json, json_line, read_trees, to_json, write_trees
from hornbeam.tree.nodes import Call, Node, Origin, Tree, floats, ids
from little_trees import trees

# Grown by a program with calls, a delegation, failures and a run put in, then credited.
WRITTEN = Path(__file__).parent / "golden" / "trees.jsonl"

small = st.integers(0, 3)
words = st.sampled_from(["", "solver", "ü \n", "\ud800", "a" * 9])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
calls = st.builds(
    Call,
    tool=words,
    arguments=st.dictionaries(words, values, max_size=2),
    result=values,
    error=words,
    scope=words,
)


@st.composite
def full_trees(draw: st.DrawFn) -> Tree:
    """A random tree with every field of its nodes drawn."""
    shape = draw(trees(size=6))
    out = Tree({"id": draw(values), "question": draw(words)}, seed=draw(small))
    for i, bare in enumerate(shape.nodes[1:], 1):
        tokens = ids(draw(st.lists(st.integers(0, 2**31 - 1), max_size=3)))
        spoken = draw(st.lists(st.floats(-50, 0, width=32), min_size=len(tokens), max_size=9))
        prefix = draw(st.none() | st.integers(0, i - 1))
        held = len(out.sequence(bare.parent if prefix is None else prefix))
        node = Node(
            bare.parent,
            agent=draw(words),
            scope=draw(words),
            prefix=prefix,
            keep=draw(st.none() | st.integers(0, held)),
            prompt=ids(draw(st.lists(small, max_size=3))),
            tokens=tokens,
            logprobs=floats(spoken[: len(tokens)]),
            text=draw(words),
            calls=tuple(draw(st.lists(calls, max_size=2))),
            origin=Origin(
                draw(small), draw(small), draw(small), draw(small), draw(small), draw(words)
            ),
            finish=draw(st.sampled_from(sorted(FINISHES))),
            done=draw(st.booleans()),
            answer=draw(values),
            error=draw(words),
        )
        out.append(node)
    out.columns.update(shape.columns)
    return out


@given(tree=full_trees())
def test_json_round_trip(tree: Tree) -> None:
    line = json_line(to_json(tree))
    line.encode()
    assert line.count("\n") == 1
    again = from_json(json.loads(line))
    assert again == tree
    assert json_line(to_json(again)) == line


def test_a_file_of_before_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    trees = list(read_trees(WRITTEN))
    assert write_trees(trees, tmp_path / "again.jsonl") == 3
    assert (tmp_path / "again.jsonl").read_bytes() == WRITTEN.read_bytes()
    second, taught = trees[0].nodes[5], trees[2].nodes[3]
    assert second.origin == Origin(1, 1, 1, 8551067376462616640, 0, "effee3af52a63299")
    assert (taught.origin.version, taught.origin.turn, taught.scope) == (-1, 2, "helper.1")
    for tree, line in zip(trees, WRITTEN.read_text("utf-8").splitlines(), strict=True):
        for i, (node, fields) in enumerate(zip(tree.nodes, json.loads(line)["nodes"])):
            row = node_row(TreeKey("train", 0, 0), tree, i, node)  # of the store's table
            place = -1 if i == 0 else fields.get("episode", 0), fields.get("step", 0)
            assert (row["episode"], row["node_step"]) == place
            for name in ("parent", "prefix", "episode", "step"):
                fields.pop(name, None)
            assert json.dumps(row["data"]) == json.dumps(fields)


def test_files_and_streams(tmp_path) -> None:
    trees = [Tree({"id": name}) for name in "abc"]
    assert write_trees(trees, tmp_path / "t.jsonl") == 3
    assert list(read_trees(tmp_path / "t.jsonl")) == trees
    stream = io.StringIO()
    write_trees(trees, stream)
    stream.seek(0)
    assert list(read_trees(stream)) == trees


def test_bare_parents_and_a_reward_column_are_a_tree() -> None:
    line = '{"task": {"id": 7}, "nodes": [{"parent": -1}, {"parent": 0}, {"parent": 1}], '
    line += '"columns": {"reward": [null, null, 1]}}'
    (tree,) = read_trees(io.StringIO(f"\n{line}\n\n"))
    assert [node.parent for node in tree.nodes] == [-1, 0, 1]
    assert tree.columns == {"reward": [None, None, 1]}


def test_defaults_are_not_written() -> None:
    assert to_json(Tree({"id": "q"})) == {
        "version": 1,
        "task": {"id": "q"},
        "nodes": [{"parent": -1}],
    }


def nodes(**fields: object) -> dict[str, object]:
    return {"task": {"id": "q"}, "nodes": [{"parent": -1}, {"parent": 0, **fields}]}


def columns(**given: object) -> dict[str, object]:
    return {"task": {"id": "q"}, "nodes": [{"parent": -1}], "columns": given}


WRONG = [
    ([], "a tree is a JSON object"),
    ({"nodes": [{"parent": -1}]}, "'task' must be an object with an 'id'"),
    ({"task": {}, "nodes": [{"parent": -1}]}, "'task' must be an object with an 'id'"),
    ({"task": {"id": 1}}, "'nodes' must be a list"),
    ({"task": {"id": 1}, "nodes": []}, "'nodes' must be a list"),
    ({**nodes(), "version": 2}, "version 2: this Hornbeam reads version 1"),
    ({**nodes(), "reward": []}, "unknown key 'reward': opinions of nodes belong in 'columns'"),
    ({**nodes(), "seed": "1"}, "'seed' must be an integer from 0, not '1'"),
    ({"task": {"id": 1}, "nodes": [{"parent": 0}]}, "node 0 has parent 0: parents come first"),
    (nodes(parent=1), "node 1 has parent 1: parents come first"),
    (nodes(parent=-1), "node 1 has parent -1: parents come first"),
    (nodes(parent=True), "node 1: 'parent' must be an integer, not True"),
    (nodes(parent="0"), "node 1: 'parent' must be an integer"),
    ({"task": {"id": 1}, "nodes": [{"parent": -1}, {}]}, "node 1: a node is an object"),
    ({"task": {"id": 1}, "nodes": [{"parent": -1}, 3]}, "node 1: a node is an object"),
    (nodes(prefix=1), "node 1 has prefix 1: it must come before"),
    (nodes(keep=1), "node 1 keeps 1 ids of the 0 of node 0"),
    (nodes(keep=-1), "node 1 keeps -1 ids"),
    (nodes(token=[1]), "node 1: unknown field 'token': did you mean 'tokens'"),
    (nodes(text=5), "node 1: 'text' must be a string, not 5"),
    (nodes(done=1), "node 1: 'done' must be true or false, not 1"),
    (nodes(episode=None), "node 1: 'episode' must be an integer, not None"),
    (nodes(tokens="ab"), "node 1: 'tokens' must be a list"),
    (nodes(tokens=[1.5]), "node 1: 'tokens' must hold token ids"),
    (nodes(tokens=[2**31]), "node 1: 'tokens' must hold token ids"),
    (nodes(prompt=[-3]), "node 1: 'prompt' must hold token ids, not -3"),
    (nodes(tokens=[1, 2], logprobs=[-0.5]), "node 1: 2 tokens but 1 log-probs"),
    (nodes(tokens=[1], logprobs=["x"]), "node 1: 'logprobs' must hold numbers"),
    (nodes(tokens=[1], logprobs=[float("nan")]), "not JSON: NaN is no JSON: write null"),
    (nodes(tokens=[1], logprobs=[0.5]), "node 1: 'logprobs' must hold log-probs, 0 at most, not"),
    (nodes(tokens=[1], logprobs=[False]), "node 1: 'logprobs' must hold log-probs, 0 at most"),
    (nodes(tokens=[True]), "node 1: 'tokens' must hold token ids, not true or false"),
    (nodes(step=-1), "node 1: 'step' must be 0 or more, not -1"),
    (nodes(version=-2), "node 1: 'version' must be -1 or more, not -2"),
    (nodes(finish="stopp"), "node 1: unknown 'finish' 'stopp': did you mean 'stop'?"),
    ({**nodes(), "seed": -1}, "'seed' must be an integer from 0, not -1"),
    ({**nodes(), "task": {"id": 1, "data": [1]}}, "task.data must be an object, not [1]"),
    ({**nodes(), "task": {"id": 1, "question": 3}}, "task.question must be a text, not 3"),
    ({**nodes(), "task": {"id": float("nan")}}, "not JSON: NaN is no JSON"),
    (nodes(calls=[{}]), "node 1: a call is an object with the name of a 'tool'"),
    (nodes(calls=[{"tool": "t", "args": {}}]), "unknown field 'args' of a call"),
    (nodes(calls=[{"tool": "t", "arguments": 3}]), "'arguments' of a call must be an object"),
    (columns(reward=[]), "column 'reward' must have 1 entries, one a node, not 0"),
    (columns(reward=1), "column 'reward' must have 1 entries, one a node, not int"),
    (columns(reward=["1"]), "column 'reward', node 0: '1' is neither a number nor null"),
    (columns(reward=[True]), "column 'reward', node 0: True is neither"),
    (columns(reward=[float("inf")]), "not JSON: Infinity is no JSON: write null"),
    (columns(reward=[10**400]), "column 'reward', node 0: 1000"),
    ({**nodes(), "columns": []}, "'columns' must be an object of lists"),
]


@pytest.mark.parametrize("data, message", WRONG, ids=[message for _, message in WRONG])
def test_wrong_trees_are_told_with_file_and_line(data: object, message: str, tmp_path) -> None:
    file = tmp_path / "trees.jsonl"
    file.write_text(json_line(to_json(Tree({"id": "good"}))) + json.dumps(data) + "\n")
    with pytest.raises(DataError) as caught:
        list(read_trees(file))
    text = str(caught.value)
    assert text.startswith(f"{file}, line 2: ") and message in text
    assert "\n" not in text and len(text) < 400


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "holds no tree"),
        (b"\n \n", "holds no tree"),
        (b"{\n", "line 1: not JSON"),
        (b"[" * 100_000, "line 1: not JSON"),
        (b"9" * 5000, "line 1: not JSON"),
        (b"\xff\n", "not UTF-8"),
    ],
)
def test_files_that_are_no_json_lines(content: bytes, message: str, tmp_path) -> None:
    file = tmp_path / "trees.jsonl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_trees(file))


def test_a_missing_file_is_told(tmp_path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: no such file in "):
        list(read_trees(tmp_path / "none.jsonl"))


def test_numbers_that_are_no_json_are_written_as_texts() -> None:
    call = Call("t", {"x": [float("nan")]}, result=float("-inf"))
    tree = Tree({"id": 1, "data": {"most": float("inf")}}, [Node(-1), Node(0, calls=(call,))])
    again = from_json(json.loads(json_line(to_json(tree)), parse_constant=pytest.fail))
    assert again.nodes[1].calls[0] == Call("t", {"x": ["NaN"]}, result="-Infinity")
    assert again.task["data"] == {"most": "Infinity"}
    tree.columns["reward"] = [None, float("nan")]
    with pytest.raises(DataError, match="the tree of task 1 holds what is no JSON"):
        write_trees([tree], io.StringIO())
