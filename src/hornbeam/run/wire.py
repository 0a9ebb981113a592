"""From a recipe to the things that run: policy, engine, growers, tasks. Wiring, no behaviour."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam import models, places
from hornbeam.chat import Answers, Chat, Message, TemplateChat
from hornbeam.chat.tool_text import hinted
from hornbeam.credit import Method, credit, method
from hornbeam.effects import Speaker
from hornbeam.errors import DataError, ModelError, RecipeError, UnknownSetting
from hornbeam.grow import Grower
from hornbeam.ledger import Ledger
from hornbeam.live import Keeper
from hornbeam.program import Program
from hornbeam.programs import Demonstration, check_names, make_program
from hornbeam.programs.load import load_module
from hornbeam.programs.talk import Turn
from hornbeam.run.choices import ToolChoice, keys_of
from hornbeam.run.engines import check_speaks, engine_settings, needs_folder
from hornbeam.run.files import check_files, needed_columns
from hornbeam.run.recipe import Recipe
from hornbeam.run.sftset import Exact, Shown, Told
from hornbeam.score import reward_parts, scope_rewards
from hornbeam.score.rules import RewardSettings, RuleScorer, check_task, make_scorer
from hornbeam.search import Independent, Strategy, strategy
from hornbeam.settings import nearest
from hornbeam.tasks.base import Task
from hornbeam.tasks.load import Loaded, check_apart, check_source, load_tasks
from hornbeam.tools import tool_settings, tools
from hornbeam.train.sft import Example
from hornbeam.tree import Tree
from hornbeam.workers.local import LocalWorkers

if TYPE_CHECKING:  # they import torch: a recipe is read and checked without it
    from hornbeam.run.policies import Policies, Voice

Say = Callable[[str], None]
Load = Callable[[Recipe, Path, Say, "Voice | None"], "Policies"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe names, made and checked before any model is loaded."""

    program: Program
    demonstration: Demonstration | None
    tools: dict[str, Callable[..., Any]]
    strategy: Strategy
    credit: Method
    train: Loaded
    eval: Loaded
    shown: Path | None = None  # the SFT set in place of demonstrations
    base: Path = Path()  # where the recipe's own files lie


def plan(recipe: Recipe, base: Path) -> Plan:
    """Make all that is cheap to make. Raises `RecipeError`, `ProgramError` or `DataError`.

    Names and settings come first, then what reads files.
    """
    engine_settings(recipe.engine)
    check_speaks(recipe)
    check_files(recipe, base)
    told = recipe.program
    with keys_of(told, "[program]"):
        program, demonstration = make_program(told.name, told.rest(), base)
    check_names(told.name, told.rest(), recipe.agents, recipe.tools)
    tools = _tools(recipe, base)
    how = _credit(recipe)
    with keys_of(recipe.grow, "[grow]"):
        grow = strategy(recipe.grow.strategy, **recipe.grow.rest())
    for source in (*recipe.tasks.train, *recipe.tasks.eval):
        check_source(source)
    if not recipe.tasks.train:
        raise RecipeError("tasks.train is empty: name a source, as in [[tasks.train]]")
    data = recipe.sft.data if recipe.sft is not None else ""
    if recipe.sft is not None and demonstration is None and not data:
        raise RecipeError(
            f"[sft] needs demonstrations, and program {recipe.program.name!r} has none: leave the"
            " section out, set sft.data, or give your file a function demonstration(task)"
        )
    train = load_tasks(recipe.tasks.train, base=base)
    held_out = load_tasks(recipe.tasks.eval, base=base) if recipe.tasks.eval else Loaded([], [])
    check_apart(train.tasks, held_out.tasks)
    for task in [*train.tasks, *held_out.tasks]:
        check_task(recipe.reward.rule, task)
    return Plan(
        program,
        demonstration,
        {name: make() for name, make in tools.items()},
        grow,
        how,
        train,
        held_out,
        places.find(data, base) if data else None,
        base.resolve(),
    )


def _credit(recipe: Recipe) -> Method:
    """The credit of a recipe. `RecipeError` where it reads what the recipe has not."""
    with keys_of(recipe.credit, "[credit]"):
        how = method(recipe.credit.method, **recipe.credit.rest())
    if "format" in how.parts and recipe.reward.format is None:
        raise RecipeError("credit.weights.format: set reward.format, which says what good form is")
    for column in needed_columns(recipe, how):
        if column not in recipe.guides:
            where = "credit.column" if column == how.reads else "reward.delegation.column"
            where = f"credit.weights.{column}" if column in how.parts else where
            raise RecipeError(
                f"{where}: no guide writes {column!r}: add a table [guides.{column}] that"
                " says which model does"
            )
    if how.anchored and recipe.anchor is None:
        raise RecipeError(
            f"credit {recipe.credit.method!r} reads a prior of each task: add a section [anchor],"
            " and run `hornbeam anchor` before training"
        )
    return how


