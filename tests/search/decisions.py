"""Decision trees small enough to be enumerated: what every path earns is known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from random import Random

from hornbeam.search import State, Strategy
from hornbeam.tree.nodes import Node, Origin, Tree, ids

Path = tuple[int, ...]
Value = Callable[[Path], float | None]


class Decisions:
    """`depth` decisions between `width` actions; `earns` has a reward in [0, 1] for every path."""

    def __init__(self, width: int, rewards: Sequence[float]) -> None:
        self.width, self.depth = width, 1
        while width**self.depth < len(rewards):
            self.depth += 1
        paths = product(range(width), repeat=self.depth)
        self.earns: dict[Path, float] = dict(zip(paths, rewards, strict=True))
        self.most = max(self.earns.values())
        self.oracle = cache(self._oracle)

    def _oracle(self, path: Path) -> float:
        """The most that can still be earned behind a path, in [-1, 1]."""
        return 2 * max(r for p, r in self.earns.items() if p[: len(path)] == path) - 1


def path_of(tree: Tree, i: int) -> Path:
    """The actions from the task to node i."""
    return tuple(tree.nodes[k].tokens[0] for k in tree.path(i))


def dealt(tree: Tree, parent: int, width: int, episode: int) -> int:
    """Actions in turn, so that `width` children of one node have every action once."""
    offset = Random(f"{tree.seed}:{path_of(tree, parent)}").randrange(width)
    return (len(tree.children(parent)) + offset) % width


def drawn(tree: Tree, parent: int, width: int, episode: int) -> int:
    """Actions as a policy samples them: 0 twice as often as any other."""
    return max(0, Random(f"{tree.seed}:{episode}:{parent}").randrange(width + 1) - 1)


def grow(
    world: Decisions,
    strategy: Strategy,
    *,
    seed: int = 0,
    value: Value = lambda path: None,
    act: Callable[[Tree, int, int, int], int] = dealt,
) -> tuple[Tree, State]:
    """The tree that a strategy grows in such a world, its columns, and the state it ended in."""
    tree, state = Tree({"id": "q"}, seed=seed), State()
    for name in ("value", "reward"):
        tree.column(name)
    while forks := strategy.ask(tree, state):
        for fork in forks:
            state.asked[fork.episode] = fork.node
        for fork in forks:
            state.results[fork.episode] = _episode(
                tree, world, fork.episode, fork.node, strategy, act
            )
            for i, node in enumerate(tree.nodes):
                if i and node.origin.episode == fork.episode:
                    tree.columns["value"][i] = value(path_of(tree, i))
    tree.columns |= strategy.columns(tree)
    return tree, state


def _episode(
    tree: Tree,
    world: Decisions,
    episode: int,
    at: int,
    strategy: Strategy,
    act: Callable[[Tree, int, int, int], int],
) -> int:
    """Grow one episode to its end, or for as many steps as the strategy wants."""
    step = 0
    while step != strategy.steps:
        path = (*path_of(tree, at), act(tree, at, world.width, episode))
        done = len(path) == world.depth
        answer = "".join(map(str, path)) if done else None
        tokens = ids([path[-1]])
        at = tree.append(
            Node(at, tokens=tokens, origin=Origin(episode, step), done=done, answer=answer)
        )
        if done:
            tree.columns["reward"][at] = world.earns[path]
            break
        step += 1
    return at
