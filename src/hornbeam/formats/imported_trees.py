"""Runs of one task as one tree: what they share is held once.

Runs are of one task by their key, or by the messages before the first answer. Node 0 holds the
messages with which all runs of the task begin; below it two runs share a step where they were asked
the same, said the same (by the same ids, where they are known), called the same and got the same
back. The last step of every run is its
own, so that equal runs count as often as there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from hornbeam.chat import Message
from hornbeam.chat.tool_text import AS_TEXT, CALL, RESULT
from hornbeam.formats.recorded_run import ImportedRun, Sampled, calls_of
from hornbeam.tree.nodes import Call, Node, Origin, Tree, floats, ids

OWN = ("advantage", "advantage_pos", "advantage_neg", "leaves", "mass")  # columns of credit
_dumps = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str).encode


class ImportedTrees:
    """Trees of runs, by task, in the order in which the tasks were met."""

    def __init__(self, agent: str = "solver") -> None:
        self.agent = agent  # who speaks where a run does not say it
        self._runs: dict[str, list[ImportedRun]] = {}
        self._seen: set[str] = set()
        self.equal = 0  # runs that said and got what an earlier one did

    def add(self, run: ImportedRun) -> None:
        """One more run."""
        said = _dumps([run.messages, run.said, run.tools])
        key = run.key
        if key is None:
            key = _dumps(["", run.messages[: run.said[0]], run.tools, run.agent])
        self._runs.setdefault(key, []).append(run)
        whole = _dumps([key, said, run.reward, run.scores, run.data])
        self.equal += whole in self._seen
        self._seen.add(whole)

    def trees(self, prefix: str) -> list[Tree]:
        """All trees. A task without an id is named by the prefix and its number."""
        out, taken = [], set[str]()
        for number, runs in enumerate(self._runs.values(), 1):
            name = next((run.id for run in runs if run.id is not None), f"{prefix}-{number}")
            if str(name) in taken:  # of another agent, or of another prompt
                name = f"{name}-{number}"
            taken.add(str(name))
            out.append(tree_of(runs, name, self.agent))
        return out


def tree_of(runs: Sequence[ImportedRun], name: Any, agent: str) -> Tree:
    """The tree of runs of one task."""
    starts = [run.messages[: run.said[0]] for run in runs]
    count = 0  # messages with which all begin
    for first, *others in zip(*starts):
        if any(other != first for other in others):
            break
        count += 1
    users = [m for m in starts[0] if m["role"] == "user"]
    asked = [m["content"] for m in users if not _came_back(m, runs[0])]
    question = asked[-1] if asked else starts[0][-1]["content"]
    opening = starts[0][:count]
    answers = [run.answer for run in runs if run.answer is not None]
    tools = next((run.tools for run in runs if run.tools), [])
    task = {"id": name, "question": question, "answer": answers[0] if answers else None}
    data_of_runs = [{**run.data, **_else(run, task["answer"], tools)} for run in runs]
    data: dict[str, Any] = {"runs": data_of_runs} if any(data_of_runs) else {}
    if tools:
        data["tools"] = tools
    if any(run.as_text for run in runs):
        data[AS_TEXT] = True
    tree = Tree({**task, "data": data}, [Node(-1, messages=tuple(opening))])
    known: dict[tuple[int, str], int] = {}
    for episode, run in enumerate(runs):
        _grow(tree, run, episode, count, agent, known)
    return tree


def _else(run: ImportedRun, answer: Any, tools: Sequence[Any]) -> dict[str, Any]:
    """What a run says of its task that the others do not."""
    out = {} if run.answer in (None, answer) else {"answer": run.answer}
    return out if run.tools == tools else {**out, "tools": run.tools}


def _grow(
    tree: Tree,
    run: ImportedRun,
    episode: int,
    count: int,
    agent: str,
    known: dict[tuple[int, str], int],
) -> None:
    """Put a run into the tree, behind what it shares with those before it."""
    parent, start, fresh = 0, count, 0
    for turn, place in enumerate(run.said):
        last = turn == len(run.said) - 1
        stop = len(run.messages) if last else run.said[turn + 1]
        node = _step(run, place, start, stop, agent)
        said = run.sampled.get(place)
        exact = said and [list(said.context), list(said.tokens)]
        mark = _dumps([node.messages, node.text, _plain(node.calls), node.agent, exact])
        at = None if last else known.get((parent, mark))
        if at is None:
            node = replace(node, parent=parent, origin=Origin(episode, fresh, turn))
            if last:
                node = replace(node, done=True, error=run.error, answer=_answer(run, node))
            at = tree.append(_with_ids(tree, node, said))
            fresh += 1
            if not last:
                known[parent, mark] = at
        if place in run.rewards:
            tree.column("step_reward")[at] = run.rewards[place]
        parent, start = at, place + 1
    after = run.messages[start:]
    if not all(_came_back(message, run) for message in after):
        tree.task["data"].setdefault("runs", [{} for _ in range(episode + 1)])
        tree.task["data"]["runs"][episode]["after"] = after
    if run.error:
        return
    for name, value in {**run.scores, "reward": run.reward}.items():
        if value is not None:
            tree.column(f"{name}_score" if name in OWN else name)[parent] = value


def _step(run: ImportedRun, place: int, start: int, stop: int, agent: str) -> Node:
    """What was put in before an answer, the answer, its calls with what came back."""
    message = run.messages[place]
    came = [m for m in run.messages[place + 1 : stop] if m["role"] == "tool"]
    calls = calls_of(message, {m["tool_call_id"]: m["content"] for m in came})
    finish = run.finish if place == run.said[-1] else ""
    put_in = tuple(run.messages[start:place])
    return Node(
        0,
        run.agent or agent,
        text=message["content"],
        calls=run.calls.get(place, calls),
        finish=finish or "stop",
        messages=put_in,
    )


def _came_back(message: Message, run: ImportedRun) -> bool:
    """Whether a message is what a run's tools brought back."""
    in_text = run.as_text and message["role"] == "user" and message["content"].startswith(RESULT)
    return message["role"] == "tool" or in_text


def _with_ids(tree: Tree, node: Node, sampled: Sampled | None) -> Node:
    """The node with the ids with which it was sampled, where they are known."""
    if sampled is None:
        return node
    where = tree.place(node.parent, node.agent, ids(sampled.context))
    renumbered = replace(node, tokens=ids(sampled.tokens), logprobs=floats(sampled.logprobs))
    return renumbered.placed(node.parent, where)


def _answer(run: ImportedRun, node: Node) -> Any:
    """The run's answer: its last text; a call is no answer."""
    text = node.text.partition(CALL)[0].rstrip() if run.as_text and node.calls else node.text
    return text or None


def _plain(calls: Iterable[Call]) -> list[Any]:
    return [[call.tool, call.arguments, call.result] for call in calls]
