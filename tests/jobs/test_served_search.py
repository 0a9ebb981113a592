"""Searches as a service: their trees and answers are those of `hornbeam search`."""

import asyncio
import dataclasses
import itertools
import json

import pytest

import hornbeam as hb
from hornbeam.assembly.plan import plan
from hornbeam.assembly.task_order import question_seed, tree_seed
from hornbeam.assembly.tree_growth import FolderGrower
from hornbeam.engine.local.local_engine import LocalEngine
from hornbeam.errors import HornbeamError, RecipeError
from hornbeam.jobs.recipe_checks import check
from hornbeam.jobs.search.run_search import Search
from hornbeam.jobs.service.outcome import outcome_of
from hornbeam.jobs.service.search_service import TooMany
from hornbeam.jobs.service.served_names import served_search
from hornbeam.jobs.service.served_tasks import task_of
from hornbeam.programs.conversation import conversation
from hornbeam.recipe.recipe import EngineSettings, load_recipe
from hornbeam.score.alike import Alike
from hornbeam.store.database import TreeKey
from hornbeam.store.ledger import Budget
from hornbeam.tree.nodes import canonical

from .doors import Silent
from .served_recipe import NAMES, RECIPE, closed, service, user, written


@pytest.fixture
def recipe(world, tmp_path):
    return written(world, tmp_path)


def test_its_answers_and_trees_are_those_of_hornbeam_search(recipe, tmp_path):
    job = Search(recipe, plan(recipe, recipe.base, ["eval"]), tmp_path / "search", Silent())
    result, _ = asyncio.run(job.go())
    questions = [question["question"] for question in result["questions"]]

    async def asked():
        made = service(recipe, tmp_path / "serve")
        await made.open()
        out = {}
        for question in reversed(questions[:3]):
            found = await asyncio.gather(*(made.answer(n, user(question)) for n in NAMES))
            for name, outcome in zip(NAMES, found):
                out[question, name] = outcome, made.tree(outcome.tree)
        await closed(made)
        return out

    served = asyncio.run(asked())
    for question in result["questions"][:3]:
        for search in question["searches"]:
            outcome, tree = served[question["question"], search["method"]]
            assert outcome.answer == search["answer"] is not None
            assert outcome.text == outcome.answer
            texts = [node.text for node in canonical(tree).nodes]
            assert texts == [node.get("text", "") for node in search["nodes"]]
    # the fourth question is the first again: another search of it
    first, again = (result["questions"][k]["searches"][0]["nodes"] for k in (0, 3))
    assert first != again


def test_a_bare_model_answers_the_messages_as_they_are(recipe, tmp_path):
    talk = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "door one?"},
        {"role": "assistant", "content": "left"},
        {"role": "user", "content": "door two?"},
    ]
    bare = recipe.serve["cold"].model_copy(update={"program": False})
    recipe = recipe.model_copy(update={"serve": {**recipe.serve, "bare": bare}})

    async def asked():
        made = service(recipe, tmp_path / "serve")
        outcome = await made.answer("hornbeam/bare", talk, {"max_tokens": 3})
        with pytest.raises(RecipeError, match="answers one question: send one message"):
            await made.answer("cold", talk)
        tree, chat = made.tree(outcome.tree), made.grower.world.policies.engines[0].chat
        prompt = chat.decode(tree.nodes[1].prompt)
        await closed(made)
        return outcome, tree, prompt

    outcome, tree, prompt = asyncio.run(asked())
    places = [prompt.index(message["content"]) for message in talk]
    assert places == sorted(places) and tree.task["data"]["messages"] == talk
    assert max(len(node.tokens) for node in tree.nodes) <= 3
    assert outcome.episodes == 3 and len(outcome.curve) == 3
    assert outcome.curve[-1][1] == outcome.answer


