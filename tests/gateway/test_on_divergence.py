"""Runs of agents that do not repeat their path, as branches of their own: `on_divergence`."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from gateway.test_sessions import ONE, copy
from grow.worlds import KEY, OneMore
from hornbeam.chat import ByteChat
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import EngineLost
from hornbeam.gateway.agent_program import AgentCommand, AgentProgram
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.protocols import Opinions
from hornbeam.score.reward_settings import RewardSettings
from hornbeam.score.rules import make_scorer
from hornbeam.search import Beam, Branch, Independent, Mcts, Rollouts
from hornbeam.store.database import Store
from hornbeam.store.ledger import Ledger
from hornbeam.tree.nodes import Tree, canonical
from hornbeam.tree.task import Task

AGENTS = Path(__file__).with_name("varying_agents.py")


def say(prompt, rng):
    return f"{rng.choice(['one', 'two', 'three', 'four'])} {rng.randint(1, 99)}"


class Lengths:
    """A guide: the more a step says, the better."""

    column = "value"

    def __init__(self, barrier):
        self.barrier = barrier

    def most(self, tree, nodes):
        return 0

    async def judge(self, tree, nodes):
        return Opinions([len(tree.nodes[i].text) / 10 for i in nodes])

    def forget(self, tree):
        pass

    async def aclose(self):
        pass


class Stops(Scripted):
    """Is lost at one of its requests."""

    def __init__(self, at):
        super().__init__(say)
        self.left = at

    async def generate(self, request):
        if self.left == 0:
            raise EngineLost("gone")
        self.left -= 1
        return await super().generate(request)


def grow(
    folder,
    how,
    strategy,
    start=None,
    engine=None,
    store=None,
    divergence="branch",
    told=None,
    patience=0.02,
):
    """(tree, ledger) of an agent that counts its runs in a folder; one episode at a time."""

    async def run():
        command = f"python {AGENTS} {how} {folder / 'runs'}"
        program = AgentProgram(
            AgentCommand(command=command, patience=patience, on_divergence=divergence)
        )
        program.tell((told if told is not None else []).append)
        speaks = Speaker(engine or Scripted(say))
        ledger = Ledger(sink=store.enter if store else None)
        grower = Grower(program, {"solver": speaks}, strategy, ledger=ledger, episodes=1)
        grower.scorer = make_scorer(RewardSettings(rule="none"))
        grower.keeper = store
        if strategy.reads if hasattr(strategy, "reads") else ():
            grower.guides = [Lengths(speaks.engine.barrier)]
        try:
            fresh = Tree(Task("t", "What?").to_json(), seed=5)
            return await grower.grow(KEY, start or fresh), ledger
        finally:
            await program.aclose()
            await grower.scorer.aclose()

    return asyncio.run(run())


def episodes(tree):
    """The nodes of each episode, in order."""
    out = {}
    for i, node in enumerate(tree.nodes[1:], 1):
        out.setdefault(node.origin.episode, []).append(i)
    return out


def check(tree, ledger):
    """Parents come first and stand in the contexts below them, and what was paid is in the tree."""
    chat = ByteChat()
    for i, node in enumerate(tree.nodes[1:], 1):
        assert 0 <= node.parent < i
        context = chat.decode(tree.context(i))
        above = [tree.nodes[k].text for k in tree.path(i)[:-1]]
        if node.tokens:
            assert all(text in context for text in above), (above, context)
    sampled = sum(len(node.tokens) for node in tree.nodes)
    assert ledger.totals["sampled_tokens"] == sampled
    assert ledger.totals["model_calls"] == sum(bool(node.tokens) for node in tree.nodes)
    names = [(node.origin.episode, node.origin.step) for node in tree.nodes[1:]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("node", [1, 2, 3])
def test_a_run_that_leaves_its_path_goes_on_from_where_it_left_it(tmp_path, node):
    whole, _ = grow(tmp_path, "second", ONE)
    told = []
    tree, ledger = grow(tmp_path, "second", OneMore(node, 9), copy(whole), told=told)
    new = tree.nodes[len(whole) :]
    assert [n.parent for n in new] == [1, *range(len(whole), len(whole) + 2)]
    assert [n.origin.step for n in new] == [0, 1, 2] and new[-1].done and not new[-1].error
    assert ledger.totals["model_calls"] == 3
    # From the first node on nothing of its path is left to repeat.
    assert ledger.totals.get("divergences", 0) == (node > 1)
    if node > 1:
        (line,) = told
        assert "did not repeat its path: " in line and "b of run 0" in line and "b of run 1" in line
    context = ByteChat().decode(tree.context(len(whole)))
    assert "b of run 1" in context and tree.nodes[1].text in context


def test_by_default_it_fails(tmp_path):
    whole, _ = grow(tmp_path, "second", ONE)
    how = {"start": copy(whole), "divergence": "fail"}
    tree, ledger = grow(tmp_path, "second", OneMore(2, 9), **how)
    (new,) = tree.nodes[len(whole) :]
    assert new.error.startswith("Divergence: ") and new.parent == 2
    assert "divergences" not in ledger.totals
    assert AgentCommand(command="x").on_divergence == "fail"


def test_one_that_shares_nothing_is_a_trunk_of_its_own(tmp_path):
    whole, _ = grow(tmp_path, "first", ONE)
    tree, ledger = grow(tmp_path, "first", OneMore(2, 9), copy(whole))
    new = tree.nodes[len(whole) :]
    assert [n.parent for n in new] == [0, len(whole), len(whole) + 1]
    assert ledger.totals["divergences"] == 1


def test_one_that_ends_early_ends_there_with_its_answer(tmp_path):
    whole, _ = grow(tmp_path, "shorter", ONE)
    told = []
    tree, ledger = grow(tmp_path, "shorter", OneMore(2, 9), copy(whole), told=told)
    (new,) = tree.nodes[len(whole) :]
    assert new.parent == 1 and new.finish == "end" and new.done and not new.error
    assert new.answer == f'"{tree.nodes[1].text}"' and ledger.totals["divergences"] == 1
    assert "it ended where the record has an ask of 'solver'" in told[0]


def test_one_that_fails_early_fails_there(tmp_path):
    whole, _ = grow(tmp_path, "fails", ONE)
    tree, ledger = grow(tmp_path, "fails", OneMore(2, 9), copy(whole))
    (new,) = tree.nodes[len(whole) :]
    assert new.parent == 1 and "it fails now" in new.error and ledger.totals["divergences"] == 1


def test_two_at_once_of_which_one_is_another(tmp_path):
    whole, _ = grow(tmp_path, "crowd", ONE)
    tree, ledger = grow(tmp_path, "crowd", OneMore(3, 9), copy(whole))
    new = tree.nodes[len(whole) :]
    assert new[-1].done and not new[-1].error and len(new) in (2, 3)
    assert ledger.totals["divergences"] == 1
    assert ledger.totals["model_calls"] == len(new)


STRATEGIES = {
    "independent": Independent(n=3),
    "branch": Branch(trunks=2, nodes=2, rounds=2),
    "mcts by runs": Mcts(rollout=True, simulations=7, children=2),
    "mcts by runs, merged": Mcts(rollout=True, simulations=5, children=2, merge=True),
    "mcts by values": Mcts(simulations=5, children=2),
    "masprm": Mcts(style="masprm", simulations=3, children=2),
    "masprm by runs": Mcts(style="masprm", rollout=True, simulations=3, children=2),
    "beam": Beam(beams=2, width=2, depth=4),
    "rollouts": Rollouts(trunks=1, rollouts=2, depth=2),
}


CASES = [(name, "second") for name in STRATEGIES]
CASES += [(name, "first") for name in STRATEGIES if name.startswith("m")]
CASES += [("branch", "shorter"), ("mcts by runs", "shorter"), ("rollouts", "shorter")]


@pytest.mark.parametrize(("name", "how"), CASES)
def test_trees_of_all_strategies_are_whole(tmp_path, name, how):
    strategy = STRATEGIES[name]
    tree, ledger = grow(tmp_path, how, strategy)
    check(tree, ledger)
    assert len(episodes(tree)) <= strategy.leaves()
    assert not any(node.error for node in tree.nodes)
    left = ledger.totals.get("divergences", 0)
    assert left == 0 if name == "independent" else left > 0
    for column, values in strategy.columns(tree).items():
        assert len(values) == len(tree), column


@pytest.mark.parametrize("name", ["branch", "mcts by runs"])
def test_the_same_runs_give_the_same_tree(tmp_path, name):
    trees = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        trees.append(grow(folder, "second", STRATEGIES[name])[0])
    assert trees[0] == trees[1]


def test_what_mcts_backs_up_is_what_was_grown(tmp_path):
    strategy = Mcts(rollout=True, simulations=6, children=3)
    tree, _ = grow(tmp_path, "first", strategy)
    visits = strategy.columns(tree)["visits"]
    assert visits[0] == 6 and sum(visits[i] for i in tree.children(0)) == 6
    assert len(tree.children(0)) == 6  # every run began anew
    by_node = Counter(i for leaf in tree.leaves() for i in tree.path(leaf))
    assert all(visits[i] == by_node[i] for i in range(1, len(tree)))


@pytest.mark.parametrize("name", ["branch", "mcts by runs", "independent", "beam"])
@pytest.mark.parametrize("at", [2, 5, 8])
def test_a_stop_loses_nothing_and_pays_nothing_twice(tmp_path, name, at):
    strategy = STRATEGIES[name]
    with Store(tmp_path / "run") as store:
        with pytest.raises(EngineLost):
            grow(tmp_path, "second", strategy, engine=Stops(at), store=store)
        left = store.read(KEY)
        tree, _ = grow(tmp_path, "second", strategy, left, store=store)
        stored = canonical(store.read(KEY).tree)
        costs = store.totals(lost=False)
    assert stored.nodes == tree.nodes
    ledger = Ledger()
    ledger.totals.update(costs)
    check(tree, ledger)
    ended = {tree.nodes[i].origin.episode for i in tree.leaves() if tree.nodes[i].done}
    if strategy.steps is None:
        assert ended == set(episodes(tree))
