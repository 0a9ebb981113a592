"""What a policy can learn from a teacher: one run that solved a task, in the policy's own ids.

A teacher of the same vocabulary and chat template (by fingerprint) is taken at its word: its ids
with its own log-probs. What another one said is encoded in the policy's ids, through the program
and its tools, judged again, and its log-probs are those of the reference policy, which is marked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hornbeam.assembly.task_records import Record, mark_of_task, rewards_of
from hornbeam.assembly.tree_growth import StoreGrower
from hornbeam.chat import Chat
from hornbeam.credit.baselines import reaches
from hornbeam.engine.scripted import Scripted
from hornbeam.grow.grower import Grower
from hornbeam.store.database import Store, TreeKey
from hornbeam.store.ledger import Entry, Ledger
from hornbeam.train.forward import score
from hornbeam.tree.jsonl import from_json, to_json
from hornbeam.tree.nodes import INJECTED, Tree, floats
from hornbeam.tree.task import Task


@dataclass(frozen=True, slots=True)
class TeacherTree:
    """A tree of the one run, or none where nothing can be learned.

    `scored_by` "teacher" or "policy" says whose its log-probs are; `tokens` is what all attempts
    and the scoring cost.
    """

    tree: Tree | None
    scored_by: str = ""
    tokens: float = 0.0

    @classmethod
    def read(cls, store: Store, name: str, task: Task) -> TeacherTree | None:
        """What stands in a store, if anything; `name` is that of policy and teacher."""
        found = store.get(name := f"{name}/{mark_of_task(task)}")
        if found is None:
            return None
        with store.reading(f"value of {name!r}"):
            tree = None if found["tree"] is None else from_json(found["tree"])
            return cls(tree, str(found["scored_by"]), float(found["tokens"]))

    def keep(self, store: Store, name: str, task: Task) -> None:
        """Put it into a store."""
        tree = None if self.tree is None else to_json(self.tree)
        record = {"tree": tree, "scored_by": self.scored_by, "tokens": self.tokens}
        store.set(f"{name}/{mark_of_task(task)}", record)


def alone(tree: Tree, leaf: int) -> Tree:
    """The run that ended at a leaf as episode 0 of a tree of its own, its nodes marked injected."""
    out, at = Tree(tree.task, [tree.nodes[0]], {}, tree.seed), 0
    for step, i in enumerate(tree.path(leaf)):
        node = tree.nodes[i]
        origin = replace(node.origin, episode=0, step=step, version=INJECTED)
        node = replace(node, origin=origin)
        at = out.append(node.placed(at, out.place(at, node.agent, tree.context(i))))
    return out


@dataclass(frozen=True, slots=True)
class TeacherReplay:
    """Where a policy is taught: its own store, its weights, what grows one run of it.

    `exact` says whether the teacher's ids and log-probs are what was sampled.
    """

    store_grower: StoreGrower
    model: Any
    make: Callable[[], Grower]
    exact: bool = True

    async def teach(
        self, name: str, task: Task, stage: str, record: Record, chat: Chat, solved: float
    ) -> TeacherTree:
        """What is learned from a teacher's runs of a task; kept, and not made again.

        `stage` and `record` say where the runs are, `chat` is the teacher's.
        """
        store = self.store_grower.store
        known = TeacherTree.read(store, name, task)
        if known is not None and known.tree is not None:
            return known
        out = TeacherTree(None, tokens=record.tokens)
        if record.accuracy(solved):
            tree = store.read(TreeKey(stage, 0, record.number)).tree
            reward = tree.columns["reward"]
            good = [i for i in tree.leaves() if (r := reward[i]) is not None and reaches(r, solved)]
            run = alone(tree, min(good, key=lambda i: tree.nodes[i].origin.episode))
            agents = self.make().agents.values()
            own = (agent.engine.chat.fingerprint() for agent in agents)
            if self.exact and all(mark == chat.fingerprint() for mark in own):
                out = replace(out, tree=run, scored_by="teacher")
            else:
                out = await self._replayed(name, task, run, chat, solved, out, record.number)
        out.keep(store, name, task)
        return out

    async def _replayed(
        self,
        name: str,
        task: Task,
        run: Tree,
        chat: Chat,
        solved: float,
        out: TeacherTree,
        number: int,
    ) -> TeacherTree:
        """The run in the policy's ids, scored by the policy, where it still solves the task."""
        said: dict[int, list[int]] = {}
        for node in run.nodes[1:]:
            said.setdefault(node.origin.turn, []).extend(node.tokens)
        grower, ledger = self.make(), Ledger()
        own = next(iter(grower.agents.values()))
        script = Scripted(
            [chat.text(tokens) for _, tokens in sorted(said.items())], own.engine.chat
        )
        agents = {who: replace(agent, engine=script) for who, agent in grower.agents.items()}
        grower = replace(grower, agents=agents, ledger=ledger, keeper=None)
        key = TreeKey(f"taught {name.replace('/', ' ')}", 0, number)
        tree = await grower.grow(key, Tree(task.to_json(), seed=run.seed))
        (reward,) = rewards_of(tree)
        paid = [Entry(str(key), 0, -1, "tool_calls", ledger.totals.get("tool_calls", 0))]
        if reward is not None and reaches(reward, solved):
            tree, tokens = self._scored(alone(tree, tree.leaves()[0]), own.sampling.temperature)
            out = TeacherTree(tree, "policy", out.tokens + tokens)
            paid.append(Entry(str(key), 0, -1, "scorer_tokens", tokens))
        self.store_grower.store.enter(paid)
        return out

    def _scored(self, tree: Tree, temperature: float) -> tuple[Tree, int]:
        """(the tree with the policy's log-probs, how many tokens the policy ran for them)."""
        nodes = list(tree.nodes)
        for i, node in enumerate(nodes):
            if len(node.tokens):
                found = score(self.model, tree.context(i), node.tokens, temperature)
                nodes[i] = replace(node, logprobs=floats(found))
        ran = sum(tree.length(i) for i, node in enumerate(nodes) if len(node.tokens))
        return Tree(tree.task, nodes, {}, tree.seed), ran
