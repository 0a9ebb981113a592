"""Which step lost a stored run, by the growth that made it: programs, tools, worlds, teams."""

import asyncio
from dataclasses import replace

import pytest

import hornbeam as hb
from hornbeam.blame import BlameForks, BlameSettings, blame_forks, blame_run, run_of
from hornbeam.errors import DataError
from hornbeam.grow.grower import Grower
from hornbeam.score.function_scorer import FunctionScorer
from hornbeam.search import restore
from hornbeam.store.keys import Stored, TreeKey
from hornbeam.store.ledger import Budget, Ledger
from hornbeam.workers.local_workers import LocalWorkers
from hornbeam.worlds import Snapshots
from hornbeam.worlds.python_world import PythonWorld

STEPS, BAD = 6, 3  # the fourth step decides
KEY = TreeKey("blame", 0, 0)


async def walk(task, ep):
    """A team of two takes turns; what was said so far is in every prompt."""
    said = []
    for turn in range(STEPS):
        who = "planner" if turn % 2 == 0 else "worker"
        reply = await ep.ask(who, [hb.user(f"{turn}: {','.join(said)}")])
        said.append(reply.text)
        await ep.call("note", text=reply.text)
    return await ep.call("all")


def note(text, world):
    world.setdefault("said", []).append(text)
    return len(world["said"])


def everything(world):
    return world["said"]


def say(prompt, rng):
    return rng.choice(["left", "right", "stay"])


def score(task, answer):
    return float(answer[BAD] != "left")


def grower(**given):
    agents = {name: hb.Speaker(hb.Scripted(say)) for name in ("planner", "worker")}
    tools = LocalWorkers({"note": note, "all": everything})
    made = Grower(walk, agents, hb.Independent(n=6), FunctionScorer(score), tools)
    return replace(made, worlds=Snapshots(PythonWorld()), **given)


def runs(seed=0):
    return asyncio.run(grower().grow(KEY, hb.Tree(hb.Task("t", "?").to_json(), seed=seed)))


def ended(tree, reward):
    return next(i for i in tree.leaves() if tree.columns["reward"][i] == reward)


def blamed(tree, leaf, settings=BlameSettings(), **given):
    return asyncio.run(blame_run(grower(**given), KEY, tree, leaf, settings))


@pytest.mark.parametrize("seed", range(3))
def test_the_step_that_lost_a_run_of_a_team_with_a_world(seed):
    tree = runs(seed)
    blame, grown = blamed(tree, ended(tree, 0.0))
    assert (blame.why, blame.step, blame.said, blame.agent) == ("found", BAD + 1, "left", "worker")
    assert {said.text for said in blame.instead} <= {"right", "stay"} and blame.instead
    assert blame.by_agent["worker"] > 0.5 > abs(blame.by_agent["planner"])
    assert blame.outcome == 0 and len(blame.values) == STEPS + 1
    # every fork heard its own world: what it answered is what it said
    for leaf in grown.leaves():
        said = [grown.nodes[i].text for i in grown.path(leaf) if grown.nodes[i].finish != "end"]
        assert grown.nodes[leaf].answer == said


def test_what_won_a_run():
    tree = runs(1)
    blame, _ = blamed(tree, ended(tree, 1.0), BlameSettings(rise=True, forks=200))
    assert (blame.step, blame.outcome) == (BAD + 1, 1.0)
    assert {said.text for said in blame.instead} == {"left"}  # those that did not win


def test_the_run_alone_is_the_run():
    tree = runs()
    leaf = ended(tree, 0.0)
    alone = run_of(tree, leaf)
    end = len(alone) - 1
    assert [alone.nodes[i].text for i in range(1, end + 1)] == [
        tree.nodes[i].text for i in tree.path(leaf)
    ]
    assert alone.sequence(end) == tree.sequence(leaf)
    assert restore(alone).results == {0: end}
    assert alone.columns["reward"][end] == 0


def test_forks_and_tokens_are_those_of_the_tree():
    tree = runs()
    blame, grown = blamed(tree, ended(tree, 0.0), BlameSettings(forks=10))
    forks = {node.origin.episode for node in grown.nodes[1:]} - {0}
    assert len(forks) == blame.forks <= 10
    assert min(forks) > max(node.origin.episode for node in tree.nodes)
    spent = sum(len(node.tokens) for node in grown.nodes if node.origin.episode)
    assert spent == blame.tokens


