"""Tasks on folders: equal for equal arguments, graded, and right when done as they are shown."""

from pathlib import Path

import pytest

from hornbeam.errors import DataError, RecipeError
from hornbeam.models.tiny_model import make, tokenizer
from hornbeam.recipe.recipe import load_recipe
from hornbeam.tasks.file_tasks import KINDS, LEVELS, file_tasks
from hornbeam.tasks.task_sources import TaskSettings, check_source, load_tasks
from hornbeam.tools.file_tools import folder_state
from hornbeam.worlds import FolderWorld

from ..programs.gold import gold_rewards

RECIPE = load_recipe(Path(__file__).parents[2] / "recipes" / "files_tiny.toml")


@pytest.mark.parametrize("level", range(1, len(LEVELS) + 1))
def test_what_is_shown_is_heard_and_scores_one(level):
    tasks = file_tasks("train", 24, seed=3, level=level)
    assert [task.data["kind"] for task in tasks] == [*KINDS] * 6
    assert gold_rewards(RECIPE, tasks, FolderWorld()) == [1.0] * 24


@pytest.mark.parametrize("level", range(1, len(LEVELS) + 1))
def test_levels_have_more_files_depth_and_steps(level):
    files, depth, steps = LEVELS[level - 1]
    tasks = file_tasks("train", 80, level=level)
    assert {len(task.data["world"]) for task in tasks} == {files}
    deep = {path.count("/") for task in tasks for path in task.data["world"]}
    assert deep == set(range(depth + 1))
    turns = {kind: set() for kind in KINDS}
    for task in tasks:
        turns[task.data["kind"]].add(len(task.data["demonstration"]))
    looks, changes = {steps + 1}, {2 * steps + 1}
    assert turns == {"find": looks, "count": looks, "edit": changes, "rename": changes}


def test_equal_arguments_give_equal_tasks_and_train_and_test_are_apart():
    train, test = (file_tasks(split, 300, seed=1, level=2) for split in ("train", "test"))
    assert train == file_tasks("train", 300, seed=1, level=2)
    assert train != file_tasks("train", 300, seed=2, level=2)
    assert not {task.question for task in train} & {task.question for task in test}
    assert len({task.id for task in train + test}) == 600
    assert file_tasks("train", 8, seed=1, level=2) == train[:8]


def test_the_folder_as_it_begins_is_no_right_end():
    kind = FolderWorld()
    for task in file_tasks("train", 60, level=3, kinds=["edit", "rename"]):
        world = kind.open(task)
        assert folder_state(world) != task.answer
        kind.close(world)


def test_the_tiny_model_has_a_word_for_all_of_it():
    words = tokenizer(RECIPE.model.options["words"])
    for task in file_tasks("train", 200, level=4):
        said = [text for pair in task.data["demonstration"] for text in pair]
        for text in (task.question, *said):
            assert not any(token.startswith("<0x") for token in words.tokenize(text)), text
            assert words.decode(words.encode(text)) == text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"level": 5}, "level is 5 and must lie in 1 to 4"),
        ({"files": 1}, "files is 1 and must lie in 2 to 13"),
        ({"steps": 4}, "steps is 4 and must lie in 1 to 3"),
        ({"kinds": ["finds"]}, "no kind 'finds': did you mean 'find'"),
        ({"kinds": "find"}, "kinds is a list of some of find, count, edit, rename"),
        ({"files": 2, "steps": 3, "kinds": ["find"]}, "only 0 different file tasks"),
    ],
)
def test_what_cannot_be_made_is_one_line(options, said):
    with pytest.raises(DataError, match=said) as caught:
        file_tasks("train", 3, **options)
    assert "\n" not in str(caught.value)


def test_the_source_by_its_name():
    source = TaskSettings(source="files", count=4, options={"level": 2, "kinds": ["count"]})
    check_source(source)
    assert {task.data["kind"] for task in load_tasks([source]).tasks} == {"count"}
    with pytest.raises(RecipeError, match="files has no option 'levl': did you mean 'level'"):
        check_source(TaskSettings(source="files", count=4, options={"levl": 2}))
    with pytest.raises(RecipeError, match="files: "):
        load_tasks([TaskSettings(source="files", count=4, options={"files": "many"})])


def test_words_of_the_tiny_model_have_ids_of_their_own(tmp_path):
    plain, more = tokenizer(), tokenizer(["/", "attic", "ash"])
    text = "attic/ash ash"
    assert more.tokenize(text) == ["▁attic", "/", "ash", "▁ash"]
    assert len(plain.tokenize(text)) > 8 and plain.tokenize("ash k01") == more.tokenize("ash k01")
    assert plain.encode("ash k01") == more.encode("ash k01")  # those of the tiny world stay
    with pytest.raises(RecipeError, match="words: 'two words' is no single word"):
        make(tmp_path / "m", words=["two words"])
