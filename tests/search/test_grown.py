"""Searches grown for real: a team of agents, the scripted engine, a guide that is paid."""

from __future__ import annotations

import asyncio
from collections import Counter
from hashlib import blake2b

import pytest

from grow.worlds import Late
from hornbeam.chat import assistant, user
from hornbeam.engine.request import Barrier, Sampling
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import BudgetSpent
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.protocols import Opinions
from hornbeam.search import Beam, Dvts, Mcts, Particle, Strategy, Vote
from hornbeam.search.choose import choose
from hornbeam.search.labels import informative, label
from hornbeam.store.database import Store, TreeKey
from hornbeam.store.ledger import Budget, Ledger
from hornbeam.tree.jsonl import to_json
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

KEY = TreeKey("search", 0, 0)
SEARCHES = [
    Beam(beams=2, width=2),
    Dvts(subtrees=2, width=2),
    Particle(particles=4),
    Mcts(simulations=5, children=2),
    Mcts(simulations=6, children=2, expand="one", parallel=3, merge=True, rule="puct"),
    Mcts(rollout=True, simulations=8, children=2, c=2),
    Mcts(style="masprm", simulations=3, children=2),
    Mcts(style="masprm", rollout=True, simulations=4, children=2, c=2),
    Vote(n=5, parallel=1),
]
every_search = pytest.mark.parametrize("strategy", SEARCHES, ids=repr)


class Killed(Exception):
    """What stands for the end of the process."""


class Calls:
    """Counts calls, engine's and guide's, and ends the process at one of them."""

    def __init__(self, deadly: int | None = None) -> None:
        self.count, self.deadly = 0, deadly

    def one(self) -> None:
        if self.count == self.deadly:
            raise Killed
        self.count += 1


class Counted(Scripted):
    """The scripted engine; keeps what every call cost."""

    def __init__(self, say, calls: Calls) -> None:
        super().__init__(say)
        self.calls, self.paid = calls, Counter[str]()

    async def generate(self, request):
        self.calls.one()
        await asyncio.sleep(0)
        done = await super().generate(request)
        self.paid["model_calls"] += 1
        self.paid["sampled_tokens"] += len(done.tokens)
        self.paid["prompt_tokens_computed"] += done.computed
        return done


class ByText:
    """A guide whose value hangs on a step's text; never asked about one step twice."""

    column = "value"

    def __init__(self, calls: Calls) -> None:
        self.barrier = Barrier()
        self.calls, self.paid, self.seen = calls, Counter[str](), set()

    def most(self, tree, nodes):
        return 10 * sum(tree.length(i) for i in nodes)

    async def judge(self, tree, nodes):
        self.calls.one()
        assert not self.seen & set(nodes)
        self.seen |= set(nodes)
        await asyncio.sleep(0)
        tokens = sum(len(tree.nodes[i].tokens) for i in nodes)
        self.paid += Counter(scorer_calls=1, scorer_tokens=tokens)
        texts = [tree.nodes[i].text.encode() for i in nodes]
        return Opinions([blake2b(t).digest()[0] / 127.5 - 1 for t in texts], tokens)

    def forget(self, tree):
        self.seen.clear()

    async def aclose(self):
        pass


class LastLetter:
    """1 for an answer that ends in "a"."""

    column = "reward"

    async def score(self, tree, nodes):
        return [float(tree.nodes[i].answer.endswith("a")) for i in nodes]

    async def aclose(self):
        pass


async def team(task, ep):
    """Three agents, one after the other; the second may have the last word."""
    plan = await ep.ask("reader", [user(task.question)])
    draft = await ep.ask("planner", [user(task.question), assistant(plan.text)])
    if draft.text == "a":
        return draft.text
    last = await ep.ask("solver", [user(task.question), user(plan.text), user(draft.text)])
    return last.text


def say(prompt, rng):
    return rng.choice(["a", "b", "cc", "ddd"])


def grower(strategy: Strategy, engine, calls: Calls | None = None, **more) -> Grower:
    calls = engine.calls if calls is None else calls
    speaker = Speaker(engine, Sampling(max_tokens=8))
    agents = dict.fromkeys(("reader", "planner", "solver"), speaker)
    return Grower(team, agents, strategy, LastLetter(), guides=[ByText(calls)], **more)


def fresh(seed: int = 3) -> Tree:
    return Tree(Task("t", "Why?").to_json(), seed=seed)


