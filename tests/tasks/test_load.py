"""Tasks by recipe: data directory, hub, generators; which it was is said; wrong input is told."""

import gzip
import json
import os

import pyarrow
import pytest
from pyarrow import parquet

from hornbeam.errors import DataError, RecipeError
from hornbeam.tasks.families import families, family_tasks
from hornbeam.tasks.task_sources import TaskSettings, check_disjoint, load_tasks

SVAMP = [
    {"id": "a", "question": "Ann has 3 and 4. All?", "answer": "7", "expression": "(3+4)"},
    {"id": "b", "question": "Two of 5, 1 off?", "answer": "9", "expression": "((2*5)-1)"},
    {"id": "c", "question": "Six off 9?", "answer": "3.0", "expression": "(9-6)"},
    {"id": "d", "question": "Wrongly noted.", "answer": "4", "expression": "(9-6)"},
]
GSM8K = [
    {
        "question": "Kim sold 48 in April and half as many in May. How many in all?",
        "answer": "72",
        "solution": "48/2 = <<48/2=24>>24 in May. 48+24 = <<48+24=72>>72 in all.",
    },
    {"question": "A riddle?", "answer": "1,000", "solution": "It is 1,000."},
]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.delenv("HORNBEAM_DATA", raising=False)
    write(tmp_path / "svamp" / "train.jsonl", SVAMP)
    write(tmp_path / "gsm8k" / "train.jsonl.gz", GSM8K)
    return tmp_path


def load(data=None, **settings):
    return load_tasks([TaskSettings(**settings)], data)


def test_svamp_from_the_data_directory(data):
    loaded = load(data, source="svamp")
    assert loaded.sources == ["svamp train: 4 tasks from the data directory"]
    assert [t.id for t in loaded.tasks] == ["a", "b", "c", "d"]
    assert loaded.tasks[0].answer == "7"
    assert loaded.tasks[1].data == {"expression": "(2 * 5) - 1", "operations": 2}
    assert loaded.tasks[3].data == {}  # its expression does not give its answer


def test_gsm8k_gets_one_expression_where_its_notes_allow(data):
    first, second = load(data, source="gsm8k").tasks
    assert (first.id, second.id) == ("gsm8k-train-1", "gsm8k-train-2")
    assert first.data["expression"] == "48 + (48 / 2)"
    assert first.data["operations"] == 2
    assert "expression" not in second.data


def test_the_easier_ones(data):
    loaded = load(data, source="svamp", max_operations=1)
    assert [t.id for t in loaded.tasks] == ["a", "c"]
    assert "2 of 4 have at most 1 operation)" in loaded.sources[0]


def test_shuffle_skip_count(data):
    whole = [t.id for t in load(data, source="svamp", seed=3).tasks]
    assert sorted(whole) == ["a", "b", "c", "d"] != whole
    assert [t.id for t in load(data, source="svamp", seed=3, skip=1, count=2).tasks] == whole[1:3]


def test_the_environment_names_the_data_directory(data, monkeypatch):
    monkeypatch.setenv("HORNBEAM_DATA", str(data))
    assert len(load(source="svamp").tasks) == 4
    monkeypatch.setenv("HORNBEAM_DATA", str(data / "none"))
    with pytest.raises(DataError, match="no such directory"):
        load(source="svamp")
    with pytest.raises(DataError, match="none: no such directory"):
        load(data / "none", source="svamp")


def test_without_data_and_hub_the_named_generator_makes_them(data):
    wanted = {"source": "svamp", "split": "test", "count": 5, "seed": 1, "max_operations": 1}
    loaded = load(data, fallback="word_problems", **wanted)
    assert len(loaded.tasks) == 5
    assert {t.data["operations"] for t in loaded.tasks} == {1}
    assert loaded.sources[0].startswith("svamp test: 5 tasks made by word_problems: it is not in")
    with pytest.raises(DataError, match=r"set HORNBEAM_DATA .* fallback"):
        load(data, **wanted)


def test_two_sources_that_fall_back_on_one_generator_get_different_tasks(tmp_path):
    wanted = {"fallback": "word_problems", "seed": 0}
    loaded = load_tasks(
        [
            TaskSettings(source="svamp", **wanted),
            TaskSettings(source="gsm8k", count=600, max_operations=2, **wanted),
        ],
        tmp_path,
    )
    assert len({task.id for task in loaded.tasks}) == 1200
    assert len({task.question for task in loaded.tasks}) > 1150
    assert loaded.sources[0].startswith("svamp train: 600 tasks made by word_problems")


def test_one_source_after_the_other(data):
    loaded = load_tasks([TaskSettings(source="svamp", count=1), TaskSettings(source="gsm8k")], data)
    assert [t.id for t in loaded.tasks] == ["a", "gsm8k-train-1", "gsm8k-train-2"]
    assert len(loaded.sources) == 2
    with pytest.raises(DataError, match="'a' occurs twice"):
        load_tasks([TaskSettings(source="svamp"), TaskSettings(source="svamp", count=1)], data)


