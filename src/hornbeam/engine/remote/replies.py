"""What a server with the API of OpenAI says: every field of it, typed and read here.

Servers leave fields out, put null, {} or an empty list in their place, write numbers as text and
tell errors inside a 200. What cannot be read (fields.py) counts as not told; the text of an answer
is kept whatever else is missing.

Not read: streams, and what nothing here asks for (echo, top_logprobs, text_offset).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from hornbeam.chat import Chat
from hornbeam.engine.remote.fields import (
    ApiObject,
    Real,
    Text,
    Whole,
    Wholes,
    objects,
    reals,
    whole,
    wholes,
)
from hornbeam.engine.remote.server_errors import PASSING, fault, worded
from hornbeam.tree.nodes import ids

MOST_TOKENS = 20_000_000  # a count above that is none
LONGEST = 1024  # characters of one token
ROUNDED = 1e-3  # nats: log-probs so little above 0 are 0
FINISH = {
    **dict.fromkeys(("length", "max_tokens", "max_length", "model_length"), "length"),
    **dict.fromkeys(("max_output_tokens", "content_filter"), "length"),  # the model had not ended
    **dict.fromkeys(("abort", "aborted", "cancelled", "canceled"), "abort"),
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence"), "stop"),
    **dict.fromkeys(("stop_token", "tool_calls", "function_call"), "stop"),
}


class CachedTokens(ApiObject):
    """Of `usage`: how much of the prompt was not computed."""

    cached_tokens: Whole = None


class Usage(ApiObject):
    """What an answer took. 0 is no count of a prompt or of an answer, so it is as good as none."""

    prompt_tokens: Whole = None
    completion_tokens: Whole = None
    input_tokens: Whole = None  # the other names of the two
    output_tokens: Whole = None
    total_tokens: Whole = None
    prompt_tokens_details: CachedTokens = CachedTokens()

    @property
    def prompt(self) -> int | None:
        """Tokens of the prompt, where they are told."""
        count = self.prompt_tokens or self.input_tokens
        return _count(count or self._rest(self.completion_tokens or self.output_tokens))

    @property
    def sampled(self) -> int | None:
        """Tokens that were sampled, where they are told."""
        count = self.completion_tokens or self.output_tokens
        return _count(count or self._rest(self.prompt_tokens or self.input_tokens))

    def _rest(self, other: int | None) -> int | None:
        return max(0, (self.total_tokens or 0) - other) or None if other else None


class TokenRow(ApiObject):
    """One sampled token, in the form of chats and of llama.cpp."""

    id: Whole = None
    token: Text = None
    logprob: Real = None


Listed = Annotated[list[Any], BeforeValidator(lambda v: v if isinstance(v, list) else [])]


class LogProbs(ApiObject):
    """Of a choice: the two forms in which log-probs, and sometimes ids, are told."""

    tokens: Listed = []
    token_logprobs: Listed = []
    content: Annotated[list[TokenRow], BeforeValidator(objects)] = []

    @property
    def ids(self) -> list[int] | None:
        """The sampled ids, where they are told among the log-probs."""
        if self.content:
            return wholes([_named(row.token) if row.id is None else row.id for row in self.content])
        return wholes([_named(name) for name in self.tokens]) if self.tokens else None

    @property
    def raw(self) -> list[Any]:
        """The log-probs of what was sampled, as they were told."""
        return [row.logprob for row in self.content] if self.content else self.token_logprobs

    def checked(self, count: int) -> tuple[list[float] | None, str]:
        """(the log-probs of so many ids, or None; what is wrong with them, or "")."""
        if not self.raw:
            return None, ""
        found = reals(self.raw)
        if found is None:
            return None, "log-probs that are no finite numbers"
        if len(found) != count:
            return None, f"{len(found):,} log-probs of {count:,} tokens"
        if max(found) > ROUNDED:
            return None, "log-probs above 0"
        return [min(each, 0.0) for each in found], ""


class ChatMessage(ApiObject):
    """Of a choice, where a server answers in the form of a chat."""

    content: Text = None
    refusal: Text = None
    tool_calls: Annotated[list[Any], BeforeValidator(objects)] = []


def _typed(value: Any) -> Any:
    """A reason, or its name where it is an object ({"type": "length"})."""
    return value.get("type") if isinstance(value, dict) else value


class Choice(ApiObject):
    """One answer."""

    index: Whole = None
    text: Text = None
    message: ChatMessage = ChatMessage()
    finish_reason: Annotated[Text, BeforeValidator(_typed)] = None
    logprobs: LogProbs = LogProbs()
    token_ids: Wholes = None
    prompt_token_ids: Wholes = None
    prompt_logprobs: Any = None
    error: Any = None

    @property
    def finish(self) -> str:
        """Why it ended: stop, length, abort, or "" where that is not told in a known word."""
        return FINISH.get((self.finish_reason or "").strip().lower(), "")


class Answered(ApiObject):
    """All of an answer to /completions."""

    choices: Annotated[list[Choice], BeforeValidator(objects)] = []
    usage: Usage = Usage()
    prompt_token_ids: Wholes = None
    error: Any = None

    @property
    def choice(self) -> Choice:
        """The first answer by its index, wherever it stands."""
        places = enumerate(self.choices)
        return min(places, key=lambda p: p[0] if p[1].index is None else p[1].index)[1]


class ServedModel(ApiObject):
    """A row of /models."""

    class Meta(ApiObject):
        """What llama.cpp tells of it."""

        n_ctx: Whole = None

    id: Text = None
    max_model_len: Whole = None
    context_length: Whole = None
    context_window: Whole = None
    meta: Meta = Meta()

    @property
    def context(self) -> int:
        """Tokens of its window; 0: not told."""
        windows = (self.max_model_len, self.context_length, self.context_window, self.meta.n_ctx)
        return next(filter(None, windows), 0)


class ServedModels(ApiObject):
    """An answer to /models."""

    data: Annotated[list[ServedModel], BeforeValidator(objects)] = []

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"data": value} if isinstance(value, list) else value

    @property
    def by_name(self) -> dict[str, ServedModel]:
        """The models that have a name."""
        return {row.id: row for row in self.data if row.id}


class Tokenized(ApiObject):
    """An answer to /tokenize; llama.cpp may tell each id with its piece."""

    tokens: list[Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _ids(cls, value: Any) -> Any:
        found = value.get("tokens") if isinstance(value, dict) else None
        rows = found if isinstance(found, list) else []
        return {"tokens": wholes([r.get("id") if isinstance(r, dict) else r for r in rows]) or None}


class WeightInfo(ApiObject):
    """What a server whose weights can change says of them."""

    weight_version: Text = None


class PauseInfo(ApiObject):
    """Whether a server whose weights can change is paused."""

    is_paused: bool = False


# --- what an answer says -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """What a server answered: ids and log-probs None where it does not tell them.

    `sampled` is told, or else counted by what came back; `finish` is "" where it is not told.
    """

    text: str
    tokens: array[int] | None
    logprobs: list[float] | None
    finish: str
    prompt_tokens: int | None
    cached: int
    sampled: int
    prompt: list[int] | None  # ids of the prompt, where the server tells them
    fault: str = ""  # of what was told and not taken


def said(answer: Answered, chat: Chat, room: int = MOST_TOKENS) -> ServerAnswer:
    """The first answer of a completion. Ids that hold only a part of the text are not taken.

    Of a text no more than `room` tokens can be is left out.
    """
    choice, usage = answer.choice, answer.usage
    text = choice.text or choice.message.content
    words, fault = within(text or "", room)
    found = choice.token_ids or choice.logprobs.ids
    if found is None and choice.token_ids is not None and not words:
        found = []
    if found is not None and not _known(chat, found):
        found, fault = None, "ids that the tokenizer here does not have"
    all_there = found is not None and 0 <= (usage.sampled or len(found) + 2) - len(found) <= 1
    if found is not None and not all_there and _only_part(chat, found, words):
        found = None
    count = len(chat.encode(words)) if found is None else len(found)
    probs, wrong = choice.logprobs.checked(count) if found else (None, "")
    return ServerAnswer(
        text=words,
        tokens=None if found is None else ids(found),
        logprobs=probs,
        finish=choice.finish,
        prompt_tokens=usage.prompt,
        cached=usage.prompt_tokens_details.cached_tokens or 0,
        sampled=max(usage.sampled or 0, count) if found is not None else usage.sampled or count,
        prompt=choice.prompt_token_ids or answer.prompt_token_ids or None,
        fault=fault or wrong,
    )


def within(text: str, room: int) -> tuple[str, str]:
    """(what of a text so many tokens can be, what is wrong with it or "")."""
    if len(text) <= LONGEST * room:
        return text, ""
    return text[: LONGEST * room], f"a text of {len(text):,} characters for {room:,} tokens"


def completion(answer: Any) -> tuple[int, Any]:
    """(200, `Answered`), or the status and the words of what a 200 holds instead of an answer.

    Where nothing tells whether the request is at fault, it may be made again.
    """
    if isinstance(answer, list) and objects(answer):
        answer = objects(answer)[0]
    if not isinstance(answer, dict):
        return PASSING, f"no JSON object but {str(answer)[:100]!r}"
    found = Answered.model_validate(answer)
    errors = [found.error, found.choice.error if found.choices else None]
    for error in filter(None, errors):
        if status := fault(error):
            return status, worded(error)
    if not found.choices:
        return fault(answer) or PASSING, worded({**answer, "error": None})
    if (found.choice.finish_reason or "").lower() == "error":
        return PASSING, "the answer ended with an error"
    return 200, found


def prompt_logprobs(answer: Any, tokens: Sequence[int], start: int) -> list[float] | None:
    """Log-probs of the prompt's ids from `start` on, as vLLM tells them; None where one lacks."""
    choices = Answered.model_validate(answer).choices
    rows = choices[0].prompt_logprobs if choices else None
    rows = rows[start:] if isinstance(rows, list) else []
    if len(rows) < len(tokens):
        return None
    steps = [row.get(str(t)) if isinstance(row, dict) else None for t, row in zip(tokens, rows)]
    return reals([step.get("logprob") if isinstance(step, dict) else step for step in steps])


def _named(name: Any) -> int | None:
    """The id that a token's name "token_id:7" holds."""
    given = name if isinstance(name, str) else ""
    return whole(given.removeprefix("token_id:")) if given.startswith("token_id:") else None


def _only_part(chat: Chat, tokens: Sequence[int], words: str) -> bool:
    """Whether ids hold a part of a text and not all of it (control tokens may be written out)."""
    whole_text, held = words.strip(), chat.decode(tokens).strip()
    shorter = len(held) < len(whole_text) and held in whole_text
    return shorter and not chat.spell(tokens).strip().startswith(whole_text)


def _known(chat: Chat, tokens: Sequence[int]) -> bool:
    """Whether the tokenizer here has all of these ids."""
    tokenizer = getattr(chat, "tokenizer", None)  # passes over ids that it does not have
    try:
        chat.decode(tokens)
        return tokenizer is None or None not in tokenizer.convert_ids_to_tokens(tokens)
    except (ValueError, OverflowError, LookupError, TypeError):
        return False


def _count(told: int | None) -> int | None:
    """A count of tokens that one request can have; None of others."""
    return told if told is not None and told <= MOST_TOKENS else None
