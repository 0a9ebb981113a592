"""Anchors: what a reference policy makes of every training task, before any training (PVPO).

Each task gets M runs of the policy; their rewards say whether it is solved, mixed or unsolved, and
what they cost is kept with them. All of it lies in one store that runs share. A *mark* tells what
an anchor is of: the weights, the program with its tools and limits, how agents sample, what is
rewarded. A teacher is nothing else than another reference, whose runs end with the first success.

In the store: runs under stage "anchor MARK", a record a task under the name "MARK/TASK", and under
"MARK/MARK OF THE TEACHER/TASK" where the run of a teacher lies that a policy can learn from.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from hornbeam.engine.base import Engine, check_trainable
from hornbeam.errors import EngineError, ProgramError, RecipeError
from hornbeam.failures import OWN
from hornbeam.grow import Grower
from hornbeam.ledger import NO_BUDGET, TOKENS, Ledger
from hornbeam.run.choices import AnchorChoice
from hornbeam.run.endpoints import folder_of, identity
from hornbeam.run.engines import AWAY
from hornbeam.run.forest import Ground, Grown
from hornbeam.run.judges import content
from hornbeam.run.recipe import ModelSettings, Recipe
from hornbeam.run.records import Record, mark_of, mark_of_task, rewards_of
from hornbeam.run.taught import School, Taught
from hornbeam.run.teacher import endpoint, teacher_engine
from hornbeam.run.watch import Watch
from hornbeam.run.wire import Plan, World, load_policies, model_folder, say_templates
from hornbeam.search import Independent
from hornbeam.store import Store, Stored, TreeKey
from hornbeam.tasks.base import Task
from hornbeam.tree import Tree


def mark_of_reference(recipe: Recipe, plan: Plan, folder: Path, served: Sequence[Any] = ()) -> str:
    """What tells anchors apart: weights, chat, program and tools, agents, limits, rewards.

    Of weights that a server holds, `served` are its address and its name for them.
    """
    told = recipe.model_dump(mode="json")
    sections = {name: told[name] for name in ("program", "tools", "agents", "limits", "reward")}
    for name in ("seconds", "workers"):  # of the checker: how long it may take, not what it says
        sections["reward"].pop(name)
    weights = list(served) or content(folder) or str(folder.resolve())
    return mark_of([weights, _chat(folder), sections, *_sources(plan)])


def _chat(folder: Path) -> list[str]:
    """The files of a model's folder that say how it is talked to."""
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    return [(folder / name).read_text("utf-8") for name in names if (folder / name).is_file()]


def _sources(plan: Plan) -> list[str]:
    """The text of the files that program and tools were loaded from."""
    found = []
    for function in (plan.program, *plan.tools.values()):
        inner = getattr(function, "func", function)
        module = sys.modules.get(getattr(inner, "__module__", None) or "")
        if module is not None and module.__name__.startswith(OWN):
            found.append(Path(str(module.__file__)).read_text(encoding="utf-8"))
    return found


def settings(recipe: Recipe) -> AnchorChoice:
    """The recipe's anchors. Raises `RecipeError` where nobody could say whose they are."""
    how = recipe.anchor or AnchorChoice()
    if len(recipe.names) > 1:
        raise RecipeError(
            f"[anchor]: anchors are of one policy, and [policies] has {', '.join(recipe.names)}:"
            " leave one of the two sections out"
        )
    if recipe.sft is not None and not how.model:
        raise RecipeError(
            "anchor.model: the recipe has a warm start, and the policy after it is the reference:"
            " train it with run.steps = 0 and name its folder, as runs/NAME/final"
        )
    return _found(how, recipe)


def _found(how: AnchorChoice, recipe: Recipe) -> AnchorChoice:
    """The settings with the folders that lie beside the recipe."""

    def place(name: str) -> str:
        return str(recipe.folder(name)) if name and "://" not in name else name

    end = dict(how.endpoint)
    if isinstance(end.get("tokenizer"), str):
        end["tokenizer"] = place(end["tokenizer"])
    found = {"model": place(how.model), "teacher": place(how.teacher), "endpoint": end}
    return how.model_copy(update=found)


def check_own(recipe: Recipe, how: AnchorChoice) -> None:
    """Raise `RecipeError` where a server's weights would speak, and not those that are trained."""
    kind = recipe.engine.kind
    if kind == "chat" or (kind in AWAY and how.teacher):
        why = "what its teacher says is scored by it" if kind != "chat" else "a server's are others"
        raise RecipeError(
            f'engine.kind = "{kind}": anchors are of the policy that is trained, and {why}: take'
            ' kind = "local" or "vllm" for `hornbeam anchor`'
        )


def reference(recipe: Recipe) -> Recipe:
    """The recipe of the reference policy: its model, no adapters."""
    how = settings(recipe)
    changed: dict[str, Any] = {"lora": None}
    if how.model:
        changed["model"] = ModelSettings(name=str(folder_of(how.model)))
    return recipe.model_copy(update=changed)


