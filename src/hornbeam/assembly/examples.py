"""Demonstrations and recorded conversations as ids that a policy is taught."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from hornbeam.assembly.sft_set import Exact, Shown
from hornbeam.chat import Answers, Chat, Message, TemplateChat
from hornbeam.chat.tool_calls import parsed
from hornbeam.chat.tool_text import hinted
from hornbeam.errors import DataError, ModelError, RecipeError
from hornbeam.programs import Demonstration
from hornbeam.programs.talk import MessageTurn, Turn
from hornbeam.settings import nearest
from hornbeam.tools.argument_check import wrong_arguments
from hornbeam.tools.schema import name_of, offered
from hornbeam.train.sft import Example
from hornbeam.tree.task import Task


def demonstrations(
    tasks: Sequence[Task],
    demonstration: Demonstration,
    count: int | None,
    tools: Mapping[str, Callable[..., Any]] = {},
) -> list[list[Turn | MessageTurn]]:
    """Gold conversations of the first `count` tasks that have one. `DataError` where none has.

    `tools` are the run's, which turns offer by name.
    """
    shown: list[list[Turn | MessageTurn]] = []
    missing: DataError | None = None
    for task in tasks:
        if count is not None and len(shown) == count:
            break
        try:
            shown.append([_with_tools(turn, tools) for turn in demonstration(task)])
        except DataError as error:
            missing = error
    if not shown and missing is not None:
        raise DataError(f"[sft] finds no demonstration among {len(tasks)} tasks: {missing}")
    return shown


def _with_tools(
    turn: Turn | MessageTurn, tools: Mapping[str, Callable[..., Any]]
) -> Turn | MessageTurn:
    """A turn with the schemas of what it offers. `RecipeError` where its calls do not fit these."""
    if not isinstance(turn, MessageTurn):
        return Turn(*turn)
    schemas = offered(turn.tools, tools, "a demonstration's tools")
    known = {name_of(schema): schema for schema in schemas}
    for call in turn.message.get("tool_calls") or ():
        name, arguments = call["function"]["name"], parsed(call["function"]["arguments"])
        if name not in known:
            raise RecipeError(
                f"the demonstration calls {name!r}, which it does not offer:"
                f" {nearest(name, known) if known else 'it offers none'}"
            )
        if wrong := wrong_arguments(known[name], arguments):
            raise RecipeError(f"the demonstration calls {name!r} as it cannot be called: {wrong}")
    return turn._replace(tools=schemas)


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
    turns: Sequence[Turn | MessageTurn], chat: Chat
) -> Iterator[tuple[list[int], list[int]]]:
    """The ids of each turn's prompt, and of what is said behind it, its end included."""
    said: Answers[list[int]] = Answers()
    for turn in turns:
        if not isinstance(turn, MessageTurn):
            messages, context = _rendered(chat, turn.messages, said)
            text, closing, calls = turn.text, chat.closing, False
        elif isinstance(chat, TemplateChat):
            messages, context, text = _prompt_and_answer(turn, chat, said)
            calls = bool(turn.message.get("tool_calls"))
            closing = chat.closing_of(turn.message)
        else:
            raise DataError("a conversation needs a chat template, and this chat has none")
        answer = _ended(text, chat, closing)
        yield context, answer
        if not calls:
            said.add(messages, turn.text, answer)


def _prompt_and_answer(
    turn: MessageTurn, chat: TemplateChat, said: Answers[list[int]]
) -> tuple[list[Message], list[int], str]:
    """(the messages of a prompt, its ids, the text of the answer) by the template."""
    try:
        with_tools = chat.with_tools(turn.tools)
        if lost := with_tools.left_out():
            raise ModelError(lost)
        messages, context = _rendered(with_tools, turn.messages, said)
        return messages, context, with_tools.spoken(messages, turn.message)
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


def _ended(text: str, chat: Chat, closing: Sequence[int]) -> list[int]:
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
    held = [token for token in closing if token not in answer[-len(closing) :]]
    return [*answer, *held]
