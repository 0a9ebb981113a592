"""What is told of failed episodes and tool calls; a job stops whose first episodes all failed.

What those grew is forgotten, to be grown again once the program is mended.

A program that catches `ToolError` goes on without the tool, so its episodes do not fail: counts and
a warning are all that tells of a misspelt `[tools.NAME]`. Whether the program or a model named the
tool is not known here, so that stops no job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hornbeam.assembly.progress import Progress
from hornbeam.episode.failures import causes, failed, one_cause
from hornbeam.episode.reply import BAD_ARGUMENTS, BAD_JSON
from hornbeam.errors import ProgramError
from hornbeam.store.database import Store, TreeKey
from hornbeam.tree.nodes import INJECTED, Call, Tree
from hornbeam.workers.local_workers import NO_TOOL

AGAIN = "nothing of it is kept: fix that and run the same command again"
NAMES = {"measure": "the measure of the tasks", "anchor": "the anchors' estimate"}  # of stages
REFUSED = {
    "unknown_tools": NO_TOOL,
    "unreadable_calls": BAD_JSON,
    "wrong_arguments": BAD_ARGUMENTS,
}  # how errors of calls begin that no tool raised
LARGE = 0.1  # the share of failed tool calls from which lines on a run tell of them


def check_grown(
    store: Store, keys: Sequence[TreeKey], trees: Sequence[Tree], begun: bool, silent: str = ""
) -> None:
    """Of trees that training grew: those of a step are looked at, others until it has `begun`.

    `silent` says why a scorer gave no reward.
    """
    if keys[0].stage == "train":
        check_scored(store, keys, trees, silent)
    elif not begun:
        check_first(store, keys, trees)


def check_first(
    store: Store, keys: Sequence[TreeKey], trees: Sequence[Tree], what: str = ""
) -> None:
    """Raise `ProgramError` where all episodes failed for one cause; their trees are forgotten.

    `what` they are is said first.
    """
    if failure := all_failed(trees):
        forget(store, keys)
        what = what or NAMES.get(keys[0].stage, "the first evaluation")
        raise ProgramError(f"{what}: {failure}; {AGAIN}")


def all_failed(trees: Sequence[Tree]) -> str:
    """That all episodes failed, and of what one cause; "" where not."""
    error, count = one_cause(trees), len(failed(trees))
    whole = f"all {count} episodes" if count > 1 else "the one episode"
    return f"{whole} failed: {error}" if error else ""


def check_scored(
    store: Store, keys: Sequence[TreeKey], trees: Sequence[Tree], silent: str = ""
) -> None:
    """The same for a step that nothing can be learned from: no episode of it has a reward."""
    check_first(store, keys, trees, f"step {keys[0].step + 1}")
    if not any(value is not None for tree in trees for value in tree.columns.get("reward", ())):
        forget(store, keys)
        raise unscored(trees, silent)


def unscored(trees: Sequence[Tree], silent: str = "") -> ProgramError:
    """What is told of a step without a reward; `silent`: why the scorer gave none."""
    ends = sum(len(tree.leaves()) for tree in trees)
    first = next(iter(failed(trees)), silent or "the checker gave no verdict")
    return ProgramError(f"no run of a whole step was scored ({ends} runs); the first: {first}")


def why(trees: Sequence[Tree]) -> dict[str, str]:
    """The cause of failures, for people; no key where nothing failed."""
    failure = causes(failed(trees))
    return {"failure": failure} if failure else {}


def failed_of(row: Mapping[str, Any]) -> str:
    """Failures of an evaluation in words, "; 3 of 40 failed: ZeroDivisionError at mine.py:12".

    Those of tool calls are told where they are many; "" where all went well.
    """
    told = []
    if row["failed"]:
        told.append(f"; {row['failed']} of {row['count']} failed: {row['failure']}")
    if row.get("tool_failure"):
        told.append(f"; {row['tool_failure']}")
    return "".join(told)


def forget(store: Store, keys: Sequence[TreeKey]) -> None:
    """Drop trees; what they cost was paid."""
    for key in keys:
        store.forget(*key)


# --- tool calls ----------------------------------------------------------------------------------


def calls_of(trees: Iterable[Tree]) -> list[Call]:
    """The tool calls that grew with the trees, those of recorded runs left out."""
    nodes = (node for tree in trees for node in tree.nodes if node.origin.version != INJECTED)
    return [call for node in nodes for call in node.calls]


def tool_figures(trees: Iterable[Tree]) -> dict[str, Any]:
    """For rows: calls that failed, and among them those of unknown tools, those that could not be
    read (broken JSON), those whose arguments did not fit; {} without any calls.

    `tool_failure` says it for people where the share is large.
    """
    calls = calls_of(trees)
    if not calls:
        return {}
    errors = [call.error for call in calls if call.error]
    figures = {"tool_errors": len(errors)}
    figures |= {n: sum(e.startswith(begins) for e in errors) for n, begins in REFUSED.items()}
    if len(errors) < max(1, LARGE * len(calls)):
        return figures
    ((first, _),) = Counter(errors).most_common(1)
    failure = f"{len(errors)} of {len(calls)} tool calls failed: {first}"
    return {**figures, "tool_failure": failure}


def warn_of_unknown_tools(trees: Sequence[Tree], progress: Progress) -> None:
    """Say once a job that tools were called which the recipe does not have."""
    calls = calls_of(trees)
    unknown = [call.error for call in calls if _unknown(call.error)]
    if unknown:
        progress.warn_once(
            "unknown tools",
            f"{len(unknown)} of {len(calls)} tool calls named a tool that is not there: each tool"
            f" that the program or its agents name needs a table [tools.NAME]; the first:"
            f" {unknown[0]}",
        )


def _unknown(error: str) -> bool:
    return error.startswith(NO_TOOL)
