"""Whether tools that say nothing of their state keep some where forks cannot have their own.

At the first fork of a run that passes a call of such a tool, its first and its last call on the
path are made again, in a copy of what the tool can be seen to keep, or in a fresh session. The
program hears what is recorded of them; where another result comes now, the tool keeps state that
other branches have changed, and growth stops. One that passes may still keep some: it is warned of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hornbeam.arguments import short
from hornbeam.episode.reply import REFUSED
from hornbeam.errors import StateError, ToolError
from hornbeam.tree.facts import Call, Result
from hornbeam.tree.nodes import Node
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers
from hornbeam.workers.outcomes import TookTooLong
from hornbeam.workers.tool_state import copied_tool, visible_state

TRIES = 2  # for a call that now fails, as one over a network may


async def check_state(tools: LocalWorkers, task: Task, path: Sequence[Node]) -> None:
    """Look at the tools of a fork's path that were not looked at yet. Raises `StateError`."""
    found: dict[str, list[Call]] = {}
    for node in path:
        for call in node.calls:
            known = call.tool in tools.stateful and call.tool not in tools.checked
            if known and not call.error.startswith(REFUSED):
                found.setdefault(call.tool, []).append(call)
    tools.checked.update(found)
    for name, calls in found.items():
        for call in [calls[0], *calls[1:][-1:]]:
            await _check(tools, task, name, call)


async def _check(tools: LocalWorkers, task: Task, name: str, call: Call) -> None:
    tool = tools.functions[name]
    in_session = hasattr(tool, "call_in")
    again = LocalWorkers({name: tool if in_session else copied_tool(tool)}, tools.seconds)
    was = call.error or call.result
    for _ in range(TRIES):
        session = object()
        try:
            got = await again.call(name, call.arguments, task, session)
            got = got.value if isinstance(got, Result) else got
            same = not call.error and got == call.result
        except TookTooLong:
            return  # nothing is known of it
        except ToolError as error:
            got = str(error) or "ToolError"
            same = got == call.error
        finally:
            if in_session:
                again.end(session)
        if same:
            return
    raise StateError(_told(name, tool, call, short(was), short(got), in_session))


def _told(name: str, tool: Any, call: Call, was: str, now: str, in_session: bool) -> str:
    """What is wrong, and how to mend it, on one line."""
    seen = "" if in_session else " and ".join(visible_state(tool)[:3])
    kept = f" (it keeps {seen})" if seen else ""
    mend = (
        "set rerun = true for its server"
        if in_session
        else "keep it in a world, which the tool gets as its parameter `world` (docs/worlds.md)"
    )
    return (
        f"tool {name!r} keeps state that a fork cannot have of its own{kept}: its call with"
        f" {short(dict(call.arguments))} gave {was}, made again at a fork {now}; {mend}, or, where"
        " results vary by themselves and it keeps none, mark it @hb.pure"
    )
