"""Step labels from and to the formats in use: rows as published, and there and back."""

import gzip
import json
import random
from collections import Counter

import pytest

from hornbeam.chat import ByteChat
from hornbeam.errors import DataError
from hornbeam.tasks.steplabels import from_rows, odd_line, read_steps, to_rows, write_steps
from hornbeam.tasks.steprows import EMPTY, NO_STEP, UNMARKED
from hornbeam.tree.jsonl import to_json
from hornbeam.tree.nodes import Node, Tree

TRL = {
    "prompt": "Which number is larger, 9.8 or 9.11?",
    "completions": ["The fractional part of 9.8 is 0.8.", "0.11 is greater than 0.8."],
    "labels": [True, False],
}
PIZZA = "If Buzz bought a pizza with 78 slices, how many are left?"
SHEPHERD = {  # as in the set's files: marks of the label stand where the input has its own
    "input": f"{PIZZA} Step 1: The ratio is 5+8 = <<5+8=13>>13. ки\nStep 2: It is 13 x 8. ки",
    "label": f"{PIZZA} Step 1: The ratio is 5+8 = <<5+8=13>>13. +\nStep 2: It is 13 x 8. -",
    "task": "GSM8K",
}
SHEPHERD_CARD = {  # as on the set's card
    key: f"{PIZZA} \n\nStep 1: The ratio is 5+8 = <<5+8=13>>13. ки {signs[0]} \n\n"
    f"Step 2: It is 13 x 8. ки {signs[1]}"
    for key, signs in {"input": "??", "label": "+-"}.items()
}


def candidate(text, rating):
    return {"text": text, "rating": rating, "flagged": None}


PRM800K = {
    "labeler": "340d89bc",
    "generation": 9,
    "question": {"problem": "What is 2 + 2?", "ground_truth_answer": "4"},
    "label": {
        "steps": [
            {
                "completions": [candidate("Add them.", 0)],
                "human_completion": None,
                "chosen_completion": 0,
            },
            {
                "completions": [candidate("It is 5.", -1), candidate("Count up.", 1)],
                "human_completion": None,
                "chosen_completion": 1,
            },
            {
                "completions": [candidate("So 3.", -1)],
                "human_completion": {"text": "So 4.\n\n# Answer\n\n4", "rating": 1},
                "chosen_completion": None,
            },
        ],
        "finish_reason": "solution",
    },
}


def shown(tree):
    """(parent, text, label, done) of every step."""
    labels = tree.columns["label"]
    return [(n.parent, n.text, labels[i], n.done) for i, n in enumerate(tree.nodes) if i]


def test_a_trl_row():
    (tree,) = from_rows([TRL], "trl")
    assert tree.task["question"] == TRL["prompt"]
    assert shown(tree) == [
        (0, TRL["completions"][0], 1.0, False),
        (1, TRL["completions"][1], -1.0, True),
    ]
    assert to_rows(tree, "trl") == [TRL]


@pytest.mark.parametrize("row", [SHEPHERD, SHEPHERD_CARD])
def test_a_math_shepherd_row(row):
    (tree,) = from_rows([row], "math-shepherd")
    assert tree.task["question"] == PIZZA
    assert shown(tree) == [
        (0, "The ratio is 5+8 = <<5+8=13>>13.", 1.0, False),
        (1, "It is 13 x 8.", -1.0, True),
    ]
    assert to_rows(tree, "math-shepherd") == [SHEPHERD | {"task": row.get("task", "")}]


def test_a_prm800k_row():
    (tree,) = from_rows([PRM800K], "prm800k")
    assert tree.task["answer"] == "4"
    assert shown(tree) == [
        (0, "Add them.", 0.0, False),
        (1, "It is 5.", -1.0, False),
        (1, "Count up.", 1.0, False),
        (3, "So 3.", -1.0, False),
        (3, "So 4.\n\n# Answer\n\n4", 1.0, True),
    ]
    (row,) = to_rows(tree, "prm800k")
    assert row["label"]["finish_reason"] == "solution"
    assert [s["chosen_completion"] for s in row["label"]["steps"]] == [0, 1, 1]
    assert shown(from_rows([row], "prm800k")[0]) == shown(tree)


