"""The chat of servers that take messages: ids that hold text alone, for no tokenizer is known.

An id is up to four ASCII characters in a row, or one other character, so that a count of ids is
near a count of tokens (about four characters each). Nobody is sent them: they keep what was said.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from hornbeam.chat.byte_chat import Message, Said
from hornbeam.chat.call_formats import read, written
from hornbeam.chat.tool_calls import Spoken
from hornbeam.chat.tool_schemas import schema_problem
from hornbeam.tree.nodes import ids

END = 0  # ends a message
BITS, LENGTH = 7, 28  # of a character; where the number of characters stands
PIECE = re.compile(r"[\x00-\x7f]{1,4}|.", re.DOTALL)


def _id(piece: str) -> int:
    if not piece.isascii():
        return ord(piece)
    packed = sum(ord(char) << BITS * n for n, char in enumerate(piece))
    return len(piece) << LENGTH | packed


def _piece(token: int) -> str:
    size = token >> LENGTH
    if not size:
        return chr(token) if token else ""
    return "".join(chr(token >> BITS * n & 0x7F) for n in range(size))


@lru_cache(maxsize=4096)  # a conversation that grows says the same messages again
def _ids(text: str) -> array[int]:
    """The ids of a text, not to be changed."""
    return ids(_id(piece) for piece in PIECE.findall(text))


class PieceChat:
    """`role: content` lines in pieces of text, 0 ends an answer; what else a message has is JSON.

    No engine samples such ids, and no model reads them.
    """

    ends = frozenset({END})
    closing: tuple[int, ...] = (END,)

    def render(
        self, messages: Sequence[Message], said: Said = {}, tools: Sequence[Any] = ()
    ) -> array[int]:
        """Ids of the conversation up to where the assistant speaks."""
        out = ids()
        if tools:
            out.extend(_ids(f"tools: {json.dumps(list(tools), ensure_ascii=False)}"))
            out.append(END)
        for number, message in enumerate(messages):
            more = {k: v for k, v in message.items() if k not in ("role", "content")}
            about = f" {json.dumps(more, sort_keys=True)}" if more else ""
            tokens = said.get(number)
            out.extend(_ids(f"{message['role']}{about}: "))
            out.extend(_ids(message["content"]) if tokens is None else tokens)
            if not tokens or tokens[-1] != END:
                out.append(END)
        out.extend(_ids("assistant: "))
        return out

    def read(self, tokens: Sequence[int], tools: Sequence[Any] = ()) -> Spoken:
        """The text, and calls between tags where it was asked with tools (`written`)."""
        return read(self.text(tokens), tokens, tools) if tools else Spoken(self.text(tokens))

    def written(self, messages: Sequence[Message], said: Message, tools: Sequence[Any]) -> str:
        """A message that a server said with calls, as the text that `read` reads."""
        return written(said)

    def rewritten(
        self, messages: Sequence[Message], said: Said = {}, tools: Sequence[Any] = ()
    ) -> Mapping[int, str]:
        """None that is known of."""
        return {}

    def tool_problem(self, tools: Sequence[Any], messages: Sequence[Message] = ()) -> str:
        """What is wrong with the tools themselves: the server is sent them as they are."""
        return schema_problem(tools)

    def encode(self, text: str) -> array[int]:
        """The text's pieces."""
        return _ids(text)[:]

    def quote(self, text: str) -> array[int]:
        """The same: no text ends a message."""
        return self.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """The pieces' text."""
        return "".join(map(_piece, tokens))

    def text(self, tokens: Sequence[int]) -> str:
        """The pieces' text."""
        return self.decode(tokens)

    def spell(self, tokens: Sequence[int]) -> str:
        """The pieces' text."""
        return self.decode(tokens)

    def fingerprint(self) -> str:
        """Always the same."""
        return "pieces"

    def about(self) -> str:
        """Nothing: the template is the server's."""
        return ""
