"""The game of keys and doors: graded, always to be won, right as shown, and lost for good."""

import copy
from pathlib import Path
from random import Random

import pytest

import hornbeam as hb
from hornbeam.errors import DataError, RecipeError, ToolError
from hornbeam.models.tiny_model import tokenizer
from hornbeam.programs import make_program
from hornbeam.recipe.recipe import load_recipe
from hornbeam.tasks import key_door
from hornbeam.tasks.key_door import LEVELS, key_door_tasks
from hornbeam.tasks.key_door_game import describe, game_state, look, move, played, solve, take, use
from hornbeam.tasks.lookup_world import DOORS
from hornbeam.tasks.task_sources import TaskSettings, check_source, load_tasks
from hornbeam.tools import toolsets
from hornbeam.worlds import PythonWorld

from ..programs.gold import gold_rewards

RECIPE = load_recipe(Path(__file__).parents[2] / "recipes" / "key_door_tiny.toml")


def room(sign, things=(), lock="", **to):
    return {"sign": sign, "to": to, "lock": lock, "open": [], "things": [*things]}


def game(**rooms):
    """A game of these rooms that begins in the first."""
    at = next(iter(rooms))
    return {"at": at, "held": [], "goal": "harp", "turns": 20, "end": "", "rooms": rooms}


def little():
    """ash (k01 lies there, its doors want it) -> bay with the harp, or elm with a bowl."""
    return game(
        a=room("ash", ["k01", "k02"], "k01", left="b", right="c"),
        b=room("bay", ["cup", "harp"]),
        c=room("elm", ["bowl"]),
    )


def commands(task):
    return [tuple(said.split()) for said, _ in task.data["demonstration"]]


def test_what_moves_say_by_hand():
    world = little()
    assert look(world) == "ash : left k01 right k01 : k01 k02"
    assert take("k01", world) == "ash : left k01 right k01 : k02 : k01"
    assert use("k01", "left", world) == "ash : left right k01 : k02"  # it broke
    assert move("left", world) == "bay : : cup harp"
    assert game_state(world) == "open"
    assert take("harp", world) == "won"
    assert game_state(world) == "won" and world["turns"] == 15
    with pytest.raises(ToolError, match="the game is over: won"):
        look(world)


def test_what_is_lost_stays_lost():
    moves = [("take", "k01"), ("use", "k01", "right"), ("move", "right"), ("take", "bowl")]
    values = [solve(little()) is not None]
    for made in range(1, 5):
        world, heard = played(little(), moves[:made])
        values.append(solve(world) is not None)
    assert values == [True, True, False, False, False]  # the key broke on the wrong door
    assert heard[-1] == game_state(world) == "lost"


def test_the_turns_are_used_up_by_refused_moves_too():
    world = little() | {"turns": 3}
    for door in ("left", "middle"):
        with pytest.raises(ToolError):
            move(door, world)
    assert move("left", world) == "lost"
    assert game_state(world) == "lost"


def test_the_search_finds_the_fewest_moves():
    assert solve(little()) == [
        ("take", "k01"),
        ("use", "k01", "left"),
        ("move", "left"),
        ("take", "harp"),
    ]
    ring = game(  # one may go around: the key lies two rooms behind the lock
        a=room("ash", (), "", left="b", right="goal"),
        b=room("bay", ["k05"], "", left="a"),
        goal=room("elm", (), "k05", left="end"),
        end=room("fig", ["harp"]),
    )
    assert len(solve(ring)) == 7
    ring["rooms"]["b"]["things"] = ["k04"]
    assert solve(ring) is None
    assert solve(game(a=room("ash", (), "", left="a"))) is None


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_shown_is_heard_and_scores_one(level):
    tasks = key_door_tasks("train", 20, seed=3, level=level)
    assert gold_rewards(RECIPE, tasks, PythonWorld()) == [1.0] * 20
    for task in tasks:
        assert len(commands(task)) == task.data["least"] == task.data["world"]["turns"] - 2
        assert task.question.endswith(describe(task.data["world"]))


def test_games_that_cannot_be_won_never_come_out(monkeypatch):
    drawn, draw = [], key_door._drawn

    def seen(*given):
        drawn.append(draw(*given))
        return drawn[-1]

    monkeypatch.setattr(key_door, "_drawn", seen)
    tasks = key_door_tasks("train", 60, level=4)
    worlds = [world for world in drawn if solve(world) is None]
    assert len(worlds) > 20  # some are drawn
    assert all(solve(task.data["world"]) is not None for task in tasks)
    assert not any(task.data["world"]["rooms"] == w["rooms"] for task in tasks for w in worlds)


def test_levels_are_graded():
    def mean(level):
        return sum(task.data["least"] for task in key_door_tasks("train", 40, level=level)) / 40

    least = [mean(level) for level in LEVELS]
    assert least == sorted(least) and least[-1] > 3 * least[0]

    def won(level):
        """How often moves that can be made, drawn at random, win."""
        rng, wins = Random(1), 0
        for task in key_door_tasks("train", 40, level=level) * 5:
            world = copy.deepcopy(task.data["world"])
            while game_state(world) == "open":
                here = world["rooms"][world["at"]]
                fits = [d for d in here["to"] if here["lock"] in ("", *world["held"])]
                things = [("take", thing) for thing in here["things"]]
                doors = [("use" if here["lock"] else "move", door) for door in fits]
                doors += [("move", door) for door in here["open"]]
                if not things + doors:
                    break
                how, what = rng.choice(things + doors)
                try:
                    if how == "use":
                        use(here["lock"], what, world)
                    else:
                        (move if how == "move" else take)(what, world)
                except ToolError:
                    pass
            wins += game_state(world) == "won"
        return wins / 200

    rates = [won(level) for level in (1, 3, 5)]
    assert rates[0] > rates[1] >= rates[2] and 0.03 < rates[0] < 0.5


