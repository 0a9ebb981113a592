"""What the strategies choose, on trees small enough to be checked by eye."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from hornbeam.errors import RecipeError
from hornbeam.search import Branch, Fork, Independent, State, restore, strategy
from hornbeam.tree.nodes import Column, Node, Origin, Tree, floats, ids


def chains(*lengths: int, seed: int = 0) -> Tree:
    """One finished episode of each length, all from the task."""
    tree = Tree({"id": "q"}, seed=seed)
    for episode, length in enumerate(lengths):
        parent = 0
        for step in range(length):
            parent = tree.append(
                Node(parent, origin=Origin(episode, step), done=step + 1 == length)
            )
    return tree


def branch(tree: Tree, parent: int, episode: int) -> int:
    """A finished episode of one step that left `parent`."""
    return tree.append(Node(parent, origin=Origin(episode), done=True))


def spoken(tree: Tree, surprises: Sequence[float]) -> Tree:
    """The same tree; steps 1, 2, ... have these mean negative log-probs."""
    nodes = [tree.nodes[0]]
    for node, nats in zip(tree.nodes[1:], surprises, strict=True):
        said = {"tokens": ids([1, 1]), "logprobs": floats([-nats - 0.5, -nats + 0.5])}
        nodes.append(Node(node.parent, **said, origin=node.origin, done=node.done))
    return Tree(tree.task, nodes, {}, tree.seed)


def asked(how: Branch, tree: Tree) -> list[int]:
    """The nodes asked for in the tree's next round."""
    return [fork.node for fork in how.ask(tree, restore(tree))]


def test_independent_asks_for_all_at_once() -> None:
    tree = Tree({"id": "q"})
    assert Independent(n=3).ask(tree, State()) == [Fork(0, 0), Fork(1, 0), Fork(2, 0)]
    assert Independent(n=3).ask(tree, State({1: 0}, {})) == [Fork(0, 0), Fork(2, 0)]


@pytest.mark.parametrize(
    "trunks, nodes, rounds, leaves", [(2, 2, 1, 6), (1, 3, 2, 7), (4, 2, 0, 4), (3, 1, 4, 15)]
)
def test_a_grown_tree_has_m_times_ln_plus_one_leaves(
    trunks: int, nodes: int, rounds: int, leaves: int
) -> None:
    assert Branch(trunks=trunks, nodes=nodes, rounds=rounds).leaves() == leaves


def test_the_defaults_are_those_of_the_paper() -> None:
    how = Branch()
    assert (how.trunks, how.nodes, how.rounds, how.pick) == (2, 2, 1, "random")


def test_a_round_waits_for_the_trunks_and_then_for_the_round_before() -> None:
    how, tree = Branch(trunks=2, nodes=1, rounds=2), Tree({"id": "q"})
    assert how.ask(tree, State()) == [Fork(0, 0), Fork(1, 0)]
    tree = chains(2, 2)  # 0: nodes 1, 2   1: nodes 3, 4
    assert how.ask(tree, State({0: 0, 1: 0}, {0: 2})) == []
    assert how.ask(tree, State({0: 0, 1: 0}, {0: 2, 1: 4})) == [Fork(2, 1), Fork(3, 3)]
    branch(tree, 1, 2)
    assert how.ask(tree, State({0: 0, 1: 0, 2: 1, 3: 3}, {0: 2, 1: 4, 2: 5})) == []
    assert how.ask(tree, State({0: 0, 1: 0, 2: 1}, {0: 2, 1: 4, 2: 5})) == [Fork(3, 3)]
    branch(tree, 3, 3)
    assert [fork.episode for fork in how.ask(tree, restore(tree))] == [4, 5]


def test_branches_leave_the_steps_of_their_own_trunk_never_the_task_or_an_answer() -> None:
    # trunk 0: 1 2 [3]   trunk 1: 4 5 6 [7]
    for seed in range(50):
        got = asked(Branch(), chains(3, 4, seed=seed))
        assert set(got[:2]) == {1, 2}
        assert len(set(got[2:])) == 2 and set(got[2:]) < {4, 5, 6}


def test_steps_are_drawn_uniformly() -> None:
    many = 3000
    drawn = Counter(
        asked(Branch(trunks=1, nodes=1), chains(5, seed=seed))[0] for seed in range(many)
    )
    assert set(drawn) == {1, 2, 3, 4}
    for count in drawn.values():  # 750 each, standard deviation 24
        assert abs(count - many / 4) < 100


def test_a_step_after_which_only_the_end_came_is_not_drawn() -> None:
    # 1 2! 3: the ask of step 2 failed, node 3 says so; from 2 there is nothing else to come
    tree = Tree({"id": "q"})
    tree.append(Node(0, finish="stop"))
    tree.append(Node(1, origin=Origin(step=1), finish="too long"))
    tree.append(Node(2, origin=Origin(step=2), finish="end", done=True, error="PromptTooLong: ..."))
    assert asked(Branch(trunks=1, nodes=2), tree) == [1, 1]


def test_rounds_are_drawn_apart() -> None:
    # 1 2 [3]: where two rounds of one branch each leave it, over many seeds
    how, pairs = Branch(trunks=1, nodes=1, rounds=2), set()
    for seed in range(40):
        tree = chains(3, seed=seed)
        (first,) = asked(how, tree)
        branch(tree, first, 1)
        (second,) = asked(how, tree)
        pairs.add((first, second))
    assert pairs == {(1, 1), (1, 2), (2, 1), (2, 2)}