def credit_step(trees: Sequence[Tree], rewards: RewardSettings, how: Method) -> None:
    """Make out of outcomes the rewards that credit reads, and credit the trees of a step."""
    for tree in trees:
        if rewards.delegation is not None:
            tree.columns.update(scope_rewards(tree, rewards.delegation))
        if how.parts:
            tree.columns.update(reward_parts(tree, rewards))
    credit(trees, how)


def make_tools(recipe: Recipe, base: Path) -> dict[str, Callable[..., Any]]:
    """The tools of a recipe by name, its own files beside it in `base`."""
    return {name: make() for name, make in _tools(recipe, base).items()}


def _tools(recipe: Recipe, base: Path) -> dict[str, Callable[[], Callable[..., Any]]]:
    """What makes the tools: all their settings are checked before one builds its index."""
    return {name: _tool(name, choice, base) for name, choice in recipe.tools.items()}


def _tool(name: str, choice: ToolChoice, base: Path) -> Callable[[], Callable[..., Any]]:
    """What makes a ready-made tool, or gives a function out of a file."""
    settings = choice.rest()
    file, colon, function = choice.use.rpartition(":")
    with keys_of(choice, f"[tools.{name}]"):
        if not choice.use and name not in tools and settings:  # a misspelt use names no tool
            hint = nearest(name, tools)
            raise UnknownSetting(f"unknown tool {name!r}: {hint}", sorted(settings), [])
        if not colon:
            return tool_settings(choice.use or name, **settings).beside(base).make
    if settings:
        raise RecipeError(f"tools.{name}: a function takes no settings, {sorted(settings)} given")
    module = load_module(places.find(file, base))
    found = getattr(module, function, None)
    if not callable(found):
        known = [n for n, v in vars(module).items() if inspect.isfunction(v)]
        hint = nearest(function, known) if known else "there is none"
        raise RecipeError(f"tools.{name}: {file} has no function {function!r}: {hint}")
    return lambda: found


def model_folder(recipe: Recipe, folder: Path, say: Say) -> Path:
    """Where the model of a recipe lies; a tiny one is made into `folder`, others may be pulled."""
    if recipe.model.name != "tiny":
        if recipe.model.options:
            raise RecipeError("model.options are settings of the model 'tiny' only")
        return models.obtain(recipe.folder(recipe.model.name), say)
    if not (folder / "tokenizer_config.json").is_file():
        from hornbeam import tiny

        part = folder.with_name(f".{folder.name}.part")  # what a killed run leaves is no model
        for left in (part, folder):
            shutil.rmtree(left, ignore_errors=True)
        tiny.make(part, recipe.run.seed, **recipe.model.options).rename(folder)
    return folder


def bf16_is_slow(recipe: Recipe) -> bool:
    """Whether the recipe asks for bfloat16 on a processor that has no instructions for it."""
    import torch

    return recipe.optim.bf16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def load_policies(recipe: Recipe, folder: Path, say: Say, voice: Voice | None = None) -> Policies:
    """The policies with their losses, optimisers and adapters; `folder` is for tiny models."""
    from hornbeam.run.policies import Policies

    here = voice is not None or needs_folder(recipe)
    return Policies(recipe, model_folders(recipe, folder, say) if here else {}, voice)


def say_templates(policies: Policies, say: Say) -> None:
    """A line for each chat template: what it does with a conversation."""
    for line in dict.fromkeys(chat.about() for chat in policies.chats.values()):
        say(line)


def model_folders(recipe: Recipe, folder: Path, say: Say) -> dict[str, Path]:
    """Where the model of each policy lies; those without one of their own share the recipe's."""
    out = {}
    for name in recipe.names:
        own = recipe.policies[name].model if name in recipe.policies else ""
        place = folder.with_name(f"{folder.name}-{name}") if own else folder
        out[name] = model_folder(recipe.of(name), place, say)
    return out


@dataclass(slots=True)
class World:
    """Policies and scorer of a run, and growers that share them."""

    recipe: Recipe
    plan: Plan
    policies: Policies
    scorer: RuleScorer

    @classmethod
    def build(cls, recipe: Recipe, plan: Plan, policies: Policies) -> World:
        """A world in which agents speak with these policies."""
        return cls(recipe, plan, policies, make_scorer(recipe.reward))

    def grower(
        self, ledger: Ledger, keeper: Keeper | None, greedy: bool = False, trained: bool = True
    ) -> Grower:
        """A grower for training, or a greedy one of single episodes for evaluation.

        What a greedy one grows, or one that is not `trained`, is not trained on.
        """
        trained = trained and not greedy
        agents = {
            name: Speaker(
                self.policies.engine(name),
                agent.sampling(greedy),
                agent.segment,
                trained,
                agent.tags,
            )
            for name, agent in self.recipe.agents.items()
        }
        return Grower(
            self.plan.program,
            agents,
            Independent(n=1) if greedy else self.plan.strategy,
            self.scorer,
            LocalWorkers(self.plan.tools, self.recipe.limits.tool_seconds),
            ledger,
            self.recipe.limits,
            keeper,
        )

    async def aclose(self) -> None:
        """Give back what engines and scorer hold."""
        await self.policies.aclose()
        await self.scorer.aclose()


