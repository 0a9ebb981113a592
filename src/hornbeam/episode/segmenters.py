"""Segmenters: where one answer is cut into chunks, always between two sampled ids.

A segmenter lets strategies branch, reset and label inside one answer by the same code that works
between calls. A delimiter belongs to the chunk that it ends. A blank line is text (two line feeds),
a tag too ("</chunk>"). A sentence ends with its line, and at . ! or ? before white space, but not
at that of "1." at a line's head or of "e.g.".
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from typing import Any, Self

from pydantic import (
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from hornbeam.arguments import described
from hornbeam.chat import Chat
from hornbeam.errors import ProgramError, RecipeError
from hornbeam.own.own_functions import OwnFunction, own_function
from hornbeam.own.own_parts import Base, check_name, find_part
from hornbeam.settings import Settings

WAYS = ("text", "regex", "sentences", "tokens")

SENTENCE = (
    r"(?m)(?<!^\d)(?<!^\d\d)(?<!\be\.g)(?<!\bi\.e)(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bvs)"
    r"[.!?]+[\"'”’)\]]*\s+|[。！？]+\s*|\n\s*"
)


class Segmenter(Settings):
    """How to cut: at each of some texts, at matches of a regular expression, after every sentence,
    every n tokens, or where a function of one's own says ("file.py:name"; `options` are its
    settings): of a text it gives the places at which chunks end, as numbers of characters.
    """

    by: str = "text"
    text: tuple[str, ...] = ("\n\n",)  # e.g. "</chunk>"
    regex: str = ""
    tokens: int = Field(64, ge=1)
    options: dict[str, Any] = {}
    _function: OwnFunction | None = PrivateAttr(None)

    @field_validator("by")
    @classmethod
    def _known(cls, by: str) -> str:
        return check_name("segmenter", by, WAYS)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.by == "text" and not all(self.text):
            raise ValueError("segment.text must not hold an empty delimiter")
        if self.by == "regex":
            try:
                re.compile(self.regex)
            except re.error as error:
                raise ValueError(f"segment.regex: {error}") from error
            if re.match(self.regex, ""):
                raise ValueError("segment.regex must not match the empty text")
        return self

    @model_serializer(mode="wrap")
    def _plain(self, dumped: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `options` where there are none: what is stored of a segmenter stays as it was."""
        data: dict[str, Any] = dumped(self)
        if not self.options:
            data.pop("options", None)
        return data

    def beside(self, base: Base) -> Segmenter:
        """The segmenter with its function loaded, `base` being the recipe's own folder.

        Raises `RecipeError` and `ProgramError`, one line.
        """
        if self.by in WAYS:
            if self.options:
                raise RecipeError(
                    f"options are of a function of one's own, not of by = {self.by!r}"
                )
            return self
        made = self.model_copy()
        part = find_part("segmenter", self.by, WAYS, base)
        made._function = own_function(part, self.options, ["text"])
        return made

    @property
    def whole(self) -> bool:
        """Whether the ends of chunks are seen only in what was said after them."""
        return self.by not in ("text", "tokens")

    def stops(self) -> tuple[str, ...]:
        """Stop strings with which an engine ends at a chunk's end."""
        return self.text if self.by == "text" else ()

    def cuts(self, tokens: array[int], chat: Chat) -> list[int]:
        """Ends of chunks inside the answer, as numbers of ids; its own end is not among them.

        An end token behind the last delimiter makes no chunk of its own.
        """
        length = len(tokens)
        while length and tokens[length - 1] in chat.ends:
            length -= 1
        if self.by == "tokens":
            return list(range(self.tokens, length, self.tokens))
        ends = self.ends(chat.text(tokens[:length]))
        sizes = range(length + 1)
        cuts = {bisect_left(sizes, e, key=lambda n: len(chat.text(tokens[:n]))) for e in ends}
        return sorted(cut for cut in cuts if 0 < cut < length)

    def ends(self, text: str) -> list[int]:
        """Ends of chunks in a text, as numbers of characters; not for chunks of n tokens.

        Raises `ProgramError` where a function of one's own gives none such.
        """
        if self.by not in WAYS:
            return self._own_ends(text)
        patterns = {
            "text": "|".join(map(re.escape, self.text)),
            "regex": self.regex,
            "sentences": SENTENCE,
        }
        return [match.end() for match in re.finditer(patterns[self.by], text)]

    def _own_ends(self, text: str) -> list[int]:
        """What the function says, if that are places of the text."""
        assert self._function is not None, "the recipe's files are found before"
        found = self._function(text)
        if not isinstance(found, (list, tuple)):
            what = described(found)
            raise ProgramError(f"{self._function.part.where} gave {what}: a list of places is due")
        for place in found:
            if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place <= len(text):
                raise ProgramError(
                    f"{self._function.part.where} gave {described(place)} as a place in a text of"
                    f" {len(text)} characters"
                )
        return sorted(found)
