"""rLLM: episodes and trajectories as `to_dict`, its episode logger and its eval store write them.

An episode has trajectories (one a role), these have steps: `chat_completions` with the answer last
(or the prompt, and `model_response`), or `input` and `output`; `prompt_ids`, `response_ids` and
`logprobs` where ids were kept. In the compact form (`episode_schema` 2) messages stand once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hornbeam.errors import DataError
from hornbeam.formats.model_calls import RecordedCall, as_sampled, conversations
from hornbeam.formats.recorded_run import (
    Format,
    ImportedRun,
    Options,
    chosen_reward,
    held,
    number_of,
    numbers,
)

DEFAULTS = ("default_traj_name", "agent", "default", "")  # names that no one gave


def fits(record: Any) -> bool:
    """Whether a record is an episode or a trajectory."""
    if not isinstance(record, Mapping):
        return False
    trajectories = record.get("trajectories")
    if isinstance(trajectories, list):
        return "task" in record or "is_correct" in record
    return isinstance(record.get("steps"), list) and "reward" in record


def read(record: Mapping[str, Any], options: Options) -> Iterable[ImportedRun]:
    """The runs of an episode, one a trajectory (several, where its steps do not go on)."""
    several = record.get("trajectories")
    if several is None:
        yield from _trajectory(record, {}, options)
        return
    if not several:
        raise DataError("an episode without a trajectory: nothing is said")
    for trajectory in several:
        if not isinstance(trajectory, Mapping) or not isinstance(trajectory.get("steps"), list):
            raise DataError("a trajectory is an object with a list of 'steps'")
        yield from _trajectory(trajectory, record, options)


def _trajectory(
    trajectory: Mapping[str, Any], episode: Mapping[str, Any], options: Options
) -> Iterable[ImportedRun]:
    name = str(trajectory.get("name") or "")
    agent = "" if name in DEFAULTS else name
    table = trajectory.get("message_nodes") or {}
    runs = conversations(_step(step, table, agent) for step in trajectory["steps"])
    correct = episode.get("is_correct")
    reward = number_of(trajectory.get("reward"))
    if reward is None and isinstance(correct, bool):
        reward = float(correct)
    scores = {**numbers(episode.get("metrics")), **numbers(trajectory.get("signals"))}
    if options.reward:
        reward = chosen_reward({**trajectory, **scores}, options.reward)
    task = trajectory.get("task") or episode.get("task")
    asked = task if isinstance(task, Mapping) else {}
    episode_id = str(episode.get("id") or episode.get("episode_id") or "")
    at = episode.get("task_hash") or (episode_id.rpartition(":")[0] if ":" in episode_id else None)
    at = at or asked.get("id") or asked.get("task_id")
    ended = episode.get("termination_reason")
    kept = {"episode": episode_id, "task": task, "termination_reason": ended}
    kept |= {"uid": trajectory.get("uid"), "info": trajectory.get("info"), "is_correct": correct}
    meta = held(asked, "metadata")
    answers = [each.get(k) for each in (asked, meta) for k in ("answer", "ground_truth")]
    answer = next((answer for answer in answers if answer is not None), None)
    for run in runs:
        run.key = None if at is None else f"{at} {name}"
        run.id = at
        run.answer, run.reward, run.scores = answer, reward, scores
        run.data = {k: v for k, v in kept.items() if v not in (None, {}, "")}
        if str(ended).lower().endswith(("length", "max_response_length_exceeded")):
            run.finish = "length"
        yield run


def _step(step: Any, table: Mapping[str, Any], agent: str) -> RecordedCall:
    """One step as a model call."""
    if not isinstance(step, Mapping):
        raise DataError(f"a step is an object: {step!r:.60}")
    said = step.get("model_response", step.get("output"))
    messages = step.get("chat_completions")
    if messages is None and "chat_completions_ref" in step:
        messages = _unfolded(step["chat_completions_ref"], table)
    if messages is None:
        messages = step.get("input")
        if isinstance(messages, Mapping) and isinstance(messages.get("messages"), list):
            messages = messages["messages"]
    answer: Mapping[str, Any] = {"content": said}
    last = messages[-1] if isinstance(messages, list) and messages else {}
    if isinstance(messages, list) and isinstance(last, Mapping) and last.get("role") == "assistant":
        messages, answer = messages[:-1], last
    elif not isinstance(said, str) or not said:
        raise DataError("a step without an answer: neither chat_completions nor model_response")
    ids = as_sampled(step.get("prompt_ids"), step.get("response_ids"), step.get("logprobs"))
    return RecordedCall(messages, answer, ids, number_of(step.get("reward")), agent)


def _unfolded(reference: Any, table: Mapping[str, Any]) -> list[Any]:
    """The messages of the compact form, from the last one's name up."""
    out: list[Any] = []
    try:
        at, count = reference
        while at is not None and len(out) <= count:
            out.append(table[at]["m"])
            at = table[at]["p"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"a step's messages are not in message_nodes: {error!r}") from error
    if len(out) != count:
        raise DataError(f"a step has {len(out)} messages in message_nodes, not {count}")
    return out[::-1]


RLLM = Format("rllm", fits, read)
