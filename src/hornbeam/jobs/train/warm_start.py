"""What a warm start shows to each policy, in its own ids: made before anything is paid for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hornbeam.assembly.endpoints import chat_of, own_template
from hornbeam.assembly.examples import demonstrations, examples, spoken
from hornbeam.assembly.plan import Plan
from hornbeam.assembly.sft_set import Numbered, Shown, numbered_set
from hornbeam.chat import Chat, TemplateChat
from hornbeam.errors import DataError, ModelError
from hornbeam.models import catalogue, tiny_model
from hornbeam.recipe.recipe import Recipe, SftStage
from hornbeam.train.sft import Example

if TYPE_CHECKING:  # they import torch: rows are checked without it
    from hornbeam.assembly.policies import Member, Policies


class WarmStart(NamedTuple):
    """The examples of each policy, and a line on where they are from."""

    line: str
    given: list[tuple[Member, list[Example]]]


class ExampleRow(NamedTuple):
    """A demonstration, or a row of a set, and where it stands."""

    where: str
    shown: Shown


def warm_start(
    recipe: Recipe, plan: Plan, shown: Sequence[Numbered] | None, policies: Policies
) -> WarmStart | None:
    """The warm start of a recipe: demonstrations of the first training tasks, or a set's rows.

    None where there is to be none. Raises `DataError` naming the row that cannot be taught.
    """
    if recipe.sft is None:
        return None
    rows, alone = _rows(recipe, plan, shown), len(policies) == 1
    what = "demonstrated tasks" if shown is None else f"answers of {recipe.sft.data}"
    given = [
        (m, [e for row in rows for e in _taught(row, m.agents, alone, m.engine.chat)])
        for m in policies
    ]
    return WarmStart(f"Warm start on {len(rows)} {what}", given)


def check_rows(recipe: Recipe, plan: Plan) -> list[str]:
    """Hold what a warm start is to show against the chat templates, before weights are loaded.

    Returns a line for each policy: how much it is shown, or that its model is not here. Raises
    `DataError` naming the first row that cannot be taught, and how many there are.
    """
    if recipe.sft is None:
        return []
    shown = None if plan.shown is None else [*numbered_set(plan.shown)]
    rows, lines = _rows(recipe, plan, shown), []
    for name in recipe.names:
        part = recipe.of(name)
        chat = _chat(part)
        if chat is None:
            lines.append(
                f"[sft]: {len(rows)} {'row' if len(rows) == 1 else 'rows'} not held against the"
                f" chat template of {part.model.name}, which is not on this machine"
            )
            continue
        wrong, taught = [], list[Example]()
        for row in rows:
            try:
                taught += _taught(row, part.agents, len(recipe.names) == 1, chat)
            except DataError as error:
                wrong.append(str(error))
        if wrong:
            more = f" ({len(wrong)} of {len(rows)} rows cannot be taught)" if wrong[1:] else ""
            raise DataError(f"{wrong[0]}{more}")
        lines.append(f"warm start{f' {name}' if name else ''}: {amount(taught, recipe.sft)}")
    return lines


def amount(given: Sequence[Example], how: SftStage) -> str:
    """How many rows are shown and learned from, and in how many updates."""
    updates = how.updates(len(given))
    trained = sum(len(ids) for each in given for ids, learns in each.spans if learns)
    tokens = sum(len(each.prompt) + sum(len(ids) for ids, _ in each.spans) for each in given)
    return (
        f"{len(given):,} {'row' if len(given) == 1 else 'rows'} of"
        f" {how.data or 'demonstrations'}, {updates:,} updates ({how.epochs} x the set, batches of"
        f" {how.batch_size}); {tokens:,} tokens, {trained:,} of them trained"
    )


def _rows(recipe: Recipe, plan: Plan, shown: Sequence[Numbered] | None) -> list[ExampleRow]:
    """What is shown of a set, or without one demonstrations."""
    stage = recipe.sft
    assert stage is not None
    if shown is not None:
        taken = shown[: stage.count]
        return [ExampleRow(f"{stage.data}, line {number}", row) for number, row in taken]
    assert plan.demonstration is not None
    gold = demonstrations(plan.train.tasks, plan.demonstration, stage.count, plan.tools)
    return [ExampleRow(f"[sft], demonstration {n}", turns) for n, turns in enumerate(gold, 1)]


def _taught(row: ExampleRow, agents: Collection[str], alone: bool, chat: Chat) -> list[Example]:
    """What is shown of a row to a policy, on what its agents are to say."""
    try:
        return examples(spoken(row.shown, agents, alone), chat)
    except (ModelError, DataError) as error:
        raise DataError(f"{row.where}: {str(error).removeprefix('[sft]: ')}") from error


def _chat(recipe: Recipe) -> Chat | None:
    """The chat of a policy's model by its tokenizer alone; None where it is not here."""
    name = recipe.model.name
    if name == "tiny":
        words = tiny_model.tokenizer(recipe.model.options.get("words", ()))
        return TemplateChat(own_template(recipe, words), name)
    try:
        folder = catalogue.resolve(recipe.folder(name))
    except ModelError:
        return None
    return chat_of(name, folder, recipe)