def demonstrations(
    tasks: Sequence[Task], demonstration: Demonstration, count: int | None
) -> list[list[Turn]]:
    """Gold conversations of the first `count` tasks that have one. `DataError` where none has."""
    shown: list[list[Turn]] = []
    missing: DataError | None = None
    for task in tasks:
        if count is not None and len(shown) == count:
            break
        try:
            shown.append([Turn(*turn) for turn in demonstration(task)])
        except DataError as error:
            missing = error
    if not shown and missing is not None:
        raise DataError(f"[sft] finds no demonstration among {len(tasks)} tasks: {missing}")
    return shown


def spoken(shown: Shown, agents: Collection[str], alone: bool) -> Shown:
    """What of a demonstration a policy of these agents is to say; all of it where it is `alone`.

    Raises `DataError` where it is not told who says a turn.
    """
    for turn in [shown] if isinstance(shown, Exact) else shown:
        if not alone and not turn.agent:
            raise DataError(
                "[sft]: with several policies a demonstration must name the agent of each turn,"
                ' as (messages, text, "main"), a line of sft.data as "agent"'
            )
    if isinstance(shown, Exact):
        return shown if alone or shown.agent in agents else []
    return [turn for turn in shown if alone or turn.agent in agents]


def examples(shown: Shown, chat: Chat) -> list[Example]:
    """A demonstration as ids: what the agent says is trained, its end token included.

    One example as long as each prompt goes on from the one before, else several.
    """
    if isinstance(shown, Exact):
        return [shown.example(chat)]
    out: list[Example] = []
    held: list[int] = []
    for context, answer in asked_and_said(shown, chat):
        if out and context[: len(held)] == held:
            last = out.pop()
            more = [(context[len(held) :], False), (answer, True)]
            out.append(Example(last.prompt, [*last.spans, *more]))
        else:
            out.append(Example(context, [(answer, True)]))
        held = context + answer
    return out


def asked_and_said(
    turns: Sequence[Turn | Told], chat: Chat
) -> Iterator[tuple[list[int], list[int]]]:
    """The ids of each turn's prompt, and of what is said behind it, its end included."""
    said: Answers[list[int]] = Answers()
    for turn in turns:
        if not isinstance(turn, Told):
            messages, context = _rendered(chat, turn.messages, said)
            text, calls = turn.text, False
        elif isinstance(chat, TemplateChat):
            messages, context, text = _asked_and_told(turn, chat, said)
            calls = bool(turn.message.get("tool_calls"))
        else:
            raise DataError("a conversation wants a chat template, and this chat has none")
        answer = _ended(text, chat)
        yield context, answer
        if not calls:
            said.add(messages, turn.text, answer)


def _asked_and_told(
    turn: Told, chat: TemplateChat, said: Answers[list[int]]
) -> tuple[list[Message], list[int], str]:
    """(the messages of a prompt, its ids, the text of the answer) by the template."""
    try:
        told = chat.with_tools(turn.tools)
        messages, context = _rendered(told, turn.messages, said)
        return messages, context, told.spoken(messages, turn.message)
    except ModelError as error:
        raise hinted(error, [*turn.messages, turn.message], turn.tools) from error


def _rendered(
    chat: Chat, messages: list[Message], said: Answers[list[int]]
) -> tuple[list[Message], list[int]]:
    """The ids of a prompt; a developer speaks as the system where the template has none."""
    try:
        return messages, list(chat.render(messages, said.find(messages)))
    except ModelError:
        system = [{**m, "role": "system"} if m["role"] == "developer" else m for m in messages]
        if system == messages:
            raise
        return system, list(chat.render(system, said.find(system)))


def _ended(text: str, chat: Chat) -> list[int]:
    """What an agent says and what stands behind it; an end that the text itself has is that one.

    Raises `DataError` where the text ends or begins other turns.
    """
    ends = [chat.spell([end]) for end in sorted(chat.ends)]
    body = next((text.rstrip().removesuffix(e) for e in ends if text.rstrip().endswith(e)), text)
    answer = chat.encode(body)
    if answer != chat.quote(body):
        raise DataError(
            f"a demonstration writes a control token with which turns end or begin: {text!r}"[:300]
        )
    held = [token for token in chat.closing if token not in answer[-len(chat.closing) :]]
    return [*answer, *held]
