"""Large trees: cost and memory grow as the tree does, ids are held once."""

import asyncio

from grow.worlds import grow, grower
from hornbeam.chat import assistant, user
from hornbeam.engine.scripted import Scripted
from hornbeam.episode.program import Limits
from hornbeam.search import Branch, Independent
from hornbeam.tree.task import Task
from work_done import lines_run


def unique(tree):
    """How many ids a prefix tree of all sequences holds."""
    root = {}
    count = 0
    for i in range(1, len(tree)):
        at = root
        for token in tree.sequence(i):
            if token not in at:
                at[token] = {}
                count += 1
            at = at[token]
    return count


def held(tree):
    return sum(len(n.prompt) + len(n.tokens) for n in tree.nodes)


async def conversations(task, ep):
    """Two conversations of one agent, turn by turn in turn."""

    async def talk(task, ep):
        messages = [user(task.question * 10)]
        for i in range(12):
            reply = await ep.ask("walker", messages)
            messages += [assistant(reply.text), user(f"go on, turn {i}")]

    await asyncio.gather(*(ep.delegate("walker", talk, Task("s", f"{i}")) for i in range(3)))


def test_ids_of_conversations_in_turn_are_held_once():
    how = grower(conversations, Branch(trunks=2, nodes=2), limits=Limits(turns=99))
    grown = grow(how)
    assert not any(n.error for n in grown.nodes)
    assert held(grown) <= 1.1 * unique(grown)


def test_a_thousand_turns():
    async def program(task, ep):
        messages = [user("a")]
        for _ in range(1000):  # as deep as trees get
            reply = await ep.ask("walker", messages)
            messages = [*messages[-4:], assistant(reply.text)]
        return reply.text

    limits = Limits(turns=1000, tokens=10**6)
    how = grower(program, Branch(trunks=1, nodes=1), Scripted("b"), limits=limits)
    grown = grow(how)
    assert len(grown.leaves()) == 2 and max(map(grown.depth, grown.leaves())) == 1000


def test_many_episodes_cost_what_they_cost():
    async def program(task, ep):
        reply = await ep.ask("walker", [user("a")])
        return (await ep.ask("walker", [user(reply.text)])).text

    def lines(n):
        how = grower(program, Independent(n=n), scorer=None)
        return lines_run(lambda: sizes.append(len(grow(how))))

    sizes = []
    lines(20)  # what is done once only
    small, large = lines(50), lines(500)
    assert sizes == [41, 101, 1001]
    assert large < 1.5 * 10 * small
