"""The synchronous door: trees of a script or a notebook, without a recipe or a run folder."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hornbeam.arguments import function, is_async, list_of, mapping, one_of, wrong
from hornbeam.blame import Blame, BlameSettings, blame_forks, run_of
from hornbeam.credit import CreditMethod, Method, credit, methods
from hornbeam.engine.engine_checks import check_engine
from hornbeam.errors import ArgumentError
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.protocols import Engine, Program
from hornbeam.score.function_scorer import FunctionScorer, Score
from hornbeam.search import Independent, Strategy, strategies
from hornbeam.settings import nearest
from hornbeam.store.keys import TreeKey
from hornbeam.store.ledger import NO_BUDGET, Budget, Ledger, warning_of_state
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.view import tree_svg
from hornbeam.workers.local_workers import LocalWorkers
from hornbeam.worlds import Snapshots, world_of

LARGE = 1000  # nodes of a tree that a notebook shows as its one line, not as a picture


def picture(tree: Tree) -> str | None:
    """The tree as a notebook shows it; `None` for a large one, of which its `repr` is shown."""
    return tree_svg(tree) if len(tree) <= LARGE else None


def grow_trees(
    program: Program,
    tasks: Sequence[Task],
    agents: Mapping[str, Engine | Speaker],
    strategy: Strategy | None = None,
    *,
    score: Score | None = None,
    tools: Mapping[str, Callable[..., Any]] = {},
    world: Any = None,
    budget: Budget = NO_BUDGET,
    seed: int = 0,
) -> list[Tree]:
    """One grown tree for each task, in canonical order, scored into column "reward".

    Equal seeds give equal samples: in a loop every call takes a `seed` of its own.

    `agents` says which engine speaks under which name, `strategy` where trees grow (8 independent
    episodes by default), `world` what tools with such a parameter act on: "python", a kind of
    hornbeam.worlds, what makes one. Works in a running event loop, as notebooks have one. Raises
    `BudgetSpent`, `ArgumentError` for what it does not take; failures of single episodes stand at
    their leaves, and a warning tells when all have failed or none has a reward.
    """
    speakers = _checked(program, agents, strategy, score, tools)
    tasks = _tasks(tasks)
    one_of(budget, Budget, "grow_trees: budget", "a budget: Budget(tokens=...), say")
    one_of(seed, int, "grow_trees: seed", "a whole number")
    scorer = None if score is None else FunctionScorer(score)
    kind = world_of(world, tools, "grow_trees: world")
    worlds = None if kind is None else Snapshots(kind)

    starts = [
        (TreeKey("grown", 0, number), Tree(task.to_json(), seed=seed + number))
        for number, task in enumerate(tasks)
    ]
    how = strategy or Independent()
    trees = _grown(program, speakers, how, starts, tools, scorer, worlds, budget)
    if why := _fruitless(trees, score is not None):
        warnings.warn(f"grow_trees: {why}", stacklevel=2)
    return trees


def blame(
    program: Program,
    tree: Tree,
    agents: Mapping[str, Engine | Speaker],
    *,
    score: Score,
    leaf: int | None = None,
    tools: Mapping[str, Callable[..., Any]] = {},
    world: Any = None,
    budget: Budget = NO_BUDGET,
    **settings: Any,
) -> Blame:
    """Which step lost the run that ends at a `leaf`, by forks of it: the largest drop of V.

    By default the leaf is the first that failed (of reward below 1/2, or none; with `rise` the
    first that did not). The program, its agents and tools go on from the recorded steps, `score`
    says what came of that; `settings` are those of `BlameSettings`: forks=128, tokens=None, ... A
    spent `budget` ends the search, and what it knows by then is told. Raises as `grow_trees`,
    `DataError` for a run without a step, `SettingError`.
    """
    speakers = _checked(program, agents, None, score, tools, "blame")
    if score is None:
        raise wrong("blame: score", "a function of a task and an answer that gives a number", None)
    one_of(tree, Tree, "blame: tree", "a tree: one of grow_trees or read_trees")
    one_of(budget, Budget, "blame: budget", "a budget: Budget(tokens=...), say")
    chosen = BlameSettings(**settings)
    end = _end_of(tree, leaf, chosen.rise)
    how, start = blame_forks(tree, end, chosen), run_of(tree, end)
    kind = world_of(world, tools, "blame: world")
    worlds = None if kind is None else Snapshots(kind)
    scorer, starts = FunctionScorer(score), [(TreeKey("blame", 0, 0), start)]
    (grown,) = _grown(program, speakers, how, starts, tools, scorer, worlds, budget, cut=True)
    return how.blames(grown)[0]


def _end_of(tree: Tree, leaf: int | None, won: bool) -> int:
    """The leaf that is meant. Raises `ArgumentError` for a node that is none."""
    leaves, rewards = tree.leaves(), tree.columns.get("reward", [])
    if leaf is not None:
        if leaf not in leaves:
            raise ArgumentError(f"blame: node {leaf!r} is no leaf of {tree!r}: see tree.leaves()")
        return leaf
    good = {i for i in leaves if rewards and (rewards[i] or 0.0) >= 0.5}
    found = next((i for i in leaves if (i in good) == won), None)
    if found is None:
        kind = "succeeded" if won else "failed"
        raise ArgumentError(f"blame: no run of {tree!r} {kind}: name its leaf, as leaf={leaves[0]}")
    return found


def _grown(
    program: Program,
    speakers: Mapping[str, Speaker],
    how: Strategy,
    starts: Sequence[tuple[TreeKey, Tree]],
    tools: Mapping[str, Callable[..., Any]],
    scorer: FunctionScorer | None,
    worlds: Snapshots | None,
    budget: Budget,
    cut: bool = False,
) -> list[Tree]:
    """Trees grown here, or in a thread where a loop runs; engines are left as they were.

    With `cut` a spent budget is no error.
    """

    async def run() -> list[Tree]:
        workers = LocalWorkers(tools)
        warn = warning_of_state(lambda entries: None, tools, warnings.warn)
        ledger = Ledger(budget, sink=warn, lasts=False)
        grower = Grower(program, speakers, how, scorer, workers, ledger, worlds=worlds)
        grower.ledgers = (lambda key: ledger) if cut else None
        try:
            return await grower.grow_all(starts)
        finally:
            await workers.aclose()
            engines = {id(speaker.engine): speaker.engine for speaker in speakers.values()}
            for engine in engines.values():
                disconnect: Any = getattr(engine, "disconnect", None)
                if disconnect is not None:
                    await disconnect()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()


def credit_trees(trees: Sequence[Tree], how: str | Method, /, **settings: Any) -> None:
    """Write the columns of a credit method into every tree; trees of one task form one group.

    `how` is a method's name, then `settings` are its own, or a method. Nothing is written unless
    all can be. Raises `ArgumentError` for what it does not take, `RecipeError` for a name or a
    setting that there is not, `DataError` for trees that were never scored. Warns where no leaf of
    any tree has a reward: then nothing is credited.
    """
    found = list_of(trees, Tree, "credit_trees", "trees", again=True)
    if not isinstance(how, str):
        wants = f"the name of a credit method ({', '.join(methods)})"
        one_of(how, CreditMethod, "credit_trees", wants)
        if settings:
            raise ArgumentError("credit_trees: a method has its settings: give it a name to set")
    credit(found, how, **settings)
    if why := _fruitless(found, True):
        warnings.warn(f"credit_trees: {why}: nothing is credited", stacklevel=2)


def _fruitless(trees: Sequence[Tree], scored: bool) -> str:
    """Why none of these trees can teach anything, or ""."""
    leaves = [(tree, i) for tree in trees for i in tree.leaves()]
    errors = [error for tree, i in leaves if (error := tree.nodes[i].error)]
    if errors and len(errors) == len(leaves):
        return f"all {len(leaves)} episodes failed; the first: {errors[0]}"
    rewards = [tree.columns.get("reward", [None] * len(tree))[i] for tree, i in leaves]
    if scored and leaves and all(value is None for value in rewards):
        return f"none of {len(leaves)} answers has a reward: the score was None each time"
    return ""


def _checked(
    program: Any, agents: Any, strategy: Any, score: Any, tools: Any, call: str = "grow_trees"
) -> dict[str, Speaker]:
    """The speakers. Raises `ArgumentError` for the first argument that is something else."""
    _program(program, call)
    speakers = {}
    for name, who in mapping(agents, f"{call}: agents", "engines by agent's name").items():
        known = isinstance(who, Speaker)
        speakers[name] = who if known else Speaker(check_engine(who, f"{call}: agents[{name!r}]"))
    if strategy is not None and not isinstance(strategy, Strategy):
        error = wrong(f"{call}: strategy", "a strategy: Branch(trunks=2, nodes=2), say", strategy)
        if isinstance(strategy, str) and strategy in strategies:
            raise error.hint(f"{strategies[strategy].__name__}(...) of hornbeam.search makes one")
        raise error.hint(nearest(strategy, strategies)) if isinstance(strategy, str) else error
    if score is not None:
        wants = "a function of a task and an answer that gives a number"
        if is_async(function(score, 2, f"{call}: score", wants)):
            raise wrong(f"{call}: score", wants, score).hint("it is async: write a plain def")
    for name, tool in mapping(tools, f"{call}: tools", "functions by tool's name").items():
        if not callable(tool):
            raise wrong(f"{call}: tools[{name!r}]", "a function", tool)
    return speakers


def _program(program: Any, call: str) -> None:
    """Raise `ArgumentError` for what is no agent program, as far as can be told before it runs."""
    wants = "an async function of a task and an episode"
    if isinstance(program, str):
        error = wrong(call, wants, program)
        raise error.hint("make_program of hornbeam.programs makes one by name")
    inner = inspect.unwrap(function(program, 2, call, wants))
    if inspect.isfunction(inner) and inner.__name__ != "<lambda>" and not is_async(inner):
        name = inner.__name__
        raise wrong(call, wants, program).hint(f"write async def {name}(task, ep)")


def _tasks(tasks: Any) -> list[Task]:
    """The tasks, each with a question that is a text."""
    wants = 'tasks: Task("name", "question", answer="...")'
    found: list[Task] = list_of(tasks, Task, "grow_trees", wants)
    for task in found:
        one_of(task.id, (str, int), "grow_trees: the id of a task", "a text")
        one_of(task.question, str, f"grow_trees: the question of task {task.id!r}", "a text")
        mapping(task.data, f"grow_trees: the data of task {task.id!r}", "values by name")
    return found
