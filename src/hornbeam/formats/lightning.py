"""agent-lightning: spans of its tracers and proxy (0.x), rollouts of triplets, events (1.x).

A span is a line with `rollout_id`, `attempt_id`, `sequence_id`, `attributes`; a model call has
`gen_ai.prompt.*` and `gen_ai.completion.*` (or an operation's input and output), ids under
`prompt_token_ids` and `response_token_ids`; a reward `agentlightning.reward.0.value` or what
earlier versions wrote. An event is a `model_request` with request and response, or a `reward`. All
lines of one attempt make one record; the last reward told is the run's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hornbeam.errors import DataError
from hornbeam.files.json_text import parse_foreign
from hornbeam.formats.model_calls import RecordedCall, as_sampled, conversations
from hornbeam.formats.recorded_run import (
    Format,
    ImportedRun,
    Options,
    Records,
    chosen_reward,
    held,
    number_of,
)

PARTS = "parts"  # the spans or events of one attempt
OPERATION = "agentlightning.operation"
REWARD = "agentlightning.reward"
LEGACY = ("agentops.task.output", "agentops.entity.output")


def fits(record: Any) -> bool:
    """Whether a record is a span, an event, or a rollout of triplets."""
    if not isinstance(record, Mapping) or "rollout_id" not in record:
        return False
    return "triplets" in record or "attributes" in record or "event_type" in record


def group(records: Records) -> Records:
    """Spans and events of one attempt as one record, in order of the first of each."""
    held: dict[tuple[str, str], list[Any]] = {}
    first: dict[tuple[str, str], str] = {}
    for where, record in records:
        if isinstance(record, DataError) or not fits(record) or "triplets" in record:
            yield where, record
            continue
        name = str(record["rollout_id"]), str(record.get("attempt_id", ""))
        first.setdefault(name, where)
        held.setdefault(name, []).append(record)
    for name, parts in held.items():
        yield first[name], {"rollout_id": name[0], "attempt_id": name[1], PARTS: parts}


def read(record: Mapping[str, Any], options: Options) -> Iterable[ImportedRun]:
    """The runs of one attempt."""
    reward = None
    if PARTS in record:
        events = [part for part in record[PARTS] if "event_type" in part]
        steps, reward, scores = _events(events) if events else _spans(record[PARTS])
    elif isinstance(record.get("triplets"), list):
        steps, scores = [_triplet(each) for each in record["triplets"]], {}
        reward = number_of(record.get("final_reward"))
        if reward is None and steps:
            reward = steps[-1].reward
    else:
        raise DataError("a span or an event has 'attributes' or 'event_type', a rollout 'triplets'")
    runs = conversations(steps)
    if options.reward:
        reward = chosen_reward(scores, options.reward)
    kept = {name: record.get(name) for name in ("rollout_id", "attempt_id", "metadata")}
    task = held(record, "task").get("input")
    for run in runs:
        run.reward, run.scores = reward, scores
        run.data = {k: v for k, v in {**kept, "input": task}.items() if v}
        yield run


# --- events (1.x) --------------------------------------------------------------------------------


def _events(events: list[Any]) -> tuple[list[RecordedCall], float | None, dict[str, float]]:
    steps, reward = [], None
    for event in sorted(events, key=lambda e: number_of(e.get("timestamp")) or 0.0):
        data = held(event, "data")
        if event["event_type"] == "reward":
            value = number_of(data.get("value"))
            reward = reward if value is None else value
        elif event["event_type"] == "model_request" and data.get("status", "ok") == "ok":
            steps.append(_request(data))
    return steps, reward, {}


def _request(data: Mapping[str, Any]) -> RecordedCall:
    request, response = data.get("request"), data.get("response")
    if not isinstance(request, Mapping) or not isinstance(response, Mapping):
        raise DataError("a model_request without its request and response (a triplet has ids only)")
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise DataError("a model_request whose response has no choice")
    choice = choices[0]
    prompt = response.get("prompt_token_ids") or choice.get("prompt_token_ids")
    ids = as_sampled(prompt, choice.get("token_ids"), _logprobs(choice.get("logprobs")))
    message = choice.get("message") or {"content": choice.get("text")}
    messages = request.get("messages", request.get("prompt"))
    finish = "length" if choice.get("finish_reason") == "length" else ""
    return RecordedCall(messages, message, ids, finish=finish, tools=request.get("tools") or ())


def _logprobs(entries: Any) -> list[Any] | None:
    """Log-probs of what was sampled, as chat completions or completions tell them."""
    if isinstance(entries, str):
        try:
            entries = parse_foreign(entries)
        except ValueError:
            return None
    if isinstance(entries, Mapping):
        entries = entries.get("content") or entries.get("token_logprobs")
    if not isinstance(entries, list):
        return None
    return [each.get("logprob") if isinstance(each, Mapping) else each for each in entries]


# --- spans and triplets (0.x) --------------------------------------------------------------------


def _spans(spans: list[Any]) -> tuple[list[RecordedCall], float | None, dict[str, float]]:
    steps: list[RecordedCall] = []
    reward, scores, seen = None, dict[str, float](), set[str]()
    for span in sorted(spans, key=_order):
        attributes = span.get("attributes")
        if not isinstance(attributes, Mapping):
            raise DataError("a span without 'attributes'")
        rewards = _reward(span, attributes)
        if rewards:
            reward = next(iter(rewards.values()))
            scores |= {name: value for name, value in rewards.items() if name != "primary"}
            continue
        prompt = _unflat(attributes, "gen_ai.prompt") or _unflat(
            attributes, f"{OPERATION}.input.messages"
        )
        said = _unflat(attributes, "gen_ai.completion") or _unflat(
            attributes, f"{OPERATION}.output.choices"
        )
        if not prompt or not said:
            continue  # an agent, a tool, a chain
        name = attributes.get("gen_ai.response.id") or attributes.get(f"{OPERATION}.output.id")
        if isinstance(name, str) and name in seen:
            continue  # the same call, told by the client and by the proxy
        seen.add(str(name))
        steps.append(_call(prompt, said, attributes))
    return steps, reward, scores


def _order(span: Mapping[str, Any]) -> tuple[float, float]:
    return number_of(span.get("sequence_id")) or 0.0, number_of(span.get("start_time")) or 0.0


def _call(prompt: Any, said: Any, attributes: Mapping[str, Any]) -> RecordedCall:
    listed = _listed(said)
    choice = listed[0] if listed else {}
    choice = choice if isinstance(choice, Mapping) else {}
    message = choice.get("message") if isinstance(choice.get("message"), Mapping) else choice
    asked = attributes.get(
        "prompt_token_ids", attributes.get(f"{OPERATION}.output.prompt_token_ids")
    )
    answered = attributes.get("response_token_ids", choice.get("token_ids"))
    ids = as_sampled(asked, answered, _logprobs(attributes.get("logprobs.content")))
    finish = "length" if choice.get("finish_reason") == "length" else ""
    agent = attributes.get("agent.name")
    return RecordedCall(
        [_message(each) for each in _listed(prompt)],
        _message(message or {}),
        ids,
        agent=agent if isinstance(agent, str) else "",
        finish=finish,
    )


def _message(given: Any) -> Any:
    """A message whose lists may stand as objects of numbers, its parts as a JSON text."""
    if not isinstance(given, Mapping):
        return given
    out = dict(given)
    if isinstance(out.get("tool_calls"), Mapping):
        out["tool_calls"] = _listed(out["tool_calls"])
    content = out.get("content")
    if isinstance(content, Mapping):
        out["content"] = _listed(content)
    elif isinstance(content, str) and content.startswith('[{"'):
        try:
            parts = parse_foreign(content)
        except ValueError:
            parts = None
        if isinstance(parts, list) and all(isinstance(p, dict) and "type" in p for p in parts):
            out["content"] = parts
    return out


def _triplet(given: Any) -> RecordedCall:
    """A triplet whose prompt and response keep the messages beside the ids."""
    if not isinstance(given, Mapping):
        raise DataError(f"a triplet is an object: {given!r:.60}")
    prompt, response = given.get("prompt"), given.get("response")
    if not isinstance(prompt, Mapping) or not isinstance(response, Mapping):
        raise DataError("a triplet's prompt and response are objects with 'raw_content'")
    asked, said = _listed(prompt.get("raw_content")), _listed(response.get("raw_content"))
    if not asked or not said or not isinstance(said[0], Mapping):
        raise DataError("a triplet without 'raw_content': its ids alone give no messages")
    message = said[0].get("message") if isinstance(said[0].get("message"), Mapping) else said[0]
    logprobs = _logprobs(response.get("logprobs"))
    ids = as_sampled(prompt.get("token_ids"), response.get("token_ids"), logprobs)
    agent = held(given, "metadata").get("agent_name")
    reward = number_of(given.get("reward"))
    name = agent if isinstance(agent, str) and agent != "*" else ""  # "*": of any agent
    return RecordedCall([_message(each) for each in asked], _message(message), ids, reward, name)


def _listed(attributes: Any) -> list[Any]:
    """A list, which may stand as an object with numbers for names."""
    if isinstance(attributes, Mapping):
        return [
            attributes[name]
            for name in sorted((n for n in attributes if str(n).isdigit()), key=int)
        ]
    return attributes if isinstance(attributes, list) else []


def _reward(span: Mapping[str, Any], attributes: Mapping[str, Any]) -> dict[str, float]:
    """Rewards by name, the first is the run's; empty where the span is no reward."""
    rewards = _listed(_unflat(attributes, REWARD))
    found = {
        str(each.get("name", "primary")): number_of(each.get("value"))
        for each in rewards
        if isinstance(each, Mapping)
    }
    for name in LEGACY:
        output = attributes.get(name)
        try:
            output = parse_foreign(output) if isinstance(output, str) else output
        except ValueError:
            continue
        if not found and isinstance(output, Mapping) and output.get("type") == "reward":
            found = {"primary": number_of(output.get("value"))}
    if not found and span.get("name") == "agentlightning.annotation":
        found = {"primary": number_of(attributes.get("reward"))}
    return {name: value for name, value in found.items() if value is not None}


def _unflat(attributes: Mapping[str, Any], prefix: str) -> Any:
    """What stands below a name: whole, as JSON, or flat (`prefix.0.role`)."""
    if prefix in attributes:
        whole = attributes[prefix]
        try:
            return parse_foreign(whole) if isinstance(whole, str) else whole
        except ValueError:
            return None
    out: dict[str, Any] = {}
    for name, value in attributes.items():
        if not name.startswith(f"{prefix}."):
            continue
        *above, last = name[len(prefix) + 1 :].split(".")
        at = out
        for part in above:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                break
        else:
            at[last] = value
    return out


LIGHTNING = Format("agent-lightning", fits, read, group)