def grow(strategy: Strategy, seed: int = 3) -> tuple[Tree, Grower]:
    how = grower(strategy, Counted(say, Calls()))
    return asyncio.run(how.grow(KEY, fresh(seed))), how


@every_search
def test_the_ledger_is_the_sum_over_the_calls(strategy: Strategy) -> None:
    tree, how = grow(strategy)
    engine, guide = how.agents["reader"].engine, how.guides[0]
    paid = engine.paid + guide.paid
    entered = {kind: amount for kind, amount in how.ledger.totals.items() if kind in paid}
    assert entered == dict(paid)
    assert how.ledger.calls == engine.calls.count == paid["model_calls"] + paid["scorer_calls"]
    assert paid["model_calls"] == len(tree) - 1  # a node is a call, and no step is paid twice
    assert paid["sampled_tokens"] == sum(len(node.tokens) for node in tree.nodes)


@every_search
def test_killed_at_any_call_and_grown_on_it_is_the_same_tree(strategy: Strategy, tmp_path) -> None:
    whole, how = grow(strategy)
    calls = how.agents["reader"].engine.calls.count
    for deadly in range(calls):
        with Store(tmp_path / str(deadly)) as store:
            engine = Counted(say, Calls(deadly))
            with pytest.raises(Killed):
                asyncio.run(grower(strategy, engine, keeper=store).grow(KEY, fresh()))
            left = store.read(KEY)
            assert not left.done
            again = grower(strategy, Counted(say, Calls()), keeper=store)
            grown = asyncio.run(again.grow(KEY, left))
            assert to_json(grown) == to_json(whole)
            assert to_json(store.read(KEY).tree) == to_json(whole)


@every_search
def test_answers_in_any_order_give_the_tree_of_one_call_at_a_time(strategy: Strategy) -> None:
    class OneByOne(Counted):
        gate = asyncio.Semaphore(1)

        async def generate(self, request):
            async with self.gate:
                return await super().generate(request)

    plain = asyncio.run(grower(strategy, OneByOne(say, Calls())).grow(KEY, fresh()))
    for seed in range(4):
        how = grower(strategy, Late(say, seed, most=1 + seed), Calls())
        assert to_json(asyncio.run(how.grow(KEY, fresh()))) == to_json(plain)


@every_search
def test_a_spent_budget_lets_what_is_in_flight_come_home(strategy: Strategy) -> None:
    whole, free = grow(strategy)
    for part in (0.3, 0.6, 0.9):
        budget = Budget(tokens=int(part * free.ledger.tokens))
        engine, start = Counted(say, Calls()), fresh()
        how = grower(strategy, engine, ledger=Ledger(budget))
        with pytest.raises(BudgetSpent, match="tokens"):
            asyncio.run(how.grow(KEY, start))
        assert how.ledger.tokens <= budget.tokens
        assert engine.paid["model_calls"] == len(start) - 1  # nothing paid was lost
        grown = asyncio.run(grower(strategy, Counted(say, Calls())).grow(KEY, start))
        assert to_json(grown) == to_json(whole)


def test_a_settled_vote_drops_what_is_out() -> None:
    async def same(task, ep):
        """Says the same whatever it hears."""
        await ep.ask("reader", [user(task.question)])
        return "a"

    async def run() -> Tree:
        engine = Late(say, 0, most=1)
        how = grower(Vote(n=9), engine, Calls())
        how.program = same
        tree = await how.grow(KEY, fresh())
        for _ in range(20):
            await asyncio.sleep(0)
        assert engine.barrier.count == 0
        return tree

    tree = asyncio.run(run())
    assert len(tree.leaves()) == 5  # four could not catch up
    leaf = choose(tree, "majority")
    assert leaf is not None and tree.nodes[leaf].answer == "a"
    again = grower(Vote(n=9), Counted(say, Calls()))
    assert to_json(asyncio.run(again.grow(KEY, tree))) == to_json(tree)


def test_a_label_tree_is_a_search_tree() -> None:
    how = Mcts(rollout=True, simulations=24, children=3, c=8)
    tree, _ = grow(how)
    tree.columns |= how.columns(tree)
    assert tree.columns["visits"][0] == 24
    searched = choose(tree, "visits")
    assert searched is not None and tree.columns["reward"][searched] == 1
    tree.columns |= label(tree)
    assert tree.columns["visits"][0] == len(tree.leaves()) <= 24
    assert informative(tree)
