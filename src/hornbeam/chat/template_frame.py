"""What a chat template puts around messages, read off conversations of marks."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbeam.chat.byte_chat import Message
from hornbeam.chat.control_tokens import Words
from hornbeam.errors import ModelError

Render = Callable[[Sequence[Message], bool], str]  # (messages, with the generation prompt)
BLANK = re.compile(r"\s*")


def mark(number: int, nonce: str = "") -> str:
    """What stands for a text while a template is rendered; private characters of Unicode."""
    return f"\ue000{nonce}:{number}\ue001"


def marked(*roles: str) -> list[Message]:
    """A conversation of marks."""
    return [{"role": role, "content": mark(n)} for n, role in enumerate(roles)]


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around an answer."""

    ends: frozenset[int]  # ids that end an answer
    closing: tuple[int, ...]  # what a warm start teaches behind one, the end last
    closed: frozenset[str]  # control tokens that the template may write behind one
    turns: frozenset[str]  # control tokens with which it begins and ends messages
    opening: str  # what only the generation prompt has before an answer
    heading: str  # what only the history has there


def configured_ends(tokenizer: Any) -> list[int]:
    """Ids that end an answer as generate() of transformers has them, where the model lies beside
    its tokenizer: those of generation_config.json, without one those of config.json.
    """
    folder = Path(str(getattr(tokenizer, "name_or_path", "") or ""))
    for name in ("generation_config.json", "config.json"):
        try:
            config = json.loads((folder / name).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(config, dict):
            continue
        inner = config.get("text_config")
        ends = config.get("eos_token_id")
        if ends is None and isinstance(inner, dict):
            ends = inner.get("eos_token_id")
        listed = ends if isinstance(ends, list) else [ends]
        return [number for number in listed if isinstance(number, int)]
    return []


def read_frame(render: Render, words: Words, configured: Sequence[int], name: str) -> Frame:
    """The frame of a template.

    Raises `ModelError` where it takes no question, or where nothing is known to end an answer.
    """
    asked = render(marked("user"), True)
    rendered = _or_none(render, marked("user", "assistant"), False)
    talk = _or_none(render, marked("user", "assistant", "user"), True)
    last = _led(_between(rendered, mark(1), None), words)
    history = _closed(asked, talk, words)
    both = [a for a, b in zip(last, history) if a == b] or last or history
    eos: int | None = words.tokenizer.eos_token_id
    ends = {*configured, *([] if eos is None else [eos])}
    written = [words.control[name] for name in both]
    end = next((n for n in written if n in ends), next(iter(written), eos))
    if end is None and not ends:
        raise ModelError(
            f"{name}: nothing ends an answer: neither the tokenizer (eos_token), nor"
            " generation_config.json (eos_token_id), nor the chat template; set one"
        )
    end = min(ends) if end is None else end
    ends.add(end)
    before = _between(talk, None, mark(1)) if talk else asked
    shared = alike(asked, before)
    opening, heading = asked[shared:], before[shared:]
    turns = set(words.names.findall(talk or asked)) - set(words.names.findall(opening + heading))
    turns |= {words.name_of[n] for n in ends if n in words.name_of}
    closing = (*written[: written.index(end)], end) if end in written else (end,)
    closed = frozenset([*both, *history])
    return Frame(frozenset(ends), closing, closed, frozenset(turns), opening, heading)


def _or_none(render: Render, messages: Sequence[Message], answer: bool) -> str | None:
    try:
        return render(messages, answer)
    except ModelError:
        return None


def _between(text: str | None, start: str | None, stop: str | None) -> str:
    """What stands between two marks; from the beginning, to the end where one is None."""
    if text is None:
        return ""
    text = text.split(start)[-1] if start else text
    return text.split(stop)[0] if stop else text


def _led(text: str, words: Words) -> list[str]:
    """The control tokens with which a text begins; blanks before them do not count."""
    out: list[str] = []
    at = 0
    while True:
        blank = BLANK.match(text, at)
        match = words.names.match(text, blank.end() if blank else at)
        if match is None:
            return out
        out.append(match[0])
        at = match.end()


def alike(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    longest = min(len(one), len(other))
    return bisect_left(range(longest), True, key=lambda n: one[: n + 1] != other[: n + 1])


def _closed(asked: str, talk: str | None, words: Words) -> list[str]:
    """The control tokens that close an answer in the history.

    What opens the next turn, as it does the one of the first question, is left out. Where the
    question closes with a token that has others behind it, that is the last of them.
    """
    tail = _between(talk, mark(1), mark(2))
    first = words.names.split(asked.split(mark(0))[0])
    later = words.names.split(tail)
    while first and later and first[-1] == later[-1]:
        first.pop()
        later.pop()
    every = _led(tail, words)
    for asks in _led(_between(talk, mark(0), mark(1)), words)[:1]:
        if asks in every[:-1]:
            return every[: every.index(asks) + 1]
    return _led("".join(later), words)


def unclosed(text: str, said: str, closed: frozenset[str], words: Words) -> str:
    """What follows an answer without its end, where the answer was sampled with one (`said`)."""
    at = 0
    while True:
        blank = BLANK.match(text, at)
        match = words.names.match(text, blank.end() if blank else at)
        if match is None or not (match[0] in closed or (at == 0 and match[0] == said)):
            return text[at:]
        at = match.end()
