"""Imported runs as token ids and as an SFT set: by a model's own chat template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hornbeam.assembly.examples import asked_and_said, examples
from hornbeam.assembly.sft_set import exact_line, turns_of
from hornbeam.chat import TemplateChat
from hornbeam.errors import DataError, ModelError
from hornbeam.formats import ImportedRun, Sampled
from hornbeam.jobs.select.selection import Where
from hornbeam.settings import nearest
from hornbeam.tree.jsonl import json_line


def with_ids(run: ImportedRun, chat: TemplateChat | None) -> ImportedRun:
    """The run in a model's ids, in place of those it may hold; as it is without a chat.

    Raises `DataError` where the template refuses it, or leaves out what it says.
    """
    if chat is None:
        return run
    try:
        pairs = list(asked_and_said(turns_of(run), chat))
    except ModelError as error:
        raise DataError(str(error)) from error
    return replace(run, sampled={n: Sampled(*pair) for n, pair in zip(run.said, pairs)})


def set_lines(run: ImportedRun, chat: TemplateChat | None) -> Iterator[str]:
    """The run as lines of an SFT set: its messages, or ids where there is a chat."""
    if chat is not None:
        for example in examples(turns_of(run), chat):
            yield exact_line(example, chat.fingerprint(), run.agent)
        return
    more = {"tools": run.tools, "agent": run.agent}
    yield json_line({"messages": run.messages, **{k: v for k, v in more.items() if v}})


def numbers_of_run(run: ImportedRun) -> dict[str, float]:
    """What conditions can be put on: the reward, scores, how many turns and sampled tokens."""
    out = {**run.scores, **({} if run.reward is None else {"reward": run.reward})}
    tokens = sum(len(sampled.tokens) for sampled in run.sampled.values())
    return {**out, "turns": float(len(run.said)), "tokens": float(tokens)}


def chosen(runs: Sequence[ImportedRun], wheres: Sequence[Where]) -> list[ImportedRun]:
    """The runs for a set: those that did not fail and meet every condition.

    Raises `DataError` where no run has what a condition names, or none is left.
    """
    figures = [numbers_of_run(run) for run in runs]
    for where in wheres:
        if not any(where.what in numbers for numbers in figures):
            known = nearest(where.what, {name for numbers in figures for name in numbers})
            raise DataError(f"--where: no run has a number {where.what!r}: {known}")
    out = [
        run
        for run, numbers in zip(runs, figures)
        if not run.error and all(where.met_by(numbers.get(where.what)) for where in wheres)
    ]
    if not out:
        raise DataError(f"none of {len(runs)} runs is left for --sft: they failed, or --where")
    return out