def reference_mark(recipe: Recipe, plan: Plan, base: Path) -> str:
    """The mark of the recipe's reference policy; `base` is the folder of the recipe's own model."""
    return mark_of_reference(recipe, plan, _own(settings(recipe), base))


def teacher_mark(recipe: Recipe, plan: Plan, base: Path) -> str:
    """The mark of the recipe's teacher, "" where it has none; `base` as in `reference_mark`."""
    how = settings(recipe)
    if not how.teacher:
        return ""
    server = endpoint(how)
    if server is None:
        return mark_of_reference(recipe, plan, folder_of(how.teacher))
    folder = folder_of(server.tokenizer) if server.tokenizer else _own(how, base)
    return mark_of_reference(recipe, plan, folder, identity(server))


def _own(how: AnchorChoice, base: Path) -> Path:
    return folder_of(how.model) if how.model else base


class Reference:
    """Runs of one set of weights on tasks, in a store. `make` makes what grows them."""

    def __init__(
        self, ground: Ground, mark: str, solved: float, make: Callable[[int], Grower]
    ) -> None:
        self.ground, self.store, self.mark, self.solved = ground, ground.store, mark, solved
        self.make, self.stage = make, f"anchor {mark}"
        self.records: dict[str, Record] = {}  # by mark of the task
        self.count = int(self.store.get(f"{mark}/count", 0))

    def record(self, task: Task) -> Record:
        """What is known of a task; a new one gets a tree of its own."""
        name = mark_of_task(task)
        if name not in self.records:
            found = Record.of(self.store.get(f"{self.mark}/{name}"))
            if found is None:
                found, self.count = Record(self.count), self.count + 1
                self.store.set(f"{self.mark}/count", self.count)
                self._keep(name, found)
            self.records[name] = found
        return self.records[name]

    async def run(self, what: str, tasks: Sequence[Task], rollouts: int) -> int:
        """At least so many runs of every task; how many tasks needed new ones.

        Raises `ProgramError` where the very first runs have no reward: those are forgotten.
        """
        names = {self.record(task).number: mark_of_task(task) for task in tasks}
        left = [task for task in tasks if len(self.record(task).rewards) < rollouts]
        held = set(self.store.keys(self.stage))
        starts: list[tuple[TreeKey, Tree | Stored]] = []
        for task in left:
            key = TreeKey(self.stage, 0, self.record(task).number)
            seed = int(mark_of([self.mark, mark_of_task(task)]), 16) >> 1
            start = self.store.read(key) if key in held else Tree(task.to_json(), seed=seed)
            starts.append((key, start))

        def kept(grown: Sequence[Grown]) -> None:
            known = any(r.rewards for r in self.records.values())
            if not known and not self.store.get(f"{self.mark}/rewarded"):
                self._check([key for key, _, _ in grown], [tree for _, tree, _ in grown])
            for key, tree, costs in grown:
                paid = {kind: amount for kind, amount in costs.items() if kind != "seconds"}
                self._keep(names[key.number], Record(key.number, rewards_of(tree), paid))
            self.store.flush()

        make = partial(self.make, rollouts)
        await self.ground.grow_on(what, self.stage, starts, len(tasks), make, NO_BUDGET, kept)
        return len(left)

    def _keep(self, name: str, record: Record) -> None:
        self.records[name] = record
        self.store.set(f"{self.mark}/{name}", asdict(record))

    def _check(self, keys: Sequence[TreeKey], trees: Sequence[Tree]) -> None:
        if any(reward is not None for tree in trees for reward in rewards_of(tree)):
            self.store.set(f"{self.mark}/rewarded", True)
            return
        for key in keys:
            self.store.forget(*key)
        errors = [tree.nodes[i].error for tree in trees for i in tree.leaves()]
        raise ProgramError(
            f"no run of the first {len(trees)} tasks has a reward, so nothing is anchored; the"
            f" first of {len(errors)}: {next(filter(None, errors), 'no verdict')}"
        )

    def kinds(self, tasks: Sequence[Task]) -> dict[str, list[Task]]:
        """The tasks that are solved, mixed and unsolved."""
        out: dict[str, list[Task]] = {"solved": [], "mixed": [], "unsolved": []}
        for task in tasks:
            out[self.record(task).kind(self.solved)].append(task)
        return out


