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
from typing import Literal, Self

from pydantic import Field, model_validator

from hornbeam.chat import Chat
from hornbeam.settings import Settings

SENTENCE = (
    r"(?m)(?<!^\d)(?<!^\d\d)(?<!\be\.g)(?<!\bi\.e)(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bvs)"
    r"[.!?]+[\"'”’)\]]*\s+|[。！？]+\s*|\n\s*"
)


class Segmenter(Settings):
    """How to cut: at each of some texts, at matches of a regular expression, after every sentence,
    or every n tokens.
    """

    by: Literal["text", "regex", "sentences", "tokens"] = "text"
    text: tuple[str, ...] = ("\n\n",)  # e.g. "</chunk>"
    regex: str = ""
    tokens: int = Field(64, ge=1)

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

    @property
    def whole(self) -> bool:
        """Whether the ends of chunks are seen only in what was said after them."""
        return self.by in ("regex", "sentences")

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
        """Ends of chunks in a text, as numbers of characters; not for chunks of n tokens."""
        patterns = {
            "text": "|".join(map(re.escape, self.text)),
            "regex": self.regex,
            "sentences": SENTENCE,
        }
        return [match.end() for match in re.finditer(patterns[self.by], text)]
