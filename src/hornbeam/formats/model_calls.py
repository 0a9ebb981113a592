"""Model calls that are told one by one, each with its whole prompt, put together to conversations.

A call whose prompt begins with an earlier call's conversation goes on from it; thoughts that were
taken out of earlier answers do not count as a difference. Any other call begins a new one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hornbeam.errors import DataError
from hornbeam.formats.messages import Conversation, conversation
from hornbeam.formats.recorded_run import ImportedRun, Sampled

THOUGHT = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call: the messages of its prompt, the answer, its ids and reward where they are known."""

    prompt: Any
    answer: Mapping[str, Any]
    sampled: Sampled | None = None
    reward: float | None = None
    agent: str = ""
    finish: str = ""
    tools: Sequence[Any] = ()


def conversations(steps: Iterable[RecordedCall]) -> list[ImportedRun]:
    """The runs of calls in order. Raises `DataError` where there is none."""
    out: list[ImportedRun] = []
    talks: list[Conversation] = []
    for step in steps:
        text = isinstance(step.prompt, str)
        given = [{"role": "user", "content": step.prompt}] if text else step.prompt
        talk = conversation(given, own=False)
        if not talk.messages:
            raise DataError("a model call without a prompt")
        before = [_shown(message) for message in talk.messages]
        at = _goes_on(before, talks, step.agent, out)
        if at is None:
            talks.append(talk)
            out.append(
                ImportedRun(talk.messages, talk.said, agent=step.agent, tools=list(step.tools))
            )
            at = len(out) - 1
        else:
            for message in given[len(talks[at].messages) :]:
                talks[at].add(message, own=False)
        talks[at].add({**step.answer, "role": "assistant"})
        place = len(talks[at].messages) - 1
        out[at].finish = step.finish
        if step.sampled is not None:
            out[at].sampled[place] = step.sampled
        if step.reward is not None:
            out[at].rewards[place] = step.reward
    if not out:
        raise DataError("no model call: nothing is said")
    return out


def _goes_on(
    before: Sequence[Any], talks: Sequence[Conversation], agent: str, runs: Sequence[ImportedRun]
) -> int | None:
    """The longest conversation of the agent that a prompt begins with."""
    best = None
    for n, talk in enumerate(talks):
        held = [_shown(message) for message in talk.messages]
        longer = best is None or len(held) > len(talks[best].messages)
        if runs[n].agent == agent and before[: len(held)] == held and longer:
            best = n
    return best


def _shown(message: Mapping[str, Any]) -> Any:
    """A message as a later prompt may show it: without its thoughts."""
    calls = [call["function"] for call in message.get("tool_calls") or []]
    return message["role"], THOUGHT.sub("", message["content"]).strip(), calls


def as_ids(values: Any) -> list[int] | None:
    """Token ids, or None where these are none (an image stands among them, say)."""
    if not isinstance(values, list) or not values:
        return None
    good = all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**31 for v in values)
    return values if good else None


def as_sampled(prompt: Any, tokens: Any, logprobs: Any = None) -> Sampled | None:
    """What was sampled, where prompt and answer are both told as ids."""
    context, said = as_ids(prompt), as_ids(tokens)
    if context is None or said is None:
        return None
    whole = isinstance(logprobs, list) and len(logprobs) == len(said)
    good = whole and all(isinstance(v, (int, float)) and v <= 0 for v in logprobs)
    return Sampled(context, said, logprobs if good else ())
