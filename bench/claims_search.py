"""The two worlds of claims.py in which answers are searched for, by tables of logits.

`chains`: six words in a row, one of four leads on in each room; who has left the way is right by
luck in one of six. A judge reads a room and a word. `team`: four agents speak in turn, one of five
messages each, all four must be right; wrong ways end in few wrong answers, so that voting may be
misled. Strategies, choosers, labels of chunks and of searches, and F1 are those of the package.
Costs are counted as in claims_tables.py; what a fit or a judge cost is shared by the questions that
it serves.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from claims_tables import Learner, Table
from hornbeam.protocols import State, Strategy
from hornbeam.score.processbench import Prediction, figures, official
from hornbeam.search import strategy
from hornbeam.search.choose import choose
from hornbeam.search.chunk_labels import rel_effective
from hornbeam.search.labels import informative, label
from hornbeam.tree.nodes import Node, Origin, Tree

Json = dict[str, Any]
Say = Callable[[Tree, int, Origin], int]


def grow(tree: Tree, how: Strategy, say: Say) -> None:
    """Grow a tree as the strategy asks; `say` adds a node below another, with its columns."""
    state = State()
    while forks := how.ask(tree, state):
        for fork in forks:
            state.asked[fork.episode] = node = fork.node
            step = 0
            while step != fork.steps and not (step and tree.nodes[node].done):
                node = say(tree, node, Origin(fork.episode, step))
                step += 1
            state.results[fork.episode] = node
    tree.columns.update(how.columns(tree))


class Chains:
    """Questions, a policy that does not learn, and judges that do (see the head of this file)."""

    def __init__(self, how: Json, seed: int) -> None:
        self.how, world = how, Random(f"chains {seed}")
        self.rng = Random(f"chains rollouts {seed}")
        self.leads = [world.randrange(4) for _ in range(how["rooms"])]
        self.policy = Table(4, 0.0)
        for room, word in enumerate(self.leads):
            self.policy.row(room)[:] = [world.gauss(0, 0.7) for _ in range(4)]
            self.policy.row(room)[word] += world.uniform(*how["knows"])
        self.paid: Counter[str] = Counter()
        self.guide: Judge | None = None

    def say(self, tree: Tree, parent: int, origin: Origin) -> int:
        """A word more; at the end an answer, right by luck where the way was lost."""
        room = self.room(tree, parent)
        word = self.policy.draw(self.rng, room)
        self.paid["sampled_tokens"] += 1
        self.paid["prompt_tokens_computed"] += parent == 0 and origin.episode == 0
        done = tree.depth(parent) + 1 == self.how["length"]
        node = tree.append(Node(parent, text=str(word), state=str(room), origin=origin))
        if self.guide is not None:
            tree.column("value")[node] = self.guide.verdict(room, word)
            self.paid["scorer_tokens"] += self.guide.reads
        if done:
            astray = any(not self.right(tree, i) for i in tree.path(node))
            answer = self.rng.randrange(self.how["answers"]) if astray else 0
            tree.nodes[node] = tree.nodes[node].changed(done=True, answer=str(answer))
            tree.column("reward")[node] = float(answer == 0)
        return node

    def room(self, tree: Tree, parent: int) -> int:
        """The room that a step below this node is said in."""
        return int((tree.task["start"] + tree.depth(parent)) % self.how["rooms"])

    def right(self, tree: Tree, i: int) -> bool:
        """Whether a step led on."""
        return int(tree.nodes[i].text) == self.leads[int(tree.nodes[i].state)]

    def question(self, n: int) -> Tree:
        """The n-th one."""
        return Tree({"id": n, "start": n % self.how["rooms"]})

    def labelled(self, n: int) -> list[tuple[int, int, int]]:
        """(room, word, label) of the steps of one answer, by rollouts from each."""
        tree = self.question(n)
        grow(tree, strategy("rollouts", trunks=1, rollouts=self.how["label_rollouts"]), self.say)
        q, found, before = tree.columns["q"], [], tree.columns["q"][0]
        for i in range(1, len(tree)):
            if tree.nodes[i].origin.episode == 0 and q[i] is not None and before is not None:
                own = rel_effective(q[i] or 0.0, before, self.how["alpha"])
                found.append((int(tree.nodes[i].state), int(tree.nodes[i].text), own))
                before = q[i]
                if own < 0:  # what follows goes on from a step that is given up
                    break
        return found

    def solutions(self) -> list[tuple[list[tuple[int, int]], int]]:
        """Held-out answers, and the first wrong step of each, or -1."""
        out = []
        for n in range(self.how["solutions"]):
            tree = self.question(n)
            grow(tree, strategy("independent", n=1), self.say)
            wrong = [i - 1 for i in range(1, len(tree)) if not self.right(tree, i)]
            steps = [(int(node.state), int(node.text)) for node in tree.nodes[1:]]
            out.append((steps, min(wrong, default=-1)))
        return out


class Judge(Learner):
    """A judge by tables. With analysis it says first which word would lead on, then the verdict."""

    def __init__(self, how: Json, arm: Json, seed: int) -> None:
        super().__init__(how, seed)
        self.arm, self.world = arm, Chains(how, seed)
        rate = how["rate"]
        self.tables = {"verdict": Table(2, rate)}
        if arm.get("analysis"):
            self.tables["analysis"] = Table(4, rate)
            self.tables["verdict"].row("same")[1] = 1.0
            self.tables["verdict"].row("other")[0] = 1.0
            for room, word in enumerate(self.world.leads):
                self.tables["analysis"].row(str(room))[word] = arm.get("warm", 0.0)
        self.reads = 4 if arm.get("analysis") else 3  # room, word, (analysis,) verdict
        self.held = Chains(how, seed).solutions()
        self.pools: dict[int, list[tuple[int, int]]] = {1: [], -1: []}
        self.asked = 0

    def key(self, room: int, word: int, analysis: int | None) -> str:
        """What the verdict is given in."""
        if analysis is None:
            return f"{room} {word}"
        return "same" if analysis == word else "other"

    def verdict(self, room: int, word: int) -> float:
        """1 or -1, the likelier."""
        analysis = None
        if "analysis" in self.tables:
            row = self.tables["analysis"].row(str(room))
            analysis = row.index(max(row))
        bad, good = self.tables["verdict"].row(self.key(room, word, analysis))
        return 1.0 if good > bad else -1.0

    def round(self, number: int) -> None:
        """Label until there are enough steps of both labels; learn from as many of each."""
        many = self.how["batch"] // 2
        while min(map(len, self.pools.values())) < many:
            for room, word, own in self.world.labelled(self.asked):
                self.pools[own].append((room, word))
            self.asked += 1
        self.pay(**{f"label_{kind}": n for kind, n in self.world.paid.items()})
        self.world.paid.clear()
        items = [(*self.pools[own].pop(0), own) for own in (1, -1) for _ in range(many)]
        if self.arm["by"] == "rl":
            self.reinforce(items)
        else:
            self.fit(items)

    def fit(self, items: Sequence[tuple[int, int, int]]) -> None:
        """A step up the log-likelihood of the labels."""
        slopes: dict[Any, list[float]] = {}
        table = self.tables["verdict"]
        for room, word, own in items:
            key = self.key(room, word, None)
            slope = slopes.setdefault(key, [0.0, 0.0])
            for k, chance in enumerate(table.chances(key)):
                slope[k] += ((own > 0) == k) - chance
        table.step(slopes)
        self.pay(tokens_unique=self.reads * len(items))
        self.spreads.append(0.0)

    def reinforce(self, items: Sequence[tuple[int, int, int]]) -> None:
        """GRPO: several verdicts an item, reward 1 for the label's."""
        trees = []
        for n, (room, word, own) in enumerate(items):
            for _ in range(self.how["group"]):
                tree, node, analysis = Tree({"id": n}), 0, None
                if "analysis" in self.tables:
                    analysis = self.tables["analysis"].draw(self.rng, str(room))
                    said = Node(0, "analysis", text=str(analysis), state=str(room))
                    node = tree.append(said)
                key = self.key(room, word, analysis)
                good = self.tables["verdict"].draw(self.rng, key)
                node = tree.append(Node(node, "verdict", text=str(good), state=key))
                tree.column("reward")[node] = float(good == (own > 0))
                trees.append(tree)
        words = sum(len(tree) - 1 for tree in trees)
        self.pay(judge_tokens=words, prompt_tokens_computed=2 * len(items))
        self.learn(trees, "grpo")

    def score(self) -> float:
        """F1 of the first error on held-out answers, in [0, 1]."""
        items = []
        for n, (steps, wrong) in enumerate(self.held):
            bad = (k for k, (room, word) in enumerate(steps) if self.verdict(room, word) < 0)
            items.append(Prediction(str(n), "chains", wrong, next(bad, -1)))
        return (figures(items, official).f1 or 0.0) / 100


