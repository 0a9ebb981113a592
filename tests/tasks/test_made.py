"""Made tasks: equal for equal arguments, train and test apart, as many as asked for."""

import json
import re

import pytest

from hornbeam.answers.arithmetic import evaluate, operations, write_number
from hornbeam.errors import DataError, RecipeError
from hornbeam.tasks import gym
from hornbeam.tasks.generated import generators, reasoning_gym_tasks
from hornbeam.tasks.task_sources import TaskSettings, load_tasks
from hornbeam.tasks.word_problems import word_problems
from hornbeam.tasks.word_templates import TEMPLATES


@pytest.fixture(scope="module")
def problems():
    return word_problems("train", 400, seed=1, operations=(1, 3))


def test_every_problem_has_a_gold_expression_that_gives_its_answer(problems):
    for task in problems:
        assert write_number(evaluate(task.data["expression"])) == task.answer
        assert task.data["operations"] == operations(task.data["expression"])
        assert re.fullmatch(r"[1-9]\d*", task.answer)
        assert "{" not in task.question
    assert {task.data["template"] for task in problems} == set(range(len(TEMPLATES)))


def test_a_question_holds_every_number_of_its_expression(problems):
    for task in problems:
        numbers = re.findall(r"\d+", task.question)
        assert set(re.findall(r"\d+", task.data["expression"])) <= set(numbers)


def test_equal_seeds_give_equal_problems_and_train_and_test_are_apart(problems):
    assert problems == word_problems("train", 400, seed=1, operations=(1, 3))
    assert problems != word_problems("train", 400, seed=2, operations=(1, 3))

    def keys(tasks):
        return {(t.data["template"], t.data["expression"]) for t in tasks}

    assert not keys(problems) & keys(word_problems("test", 400, seed=1, operations=(1, 3)))
    assert len({task.id for task in problems}) == len(problems)


def test_the_operations_asked_for():
    assert {t.data["operations"] for t in word_problems("test", 30, operations=(2, 2))} == {2}
    with pytest.raises(DataError, match="not 4 to 5"):
        word_problems("train", 1, operations=(4, 5))
    with pytest.raises(DataError, match="train and test, not 'dev'"):
        word_problems("dev", 1)


def test_reasoning_gym_train_and_test_are_apart():
    train = reasoning_gym_tasks("train", 60, seed=1, dataset="chain_sum")
    test = reasoning_gym_tasks("test", 20, seed=1, dataset="chain_sum")
    assert train == reasoning_gym_tasks("train", 60, seed=1, dataset="chain_sum")
    questions = {t.question for t in train + test}
    assert len(questions) == len({t.id for t in train + test}) == 80
    assert train[0].data["dataset"] == "chain_sum"
    assert train[0].answer and train[0].data["metadata"]


@pytest.mark.parametrize("name", ["word_ladder", "list_functions"])
def test_reasoning_gym_makes_the_same_tasks_in_every_process(name, monkeypatch):
    result = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        result.append(reasoning_gym_tasks("train", 3, 3, dataset=name))
    assert result[0] == result[1]


def test_metadata_come_back_as_they_were_made():
    made = {"a": (1, (2, [3.5, None])), "b": {1: {"x", "y"}, (2, 3): True}, "__kind__": "c", "": []}
    back = gym.decoded(json.loads(json.dumps(gym.encoded(made))))
    assert back == made and type(back["a"][1]) is tuple and type(back["b"][1]) is set
    result = gym.line({"question": "q", "answer": None, "metadata": {"a": (1, 2), "b": [3]}})
    assert result["metadata"] == {"a": [1, 2], "b": [3]} and gym.decoded(result["made"])["a"] == (
        1,
        2,
    )
    assert "made" not in gym.line({"question": "q", "answer": "a", "metadata": {"b": [3]}})


def test_options_go_with_a_task_of_reasoning_gym():
    parts = [{"name": "chain_sum"}, {"name": "gcd", "weight": 2.0}]
    tasks = reasoning_gym_tasks("train", 8, dataset="composite", datasets=parts)
    assert {t.data["metadata"]["source_dataset"] for t in tasks} == {"chain_sum", "gcd"}
    assert tasks[0].data["scoring"]["options"] == {"datasets": parts}
    with pytest.raises(RecipeError, match="options must be JSON data"):
        reasoning_gym_tasks("train", 1, dataset="gcd", seed_of={1})


def test_reasoning_gym_says_what_is_wrong():
    with pytest.raises(RecipeError, match="no 'chain_sums': did you mean 'chain_sum'"):
        reasoning_gym_tasks("train", 1, dataset="chain_sums")
    with pytest.raises(RecipeError, match=r"chain_sum: .*'colour'"):
        reasoning_gym_tasks("train", 1, dataset="chain_sum", colour=1)
    with pytest.raises(RecipeError, match="not 'dev'"):
        reasoning_gym_tasks("dev", 1, dataset="chain_sum")
    small = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    with pytest.raises(DataError, match="different tasks could be made of 5000"):
        reasoning_gym_tasks("train", 5000, dataset="chain_sum", **small)


@pytest.mark.parametrize("name", sorted(generators))
def test_generators_by_recipe_skip_and_count(name):
    options = {"dataset": "chain_sum"} if name == "reasoning_gym" else {}

    def load(**settings):
        return load_tasks([TaskSettings(source=name, seed=5, options=options, **settings)]).tasks

    whole = load(count=8)
    assert [t.question for t in load(count=3, skip=5)] == [t.question for t in whole[5:]]
    assert len(whole) == 8
    with pytest.raises(RecipeError, match="give `count`"):
        load()
