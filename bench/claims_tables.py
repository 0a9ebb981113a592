"""Tables of logits that stand in for models, and the two worlds of claims.py in which they learn.

`window`: a main agent hands three look-ups to a sub-agent, in the order that the kind of question
wants; or a single agent does all of it in a context that holds its newest messages only. `sparse`:
walks round a ring of rooms, of which the long ones are hardly ever won at first. Credit is that of
the package on trees of ours; a step of Adam is taken on sum A grad log pi. Costs are entered in a
ledger: a sampled word, a word read for the first time (prompt), a word trained on, each 1.
"""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Sequence
from random import Random
from typing import Any

from hornbeam.credit import credit
from hornbeam.store.ledger import Entry, Ledger
from hornbeam.tree.nodes import INJECTED, Node, Origin, Tree

Json = dict[str, Any]
LOST = ("", " lost")  # whether the last look-up found nothing, in a key
CLIP = 1.2  # most that an injected word's ratio to the teacher counts, where it is to be likelier


class Table:
    """Logits by key, begun at 0 or as given, and Adam."""

    def __init__(self, choices: int, rate: float) -> None:
        self.choices, self.rate, self.updates = choices, rate, 0
        self.logits: dict[Hashable, list[float]] = {}
        self._moments: dict[Hashable, list[list[float]]] = {}

    def row(self, key: Hashable) -> list[float]:
        """The logits of a key."""
        return self.logits.setdefault(key, [0.0] * self.choices)

    def chances(self, key: Hashable) -> list[float]:
        """The chance of each choice."""
        row = self.row(key)
        top = max(row)
        parts = [math.exp(x - top) for x in row]
        total = sum(parts)
        return [part / total for part in parts]

    def draw(self, rng: Random, key: Hashable) -> int:
        """A choice."""
        return rng.choices(range(self.choices), self.chances(key))[0]

    def step(self, slopes: dict[Hashable, list[float]]) -> None:
        """Adam, uphill."""
        self.updates += 1
        for key, slope in slopes.items():
            row = self.row(key)
            first, second = self._moments.setdefault(key, [[0.0] * self.choices for _ in "mv"])
            for k, g in enumerate(slope):
                first[k] = 0.9 * first[k] + 0.1 * g
                second[k] = 0.999 * second[k] + 0.001 * g * g
                scale = math.sqrt(second[k] / (1 - 0.999**self.updates)) + 1e-8
                row[k] += self.rate * first[k] / (1 - 0.9**self.updates) / scale


class Learner(ABC):
    """What both worlds share: tables by agent, a ledger, a curve."""

    def __init__(self, how: Json, seed: int) -> None:
        self.how, self.seed = how, seed
        self.rng = Random(f"{how['name']} {seed}")
        self.ledger = Ledger(timed=False)
        self.tables: dict[str, Table] = {}
        self.frozen: set[str] = set()
        self.spreads: list[float] = []  # variance of the advantages, by step

    def pay(self, **costs: float) -> None:
        """Enter costs."""
        self.ledger.enter([Entry("", -1, -1, kind, n) for kind, n in costs.items() if n])

    @property
    def spent(self) -> float:
        """Total words paid."""
        return sum(self.ledger.totals.values())

    def learn(self, trees: Sequence[Tree], method: str, **settings: Any) -> None:
        """Credit the trees and take a step with every table that learns."""
        credit(trees, method, **settings)
        slopes: dict[str, dict[Hashable, list[float]]] = {name: {} for name in self.tables}
        trained = 0
        told: list[float] = []
        for tree in trees:
            plus, minus = tree.columns["advantage_pos"], tree.columns["advantage_neg"]
            mass = tree.columns.get("mass", [])
            ends = {node.scope: i for i, node in enumerate(tree.nodes) if i}
            told += [a for a in tree.columns["advantage"] if a is not None]
            for i, node in enumerate(tree.nodes):
                if not i or node.agent in self.frozen or not node.state:
                    continue
                total = (plus[i] or 0.0) + (minus[i] or 0.0)
                if node.scope and mass:
                    total *= mass[ends[node.scope]] or 0.0
                trained += 1
                self._slope(slopes[node.agent], node, total)
        self.spreads.append(statistics.pvariance(told))
        for name, table in self.tables.items():
            if name not in self.frozen:
                table.step(slopes[name])
        self.pay(tokens_unique=trained)

    def _slope(self, slopes: dict[Hashable, list[float]], node: Node, total: float) -> None:
        """Add A r grad log pi of a node, r its ratio to who sampled it where it was injected."""
        chances, word = self.tables[node.agent].chances(node.state), int(node.text)
        if node.origin.version == INJECTED:
            ratio = chances[word] / math.exp(node.logprobs[0])
            total *= 0.0 if total > 0 and ratio > CLIP else ratio
        slope = slopes.setdefault(node.state, [0.0] * len(chances))
        for k, chance in enumerate(chances):
            slope[k] += total * ((k == word) - chance)

    @abstractmethod
    def score(self) -> float:
        """How good it is now, in [0, 1]."""

    @abstractmethod
    def round(self, number: int) -> None:
        """Sample, learn, and pay for it."""

    def run(self, budget: float) -> Json:
        """Learn until so much is spent; looks at every step."""
        curve = [(0.0, self.score())]
        if self.spent:  # paid before the first step
            curve.append((self.spent, curve[0][1]))
        number = 0
        while self.spent < budget:
            self.round(number)
            number += 1
            curve.append((self.spent, self.score()))
        kinds = Counter({k: round(v) for k, v in self.ledger.totals.items()})
        return {"curve": curve, "costs": dict(kinds), "variance": statistics.mean(self.spreads)}