class Team:
    """Four agents in a row and two linear models of their messages (see the head of this file)."""

    def __init__(self, how: Json, seed: int) -> None:
        self.how, world = how, Random(f"team {seed}")
        self.rng, self.paid = Random(f"team rollouts {seed}"), Counter[str]()
        self.agents, many = how["agents"], how["messages"]
        self.policy, self.leads = Table(many, 0.0), {}
        for kind in range(how["kinds"]):
            for agent in range(self.agents):
                self.leads[kind, agent] = right = world.randrange(many)
                knows = world.uniform(*how["knows"])
                for ok in (True, False):
                    row = self.policy.row((kind, agent, ok))
                    row[:] = [world.gauss(0, how["noise"]) for _ in range(many)]
                    row[right] += knows * ok
        self.answers = {
            (kind, agent, k): world.randrange(1, how["wrong_answers"] + 1)
            for kind in range(how["kinds"])
            for agent in range(self.agents)
            for k in range(many)
        }
        self.models: dict[str, dict[Any, float]] = {}
        self.reads: Sequence[str] = ()

    def say(self, tree: Tree, parent: int, origin: Origin) -> int:
        """The next agent's message, and what the guides in use say of it."""
        kind, path = tree.task["kind"], tree.path(parent) if parent else []
        agent, size = len(path), self.how["words"]
        wrong = [i for i in path if not self.right(tree, i)]
        chances = self.policy.chances((kind, agent, not wrong))
        message = self.rng.choices(range(len(chances)), chances)[0]
        first = not tree.children(parent)  # siblings share the prompt
        self.paid["prompt_tokens_computed"] += (3 * size + agent * size) * first
        self.paid["sampled_tokens"] += size
        logprobs = [math.log(chances[message])]
        node = tree.append(
            Node(parent, str(agent), text=str(message), logprobs=logprobs, origin=origin)
        )
        if agent + 1 == self.agents:
            wrong += [node] * (not self.right(tree, node))
            answer = 0
            if wrong:
                said = tree.nodes[wrong[0]]
                answer = self.answers[kind, int(said.agent), int(said.text)]
            tree.nodes[node] = tree.nodes[node].changed(done=True, answer=str(answer))
            tree.column("reward")[node] = float(not answer)
        self._guide(tree, node)
        return node

    def _guide(self, tree: Tree, node: int) -> None:
        """Columns of the guides in use; each step's new words are read, a whole answer's by ORM."""
        size, done = self.how["words"], tree.nodes[node].done
        if "likelihood" in self.reads:
            path = tree.path(node)
            tree.column("value")[node] = sum(tree.nodes[i].logprobs[0] for i in path) / len(path)
        if "prm" in self.reads:
            tree.column("value")[node] = self.value("prm", tree, node)
            self.paid["scorer_tokens"] += size + 1 + 2 * size * (node == 1)
        if "orm" in self.reads and done:
            tree.column("orm")[node] = self.value("orm", tree, node)
            self.paid["scorer_tokens"] += (2 + self.agents) * size + 1

    def right(self, tree: Tree, i: int) -> bool:
        """Whether a message is the right one."""
        node = tree.nodes[i]
        return int(node.text) == self.leads[tree.task["kind"], int(node.agent)]

    def parts(self, tree: Tree, node: int) -> list[Any]:
        """What a model reads: each message by kind and agent, and how many there are."""
        kind, path = tree.task["kind"], tree.path(node)
        said = [(kind, tree.nodes[i].agent, tree.nodes[i].text) for i in path]
        return [*said, len(path)]

    def value(self, name: str, tree: Tree, node: int) -> float:
        """Value: tanh of a sum of weights, in [-1, 1]."""
        weights = self.models[name]
        return math.tanh(sum(weights.get(part, 0.0) for part in self.parts(tree, node)))

    def fit(self) -> None:
        """Label searches on questions of their own, then both models on them; all of it is paid."""
        trees = []
        search = strategy("mcts", rollout=True, simulations=self.how["label_runs"], children=4, c=8)
        for n in range(self.how["label_questions"]):
            tree = self.question(n)
            grow(tree, search, self.say)
            tree.columns.update(label(tree))
            trees.append(tree)
        kept = [tree for tree in trees if informative(tree, self.how["most"])]
        labels = dict(self.paid)
        self.paid.clear()
        for name in ("prm", "orm"):
            items = [
                (self.parts(tree, i), q)
                for tree in kept
                for i, q in enumerate(tree.columns["q"])
                if i and q is not None and (name == "prm" or tree.nodes[i].done)
            ]
            self.models[name] = _fitted(items, self.how, self.rng)
            words = self.how["epochs"] * self.how["words"] * len(items)
            self.paid[f"fit_{name}"] = words * (1 if name == "prm" else self.agents)
        self.paid.update({f"label_{kind}": n for kind, n in labels.items()})
        self.trees_kept = len(kept) / len(trees)

    def question(self, n: int) -> Tree:
        """The n-th one."""
        return Tree({"id": n, "kind": n % self.how["kinds"]})

    def search(self, how: Strategy, arm: Json) -> list[float]:
        """[words a question, share right] of one search; without what its models cost."""
        self.reads = arm.get("reads", ())
        return searched(self, how, arm["choose"])