def test_a_solution_that_stops_at_its_first_error():
    given = json.loads(json.dumps(PRM800K))
    given["label"]["steps"] = given["label"]["steps"][:2]
    given["label"]["steps"][1]["chosen_completion"] = None
    given["label"]["finish_reason"] = "found_error"
    (tree,) = from_rows([given], "prm800k")
    assert [node.done for node in tree.nodes] == [False] * 4
    (row,) = to_rows(tree, "prm800k")
    assert row["label"] == given["label"]


def test_the_short_form_with_ratings(tmp_path):
    row = {"id": "m-0", "question": "Q", "answer": "1", "steps": ["a", "b"], "ratings": [1, 0]}
    path = tmp_path / "steps.jsonl.gz"
    with gzip.open(path, "wt") as stream:
        stream.write(json.dumps(row) + "\n")
    (tree,) = read_steps(path, "prm800k")
    assert tree.task["id"] == "m-0"
    assert shown(tree) == [(0, "a", 1.0, False), (1, "b", 0.0, True)]


def test_rows_of_one_question_are_one_tree():
    rows = [
        {"prompt": "q", "completions": ["a", "b"], "labels": [True, True]},
        {"prompt": "other", "completions": ["a"], "labels": [True]},
        {"prompt": "q", "completions": ["a", "c", "d"], "labels": [True, False, False]},
        {"prompt": "q", "completions": ["a", "b"], "labels": [False, True]},  # another opinion of a
    ]
    first, second = from_rows(rows, "trl")
    assert [n.parent for n in first.nodes] == [-1, 0, 1, 1, 3, 0, 5]
    assert len(second) == 2
    assert to_rows(first, "trl") == [rows[0], rows[2], rows[3]]
    places = [(n.origin.episode, n.origin.step) for n in first.nodes[1:]]
    assert len(set(places)) == len(places)


def random_tree(seed, column="label"):
    """A tree whose siblings differ in text; leaves are ends."""
    draw = random.Random(seed)
    tree = Tree({"id": "r", "question": f"Question {seed}?", "answer": None, "data": {}})
    for k in range(draw.randint(1, 12)):
        tree.append(Node(draw.randrange(len(tree)), text=f"text {k}\n\nwith ## lines.", done=False))
    out = Tree(tree.task)
    for i, node in enumerate(tree.nodes[1:], 1):
        out.append(Node(node.parent, text=node.text, done=tree.is_leaf(i)))
    out.columns[column] = [None, *(draw.choice([-1.0, 1.0]) for _ in out.nodes[1:])]
    return out


def as_set(tree):
    """Every path of (text, label, done), whatever the order of nodes."""
    labels = tree.columns["label"]
    return {
        tuple((tree.nodes[k].text, labels[k], tree.nodes[k].done) for k in tree.path(i))
        for i in range(1, len(tree))
    }


@pytest.mark.parametrize("kind", ["trl", "math-shepherd"])
@pytest.mark.parametrize("seed", range(10))
def test_there_and_back(kind, seed, tmp_path):
    tree = random_tree(seed)
    count = write_steps([tree], tmp_path / "rows.jsonl", kind)
    (back,) = read_steps(tmp_path / "rows.jsonl", kind)
    assert count == len(tree.leaves())
    assert back.task["question"] == tree.task["question"]
    assert as_set(back) == as_set(tree) and len(back) == len(tree)


@pytest.mark.parametrize("seed", range(20))
def test_there_and_back_with_candidates(seed):
    tree = random_tree(seed)
    rows = to_rows(tree, "prm800k")
    (back,) = from_rows(rows, "prm800k")

    def steps(of):  # which candidate came to an answer is told of one a row
        return {tuple(part[:2] for part in path) for path in as_set(of)}

    assert steps(back) == steps(tree) and len(back) == len(tree)
    result = [
        c["text"] for row in rows for s in row["label"]["steps"][-1:] for c in s["completions"]
    ]
    assert len(result) == len(set(result))


def test_ids_are_joined_never_texts():
    """A step's own ids are those of its text alone; what stands between is prompt."""
    chat = ByteChat()
    (tree,) = from_rows([TRL], "trl", chat=chat)
    first, second = tree.nodes[1:]
    assert tree.context(1) == chat.render([{"role": "user", "content": TRL["prompt"]}])
    assert first.tokens == chat.encode(TRL["completions"][0])
    assert second.prompt == chat.encode("\n")
    assert second.tokens[:-1] == chat.encode(TRL["completions"][1]) and second.tokens[-1] == 0
    assert tree.sequence(2)[: tree.length(1)] == tree.sequence(1)  # a step's place does not move
    assert to_json(tree)["nodes"][1]["finish"] == "chunk"