@pytest.mark.parametrize("kept", [7, 20, 33])
def test_equal_runs_are_blamed_equally_and_a_stopped_one_goes_on(kept):
    tree = runs()
    leaf = ended(tree, 0.0)
    whole, grown = blamed(tree, leaf)
    assert blamed(tree, leaf) == (whole, grown)
    how = blame_forks(tree, leaf)
    part = hb.Tree(grown.task, grown.nodes[:kept], {}, grown.seed)  # stopped in mid-episode
    made = grower(strategy=how)
    again = asyncio.run(made.grow(KEY, Stored(part, False, [])))
    assert how.blames(again) == [whole]
    assert [node.text for node in again.nodes] == [node.text for node in grown.nodes]


def test_a_spent_budget_is_no_error_and_what_ended_counts():
    tree = runs()
    ledger = Ledger(Budget(tokens=4000))
    blame, grown = blamed(tree, ended(tree, 0.0), ledger=ledger)
    assert ledger.totals["sampled_tokens"] + ledger.totals["prompt_tokens_computed"] <= 4000
    assert 0 < blame.forks == len(restore(grown).results) - 1


def test_a_run_that_failed_is_lost_where_its_error_came_from():
    async def fragile(task, ep):
        said = [(await ep.ask("planner", [hb.user(f"{k}")])).text for k in range(4)]
        if said[1] == "left":
            raise ValueError("left is a wall")
        return said

    agents = {"planner": hb.Speaker(hb.Scripted(say))}
    scorer = FunctionScorer(lambda task, answer: 1.0)
    made = Grower(fragile, agents, hb.Independent(n=8), scorer)
    tree = asyncio.run(made.grow(KEY, hb.Tree(hb.Task("t", "?").to_json())))
    leaf = next(i for i in tree.leaves() if tree.nodes[i].error)
    blame, _ = asyncio.run(blame_run(made, KEY, tree, leaf))
    assert (blame.step, blame.said, blame.failed) == (2, "left", 0)


def test_a_run_without_a_step_has_none_to_blame():
    async def silent(task, ep):
        return 1

    made = Grower(silent, {}, hb.Independent(n=1))
    tree = asyncio.run(made.grow(KEY, hb.Tree(hb.Task("t", "?").to_json())))
    with pytest.raises(DataError, match="has no step"):
        asyncio.run(blame_run(made, KEY, tree, 1))


def test_as_a_strategy_it_labels_the_steps_of_runs_of_its_own():
    how = BlameForks(runs=3, forks=24)
    made = replace(grower(), strategy=how)
    tree = asyncio.run(made.grow(KEY, hb.Tree(hb.Task("t", "?").to_json(), seed=4)))
    assert len(restore(tree).results) <= how.leaves()
    columns = how.columns(tree)
    for r, blame in enumerate(how.blames(tree)):
        path = tree.path(restore(tree).results[r])
        q = [columns["q"][i] for i in path if tree.nodes[i].finish != "end"]
        assert q == [value.value for value in blame.values[1:]]
        assert q[-1] == blame.outcome
    assert columns["q"][0] is not None and columns["visits"][0] is not None


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_the_door_tells_what_the_growth_finds(in_a_loop):
    tree = runs()
    leaf = next(i for i in tree.leaves() if tree.columns["reward"][i] == 0)
    agents = {name: hb.Scripted(say) for name in ("planner", "worker")}
    tools = {"note": note, "all": everything}

    def ask():
        return hb.blame(walk, tree, agents, score=score, tools=tools, world="python", forks=40)

    async def inside():
        return ask()

    expected, _ = blamed(tree, leaf, BlameSettings(forks=40))
    assert (asyncio.run(inside()) if in_a_loop else ask()) == expected


def test_the_door_stops_at_a_budget():
    tree = runs()
    agents = {name: hb.Scripted(say) for name in ("planner", "worker")}
    tools = {"note": note, "all": everything}
    more = {"score": score, "tools": tools, "world": "python"}
    blame = hb.blame(walk, tree, agents, budget=hb.Budget(calls=20), **more)
    assert (blame.why, blame.step) == ("undecided", None) and 0 < blame.forks < 12