def test_train_and_held_out_are_told_apart(data):
    first = load(data, source="svamp", seed=3, count=2).tasks
    rest = load(data, source="svamp", seed=3, skip=2).tasks
    check_disjoint(first, rest)
    with pytest.raises(DataError, match="2 of 4 held-out questions are trained on, first"):
        check_disjoint(rest, load(data, source="svamp").tasks)


WRONG = [
    ({"source": "svmap"}, "unknown task source 'svmap': did you mean 'svamp'"),
    ({"source": "svamp", "split": "tset"}, "no split 'tset': did you mean 'test'"),
    ({"source": "svamp", "path": "x"}, "no use for 'path'"),
    ({"source": "svamp", "options": {"a": 1}}, "no use for 'options'"),
    ({"source": "svamp", "fallback": "wordproblems"}, "did you mean 'word_problems'"),
    ({"source": "word_problems"}, "give `count`"),
    ({"source": "word_problems", "count": 1, "options": {"level": 3}}, "word_problems: .*'level'"),
    ({"source": "jsonl"}, "needs `path`"),
    ({"source": "hub"}, "needs `name`"),
    ({"source": "reasoning_gym", "count": 1}, "name the data set"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_wrong_recipes(data, settings, message):
    with pytest.raises(RecipeError, match=message):
        load(data, **settings)


def test_too_few(data):
    with pytest.raises(DataError, match="skip 2 and count 3 ask for 5 tasks, there are 4"):
        load(data, source="svamp", skip=2, count=3)


def test_any_jsonl_by_a_field_map(data, monkeypatch):
    rows = [{"problem": "2+2?", "gold": 4, "key": 17, "answer": "four", "level": "easy"}]
    path = write(data / "own.jsonl.gz", rows)
    fields = {"question": "problem", "answer": "gold", "id": "key"}
    (task,) = load(source="jsonl", path=str(path), fields=fields).tasks
    assert (task.id, task.question, task.answer) == ("17", "2+2?", 4)
    assert task.data == {"level": "easy"}
    loaded = load(data, source="jsonl", path="own.jsonl.gz", fields={"question": "problem"})
    assert loaded.tasks[0].id == "own-1"
    assert loaded.sources == ["own.jsonl.gz: 1 task from the file"]


def test_accepted_answers_are_a_list(data):
    path = write(data / "qa.jsonl", [{"id": 1, "question": "Who?", "answers": ["A", "B"]}])
    assert load(source="jsonl", path=str(path)).tasks[0].answer == ["A", "B"]


TABLE = 'problem,gold,id\n"2, and 2?",4,a\n"two\nlines?",5,b\n'


def test_tables_are_read_by_their_ending(data):
    fields = {"question": "problem", "answer": "gold"}
    (data / "own.csv").write_text("\ufeff" + TABLE)  # as spreadsheets write it
    one = load(source="jsonl", path=str(data / "own.csv"), fields=fields).tasks
    assert [(t.id, t.question, t.answer) for t in one] == [
        ("a", "2, and 2?", "4"),
        ("b", "two\nlines?", "5"),
    ]
    assert one[1].origin.endswith("own.csv, line 4")  # where the row ends
    (data / "own.tsv").write_text("question\tanswer\n2, and 2?\t4\n")
    assert load(source="jsonl", path=str(data / "own.tsv")).tasks[0].question == "2, and 2?"
    rows = [{"problem": "2?", "gold": 2.5}, {"problem": "3?", "gold": 3.0}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), data / "own.parquet")
    two = load(source="jsonl", path=str(data / "own.parquet"), fields=fields).tasks
    assert [(t.id, t.question, t.answer) for t in two] == [
        ("own-1", "2?", 2.5),
        ("own-2", "3?", 3.0),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "question,answer\n2?,4,5\n", "line 2: more cells than the head names"),
        ("a.csv", "question,answer\n2?,4\n3?\n", "line 3: fewer cells than the head names"),
        ("a.csv", "question,answer\n", "the table has no row"),
        ("a.csv", "q,answer\n2?,4\n", "line 2: no 'question'; name the field"),
        ("a.csv", 'question\n"2?\n', "cannot be read"),
        ("a.parquet", "question\n", "cannot be read"),
    ],
)
def test_tables_that_cannot_be_read_are_one_line(data, name, text, message):
    (data / name).write_text(text)
    with pytest.raises(DataError, match=message) as error:
        load(source="jsonl", path=str(data / name))
    assert name in str(error.value) and "\n" not in str(error.value)


def test_a_map_of_fields_the_wrong_way_round_is_told(data):
    path = write(data / "own.jsonl", [{"problem": "2?", "gold": 4}])
    with pytest.raises(DataError, match=r"question = 'problem' is meant\?"):
        load(source="jsonl", path=str(path), fields={"problem": "question", "gold": "answer"})
    with pytest.raises(RecipeError, match="'jsonl' has no use for 'options'"):
        load(source="jsonl", path=str(path), options={"shuffle": True})