def test_a_step_is_drawn_again_once_every_other_was() -> None:
    got = Counter(asked(Branch(trunks=1, nodes=5), chains(3)))
    assert sorted(got.values()) == [2, 3] and set(got) == {1, 2}


def test_later_rounds_draw_from_branches_too() -> None:
    # trunk 1 [2]; a branch left 1 and took two steps: 3 [4]
    tree = chains(2)
    middle = tree.append(Node(1, origin=Origin(1, 0)))
    tree.append(Node(middle, origin=Origin(1, 1), done=True))
    got = {
        asked(Branch(trunks=1, nodes=1, rounds=2), Tree(tree.task, tree.nodes, {}, seed))[0]
        for seed in range(20)
    }
    assert got == {1, 3}


def test_a_trunk_of_one_step_grows_afresh_from_the_task() -> None:
    # trunk 0: [1]   trunk 1: 2 [3]
    tree = chains(1, 2)
    assert asked(Branch(rounds=2), tree) == [0, 0, 2, 2]
    # its second round draws from the episode that took two steps: 4 [5]
    start = tree.append(Node(0, origin=Origin(2, 0)))
    tree.append(Node(start, origin=Origin(2, 1), done=True))
    branch(tree, 0, 3)
    branch(tree, 2, 4)
    branch(tree, 2, 5)
    assert asked(Branch(rounds=2), tree) == [start, start, 2, 2]


def test_entropy_takes_the_least_certain_steps() -> None:
    # trunk: 1 2 3 [4], the answer is the least certain of all and is not drawn
    tree = spoken(chains(4), [0.5, 0.9, 0.7, 3.0])
    assert asked(Branch(trunks=1, nodes=2, pick="entropy"), tree) == [2, 3]


def test_entropy_is_less_by_the_penalty_for_each_branch() -> None:
    # 1 2 [3]; the first round's branch left 2 (0.9), which is now worth 0.9 - penalty against 0.75
    tree = chains(3)
    branch(tree, 2, 1)
    tree = spoken(tree, [0.75, 0.9, 3.0, 3.0])
    settings = {"trunks": 1, "nodes": 1, "rounds": 2, "pick": "entropy"}
    assert asked(Branch(**settings, penalty=0.1), tree) == [2]
    assert asked(Branch(**settings, penalty=0.2), tree) == [1]


def test_mixed_takes_the_least_settled_steps() -> None:
    #     0
    #     1        V(1) = 1/3: 2/9      rewards: 3: 0   4: 1   5: 0
    #    / \
    #   2   5      V(2) = 1/2: 1/4
    #  / \
    # 3   4
    tree = chains(3)
    branch(tree, 2, 1)
    branch(tree, 1, 2)
    reward: Column = [None, None, None, 0.0, 1.0, 0.0]
    tree.columns["reward"] = reward
    how = Branch(trunks=1, nodes=2, rounds=2, pick="mixed")
    assert asked(how, tree) == [2, 1]
    reward[3:] = [1.0, 1.0, 0.0]  # V(2) = 1: 0   V(1) = 2/3: 2/9
    assert asked(how, tree) == [1, 2]
    reward[3:] = [None, 1.0, 0.0]  # a failed leaf says nothing: V(2) = 1   V(1) = 1/2
    assert asked(how, tree) == [1, 2]
    reward[3:] = [-0.2, 1.2, -0.2]  # taken into [0, 1], as the first time
    assert asked(how, tree) == [2, 1]


@pytest.mark.parametrize("pick", ["entropy", "mixed"])
def test_ties_are_drawn(pick: str) -> None:
    got = Counter(
        asked(Branch(trunks=1, nodes=1, pick=pick), chains(3, seed=seed))[0] for seed in range(100)
    )
    assert set(got) == {1, 2} and min(got.values()) > 25


def test_restore_reads_the_state_off_the_tree() -> None:
    # episode 0: 1 2 [3]   episode 1, from 2, still out: 4   episode 2: nothing yet
    tree = chains(3)
    tree.append(Node(2, origin=Origin(1)))
    assert restore(tree) == State({0: 0, 1: 2}, {0: 3})
    assert restore(Tree({"id": "q"})) == State()


def test_strategies_by_name() -> None:
    assert strategy("branch", trunks=3) == Branch(trunks=3)
    assert strategy("independent") == Independent()


@pytest.mark.parametrize(
    "name, settings, text",
    [
        ("brnch", {}, "unknown strategy 'brnch': did you mean 'branch'?"),
        ("branch", {"trunk": 2}, "strategy 'branch' has no setting 'trunk': did you mean 'trunks'"),
        ("branch", {"name": 2}, "strategy 'branch' has no setting 'name'"),
        ("independent", {"nodes": 2}, "known: n; strategy 'branch' has it"),
        ("branch", {"trunks": 0}, "strategy 'branch': trunks = 0: "),
        ("branch", {"pick": "any"}, "strategy 'branch': pick = 'any': "),
        ("independent", {"n": 1.5}, "strategy 'independent': n = 1.5: "),
    ],
)
def test_wrong_settings_are_told(name: str, settings: dict, text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        strategy(name, **settings)
    assert text in str(caught.value)