def test_what_it_costs_is_all_that_the_ledger_has(recipe, tmp_path):
    async def asked():
        made = service(recipe, tmp_path / "serve")
        outcome = await made.answer("beam", user("door one?"))
        again = await made.answer("beam", user("door one?"))
        assert again == outcome and made.counts == {"searches": 2, "searches/known": 1}
        entries = list(made.grower.store.entries())
        await closed(made)
        return outcome, entries

    outcome, entries = asyncio.run(asked())

    def paid(*kinds):
        return sum(e.amount for e in entries if e.kind in kinds)

    assert outcome.sampled == paid("sampled_tokens") > 0
    assert outcome.scorer == paid("scorer_tokens") > 0
    parts = "prompt_tokens_computed", "prompt_tokens_cached", "scorer_tokens"
    assert outcome.prompt == paid(*parts)
    assert all(a <= b for (a, _), (b, _) in itertools.pairwise(outcome.curve))
    assert outcome.curve[-1][0] == paid("sampled_tokens", parts[0], parts[2])


def test_a_folder_that_was_begun_by_places_goes_on_by_them(recipe, tmp_path):
    made = plan(recipe, recipe.base, ["eval"])

    def seeds(begun):
        grower = FolderGrower(recipe, made, tmp_path / "run", Silent(), "held-out")
        fresh = grower.fresh("beam", made.eval.tasks)
        if begun:
            grower.store.begin(*fresh[0])
            grower.store.set("seeds", None)
        grower.store.close()
        return [tree.seed for _, tree in fresh]

    by_question = seeds(begun=True)
    places = [TreeKey("search", 0, n) for n in range(4)]
    assert seeds(begun=False) == [tree_seed(recipe.run.seed, key) for key in places]
    assert by_question[0] == question_seed(recipe.run.seed, "door one?")
    assert by_question[3] == question_seed(recipe.run.seed, "door one?", 1)


ADD = {"name": "add", "description": "", "parameters": {"type": "object", "properties": {}}}


def test_a_bare_model_calls_the_tools_that_most_of_its_answers_call(recipe):
    one, two, other = '{"a": 1, "b": 2}', '{"b": 2,  "a": 1}', '{"a": 3}'
    said = iter([other] * 3 + [one] * 2 + [two] * 2 + ["3"])

    def say(prompt, rng):
        given = next(said)
        call = f'<tool_call>{{"name": "add", "arguments": {given}}}</tool_call>'
        return f"so: {call}" if given != "3" else given

    search = served_search(recipe, "majority-8")
    search = dataclasses.replace(search, program=False)
    tools = [{"type": "function", "function": ADD}]
    task = task_of(search, "single", user("1 + 2?"), {}, tools)
    engine = {"solver": hb.Scripted(say)}
    (tree,) = hb.grow_trees(conversation("solver", ""), [task], engine, hb.Independent(n=8))
    (same,) = asyncio.run(Alike(recipe.reward).of_trees([tree]))
    found = outcome_of(search, tree, "t", [], same)
    (call,) = found.calls_made  # two spellings of one call are one answer
    assert call[0] == "add" and json.loads(call[1]) == {"a": 1, "b": 2} and found.text == "so:"
    with pytest.raises(RecipeError, match="tools of its own"):
        task_of(served_search(recipe, "beam"), "single", user("1 + 2?"), {}, tools)


def test_a_budget_ends_a_search_with_the_best_so_far(recipe, tmp_path):
    def budget(**most):
        held = recipe.serve["cold"].model_copy(update={"budget": Budget(**most)})
        return held

    served = {"one": budget(calls=1), "none": budget(calls=0), "all": budget(calls=9)}
    changed = recipe.model_copy(update={"serve": served})

    async def asked():
        made = service(changed, tmp_path / "serve")
        found = {name: await made.answer(name, user("door one?")) for name in served}
        await closed(made)
        return found

    found = asyncio.run(asked())
    assert [found[name].episodes for name in served] == [1, 0, 3]
    assert [found[name].spent for name in served] == [True, True, False]
    assert [found[name].finish for name in served] == ["stop", "length", "stop"]
    assert found["none"].text == "" and found["none"].answer is None
    assert found["one"].answer == found["all"].curve[0][1] is not None


def test_requests_at_once_share_batches(recipe, tmp_path, monkeypatch):
    wide = recipe.model_copy(update={"engine": EngineSettings(max_batch=16)})
    together = []
    monkeypatch.setattr(
        LocalEngine,
        "_round",
        lambda self, before=LocalEngine._round: (
            together.append(len({job.request.order[:3] for job in self._running})),
            before(self),
        ),
    )

    async def asked():
        made = service(wide, tmp_path / "serve")
        asks = [made.answer("majority-4", user(f"door {n}?")) for n in range(4)]
        await asyncio.gather(*asks)
        await closed(made)

    asyncio.run(asked())
    assert max(together) > 1  # trees in one round of the engine


