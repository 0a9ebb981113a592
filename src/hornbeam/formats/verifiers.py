"""What `verifiers` saves: results.jsonl (up to 0.3) and traces.jsonl (from 0.2).

A line of results is a rollout: `prompt`, `completion`, `reward`, `answer`, `info`, `metrics`; calls
stand there as JSON texts. A line of traces is an episode whose traces are graphs of messages, with
the ids that a node adds; every way from a root to a leaf is a run, with the reward of its trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hornbeam.errors import DataError
from hornbeam.formats.messages import Conversation, conversation, extend, needs_said
from hornbeam.formats.model_calls import as_sampled
from hornbeam.formats.recorded_run import (
    Format,
    ImportedRun,
    Options,
    Sampled,
    chosen_reward,
    held,
    number_of,
    numbers,
)

MARKS = {"example_id", "is_completed", "timing", "generation_ms", "average_reward"}
USED = {"prompt", "completion", "reward", "answer", "metrics", "error", "tool_defs", "trajectory"}
BULK = {"timing", "error_chain", "long_error_chain", "token_usage", "is_completed"}


# --- results -------------------------------------------------------------------------------------


def fits_results(record: Any) -> bool:
    """Whether a record is a rollout of results.jsonl."""
    wanted = {"prompt", "completion", "reward"}
    return isinstance(record, Mapping) and wanted <= set(record) and bool(MARKS & set(record))


def read_results(record: Mapping[str, Any], options: Options) -> Iterable[ImportedRun]:
    """The run of one rollout."""
    talk = conversation(_named(record.get("prompt"), "user"), own=False)
    extend(talk, _named(record.get("completion"), "assistant"))
    error = _error(record.get("error"))
    if error and not talk.said:
        raise DataError(f"the rollout failed before anything was said: {error}")
    needs_said(talk)
    metrics = numbers(record.get("metrics"))
    task = next((record[name] for name in ("example_id", "id") if record.get(name) is not None), "")
    kept = {k: v for k, v in record.items() if k not in USED | BULK and k not in metrics}
    own = number_of(record.get("reward"))
    yield ImportedRun(
        talk.messages,
        talk.said,
        key=None if task == "" else str(task),
        id=None if task == "" else task,
        answer=record.get("answer"),
        reward=chosen_reward(record, options.reward) if options.reward else own,
        scores=metrics,
        data=kept,
        tools=[{"type": "function", "function": each} for each in record.get("tool_defs") or []],
        error=error,
        finish="length" if record.get("is_truncated") else "",
        sampled=_steps(record.get("trajectory"), talk.said),
    )


def _named(messages: Any, role: str) -> Any:
    """Messages of role "text" have the role that stands in their place."""
    if isinstance(messages, str):
        return [{"role": role, "content": messages}]
    if not isinstance(messages, list):
        return messages
    return [
        {**m, "role": role} if isinstance(m, Mapping) and m.get("role") == "text" else m
        for m in messages
    ]


def _error(error: Any) -> str:
    """Why a rollout failed, in a line."""
    if isinstance(error, Mapping):
        kind, text = error.get("error") or error.get("type"), error.get("message")
        error = ": ".join(str(part) for part in (kind, text) if part)
    return str(error) if error else ""


def _steps(steps: Any, said: Sequence[int]) -> dict[int, Sampled]:
    """The ids of each answer, where every one of them has a step with its own."""
    if not isinstance(steps, list) or len(steps) != len(said):
        return {}
    out = {}
    for place, step in zip(said, steps):
        tokens = step.get("tokens") if isinstance(step, Mapping) else None
        if not isinstance(tokens, Mapping):
            return {}
        ids, logprobs = tokens.get("completion_ids"), tokens.get("completion_logprobs")
        found = as_sampled(tokens.get("prompt_ids"), ids, logprobs)
        if found is None:
            return {}
        out[place] = found
    return out


# --- traces --------------------------------------------------------------------------------------


def fits_traces(record: Any) -> bool:
    """Whether a record is an episode of traces.jsonl."""
    traces = record.get("traces") if isinstance(record, Mapping) else None
    return isinstance(traces, list) and "task" in record and "env" in record


def read_traces(record: Mapping[str, Any], options: Options) -> Iterable[ImportedRun]:
    """The runs of an episode."""
    errors = record.get("errors") or []
    if not record["traces"]:
        why = f" ({_error(errors[-1])})" if errors else ""
        raise DataError(f"an episode without a trace: nothing is said{why}")
    for trace in record["traces"]:
        if not isinstance(trace, Mapping) or not isinstance(trace.get("nodes"), list):
            raise DataError("a trace is an object with a list of 'nodes'")
        yield from _trace(trace, record, options)


def _trace(
    trace: Mapping[str, Any], episode: Mapping[str, Any], options: Options
) -> Iterable[ImportedRun]:
    task = held(trace, "task") or held(episode, "task")
    data, agent = held(task, "data"), held(trace, "agent")
    rewards = {
        name: (number_of(each.get("score")), number_of(each.get("weight", 1.0)) or 0.0)
        for name, each in held(trace, "rewards").items()
        if isinstance(each, Mapping)
    }
    worth = [score * weight for score, weight in rewards.values() if score is not None]
    scores = numbers(trace.get("metrics"))
    scores |= {name: score for name, (score, _) in rewards.items() if score is not None}
    key = task.get("key") or task.get("hash") or data.get("id") or data.get("idx")
    name = str(agent.get("name") or "")
    own = sum(worth) if worth else None
    reward = chosen_reward(scores, options.reward) if options.reward else own
    errors = trace.get("errors") or ()
    nodes = trace["nodes"]
    parents = {node.get("parent") for node in nodes if isinstance(node, Mapping)}
    leaves = [n for n in range(len(nodes)) if n not in parents]
    runs = [_way(nodes, leaf) for leaf in leaves]
    for run in runs:
        run.key, run.id = None if key is None else f"{key} {name}", data.get("id", data.get("idx"))
        run.answer, run.reward, run.scores = data.get("answer"), reward, scores
        run.agent = "" if name == "agent" else name
        run.tools = [
            {"type": "function", "function": {k: v for k, v in each.items() if k != "type"}}
            for each in trace.get("tools") or ()
        ]
        run.error = _error(errors[-1]) if errors else ""
        facts = {"trace": trace.get("id"), "env": episode.get("env"), "info": trace.get("info")}
        facts["branches"] = len(runs) if len(runs) > 1 else None
        facts["task"] = {k: v for k, v in data.items() if k not in ("prompt", "system_prompt")}
        run.data = {k: v for k, v in facts.items() if v}
        yield run


def _way(nodes: Sequence[Any], leaf: int) -> ImportedRun:
    """The run that ends at a leaf."""
    way: list[Mapping[str, Any]] = []
    at: Any = leaf
    while at is not None:
        before = nodes[at].get("parent") if isinstance(nodes[at], Mapping) else None
        if not isinstance(nodes[at], Mapping) or (before is not None and not 0 <= before < at):
            raise DataError(f"node {at} of a trace names no earlier node as its parent")
        way.append(nodes[at])
        at = before
    talk, sampled, ids = Conversation(), {}, list[int]()
    for node in reversed(way):
        talk.add(node.get("message"), own=bool(node.get("sampled")))
        tokens, mask = node.get("token_ids") or [], node.get("mask") or []
        many = sum(map(bool, mask))
        if node.get("sampled") and many and all(mask[-many:]):
            head = ids + tokens[: len(tokens) - many]
            found = as_sampled(head, tokens[-many:], node.get("logprobs"))
            if found is not None:
                sampled[len(talk.messages) - 1] = found
        ids = ids + tokens
    needs_said(talk)
    return ImportedRun(talk.messages, talk.said, sampled=sampled)


RESULTS = Format("verifiers", fits_results, read_results)
TRACES = Format("verifiers-traces", fits_traces, read_traces)