def _fitted(items: Sequence[tuple[list[Any], float]], how: Json, rng: Random) -> dict[Any, float]:
    """Weights by least squares on v = tanh(sum), one item at a time."""
    weights: dict[Any, float] = {}
    order = [*range(len(items))]
    for _ in range(how["epochs"]):
        rng.shuffle(order)
        for n in order:
            parts, target = items[n]
            v = math.tanh(sum(weights.get(part, 0.0) for part in parts))
            slope = how["rate"] * (target - v) * (1 - v * v)
            for part in parts:
                weights[part] = weights.get(part, 0.0) + slope
    return weights


def shared(costs: Counter[str], served: int, names: Sequence[str]) -> float:
    """What labels and the fits of these models cost a question, of so many served."""
    own = sum(costs[f"fit_{name}"] for name in names)
    return (own + sum(n for kind, n in costs.items() if kind.startswith("label_"))) / served


def searched(world: Chains | Team, how: Strategy, chooser: str) -> list[float]:
    """[words a question, share right] over the questions of a world."""
    world.paid.clear()
    right, many = 0, world.how["questions"]
    for n in range(many):
        tree = world.question(n)
        grow(tree, how, world.say)
        leaf = choose(tree, chooser)
        right += leaf is not None and tree.columns["reward"][leaf] == 1
    return [sum(world.paid.values()) / many, right / many]


def team_arms(how: Json, seed: int) -> Json:
    """All arms of the team on one seed: the points of each."""
    team = Team(how, seed)
    team.fit()
    costs, out = team.paid.copy(), {}
    for name, arm in how["arms"].items():
        models = [model for model in arm.get("reads", ()) if model in team.models]
        own = shared(costs, how["served"], models) if models else 0.0
        points = [team.search(strategy(arm["strategy"], **p), arm) for p in arm["points"]]
        out[name] = {"curve": [[words + own, right] for words, right in points], "own": own}
    return out


def chains_arms(how: Json, seed: int) -> Json:
    """All judges on one seed, then answers by some of them."""
    out, judges = {}, {}
    for name, arm in how["arms"].items():
        if "by" in arm:
            judges[name] = Judge(how, arm, seed)
            out[name] = judges[name].run(how["budget"])
            continue
        world, judge = Chains(how, seed), judges.get(arm.get("judge", ""))
        world.guide = judge
        own = judge.spent / how["served"] if judge else 0.0
        points = [
            searched(world, strategy(arm["strategy"], **settings), arm["choose"])
            for settings in arm["points"]
        ]
        out[name] = {"curve": [[words + own, right] for words, right in points], "own": own}
    return out
