"""The spreadsheet: its tools by hand, its tasks graded and right as they are shown."""

from pathlib import Path

import pytest

from hornbeam.errors import DataError, RecipeError, ToolError
from hornbeam.models.tiny_model import tokenizer
from hornbeam.recipe.recipe import load_recipe
from hornbeam.tasks.sheet import SHEET_TOOLS, sheet_state
from hornbeam.tasks.spreadsheet import KINDS, LEVELS, spreadsheet_tasks
from hornbeam.tasks.task_sources import TaskSettings, check_source, load_tasks
from hornbeam.worlds import PythonWorld

from ..programs.gold import gold_rewards

RECIPE = load_recipe(Path(__file__).parents[2] / "recipes" / "spreadsheet_tiny.toml")
LEVEL = range(1, len(LEVELS) + 1)


def sheet():
    return {"A1": "cup", "B1": "7", "C1": "=B1*2", "A2": "harp", "B2": "3", "C2": "=B2+1"}


def do(world, command):
    """What is heard of a command, an error as a line."""
    tool, *words = command.split()
    try:
        return SHEET_TOOLS[tool](*words, world)
    except ToolError as error:
        return f"error: {error}"


def test_tools_by_hand():
    world = sheet()
    assert do(world, "get A1:C2") == "cup 7 14 / harp 3 4"
    assert do(world, "formula B1:C2") == "7 =B1*2 / 3 =B2+1"
    assert do(world, "sum B1:C2") == "28"
    assert do(world, "set B3 =SUM(B1:B2)") == "10"
    assert do(world, "sort A1:B2 B") == "harp 3 / cup 7"
    assert do(world, "get C1:C2") == "6 / 8"  # formulas stay where they are
    assert do(world, "set b2 1,000") == "1000"
    assert sheet_state(world) == "A1 harp B1 3 C1 6 A2 cup B2 1000 C2 1001 B3 1003"
    assert do(world, "get D1") == "-"


def test_sorting_puts_numbers_by_size_then_texts_then_nothing():
    world = {"A1": "tea", "A2": "10", "A4": "9", "A5": "ale", "B1": "1", "B3": "3", "B4": "4"}
    assert do(world, "sort A1:B5 A") == "9 4 / 10 - / ale - / tea 1 / - 3"
    assert "B2" not in world


def test_a_formula_or_its_number_are_the_same_sheet():
    left, right = sheet(), sheet()
    do(left, "set D1 =B1+B2")
    do(right, "set D1 10")
    assert sheet_state(left) == sheet_state(right)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("set B1 =B1", "B1: B1 refers to itself"),
        ("set B1 =C1", "refers to itself"),
        ("set B1 =9^9^9^9^9", "the result is too large"),
        ("set B1 =1/0", "division by zero"),
        ("set B1:B2 4", "B1:B2 is a range: name one cell"),
        ("set Z9 4", "is no cell or range"),
        ("set A99999999999999999999999999999 4", "is no cell or range"),
        ("set B1 <script>", "a text has up to 40 letters"),
        ("set B1 " + "9" * 4000, "a text has up to 40 letters"),
        ("set B1 =" + "9" * 4000, "a formula is longer than 100 characters"),
        ("get A1:H21", "is no cell or range"),
        ("sum A1:B9:C9", "is no cell or range"),
        ("sort A1:B2 C", "is no column of the range, it has A B"),
        ("sort A1:C2 B", "the range holds formulas"),
    ],
)
def test_what_cannot_be_done_is_a_line_and_changes_nothing(command, said):
    world = sheet()
    heard = do(world, command)
    assert heard.startswith("error: ") and said in heard
    assert "\n" not in heard and len(heard) < 200
    assert world == sheet()


@pytest.mark.parametrize("given", [None, True, [], {}, 10**400, 1e999, float("nan"), "", "\n"])
def test_arguments_of_other_types_are_one_line(given):
    world = sheet()
    calls = (
        lambda: SHEET_TOOLS["get"](given, world),
        lambda: SHEET_TOOLS["sum"](given, world),
        lambda: SHEET_TOOLS["sort"]("A1:B2", given, world),
        lambda: SHEET_TOOLS["set"](given, "4", world),
        lambda: SHEET_TOOLS["set"]("B1", given, world),
    )
    for call in calls:
        with pytest.raises(ToolError) as caught:
            call()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    assert world == sheet()
    assert SHEET_TOOLS["set"]("B1", 2.5, world) == "2.5"
    assert SHEET_TOOLS["set"]("B1", 12, world) == "12"


