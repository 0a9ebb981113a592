"""What a server that chats can do, found out by asking it: about five short requests.

In this order: which models it serves; which settings of sampling it takes, by its refusals; whether
it counts tokens; whether seeds make samples.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hornbeam.chat import user
from hornbeam.engine.remote.completions_probe import QUESTION, seeds, served_model
from hornbeam.engine.remote.http_client import Refused
from hornbeam.engine.request import Sampling
from hornbeam.errors import EngineError

if TYPE_CHECKING:
    from hornbeam.engine.remote.chat_completions import ChatEngine
    from hornbeam.engine.remote.replies import ServerAnswer

LENGTH = 16  # tokens of an answer
LIMITS = ("max_tokens", "max_completion_tokens")  # the one that models which reason want
OPTIONS = ("seed", "top_p", "temperature")  # left out in this order where a refusal names none
ASKED = (user(QUESTION),)
GREEDY, FREE = Sampling(temperature=0), Sampling()


@dataclass(frozen=True, slots=True)
class ChatAbilities:
    """What a server can do. `takes` are the settings of sampling that it does not refuse."""

    model: str
    limit: str = LIMITS[0]
    takes: frozenset[str] = frozenset(OPTIONS)
    usage: bool = True
    reasons: bool = False  # says nothing in a few tokens
    seeded: bool = False  # equal seeds, equal samples
    several: bool = True  # other seeds, other samples

    @property
    def context(self) -> int:
        """Not known: prompts are not counted as the server counts them."""
        return 0

    def describe(self) -> str:
        """In a line."""
        parts = [
            "messages in, text out (for search only)",
            "usage reported" if self.usage else "no usage reported (tokens are counted here)",
            seeds(self.seeded, self.several),
            *([] if "temperature" in self.takes else ["its own temperature, whatever is asked"]),
            *([] if "top_p" in self.takes else ["its own top_p"]),
            *(["it reasons first: give it max_tokens"] if self.reasons else []),
        ]
        return f"model {self.model!r}: {', '.join(parts)}"


async def probe(engine: ChatEngine) -> ChatAbilities:
    """What the server of an engine can do. Raises `EngineError` where it cannot be used."""
    name, _ = await served_model(engine)
    able, first = await _form(engine, ChatAbilities(name))
    texts = [
        said.text for said in await asyncio.gather(*(_ask(engine, able, s) for s in (1, 1, 2)))
    ]
    able = replace(able, usage=first.prompt_tokens is not None, reasons=not first.text.strip())
    if any(texts):
        seeded = "seed" in able.takes and texts[0] == texts[1]
        able = replace(able, seeded=seeded, several=len(set(texts)) > 1)
    engine.say(f"{engine.settings.root}: {able.describe()}")
    return able


async def _ask(
    engine: ChatEngine, able: ChatAbilities, seed: int, how: Sampling = FREE
) -> ServerAnswer:
    size = len(engine.chat.render(ASKED))
    return await engine.ask(able, ASKED, size, how, LENGTH, seed)


async def _form(engine: ChatEngine, able: ChatAbilities) -> tuple[ChatAbilities, ServerAnswer]:
    """The richest form of a request that the server takes, and its answer."""
    refusal: Refused | None = None
    while True:
        try:
            return able, await _ask(engine, able, 0, GREEDY)
        except Refused as error:
            refusal = refusal or error
            plainer = _plainer(able, error.answer) if error.status in (400, 422) else None
            if plainer is None:
                raise EngineError(
                    f"{refusal}; see model and url, which ends before /chat/completions (a server"
                    ' that has /completions alone takes kind = "http")'
                ) from error
            able = plainer


def _plainer(able: ChatAbilities, answer: Any) -> ChatAbilities | None:
    """Without a setting that a refusal names, or the first one left; None where none is left."""
    words = json.dumps(answer)
    if able.limit == LIMITS[0] and LIMITS[1] in words:
        return replace(able, limit=LIMITS[1])
    left = [name for name in OPTIONS if name in able.takes]
    named = [name for name in left if re.search(rf"\b{name}\b", words)]
    drop = next(iter([*named, *left]), None)
    return None if drop is None else replace(able, takes=able.takes - {drop})