def test_values_are_written_by_their_sign():
    tree = random_tree(3)
    tree.columns["q"] = [None, *(0.2 if i % 2 else -0.7 for i in range(1, len(tree)))]
    rows = to_rows(tree, "trl", column="q")
    assert {label for row in rows for label in row["labels"]} == {True, False}


def test_a_step_without_a_label_ends_its_row():
    tree = Tree({"id": "r", "question": "q"})
    for parent in (0, 1, 1):
        tree.append(Node(parent, text=f"under {parent}"))
    tree.columns["label"] = [None, 1.0, None, None]
    assert [row["completions"] for row in to_rows(tree, "trl")] == [["under 0"]]
    tree.columns["label"] = [None] * 4
    for kind in ("trl", "prm800k"):
        with pytest.raises(DataError, match="task 'r': no step has a label in column 'label'"):
            to_rows(tree, kind)
    with pytest.raises(DataError, match="task 'r': no column 'q' of step labels"):
        to_rows(tree, "trl", column="q")


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("trl", {"prompt": "q"}, "'prompt', 'completions' and 'labels' are expected"),
        ("trl", {**TRL, "labels": [True]}, "2 completions but 1 labels"),
        ("trl", {**TRL, "labels": [], "completions": []}, "a solution without steps"),
        ("math-shepherd", {"input": "q"}, "'input' and 'label' are expected"),
        ("math-shepherd", {"input": "q", "label": "q"}, "no step: 'input' holds no 'ки'"),
        ("math-shepherd", {**SHEPHERD, "label": "else"}, "step 1: 'label' is not 'input' with"),
        ("prm800k", {"question": {"problem": "q"}}, "'label' with 'steps'"),
        ("prm800k", {"question": "q", "steps": ["a"], "ratings": []}, "1 steps need as many"),
        ("prm800k", {"question": "q", "steps": ["a"], "ratings": [5]}, "null, not 5"),
    ],
)
def test_rows_that_are_none(kind, row, message, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n" + json.dumps(row) + "\n")
    with pytest.raises(DataError, match=f"rows.jsonl, line 2: .*{message}") as result:
        read_steps(path, kind)
    assert "\n" not in str(result.value)


@pytest.mark.parametrize(
    ("labels", "read"),
    [
        ([1, -1], [1, -1]),
        ([1, 0], [1, -1]),
        ([0, 0], [-1, -1]),
        ([1.0, -1.0], [1, -1]),
        ([0, -1], [0, -1]),
        ([False, 0], [-1, -1]),
        (["good", "neutral"], [1, 0]),
        (["-", "0"], [-1, 0]),
        (["True", "False"], [1, -1]),
        (["+", "-"], [1, -1]),
        (["good", "Bad"], [1, -1]),
        (["1", "0"], [1, -1]),
        (["1.0", "0.0"], [1, -1]),
        ([True, None], [1, None]),
        ([None, False], [None, -1]),
    ],
)
def test_labels_that_are_no_booleans(labels, read):
    (tree,) = from_rows([{**TRL, "labels": labels}], "trl")
    assert tree.columns["label"][1:] == read


@pytest.mark.parametrize(
    ("others", "zero"),
    [([1, -1], 0), ([None, "-1"], 0), (["+", "-"], 0), ([1, 0], -1), ([True, False], -1)],
)
def test_what_zero_means_hangs_on_the_whole_set(others, zero, tmp_path):
    """A -1 in any row says that the set tells bad from neutral; false and true do not."""
    labels = enumerate([[1, 0], others])
    rows = [{**TRL, "prompt": f"q{n}", "labels": results} for n, results in labels]
    for given in (rows, rows[::-1]):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in given))
        for trees in (from_rows(given, "trl"), read_steps(path, "trl")):
            result = {tree.task["question"]: tree.columns["label"][1:] for tree in trees}
            assert result["q0"] == [1, zero]