BROKEN = [
    ('{"question": "a"}\n\n{"question": \n', "line 3: not JSON"),
    ('{"question": "a"}\n["b"]\n', "line 2: a JSON object"),
    ('{"q": "a"}\n', "line 1: no 'question'"),
    ('{"question": " "}\n', "line 1: no 'question'"),
    ("\n \n", "the file is empty"),
    ("", "the file is empty"),
    ('{"id": 1, "question": "a"}\n{"id": 1, "question": "b"}\n', "'1' occurs twice"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_malformed_files_name_the_line(data, text, message):
    path = data / "broken.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as error:
        load(source="jsonl", path=str(path))
    assert "broken.jsonl" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_malformed_file_of_the_data_directory_is_no_reason_to_fall_back(data):
    (data / "svamp" / "train.jsonl").write_text("{")
    with pytest.raises(DataError, match=r"svamp/train\.jsonl, line 1"):
        load(data, source="svamp", count=1, fallback="word_problems")


def test_files_that_cannot_be_read(data):
    (data / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"question": "a"}\n' * 99)[:-10])
    (data / "plain.jsonl.gz").write_bytes(b'{"question": "a"}\n')
    (data / "bytes.jsonl").write_bytes(b"\xff\xfe\n")
    for name in ("cut.jsonl.gz", "plain.jsonl.gz", "bytes.jsonl"):
        with pytest.raises(DataError, match=f"{name}: cannot be read"):
            load(source="jsonl", path=str(data / name))
    with pytest.raises(DataError, match="no such file"):
        load(source="jsonl", path=str(data / "none.jsonl"))
    with pytest.raises(DataError, match="no field 'gold'; it has id, question"):
        load(source="jsonl", path=str(data / "svamp" / "train.jsonl"), fields={"answer": "gold"})


def test_the_hub_by_name_reads_a_local_folder_in_its_layout(data, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", data / "cache")
    write(data / "own" / "train.jsonl", [{"problem": "2+2?", "answer": "4"}])
    loaded = load(source="hub", name=str(data / "own"), fields={"question": "problem"})
    assert loaded.tasks[0].question == "2+2?"
    assert loaded.sources[0].endswith("train: 1 task from the hub")
    assert (data / "cache").is_dir()
    with pytest.raises(DataError, match="the hub gave nothing"):
        load(source="hub", name="nobody/nothing")


HUB = {
    "svamp": {
        "ID": "chal-1",
        "Body": "Ann has 3 nuts.",
        "Question": "She gets 4. All?",
        "Equation": "( 3.0 + 4.0 )",
        "Answer": "7.0",
        "Type": "Addition",
    },
    "gsm8k": {"question": "Two of 500?", "answer": "It is <<2*500=1000>>1,000.\n#### 1,000"},
    "math": {
        "problem": "Half?",
        "solution": r"So $\boxed{\frac{1}{2}}$.",
        "level": "Level 1",
        "type": "Algebra",
    },
    "math500": {
        "problem": "Half?",
        "solution": "",
        "answer": r"\frac12",
        "subject": "Algebra",
        "level": 1,
        "unique_id": "u1",
    },
    "hotpotqa": {"id": "train_0", "question": "Who?", "golden_answers": ["A", "B"], "metadata": {}},
}
READ = {
    "svamp": ("chal-1", "Ann has 3 nuts. She gets 4. All?", "7", "3 + 4"),
    "gsm8k": ("gsm8k-train-1", "Two of 500?", "1000", "2 * 500"),
    "math": ("math-train-1", "Half?", r"\frac{1}{2}", None),
    "math500": ("u1", "Half?", r"\frac12", None),
    "hotpotqa": ("train_0", "Who?", ["A", "B"], None),
}


@pytest.mark.parametrize("name", HUB)
def test_rows_of_the_hub_become_the_same_tasks(name):
    row = families[name].from_hub(HUB[name])
    (task,) = family_tasks(name, "train", [(1, row)], "hub")
    assert (task.id, task.question, task.answer, task.data.get("expression")) == READ[name]


real = pytest.mark.skipif("HORNBEAM_DATA" not in os.environ, reason="HORNBEAM_DATA is not set")


@real
@pytest.mark.parametrize(
    ("source", "split", "least"),
    [
        ("svamp", "test", 250),
        ("gsm8k", "test", 800),
        ("math500", "test", 300),
        ("hotpotqa", "train", 100),
        ("musique", "dev", 500),
        ("bamboogle", "test", 80),
    ],
)
def test_real_sets(source, split, least):
    tasks = load(source=source, split=split).tasks
    assert len(tasks) >= least
    assert all(task.answer for task in tasks)
    if source in ("svamp", "gsm8k"):
        assert sum("expression" in task.data for task in tasks) > 0.7 * len(tasks)