class Window(Learner):
    """Three look-ups in an order that the question's kind wants (see the head of this file)."""

    def __init__(self, how: Json, arm: Json, seed: int) -> None:
        super().__init__(how, seed)
        self.arm = arm
        self.window = arm.get("window", how["window"])
        world = Random(f"window {seed}")
        rooms, self.parts = how["rooms"], how["parts"]
        self.leads = [world.randrange(3) for _ in range(rooms)]
        self.orders = [world.sample(range(self.parts), self.parts) for _ in range(how["kinds"])]
        self.tables = {"main": Table(self.parts, how["rate"]), "sub": Table(3, how["rate"])}
        for room, word in enumerate(self.leads):
            self.tables["sub"].row(f"room {room}")[word] = how["head_start"]
        for kind, order in enumerate(self.orders):
            for part, word in enumerate(order):
                for lost in LOST:
                    self.tables["main"].row(f"{kind} {part}{lost}")[word] = how["head_start"]
        self.frozen = set(arm.get("frozen", []))
        self.single = arm.get("single", False)

    def episode(self, tree: Tree, kind: int, starts: Sequence[int], paid: Counter[str]) -> bool:
        """One rollout on a tree of its own; whether it was right."""
        rng, right, tries, part, held = self.rng, True, 0, 0, 2
        node, lost, choice = 0, "", -1
        paid["prompt_tokens_computed"] += 2
        ends: list[tuple[int, bool]] = []
        while part < self.parts and tries < self.how["tries"]:
            seen = not self.single or held <= self.window
            key = f"{kind} {part}{lost}" if seen else f"after {choice}{lost}"
            choice = self.tables["main"].draw(rng, key)
            node = tree.append(Node(node, "main", text=str(choice), state=key))
            tries, held = tries + 1, held + 1
            self._read(paid, held)
            scope = "" if self.single else f"part{tries}"
            node, moved, said = self._walk(tree, node, starts[choice], scope, paid, held)
            held += said if self.single else 1
            found = moved == self.how["away"]
            ends.append((node, found))
            lost = LOST[not found]
            if found:
                right, part = right and choice == self.orders[kind][part], part + 1
        right = right and part == self.parts
        node = tree.append(Node(node, "main", text="0"))
        reward = tree.column("reward")
        reward[node] = float(right) if self.single else 0.1 + 0.9 * right
        for end, found in () if self.single else ends:
            reward[end] = 0.1 + 0.4 * right + 0.5 * found
        return right

    def _walk(
        self, tree: Tree, node: int, start: int, scope: str, paid: Counter[str], held: int
    ) -> tuple[int, int, int]:
        """A look-up: its last node, rooms moved, words said."""
        moved = said = 0
        agent = "main walk" if self.single else "sub"
        paid["prompt_tokens_computed"] += 0 if self.single else 2  # what is delegated, afresh
        while said < self.how["turns"] and moved < self.how["away"]:
            room = (start + moved) % len(self.leads)
            word = self.tables["sub"].draw(self.rng, f"room {room}")
            node = tree.append(Node(node, "sub", scope=scope, text=str(word), state=f"room {room}"))
            moved, said = moved + (word == self.leads[room]), said + 1
            self._read(paid, held + said if agent == "main walk" else 0)
        return node, moved, said

    def _read(self, paid: Counter[str], held: int) -> None:
        """A word sampled, and what is read after it: all that is held where the window slides."""
        paid["sampled_tokens"] += 1
        slides = self.single and held > self.window
        paid["prompt_tokens_computed"] += self.window if slides else 1

    def task(self, rng: Random) -> tuple[int, list[int]]:
        """A kind of question, and where each look-up starts."""
        kind = rng.randrange(len(self.orders))
        return kind, [rng.randrange(len(self.leads)) for _ in range(self.parts)]

    def round(self, number: int) -> None:
        """A batch of questions, several rollouts each."""
        trees, paid = [], Counter[str]()
        for n in range(self.how["tasks"]):
            kind, starts = self.task(self.rng)
            for _ in range(self.how["rollouts"]):
                tree = Tree({"id": n})
                self.episode(tree, kind, starts, paid)
                trees.append(tree)
        self.pay(**paid)
        settings = {} if self.single else {"align": self.arm.get("align", "weight"), "d": 4}
        self.learn(trees, "grpo" if self.single else "m_grpo", **settings)

    def score(self) -> float:
        """The share of sampled answers to the same questions that are right."""
        kept, self.rng = self.rng, Random(f"look {self.seed}")
        right = 0
        for n in range(self.how["questions"]):
            kind, starts = self.task(self.rng)
            right += self.episode(Tree({"id": n}), kind, starts, Counter())
        self.rng = kept
        return right / self.how["questions"]