@pytest.mark.parametrize("label", [0.9, 0.1, 2, "maybe", "", [True], {"label": 1}, float("nan")])
def test_labels_that_cannot_be_read_are_refused(label):
    with pytest.raises(DataError, match=r"step 2: a label is true, false, 1, -1, 0 or null, not"):
        from_rows([{**TRL, "labels": [True, label]}], "trl")
    with pytest.raises(DataError, match=r"step 1: a rating is -1, 0, 1 or null, not"):
        from_rows([{"question": "q", "steps": ["a"], "ratings": [label]}], "prm800k")


def test_steps_that_are_messages():
    texts = TRL["completions"]
    parts = {"role": "assistant", "content": [{"type": "text", "text": texts[1]}]}
    row = {**TRL, "completions": [[{"role": "assistant", "content": texts[0]}], parts]}
    assert shown(from_rows([row], "trl")[0]) == shown(from_rows([TRL], "trl")[0])
    for text in (None, 3, "", {"text": "a"}, [{"role": "user", "content": "a"}] * 2):
        with pytest.raises(DataError, match="step 2 is no text"):
            from_rows([{**TRL, "completions": [texts[0], text]}], "trl")


def prm800k(*steps):
    """A row of these steps, each a text to go on from, or what stands in the file."""
    made = [
        {"completions": [candidate(s, 1)], "human_completion": None, "chosen_completion": 0}
        if isinstance(s, str)
        else s
        for s in steps
    ]
    return {"question": {"problem": "q"}, "label": {"steps": made, "finish_reason": "solution"}}


def test_prm800k_rows_end_at_a_step_that_is_null_or_empty(tmp_path):
    nothing = {"completions": None, "human_completion": None, "chosen_completion": None}
    nowhere = {"completions": [candidate("x", -1)], "chosen_completion": None}
    rows = [
        prm800k("a", None, "c"),
        prm800k("a", {**nothing, "completions": []}, "c"),
        prm800k("a", nothing),
        prm800k("a", "  ", "c"),
        prm800k("a", nowhere, "c"),
        {"question": "q", "steps": ["a", None, "c"], "ratings": [1, 1, 1]},
        {"question": "q", "steps": ["a", " "], "ratings": [1, None]},
        prm800k("whole", "and done"),
        prm800k(),
        {"question": {"problem": "q"}, "label": {"steps": None}},
        {"question": "q", "steps": None, "ratings": None},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    odd = Counter()
    (tree,) = read_steps(path, "prm800k", odd=odd)
    assert odd == {EMPTY: 7, NO_STEP: 3}
    assert odd_line(odd).startswith("; 7 rows ended early, at a step that is empty")
    assert shown(tree) == [
        (0, "a", 1.0, False),
        (1, "x", -1.0, False),
        (0, "whole", 1.0, False),
        (3, "and done", 1.0, True),
    ]
    path.write_text("\n".join(map(json.dumps, rows[8:])))
    with pytest.raises(DataError, match=r"rows.jsonl: no row has a step"):
        read_steps(path, "prm800k")


def test_a_step_of_math_shepherd_without_its_mark_has_no_label():
    def row(*lines):
        text = f"{PIZZA} " + "\n".join(f"Step {n}: {s}" for n, s in enumerate(lines, 1))
        return {
            "input": text.replace("+", "ки").replace("!", "ки"),
            "label": text.replace("!", "-"),
        }

    for lines, labels in [
        (("a +", "b", "c !"), [1, None, -1]),
        (("a", "b +"), [None, 1]),
        (("a +", "b !", "c"), [1, -1, None]),
    ]:
        odd = Counter()
        (tree,) = from_rows([row(*lines)], "math-shepherd", odd=odd)
        assert [node.text for node in tree.nodes[1:]] == [line[0] for line in lines]
        assert tree.columns["label"][1:] == labels and odd == {UNMARKED: 1}
    with pytest.raises(DataError, match="step 2 is empty"):
        from_rows([row("a +", "+", "c !")], "math-shepherd")


def test_texts_that_math_shepherd_cannot_hold_and_unknown_formats():
    tree = random_tree(1)
    tree.task["question"] = "Is Step 1: right?"
    with pytest.raises(DataError, match="Math-Shepherd's format needs for itself"):
        to_rows(tree, "math-shepherd")
    with pytest.raises(DataError, match="unknown format of step labels 'tlr': did you mean 'trl'"):
        to_rows(tree, "tlr")
