"""`hornbeam import`: chats and the logs of other libraries, into trees and SFT sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hornbeam.cli.credit_command import write
from hornbeam.errors import DataError
from hornbeam.files.terminal import tell

if TYPE_CHECKING:
    from hornbeam.formats import ImportedRun

KNOWN = "chats, verifiers, verifiers-traces, inspect, agent-lightning or rllm"
Kind = Annotated[
    str, typer.Option("--format", help=f"{KNOWN}.", show_default="what a file looks like")
]
Reward = Annotated[
    str,
    typer.Option(
        "--reward", help="The field or scorer that is the reward.", show_default="the format's"
    ),
]
ToolsAsText = Annotated[
    bool,
    typer.Option("--tools-as-text", help="Tools, calls and results as text, for any template."),
]
OF_TOOLS = (
    "\n         with tools, for which many small models' chat templates have no place:"
    " `train --dry-run` checks it, --tools-as-text writes them as text"
)
AGENT = "solver"
TOLD = 5  # records left out that are named


def import_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Runs: JSON lines, JSON or .eval.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Trees to write.", show_default="FILE.trees.jsonl beside it"),
    ] = None,
    sft: Annotated[
        Path | None, typer.Option("--sft", help="Also write the conversations as an SFT set.")
    ] = None,
    kind: Kind = "",
    model: Annotated[
        str | None, typer.Option("--model", help="Whose exact token ids trees and set get.")
    ] = None,
    reward: Reward = "",
    where: Annotated[
        list[str] | None, typer.Option("--where", help='Of --sft: a number of a run, "reward>=1".')
    ] = None,
    agent: Annotated[
        str, typer.Option("--agent", help="The agent, where a file names none.")
    ] = AGENT,
    tools_as_text: ToolsAsText = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out unreadable records; name them.")
    ] = False,
) -> None:
    """Read runs that others recorded; write them as trees, one a task, and as an SFT set."""
    from hornbeam.cli.steps_command import chat_of
    from hornbeam.formats import ImportedTrees, holds_trees
    from hornbeam.jobs.imports.imported_ids import chosen, set_lines
    from hornbeam.jobs.select.selection import Where
    from hornbeam.tree.jsonl import json_line, to_json

    wheres = [Where.of(text) for text in where or ()]
    target = _target(files, out, sft, bool(wheres))
    more = sft or kind or model or reward or skip_bad or agent != AGENT
    if tools_as_text and not more and holds_trees(files[0]):
        _write_trees(files, target)
        return
    found, bad, kinds = _read(files, kind, reward, skip_bad)
    chat = chat_of(model) if model else None
    runs = _made(found, chat, tools_as_text, bad, skip_bad)
    imported = ImportedTrees(agent)
    for run in runs:
        imported.add(run)
    trees = imported.trees(files[0].name.split(".")[0])
    kept = chosen(runs, wheres) if sft else []
    lines = [line for run in kept for line in set_lines(run, chat)]
    write([json_line(to_json(tree)) for tree in trees], target)
    if sft:
        write(lines, sft)
    _print_summary(kinds, runs, len(trees), imported.equal, bad)
    if tools_as_text:
        _report_tools([run for _, run in found], runs, bool(chat))
    tell(f"Trees:   {target} ({len(trees)})")
    if sft:
        counts = f"{len(kept)} of {_many(len(runs), 'run')}, {_many(len(lines), 'line')}"
        tell(f"Set:     {sft} ({counts})" + ("" if chat else _of_tools(kept)))


def _target(files: Sequence[Path], out: Path | None, sft: Path | None, chooses: bool) -> Path:
    """Where the trees go. Raises `DataError` where files to write are wrong."""
    if chooses and sft is None:
        raise DataError("--where chooses for --sft: say that too")
    target = out or files[0].with_name(f"{files[0].name.split('.')[0]}.trees.jsonl")
    given = {path.resolve() for path in files}
    for path in (target, sft):
        if path is not None and path.resolve() in given:
            raise DataError(f"{path}: is what is read: choose another file to write")
    if sft is not None and sft.resolve() == target.resolve():
        raise DataError(f"--sft {sft}: is where the trees go: choose another file")
    return target


def _write_trees(files: Sequence[Path], target: Path) -> None:
    """Trees again, with their tools as text."""
    from hornbeam.formats import tree_as_text
    from hornbeam.tree.jsonl import json_line, read_trees, to_json

    lines, changed = [], 0
    for path in files:
        for number, tree in enumerate(read_trees(path), 1):
            try:
                line = tree_as_text(tree)
            except DataError as error:
                raise DataError(f"{path}, tree {number}: {error} (nothing is written)") from error
            changed += line is not tree
            lines.append(json_line(to_json(line)))
    write(lines, target)
    tell(f"Trees:   {target} ({len(lines)}, tools as text in {changed})")


def _read(
    files: Sequence[Path], kind: str, reward: str, skip_bad: bool
) -> tuple[list[tuple[str, ImportedRun]], list[str], list[str]]:
    """(runs with their places, records that cannot be read and why, formats)."""
    from hornbeam.formats import Options, read_runs

    runs: list[tuple[str, ImportedRun]] = []
    bad: list[str] = []
    kinds: list[str] = []
    for path in files:
        name, records = read_runs(path, kind, Options(reward))
        kinds.append(name)
        for where, found in records:
            if isinstance(found, DataError):
                _bad(bad, f"{where}: {found}", skip_bad)
            else:
                runs += [(where, run) for run in found]
    return runs, bad, list(dict.fromkeys(kinds))


def _made(
    found: Sequence[tuple[str, ImportedRun]],
    chat: Any,
    in_text: bool,
    bad: list[str],
    skip_bad: bool,
) -> list[ImportedRun]:
    """The runs with their tools as text, and in a model's ids, where that is asked for."""
    from hornbeam.formats import as_text
    from hornbeam.jobs.imports.imported_ids import with_ids

    runs: list[ImportedRun] = []
    for place, run in found:
        try:
            runs.append(with_ids(as_text(run) if in_text else run, chat))
        except DataError as error:
            _bad(bad, f"{place}: {error}", skip_bad)
    if not runs:
        raise DataError(f"none of {len(bad)} records can be read, the first: {bad[0]}")
    return runs