def test_who_hangs_up_stops_the_search_and_who_asks_again_goes_on_with_it(recipe, tmp_path):
    async def asked(stop):
        made = service(recipe, tmp_path / f"serve{stop}")
        await made.open()
        if stop:
            waits = [asyncio.create_task(made.answer("beam", user("door one?"))) for _ in "ab"]
            while not list(made.grower.store.entries()):
                await asyncio.sleep(0)
            waits[0].cancel()
            await asyncio.sleep(0)
            assert made.counts == {"searches": 1, "searches/joined": 1}  # one still waits
            waits[1].cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            assert made.counts["searches/left"] == 1
        outcome = await made.answer("beam", user("door one?"))
        tree = made.tree(outcome.tree)
        await closed(made)
        return outcome, [(node.parent, node.text) for node in canonical(tree).nodes]

    whole, after = asyncio.run(asked(False)), asyncio.run(asked(True))
    assert whole[1] == after[1] and whole[0].answer == after[0].answer
    assert after[0].sampled == whole[0].sampled


def test_more_than_may_wait_are_refused(recipe, tmp_path):
    async def asked():
        made = service(recipe, tmp_path / "serve")
        made.waiting = 2
        asks = [asyncio.create_task(made.answer("greedy", user(f"{n}"))) for n in range(8)]
        found = await asyncio.gather(*asks, return_exceptions=True)
        later = await made.answer("greedy", user("7"))
        await closed(made)
        return found, later, made.counts

    found, later, counts = asyncio.run(asked())
    assert [isinstance(one, TooMany) for one in found] == [False] * 6 + [True] * 2
    assert later.text and counts == {"searches": 7, "searches/refused": 2}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("best-of-x", ["no search 'best-of-x'", "beam", "majority-N"]),
        ("best_of_8", ["no search 'best_of_8'"]),
        ("majority-100000", ["256", "[serve.NAME]"]),
        ("beam-99x99", ["256"]),
        ("best-of-4", ["hornbeam/best-of-4", "'value'", "[guides.value]"]),
        ("mcts-4", ["'value'", "[guides.value]"]),
        ("swept", ["2 points", "[serve.NAME]"]),
    ],
)
def test_names_that_cannot_be(tmp_path, name, words):
    text = RECIPE[: RECIPE.index("[guides.value]")]
    text += "[[search.methods]]\nname = 'swept'\nsweep = {n = [1, 2]}\n"
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(HornbeamError) as told:
        served_search(load_recipe(tmp_path / "recipe.toml"), f"hornbeam/{name}")
    line = str(told.value)
    assert "\n" not in line and all(word in line for word in words), line


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("[serve.solver]", ["serve.solver", "an agent has that name"]),
        ("[serve.'a/b']", ["serve.'a/b'", "without '/'"]),
        ("[serve.x]\nstrategy = 'bean'", ["serve.x", "'bean'", "'beam'"]),
        ("[serve.x]\nsims = 3\nstrategy = 'mcts'", ["serve.x", "'sims'"]),
        ("[serve.x]\nchoose = 'best_orm'", ["serve.x", "'orm'", "[guides.orm]"]),
        ("[serve.x]\nsweep = {n = [1]}", ["serve.x", "sweep", "one point"]),
        ("[serve.x]\nagent = 'solvr'", ["serve.x", "'solver'"]),
        ("[serve.x]\nanswer = '(a)(b)'", ["serve.x", "one group"]),
        ("[serve.x]\nbudget = {token = 3}", ["serve.x", "'tokens'"]),
        ("[serve.x]\nstrategy = 'mcts'\nrollout = true", ["serve.x", "gold"]),
    ],
)
def test_sections_that_cannot_be(tmp_path, section, words):
    (tmp_path / "recipe.toml").write_text(f"[model]\nname = 'tiny'\n{section}\n")
    with pytest.raises(RecipeError) as told:
        check(load_recipe(tmp_path / "recipe.toml"))
    line = str(told.value)
    assert "\n" not in line and all(word in line for word in words), line
