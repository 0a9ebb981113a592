"""Credit from states against that of rollouts and trees at equal sampled steps: a tabular policy.

    python bench/states_tabular.py [--steps N] [--seeds 0 1 ... 11] [--arms NAME ...] [--json FILE]

The world of states_world.py (a word leads from each room to the next, others leave it; the goal is
four rooms on, within seven turns), and a longer one of eight rooms, six on, within twelve turns.
The policy is a table of logits by room, begun at 0 and stepped by Adam on sum A grad log pi; no
language model and no trainer of ours, so that what differs is the credit alone (states.py has
both). Each batch is eight walks from each of four rooms, for `tree_grpo` trees of as many leaves.
All arms begin with the same draws and learn until as many steps were sampled.

Prints for every arm the true chance of the goal, by the table, over all starts: at the end, and in
the mean on the way; with the paired difference to `grpo` (Student's t, 95 %), and the difference
that so many seeds could tell from 0 with a power of 80 %.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from hornbeam.credit import credit
from hornbeam.tree.nodes import Node, Tree
from paired_arms import compared, say
from states_world import WORDS

WORLDS = {"short": (6, 4, 7), "long": (8, 6, 12)}  # rooms, rooms to the goal, turns
ARMS: dict[str, dict[str, Any]] = {
    "grpo": {"name": "grpo"},
    "tree_grpo": {"name": "tree_grpo"},
    "gigpo": {"name": "gigpo", "gamma": 0.95},
    "hgpo": {"name": "hgpo", "gamma": 0.95},
    "rtmc": {"name": "rtmc", "gamma": 0.95},
    "state_gae": {"name": "state_gae", "gamma": 0.95},
    "gigpo, n0 = 4": {"name": "gigpo", "gamma": 0.95, "n0": 4},
}
MEASURES = ("at the end", "mean")
TASKS, WALKS, RATE = 4, 8, 0.03
Json = dict[str, Any]


class Walker:
    """A table of logits, what it samples, and Adam."""

    def __init__(self, world: str, seed: int) -> None:
        self.rooms, self.away, self.turns = WORLDS[world]
        rng = Random(f"{world} {seed}")
        self.leads = [rng.randrange(len(WORDS)) for _ in range(self.rooms)]
        self.rng, self.sampled, self.updates = rng, 0, 0
        self.logits = [[0.0] * len(WORDS) for _ in range(self.rooms)]
        self.first = [[0.0] * len(WORDS) for _ in range(self.rooms)]
        self.second = [[0.0] * len(WORDS) for _ in range(self.rooms)]

    def chances(self, room: int) -> list[float]:
        """The chance of each word in a room."""
        top = max(self.logits[room])
        parts = [math.exp(x - top) for x in self.logits[room]]
        return [part / sum(parts) for part in parts]

    def walk(self, tree: Tree, start: int, parent: int, moved: int, turn: int) -> None:
        """One walk to its end, from a node of the tree on."""
        while turn < self.turns and moved < self.away:
            room = (start + moved) % self.rooms
            (word,) = self.rng.choices(range(len(WORDS)), self.chances(room))
            self.sampled += 1
            parent = tree.append(Node(parent, text=str(word), state=str(room)))
            moved, turn = moved + (word == self.leads[room]), turn + 1
        tree.column("reward")[parent] = float(moved == self.away)

    def grown(self, start: int, branches: bool) -> Tree:
        """Eight walks from a room; or two, and three branches from steps of each."""
        tree = Tree({"id": start})
        for _ in range(2 if branches else WALKS):
            self.walk(tree, start, 0, 0, 0)
        if branches:
            for leaf in tree.leaves():
                path = tree.path(leaf)
                for at in self.rng.choices(path[:-1], k=WALKS // 2 - 1):
                    above = tree.path(at)
                    moved = sum(self.right(tree, i) for i in above)
                    self.walk(tree, start, at, moved, len(above))
        return tree

    def right(self, tree: Tree, i: int) -> bool:
        """Whether a step led on."""
        return int(tree.nodes[i].text) == self.leads[int(tree.nodes[i].state)]

    def step(self, trees: Sequence[Tree]) -> None:
        """Adam on the mean over steps of A grad log pi, a shared step once for each leaf below."""
        slope = [[0.0] * len(WORDS) for _ in range(self.rooms)]
        for tree in trees:
            plus, minus = tree.columns["advantage_pos"], tree.columns["advantage_neg"]
            for i, node in enumerate(tree.nodes[1:], 1):
                room, total = int(node.state), (plus[i] or 0.0) + (minus[i] or 0.0)
                for word, chance in enumerate(self.chances(room)):
                    slope[room][word] += total * ((word == int(node.text)) - chance)
        self.updates += 1
        for room, row in enumerate(slope):
            for word, g in enumerate(row):
                m = self.first[room][word] = 0.9 * self.first[room][word] + 0.1 * g
                v = self.second[room][word] = 0.999 * self.second[room][word] + 0.001 * g * g
                scale = math.sqrt(v / (1 - 0.999**self.updates)) + 1e-8
                self.logits[room][word] += RATE * m / (1 - 0.9**self.updates) / scale

    def success(self) -> float:
        """The chance of the goal, in the mean over all starts."""
        found = []
        for start in range(self.rooms):
            at = [1.0] + [0.0] * self.away
            for _ in range(self.turns):
                for moved in reversed(range(self.away)):
                    room = (start + moved) % self.rooms
                    on = at[moved] * self.chances(room)[self.leads[room]]
                    at[moved], at[moved + 1] = at[moved] - on, at[moved + 1] + on
            found.append(at[-1])
        return statistics.mean(found)


def learned(world: str, seed: int, arm: str, steps: int) -> Json:
    """The curve of one arm on one seed, and its figures."""
    walker = Walker(world, seed)
    curve = [(0, walker.success())]
    settings = {k: v for k, v in ARMS[arm].items() if k != "name"}
    while walker.sampled < steps:
        starts = [(walker.updates * TASKS + n) % walker.rooms for n in range(TASKS)]
        trees = [walker.grown(start, arm == "tree_grpo") for start in starts]
        credit(trees, ARMS[arm]["name"], **settings)
        walker.step(trees)
        curve.append((walker.sampled, walker.success()))
    area = sum((b - a) * (y + z) / 2 for (a, y), (b, z) in pairwise(curve))
    mean = area / curve[-1][0]
    return {"updates": walker.updates, MEASURES[0]: curve[-1][1], MEASURES[1]: mean}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[*range(12)])
    parser.add_argument("--arms", nargs="+", default=[*ARMS], choices=[*ARMS])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    about: Json = {
        "command": f"python bench/states_tabular.py --steps {args.steps} --seeds"
        f" {' '.join(map(str, args.seeds))}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one used",
        "settings": {"arms": ARMS, "worlds": WORLDS, "rate": RATE},
    }
    for world in WORLDS:
        rows = [
            {"seed": seed} | {arm: learned(world, seed, arm, args.steps) for arm in args.arms}
            for seed in args.seeds
        ]
        about[world] = {"arms": compared(rows, args.arms, MEASURES), "seeds": rows}
        print(f"{world}\n{say(about[world]['arms'])}", flush=True)
        if args.json:
            args.json.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
