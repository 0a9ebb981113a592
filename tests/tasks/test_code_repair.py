"""Programs to repair: equal for equal arguments, right before and wrong after they were broken."""

from pathlib import Path

import pytest

from hornbeam.errors import DataError
from hornbeam.models.tiny_model import tokenizer
from hornbeam.recipe.recipe import load_recipe
from hornbeam.tasks.code_repair import LEVELS, SHOWN, code_repair_tasks
from hornbeam.worlds import FolderWorld

from ..programs.gold import gold_rewards

RECIPE = load_recipe(Path(__file__).parents[2] / "recipes" / "repair_tiny.toml")
EVERY = range(1, len(LEVELS) + 1)


def passed(code, tests):
    space = {}
    exec(code, space)
    return [space["f"](*given) == due for given, due in tests]


@pytest.mark.parametrize("level", EVERY)
def test_originals_pass_and_each_mistake_fails_a_shown_test(level):
    for task in code_repair_tasks("train", 60, seed=2, level=level):
        tests, right = task.data["tests"], task.data["solution"].splitlines()
        wrong = task.data["world"]["program.py"].splitlines()
        assert all(passed("\n".join(right), tests)) and len(tests) > SHOWN
        assert not all(passed("\n".join(wrong), tests[:SHOWN]))
        places = [n for n, pair in enumerate(zip(right, wrong)) if pair[0] != pair[1]]
        assert len(places) == LEVELS[level - 1].mistakes
        for n in places:
            alone = [*right[:n], wrong[n], *right[n + 1 :]]
            assert not all(passed("\n".join(alone), tests[:SHOWN]))


@pytest.mark.parametrize("level", EVERY)
def test_programs_have_the_statements_and_blocks_of_their_level(level):
    statements, blocks, _ = LEVELS[level - 1]
    for task in code_repair_tasks("train", 40, level=level):
        code = task.data["solution"]
        assert code.count(" = ") == statements
        assert code.count(" if ") + code.count(" for ") == blocks
        assert task.question.count(" ; ") == statements


@pytest.mark.parametrize("level", EVERY)
def test_what_is_shown_is_heard_and_scores_one(level):
    assert gold_rewards(RECIPE, code_repair_tasks("test", 4, level=level), FolderWorld()) == [1] * 4


def test_equal_arguments_give_equal_tasks_and_train_and_test_are_apart():
    train, test = (code_repair_tasks(split, 200, seed=1) for split in ("train", "test"))
    assert train == code_repair_tasks("train", 200, seed=1)
    assert train != code_repair_tasks("train", 200, seed=2)
    assert not {task.question for task in train} & {task.question for task in test}
    assert len({task.id for task in train + test}) == 400


def test_the_tiny_model_has_a_word_for_all_of_it():
    words = tokenizer(RECIPE.model.options["words"])
    for task in code_repair_tasks("train", 100, level=4):
        said = [text for pair in task.data["demonstration"] for text in pair]
        for text in (task.question, *said):
            strange = {t for t in words.tokenize(text) if t.startswith("<0x")} - {"<0x0A>"}
            assert not strange, (strange, text)


@pytest.mark.parametrize(
    ("split", "level", "said"),
    [("dev", 1, "train and test, not 'dev'"), ("train", 5, "level is 5 and must lie in 1 to 4")],
)
def test_what_cannot_be_made_is_one_line(split, level, said):
    with pytest.raises(DataError, match=said):
        code_repair_tasks(split, 1, level=level)