@pytest.mark.parametrize("world", [None, [], {"rooms": {}}, {"A1": 3}, {"Z1": "3"}])
def test_another_world_is_told_of(world):
    for call in (lambda: SHEET_TOOLS["get"]("A1", world), lambda: sheet_state(world)):
        with pytest.raises(ToolError, match="the world is no spreadsheet"):
            call()


@pytest.mark.parametrize("level", LEVEL)
def test_what_is_shown_is_heard_and_scores_one(level):
    tasks = spreadsheet_tasks("train", 28, seed=3, level=level)
    assert [task.data["kinds"][-1] for task in tasks] == [*KINDS] * 4
    assert gold_rewards(RECIPE, tasks, PythonWorld()) == [1.0] * 28


@pytest.mark.parametrize("level", LEVEL)
def test_levels_have_more_rows_and_steps(level):
    rows, steps = LEVELS[level - 1]
    for task in spreadsheet_tasks("train", 70, level=level):
        assert len([name for name in task.data["world"] if name[0] == "A"]) == rows
        assert len(task.data["kinds"]) == len({*task.data["kinds"]}) == steps


def test_the_sheet_as_it_begins_is_no_right_end():
    for task in spreadsheet_tasks("train", 120, level=3, kinds=[k for k in KINDS if k != "ask"]):
        assert sheet_state(task.data["world"]) != task.answer


def test_a_wrong_cell_costs_the_task():
    (task,) = spreadsheet_tasks("train", 1, kinds=["total"])
    world = dict(task.data["world"])
    (said, _), _ = task.data["demonstration"]
    do(world, "set A1 5")
    do(world, said)
    assert sheet_state(world) != task.answer
    world["A1"] = task.data["world"]["A1"]
    assert sheet_state(world) == task.answer


def test_equal_arguments_give_equal_tasks_and_train_and_test_are_apart():
    train, test = (spreadsheet_tasks(split, 280, seed=1) for split in ("train", "test"))
    assert train == spreadsheet_tasks("train", 280, seed=1)
    assert train[:8] == spreadsheet_tasks("train", 8, seed=1)
    assert train != spreadsheet_tasks("train", 280, seed=2)
    assert not {task.question for task in train} & {task.question for task in test}
    assert len({task.id for task in train + test}) == 560


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"level": 5}, "level is 5 and must lie in 1 to 4"),
        ({"rows": 2}, "rows is 2 and must lie in 3 to 12"),
        ({"steps": 10**9}, "steps is 1000000000 and must lie in 1 to 6"),
        ({"kinds": ["sum"]}, "no kind 'sum'"),
        ({"kinds": "ask"}, "kinds is 'ask': a list of some of put, total"),
        ({"kinds": []}, "kinds is"),
    ],
)
def test_what_cannot_be_made_is_one_line(options, said):
    with pytest.raises(DataError, match=said) as caught:
        spreadsheet_tasks("train", 3, **options)
    assert "\n" not in str(caught.value)


def test_the_source_by_its_name():
    source = TaskSettings(source="spreadsheet", count=4, options={"level": 2, "kinds": ["ask"]})
    check_source(source)
    assert {task.data["kinds"][-1] for task in load_tasks([source]).tasks} == {"ask"}
    with pytest.raises(RecipeError, match="spreadsheet has no option 'row': did you mean 'rows'"):
        check_source(TaskSettings(source="spreadsheet", count=4, options={"row": 2}))
    with pytest.raises(RecipeError, match="spreadsheet: "):
        load_tasks([TaskSettings(source="spreadsheet", count=4, options={"kinds": 3})])


def test_the_tiny_model_has_a_word_for_all_of_it():
    words = tokenizer(RECIPE.model.options["words"])
    for task in spreadsheet_tasks("train", 280, level=3):
        said = [text for pair in task.data["demonstration"] for text in pair]
        for text in (task.question, *said):
            assert not any(token.startswith("<0x") for token in words.tokenize(text)), text
            assert words.decode(words.encode(text)) == text
