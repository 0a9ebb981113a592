"""The case: a tool that appends to a list and tells its length, under forks."""

import hornbeam as hb
from hornbeam.chat import user


async def walk(task, ep):
    said = []
    for turn in range(3):
        await ep.ask("walker", [user(f"{turn}")])
        said.append(await ep.call("note", text="x"))
    return said


def note(text, world):
    world.append(text)
    return len(world)


def grown(tools, strategy=hb.Branch(trunks=1, nodes=2), **more):
    who = {"walker": hb.Scripted(lambda prompt, rng: rng.choice("abcdef"))}
    return hb.grow_trees(walk, [hb.Task("t", "?")], who, strategy, tools=tools, **more)


def test_a_fork_hears_what_an_undisturbed_run_hears():
    for seed in range(4):
        (tree,) = grown({"note": note}, world=list, seed=seed)
        ends = [tree.nodes[leaf] for leaf in tree.leaves()]
        assert [(end.error, end.answer) for end in ends] == [("", [1, 2, 3])] * 3
