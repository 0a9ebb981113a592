"""Earlier answers in a prompt: how many of their tokens stand there as they were sampled.

Counted of asks that are sampled, never of a replay: of each earlier answer that a prompt holds, the
sampled tokens, as kept or by why they are not. An assistant's turn that nobody here sampled counts
with the tokens of its text.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hornbeam.chat import Chat, Message
from hornbeam.store.ledger import (
    CLIENT_KEPT,
    CLIENT_TOKENS,
    IGNORED,
    REFUSED,
    REWRITTEN,
    TURN_TOKENS,
)

KEPT, NOT_OURS = "kept", "not_ours"


class EarlierTurns(NamedTuple):
    """What is known of the history in a request from outside.

    `rewritten`: why answers came back as others, of each once; `altered`: those of this request, by
    the message's index, with how many tokens were sampled. `client` asks, `ignored` are settings,
    `refused` why requests since the one before were not answered, and how many.
    """

    rewritten: tuple[str, ...] = ()
    altered: Mapping[int, tuple[str, int]] = {}
    client: str = ""
    ignored: tuple[str, ...] = ()
    refused: Mapping[str, int] = {}


def turn_counts(
    chat: Chat,
    messages: Sequence[Message],
    said: Mapping[int, array[int]],
    written: Mapping[int, str],
    outside: EarlierTurns | None,
) -> Counter[str]:
    """Kinds of the ledger for the earlier answers of a prompt, of which `said` are as sampled.

    `written` are those of them that the chat template writes otherwise, and why. Without `outside`
    other turns are a program's own examples.
    """
    counts: Counter[str] = Counter()
    told = outside or EarlierTurns()
    for n, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        if n in told.altered:
            why, size = told.altered[n]
        elif n in said:
            why, size = written.get(n, KEPT), len(said[n])
        elif outside is None:
            continue
        else:
            why, size = NOT_OURS, len(chat.quote(message["content"]))
        counts[f"{TURN_TOKENS}{why}"] += size
        if told.client:
            counts[f"{CLIENT_TOKENS}{told.client}"] += size
            counts[f"{CLIENT_KEPT}{told.client}"] += size * (why == KEPT)
    counts.update(f"{REWRITTEN}{why}" for why in told.rewritten)
    counts.update(f"{IGNORED}{name}" for name in told.ignored)
    counts.update({f"{REFUSED}{why}": number for why, number in told.refused.items()})
    return counts
