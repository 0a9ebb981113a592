"""Trees written by hand: steps with values, and ends with answers."""

from __future__ import annotations

from hornbeam.search import State
from hornbeam.tree.nodes import Node, Origin, Tree, floats, ids


def task(seed: int = 0) -> Tree:
    """A fresh tree with columns for values and rewards."""
    tree = Tree({"id": "q"}, seed=seed)
    for name in ("value", "reward", "orm"):
        tree.column(name)
    return tree


def step(
    tree: Tree, parent: int, episode: int, value: float | None = None, at: int = 0, **fields
) -> int:
    """One step of an episode; `logprobs` and `tokens` may be lists."""
    fields["logprobs"] = floats(fields.get("logprobs", ()))
    fields["tokens"] = ids(fields.get("tokens", [episode, at]))
    i = tree.append(Node(parent, origin=Origin(episode, at), **fields))
    tree.columns["value"][i] = value
    return i


def end(tree: Tree, parent: int, episode: int, answer, value: float | None = None, **fields) -> int:
    """A step that ends its episode with an answer."""
    return step(tree, parent, episode, value, done=True, answer=answer, **fields)


def come_back(tree: Tree, state: State, forks, *values, done=()) -> list[int]:
    """Every fork comes back with one step of this value; in places `done` the episode ended."""
    came = []
    for k, (fork, value) in enumerate(zip(forks, values, strict=True)):
        finished = {"done": True, "answer": k} if k in done else {}
        i = step(tree, fork.node, fork.episode, value, **finished)
        state.asked[fork.episode], state.results[fork.episode] = fork.node, i
        came.append(i)
    return came