def _bad(bad: list[str], line: str, skip_bad: bool) -> None:
    """One more record that cannot be read. Raises `DataError` where none may be left out."""
    if not skip_bad:
        raise DataError(f"{line} (nothing is written; --skip-bad leaves such records out)")
    bad.append(line)


def _print_summary(
    kinds: Sequence[str], runs: Sequence[ImportedRun], trees: int, equal: int, bad: Sequence[str]
) -> None:
    """What was read, in some lines; what was left out goes to stderr."""
    rewards = [run.reward for run in runs if run.reward is not None and not run.error]
    mean = f", mean {sum(rewards) / len(rewards):.3g}" if rewards else ""
    failed = sum(bool(run.error) for run in runs)
    counts = (
        f"{_many(len(runs), 'run')} of {_many(trees, 'task')}; {len(rewards)} with a reward{mean}"
    )
    tell(f"Read:    {' and '.join(kinds)}, {counts}{f'; {failed} failed' if failed else ''}")
    with_ids = sum(bool(run.sampled) for run in runs)
    if with_ids < len(runs):
        none = _many(len(runs) - with_ids, "run")
        tell(f"         {none} without token ids, as text (--model NAME gives them)")
    if equal:
        tell(f"         {_many(equal, 'run')} the same as an earlier one, kept")
    for line in bad[:TOLD]:
        tell(f"hornbeam import: left out: {line}", err=True)
    if len(bad) > TOLD:
        tell(f"hornbeam import: left out: {len(bad) - TOLD} more", err=True)


def _of_tools(runs: Sequence[ImportedRun]) -> str:
    """A line on a set of messages that not every chat template can say; "" of others."""
    from hornbeam.assembly.sft_set import mentions_tools, turns_of

    return OF_TOOLS if any(mentions_tools(turns_of(run)) for run in runs) else ""


def _report_tools(found: Sequence[ImportedRun], runs: Sequence[ImportedRun], anew: bool) -> None:
    """What became text, and what was left out for it."""
    from hornbeam.chat.tool_text import uses_tools
    from hornbeam.tree.jsonl import json_line

    changed = sum(run.as_text for run in runs)
    if not changed:
        tell("         no run uses tools: --tools-as-text changes nothing")
        return
    calls = sum(len(each) for run in runs for each in run.calls.values())
    tools = len({json_line(each) for run in found for each in run.tools})
    counts = f"tools as text in {_many(changed, 'run')}: {_many(calls, 'call')} with results"
    tell(f"         {counts}, {_many(tools, 'definition')} in system messages")
    lost = sum(bool(run.sampled) and uses_tools(run.messages, run.tools) for run in found)
    if lost and not anew:
        tell(f"         token ids of {_many(lost, 'run')} left out: they spell other text")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
