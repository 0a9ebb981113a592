"""The tiny world is what it says: solvable, fair between splits, hard in the stated measure."""

import pytest

from hornbeam.chat import TemplateChat, assistant, user
from hornbeam.errors import DataError, RecipeError, ToolError
from hornbeam.models import tiny_model
from hornbeam.tasks.lookup_world import (
    DOORS,
    WORDS,
    demonstrator,
    doors,
    lookup,
    lookup_tasks,
    rule,
)


def walk(task, choices):
    """(choices made, last note) of one who goes through the doors named."""
    note, taken = task.question, []
    for door in choices:
        taken.append(door)
        note = lookup(task, doors(note)[door])
    return taken, note


def test_the_right_doors_lead_to_the_treasure_and_one_wrong_door_spoils_it():
    for task in lookup_tasks(count=20, depth=4):
        gold = task.data["gold"]
        assert walk(task, gold)[1] == task.answer
        for at in range(len(gold)):
            for other in set(DOORS) - {gold[at]}:
                for rest in (gold[at + 1 :], ["left"] * (3 - at), ["right"] * (3 - at)):
                    note = walk(task, [*gold[:at], other, *rest])[1]
                    assert not doors(note)  # a treasure too: nothing tells the wrong way
                    assert note != task.answer


def test_the_rule_holds_in_every_room_on_the_right_way():
    right = rule(12, world=3)
    assert [list(right.values()).count(door) for door in DOORS] == [4, 4, 4]
    for task in lookup_tasks(count=30, world=3):
        note = task.question
        for door in task.data["gold"]:
            assert right[note.split()[-1]] == door
            note = lookup(task, doors(note)[door])


def test_splits_share_no_task_whatever_the_seeds():
    train = {t.id for seed in range(5) for t in lookup_tasks("train", 200, seed, depth=3)}
    test = {t.id for seed in range(5) for t in lookup_tasks("test", 50, seed, depth=3)}
    assert len(test) > 80 and not train & test


def test_equal_arguments_give_equal_tasks_and_seeds_differ():
    assert lookup_tasks(seed=3) == lookup_tasks(seed=3)
    assert lookup_tasks(seed=3) != lookup_tasks(seed=4)
    assert rule(8, 0) != rule(8, 1)


def test_some_wrong_ends_are_lucky():
    plain, lucky = (lookup_tasks(count=200, lucky=share) for share in (0.0, 0.25))
    held = [sum(note == t.answer for note in t.data["rooms"].values()) for t in (*plain, *lucky)]
    assert set(held[:200]) == {1}  # one way alone is right
    assert sum(held[200:]) / 200 == pytest.approx(1 + 3 * 0.25, abs=0.15)
    assert lookup_tasks(count=9) == lookup_tasks(count=9, lucky=0.0)


@pytest.mark.parametrize("world", [1000, 1001, 1002])
def test_demonstrations_succeed_as_often_as_the_formula_says(world):
    tasks = lookup_tasks("train", 1500, seed=world, world=world)
    good = sum(walk(t, t.data["demonstration"])[1] == t.answer for t in tasks) / len(tasks)
    assert good == pytest.approx((0.75 + 0.25 / 4) ** 6, abs=0.04)  # 0.288


def test_what_a_demonstrator_does_most_is_wrong_for_a_quarter_of_the_signs():
    right = rule(12, 7)
    habits = demonstrator(right, 0.75, 7)
    most = {sign: max(set(drawn), key=drawn.count) for sign, drawn in habits.items()}
    assert sum(most[sign] == right[sign] for sign in right) == 9
    assert all(right[sign] in drawn for sign, drawn in habits.items())


def test_a_demonstrator_who_knows_all_never_errs():
    for task in lookup_tasks(count=20, known=1.0):
        assert task.data["demonstration"] == task.data["gold"]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"split": "dev"}, "splits train and test"),
        ({"depth": 17}, "depth is 17 and must lie in 1 to 16"),
        ({"signs": 0}, "signs is 0"),
        ({"known": 1.5}, "known is 1.5"),
        ({"depth": 1, "signs": 2, "count": 3}, "could be made of 3"),
    ],
)
def test_wrong_options_are_named(wrong, message):
    with pytest.raises(DataError, match=message):
        lookup_tasks(**wrong)


def test_an_unknown_key_is_an_error_the_agent_can_read():
    with pytest.raises(ToolError, match="nothing lies under 'k99'"):
        lookup(lookup_tasks(count=1)[0], "k99")


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tiny_model.make(tmp_path_factory.mktemp("tiny"))
    return TemplateChat(AutoTokenizer.from_pretrained(folder))


def test_words_of_the_world_are_one_token_each_and_other_text_is_bytes(chat):
    assert all(len(chat.encode(word)) == 1 for word in WORDS)
    note = lookup_tasks(count=1)[0].question
    assert len(chat.encode(note)) == 9
    for text in (note, "left", "leftover k991", "Hällo  wörld,\n x = 12!"):
        assert chat.decode(chat.encode(text)) == text


def test_a_sampled_answer_renders_as_the_ids_that_were_sampled(chat):
    talk = [user("start : left k01"), assistant("left"), user("coin")]
    sampled = [*chat.encode("left"), *chat.ends]
    assert chat.render(talk, {1: sampled}) == chat.render(talk)
    assert len(chat.ends) == 1


def test_equal_seeds_give_equal_weights(tmp_path):
    from transformers import AutoModelForCausalLM

    def weights(name, seed):
        model = AutoModelForCausalLM.from_pretrained(tiny_model.make(tmp_path / name, seed))
        return model.state_dict()

    one, same, other = weights("a", 5), weights("b", 5), weights("c", 6)
    assert all(one[name].equal(same[name]) for name in one)
    assert not all(one[name].equal(other[name]) for name in one)
    assert sum(t.numel() for t in one.values()) < 1_000_000


@pytest.mark.parametrize(
    "options, message",
    [({"widht": 32}, "did you mean 'width'"), ({"width": 30}, "multiple of twice the heads")],
)
def test_a_wrong_shape_is_refused(tmp_path, options, message):
    with pytest.raises(RecipeError, match=message):
        tiny_model.make(tmp_path, **options)