def test_equal_arguments_give_equal_games_and_train_and_test_are_apart():
    train, test = (key_door_tasks(split, 200, seed=1, level=2) for split in ("train", "test"))
    assert train == key_door_tasks("train", 200, seed=1, level=2)
    assert train[:8] == key_door_tasks("train", 8, seed=1, level=2)
    assert train != key_door_tasks("train", 200, seed=2, level=2)
    assert not {task.question for task in train} & {task.question for task in test}
    assert len({task.id for task in train + test}) == 400


def test_where_the_rule_is_not_told_only_known_signs_are_shown():
    tasks = key_door_tasks("train", 200, level=3, told=False, known=0.5)
    shown = [task for task in tasks if "demonstration" in task.data]
    assert 0 < len(shown) < 60  # about one in sixteen
    signs = {task.data["world"]["rooms"][f"r{n}.0"]["sign"] for task in shown for n in range(4)}
    assert len(signs) <= 6
    assert not any(" left " in task.question.split(" : ")[3] for task in tasks)
    assert all("demonstration" in task.data for task in key_door_tasks("train", 20, known=0.5))


@pytest.mark.parametrize(
    "given",
    ["z" * 10**6, 10**400, -1, 2.5, None, True, ["left"], {"door": "left"}, "left\nright", "", "🗝"],
)
def test_hostile_arguments_are_one_bounded_line(given):
    calls = (lambda w: move(given, w), lambda w: take(given, w), lambda w: use(given, given, w))
    for call in calls:
        world = little()
        with pytest.raises(ToolError) as caught:
            call(world)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
        assert world == little() | {"turns": 19}
    world = little()
    take("k01", world)
    with pytest.raises(ToolError, match="there is no door"):
        use("k01", given, world)


@pytest.mark.parametrize("world", [{}, [], None, "x", {"at": "a"}])
def test_another_world_is_told_of(world):
    for call in (lambda: look(world), lambda: move("left", world), lambda: game_state(world)):
        with pytest.raises(ToolError, match="the world is no game"):
            call()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"level": 6}, "level is 6 and must lie in 1 to 5"),
        ({"level": True}, "level is True"),
        ({"rooms": 13}, "rooms is 13 and must lie in 1 to 12"),
        ({"rooms": 2, "keys": 3}, "keys is 3 and must lie in 0 to 2"),
        ({"rooms": "many"}, "rooms is 'many'"),
        ({"slack": 10**30}, "slack is 1000"),
        ({"known": 1.5}, "known is 1.5 and must lie in 0 to 1"),
        ({"rooms": 1, "keys": 0, "distractors": 0, "signs": 1}, "different key_door games"),
    ],
)
def test_what_cannot_be_made_is_one_line(options, said):
    with pytest.raises(DataError, match=said) as caught:
        key_door_tasks("train", 200, **options)
    assert "\n" not in str(caught.value)


def test_the_source_by_its_name():
    source = TaskSettings(source="key_door", count=4, options={"level": 1})
    check_source(source)
    assert len(load_tasks([source]).tasks) == 4
    with pytest.raises(RecipeError, match="key_door has no option 'romms': did you mean 'rooms'"):
        check_source(TaskSettings(source="key_door", count=4, options={"romms": 2}))
    with pytest.raises(DataError, match="key_door has the splits train and test"):
        key_door_tasks("eval", 3)


def test_doors_are_those_of_the_tiny_world():
    tasks = key_door_tasks("train", 5, level=5)
    ways = [each["to"] for task in tasks for each in task.data["world"]["rooms"].values()]
    assert {tuple(to) for to in ways} == {DOORS, ()}


def test_forks_hear_what_an_undisturbed_game_says():
    """Agents that write moves at random, branches at every step: each leaf is played again."""
    section = RECIPE.program
    program, _ = make_program(section.name, section.rest())
    tasks = key_door_tasks("train", 6, level=1)
    said = ["move left", "move right", "move middle", "look", "take k00", "take k01", "take k02"]
    said += [f"use k0{key} {door}" for key in range(3) for door in DOORS] + ["take bowl"]
    who = {"player": hb.Scripted(lambda prompt, rng: rng.choice(said))}
    tools = toolsets["key_door"]()
    fork = hb.Branch(trunks=2, nodes=4)
    leaves = refused = 0
    for tree in hb.grow_trees(program, tasks, who, fork, tools=tools, world={"kind": "python"}):
        start = tree.task["data"]["world"]
        for leaf in tree.leaves():
            world, calls = (
                copy.deepcopy(start),
                [c for n in tree.path(leaf) for c in tree.nodes[n].calls],
            )
            for call in calls:
                try:
                    assert tools[call.tool](**call.arguments, world=world) == call.result
                except ToolError as error:
                    assert str(error) == call.error
                    refused += 1
            leaves += 1
            assert tree.nodes[leaf].answer == (world["end"] or None)
    assert leaves == 60 and refused > 50


def test_the_tiny_model_has_a_word_for_the_game():
    words = tokenizer(RECIPE.model.options["words"])
    for task in key_door_tasks("train", 100, level=5):
        said = [text for pair in task.data["demonstration"] for text in pair]
        for text in (task.question, *said):
            assert not any(token.startswith("<0x") for token in words.tokenize(text)), text
            assert words.decode(words.encode(text)) == text
