"""A value model guides the growth of teams of four agents: what it costs, what is repeated."""

import asyncio
import math

import pytest

from grow.worlds import Late
from hornbeam.chat import user
from hornbeam.errors import BudgetSpent
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.score.prm import ValueGuide
from hornbeam.search import Beam, Mcts
from hornbeam.store.database import TreeKey
from hornbeam.store.ledger import Budget, Ledger
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from train import value_worlds as worlds
from train.test_value_frontier import trie

AGENTS = ("reader", "planner", "solver", "verifier")
MODEL = worlds.value_model(size={"vocab_size": 256, "max_position_embeddings": 2048})


def say(prompt, rng):
    """Some letters."""
    return "".join(rng.choice("abcd") for _ in range(rng.randint(2, 5)))


async def team(task, ep):
    """Each agent sees the question and what the ones before it said."""
    said = []
    for agent in AGENTS:
        reply = await ep.ask(agent, [user(f"{task.question}|{' '.join(said)}|{agent}")])
        said.append(reply.text)
    return said[-1]


def grown(strategy, trees=1, seed=0, most=1000, ledger=None, **more):
    """(trees, ledger) of searches side by side, the engine answering in an order of its own."""
    engine, ledger = Late(say, seed, most), ledger or Ledger()
    guide = ValueGuide(MODEL, strategy.column, **more)
    speakers = dict.fromkeys(AGENTS, Speaker(engine))
    grower = Grower(team, speakers, strategy, ledger=ledger, guides=[guide])
    starts = [
        (TreeKey("search", 0, k), Tree(Task(f"t{k}", f"Question {k}?").to_json(), seed=k))
        for k in range(trees)
    ]
    result = asyncio.run(grower.grow_all(starts))
    assert guide._frontier.held == 0  # forgotten once grown
    return result, ledger


STRATEGIES = [Beam(beams=2, width=2), Mcts(simulations=6, children=2)]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_each_token_of_a_tree_is_paid_once(strategy):
    trees, ledger = grown(strategy, trees=3)
    paid = 0
    for tree in trees:
        assert {node.agent for node in tree.nodes[1:]} == set(AGENTS)
        paid += trie(tree, range(1, len(tree)))
        for i, value in enumerate(tree.columns["value"][1:], 1):
            z = worlds.plain(MODEL.model, tree, i)
            assert value == pytest.approx(math.tanh(z), abs=1e-5)
    assert ledger.totals["scorer_tokens"] == paid
    assert paid < 0.6 * sum(tree.length(i) for tree in trees for i in range(1, len(tree)))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_the_same_tree_in_whatever_order_answers_come(strategy):
    (first,), before = grown(strategy)
    for seed, most in ((1, 1), (2, 3)):
        (other,), after = grown(strategy, seed=seed, most=most)
        assert other.nodes == first.nodes
        assert other.columns["value"][1:] == pytest.approx(first.columns["value"][1:], abs=1e-6)
        assert after.totals["scorer_tokens"] == before.totals["scorer_tokens"]


def test_little_room_costs_more_and_says_the_same():
    (wide, narrow), _ = grown(STRATEGIES[1], trees=2)
    (again, same), ledger = grown(STRATEGIES[1], trees=2, cache_tokens=50)
    assert [wide.nodes, narrow.nodes] == [again.nodes, same.nodes]
    once = sum(trie(tree, range(1, len(tree))) for tree in (again, same))
    assert ledger.totals["scorer_tokens"] > once


@pytest.mark.parametrize("tokens", [150, 400, 900])
def test_a_budget_of_tokens_holds_with_the_guides_own(tokens):
    ledger = Ledger(Budget(tokens=tokens))
    with pytest.raises(BudgetSpent):
        grown(Beam(beams=2, width=3), trees=2, ledger=ledger)
    assert ledger.tokens <= tokens