class Anchors:
    """The anchors of a recipe's training tasks, and where none solved one its teacher's runs."""

    def __init__(self, recipe: Recipe, plan: Plan, watch: Watch) -> None:
        self.how, self.plan, self.watch = settings(recipe), plan, watch
        self.recipe = reference(recipe)
        endpoint(self.how)  # refused before anything is opened
        check_own(recipe, self.how)
        self.tasks = list({mark_of_task(task): task for task in plan.train.tasks}.values())
        self.store = Store(self.how.store)
        try:
            with tempfile.TemporaryDirectory() as made:  # a tiny model, made from nothing
                folder = model_folder(self.recipe, Path(made) / "model", watch.say)
                self.mark = mark_of_reference(recipe, plan, folder)
                self.teacher = teacher_mark(recipe, plan, folder)
                policies = load_policies(self.recipe, Path(made) / "model", watch.say)
                say_templates(policies, watch.say)
            (member,) = policies
            self.policy, self.chat = member.policy, member.engine.chat
            self.world = World.build(self.recipe, plan, policies)
            self.ground = Ground(self.recipe, self.store, self.world, watch)
        except BaseException:
            self.store.close()
            raise

    async def go(self) -> dict[str, Any]:
        """Run what was not run yet; how many tasks are of which kind, and what all of it cost.

        Raises `ProgramError` where no run has a reward.
        """
        try:
            stages = tuple(dict.fromkeys((f"anchor {self.mark}", *self._stages())))
            own = Reference(self.ground, self.mark, self.how.solved, self._grower)
            began = self._began(own, stages)
            await own.run("anchors", self.tasks, self.how.rollouts)
            kinds = own.kinds(self.tasks)
            taught = await self._teach(kinds["unsolved"]) if self.teacher else []
            paid = sum(self._tokens(stage) for stage in stages) - began["tokens"]
            redone = self.ground.redone(*stages)
            self.store.set(f"{self.mark}/began", None)
        finally:
            await self.ground.aclose()
        records = [own.record(task) for task in self.tasks]
        return {
            "tasks": len(self.tasks),
            "fresh": began["fresh"],
            **{kind: len(found) for kind, found in kinds.items()},
            "mean": math.fsum(record.mean for record in records) / len(records),
            "taught": sum(told.tree is not None for told in taught),
            "scored_by": sorted({told.scored_by for told in taught if told.tree is not None}),
            "tokens": paid,
            **redone,
            "anchor_tokens": sum(r.tokens for r in records) + sum(told.tokens for told in taught),
            "mark": self.mark,
            "store": self.how.store,
        }

    def _began(self, own: Reference, stages: Sequence[str]) -> dict[str, Any]:
        """What stood there when this command began; one that was stopped began before the stop."""
        now = mark_of([[mark_of_task(task) for task in self.tasks], self.how.model_dump()])
        found: dict[str, Any] | None = self.store.get(f"{self.mark}/began")
        if found is None or found["command"] != now:
            left = [t for t in self.tasks if len(own.record(t).rewards) < self.how.rollouts]
            tokens = sum(self._tokens(stage) for stage in stages)
            found = {"command": now, "tokens": tokens, "fresh": len(left)}
            self.store.set(f"{self.mark}/began", found)
        return found

    def _stages(self) -> tuple[str, ...]:
        """The stages of the store in which the teacher's runs and their retelling are."""
        if not self.teacher:
            return ()
        return f"anchor {self.teacher}", f"taught {self.mark} {self.teacher}"

    def _tokens(self, stage: str) -> float:
        costs = self.store.totals(stage)
        return sum(costs.get(kind, 0) for kind in TOKENS)

    def _grower(self, rollouts: int, engine: Engine | None = None) -> Grower:
        """What grows independent runs of the policy, or of who speaks by another engine."""
        grower = self.world.grower(Ledger(), self.store, trained=False)
        agents = dict(grower.agents)
        if engine is not None:
            goes_on = getattr(engine, "continues", True)
            agents = {
                name: replace(agent, engine=engine, segment=agent.segment if goes_on else None)
                for name, agent in agents.items()
            }
        return replace(grower, agents=agents, strategy=Independent(n=rollouts))

    async def _teach(self, tasks: Sequence[Task]) -> list[Taught]:
        """The teacher's runs of tasks, one after the other until one solves; what is learned."""
        solved = self.how.solved
        engine = teacher_engine(self.how, self.chat, self.recipe.run.device, self.watch.say)
        try:
            make = partial(self._grower, engine=engine)
            other = Reference(self.ground, self.teacher, solved, make)
            left = list(tasks)
            for attempt in range(1, self.how.attempts + 1):
                left = [task for task in left if not other.record(task).accuracy(solved)]
                if left:
                    await engine.load(engine.version)  # no prefix is kept from before
                    await other.run(f"the teacher's run {attempt}", left, attempt)
            make_one, exact = partial(self._grower, 1), self._exact(engine)
            school = School(self.ground, self.policy.causal, make_one, exact)
            name = f"{self.mark}/{self.teacher}"
            return [
                await school.teach(name, task, other.stage, other.record(task), engine.chat, solved)
                for task in tasks
            ]
        finally:
            await engine.aclose()

    def _exact(self, engine: Engine) -> bool:
        """Whether the engine tells ids and log-probs that can be learned from."""
        try:
            for agent in self.recipe.agents.values():
                check_trainable(engine, agent.sampling())
        except EngineError as error:
            self.watch.say(f"The teacher's words are scored by the policy: {error}")
            return False
        return True