class Sparse(Learner):
    """Walks of a few rooms, and many of long ones, round one ring (see the head of this file)."""

    def __init__(self, how: Json, arm: Json, seed: int) -> None:
        super().__init__(how, seed)
        self.arm, self.kept = arm, []
        world = Random(f"sparse {seed}")
        self.rooms = how["rooms"]
        self.leads = [world.randrange(3) for _ in range(self.rooms)]
        self.tables = {"walker": Table(3, how["rate"])}
        self.teacher = Table(3, 0.0)
        for room, word in enumerate(self.leads):
            self.teacher.row(f"room {room}")[word] = how["teacher"]
        easy = round(how["easy"] * how["tasks_in_all"])
        away = [how["short"]] * easy + [how["long"]] * (how["tasks_in_all"] - easy)
        self.tasks = [(world.randrange(self.rooms), far) for far in away]
        self.prior: dict[int, float] = {}
        self.injected: dict[int, Tree] = {}
        self.unsolved = 0.0
        if "method" in arm or arm.get("sample"):
            self._anchor()
        self.order = [*range(len(self.tasks))] if not arm.get("sample") else self.kept

    def walk(self, task: int, speaker: Table, version: int = 0) -> Tree:
        """One rollout, won where the goal is reached in one turn more than it needs."""
        start, away = self.tasks[task]
        tree, node, moved = Tree({"id": task}), 0, 0
        for _ in range(away + 1):
            key = f"room {(start + moved) % self.rooms}"
            word = speaker.draw(self.rng, key)
            logprob = math.log(speaker.chances(key)[word])
            said = Node(node, "walker", text=str(word), state=key, origin=Origin(version=version))
            node = tree.append(said if not version else said.changed(logprobs=[logprob]))
            moved += word == self.leads[int(key[5:]) % self.rooms]
            if moved == away:
                break
        tree.column("reward")[node] = float(moved == away)
        return tree

    def _cost(self, trees: Sequence[Tree]) -> int:
        """Words sampled and read."""
        return sum(2 * len(tree) - 1 for tree in trees)

    def _anchor(self) -> None:
        """Rollouts of the policy as it is, a teacher where all fail: all of it is paid."""
        m, paid, teaching = self.how["anchors"], 0, 0
        for task in range(len(self.tasks)):
            trees = [self.walk(task, self.tables["walker"]) for _ in range(m)]
            paid += self._cost(trees)
            won = [tree.columns["reward"][-1] or 0.0 for tree in trees]
            self.prior[task] = statistics.mean(won)
            self.unsolved += (not any(won)) / len(self.tasks)
            if any(won):
                self.kept += [task] * (not all(won))
                continue
            for _ in range(self.how["attempts"] if self.arm.get("teacher") else 0):
                tree = self.walk(task, self.teacher, INJECTED)
                teaching += self._cost([tree])
                if tree.columns["reward"][-1]:
                    self.injected[task] = tree
                    self.kept.append(task)
                    break
        self.pay(anchor_tokens=paid, teacher_tokens=teaching)

    def round(self, number: int) -> None:
        """The next tasks in an order that is shuffled once an epoch."""
        many, trees = self.how["tasks"], []
        for n in range(many):
            at = number * many + n
            if at % len(self.order) == 0:
                self.rng.shuffle(self.order)
            task = self.order[at % len(self.order)]
            put_in = self.injected.get(task)
            grown = self.how["rollouts"] - (put_in is not None)
            own = [self.walk(task, self.tables["walker"]) for _ in range(grown)]
            self.pay(
                sampled_tokens=sum(len(tree) - 1 for tree in own),
                prompt_tokens_computed=sum(len(tree) for tree in own),
            )
            group = own if put_in is None else [*own, _again(put_in)]
            for tree in group:
                tree.column("prior")[0] = self.prior.get(task)
            trees += group
        method = self.arm.get("method", "grpo")
        self.learn(trees, method, **self.arm.get("settings", {}))

    def score(self) -> float:
        """The chance to win, by the table, over the long walks from every room."""
        found = []
        for start in range(self.rooms):
            away = self.how["long"]
            at = [1.0] + [0.0] * away
            for _ in range(away + 1):
                for moved in reversed(range(away)):
                    room = (start + moved) % self.rooms
                    on = at[moved] * self.tables["walker"].chances(f"room {room}")[self.leads[room]]
                    at[moved], at[moved + 1] = at[moved] - on, at[moved + 1] + on
            found.append(at[-1])
        return statistics.mean(found)


def _again(tree: Tree) -> Tree:
    """The same walk and reward, without the columns of a credit."""
    return Tree(tree.task, list(tree.nodes), {"reward": [*tree.columns["reward"]]})
