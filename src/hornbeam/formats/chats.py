"""OpenAI-style chats: a line {"messages": [...]}, with what else is known beside it.

`messages` may end with the answer or go on; `prompt` and `completion` (TRL) part what was put in
from what was said. `reward`, `score` or `label`, numbers or true and false, is the reward; objects
of numbers under `metrics`, `scores` or `rewards`, and `score` and `label`, become columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hornbeam.errors import DataError
from hornbeam.formats.messages import Conversation, conversation, extend, needs_said
from hornbeam.formats.recorded_run import Format, ImportedRun, Options, chosen_reward, numbers

REWARDS = ("reward", "score", "label")
COLUMNS = ("metrics", "scores", "rewards")
IDS = ("task_id", "example_id", "prompt_id")
USED = ("messages", "prompt", "completion", "tools", "functions", "agent", "answer")


def fits(record: Any) -> bool:
    """Whether a record looks like a chat."""
    if not isinstance(record, Mapping):
        return False
    return isinstance(record.get("messages"), list) or {"prompt", "completion"} <= set(record)


def read(record: Mapping[str, Any], options: Options) -> Iterable[ImportedRun]:
    """The run of one chat."""
    talk = _talk(record)
    tools = record.get("tools") or [
        {"type": "function", "function": each} for each in record.get("functions") or []
    ]
    if not isinstance(tools, list):
        raise DataError(f"tools is no list: {tools!r:.60}")
    scores = {k: v for name in COLUMNS for k, v in numbers(record.get(name)).items()}
    given = numbers({name: record.get(name) for name in REWARDS})
    reward = next(iter(given.values()), None)
    scores |= {name: value for name, value in given.items() if name != "reward"}
    agent = record.get("agent", "")
    if not isinstance(agent, str):
        raise DataError(f"agent is no name: {agent!r:.60}")
    task = next((record[name] for name in IDS if record.get(name) is not None), None)
    yield ImportedRun(
        talk.messages,
        talk.said,
        key=None if task is None else str(task),
        id=task if task is not None else record.get("id"),
        answer=record.get("answer"),
        reward=chosen_reward(record, options.reward) if options.reward else reward,
        scores=scores,
        data={k: v for k, v in record.items() if k not in (*USED, *COLUMNS, *given)},
        tools=tools,
        agent=agent,
    )


def _talk(record: Mapping[str, Any]) -> Conversation:
    if record.get("messages") is not None:
        return needs_said(conversation(record["messages"]))
    if "prompt" not in record or "completion" not in record:
        raise DataError("no 'messages', and no 'prompt' with a 'completion'")
    talk = conversation(record["prompt"], own=False)
    extend(talk, record["completion"])
    return needs_said(talk)


CHATS = Format("chats", fits, read)
