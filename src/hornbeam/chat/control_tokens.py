"""A tokenizer's text and ids: which names in a text are control tokens, and text kept from it.

A template's whole text is encoded at once: ordinary ids are those of `apply_chat_template`. Where a
message names a control token, a mark stands for the name while the template is rendered; the text
is then cut at the control tokens that are left (the template's own), and what lies between is
encoded without any. A piece that follows other ids is encoded behind a text that is taken off
again: tokenizers that put a blank before a text's beginning must not put one in the middle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from hornbeam.errors import ModelError

PIECES = 4096  # texts whose ids are remembered: turns and branches render the same ones again
ANCHORS = ("\ue000", ".", "0", "a")
PROBES = ("\n", "a", " b", "1")
TAG = re.compile(r"<[^<>\s]{1,60}>|<\|[^<>]{1,60}\|>|\[/?[A-Z_]{2,40}\]|\[[A-Za-z]+\]")
HTML = re.compile(
    r"</?(?:table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote|strong|em|b|i|u|s|p|br|hr"
    r"|sub|sup|code|pre|ul|ol|li|dl|dt|dd|a|img|div|span|font|small|big|center)/?>"
)
WRITTEN = re.compile(r"<[^<>\s'\"{}]{1,60}>|\[/?[A-Z_]{2,40}\]")  # tags as a template spells them


class Words:
    """Text to ids and back. `template` is the chat template's source, `ends` are ids of ends."""

    def __init__(self, tokenizer: Any, template: str, ends: Iterable[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.control = control_tokens(tokenizer, template, frozenset(ends))
        self.names = any_of(self.control)
        self.name_of = {number: name for name, number in self.control.items()}
        self._whole = lru_cache(PIECES)(self._encode)
        self._anchor = self._find_anchor()
        self._opens = self._anchor is None or self._blank_behind_control()

    # --- text to ids ---------------------------------------------------------------------------

    def ids(
        self, text: str, behind: str | None = None, marks: Mapping[str, str] = {}
    ) -> tuple[int, ...]:
        """Ids of a text that stands at the beginning (None), behind a control token (its name), or
        behind other text (""). `marks` are names of control tokens that are to be text.
        """
        before = (self._anchor or "") if behind == "" else behind or ""
        if not text:
            return ()
        if any(mark in text for mark in marks):
            guarded = self._guarded(before + text, marks)
        else:
            guarded = self._whole(before + text)
        if not before:
            return guarded
        head = self._whole(before)
        if guarded[: len(head)] == head:
            return guarded[len(head) :]
        return self._guarded(text, marks)  # its beginning merges with what it stands behind

    def _encode(self, text: str) -> tuple[int, ...]:
        found = tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        many = sum(number in self.name_of for number in found)
        if many and many > len(self.names.findall(text)):  # a normaliser makes names of other text
            return self._guarded(text, {})
        return found

    def _guarded(self, text: str, marks: Mapping[str, str]) -> tuple[int, ...]:
        """Ids of a text whose names of control tokens count and whose marks are text."""
        out: list[int] = []
        at = 0
        for start, stop, number in [*self._own(text), (len(text), len(text), None)]:
            part = text[at:start]
            for mark, name in marks.items():
                part = part.replace(mark, name)
            if part:
                out += self._plain(part, opens=at == 0 or self._opens)
            if number is not None:
                out.append(number)
            at = stop
        return tuple(out)

    def _own(self, text: str) -> list[tuple[int, int, int]]:
        """(start, end, id) of the control tokens that the tokenizer itself finds by their names,
        with the blanks that they take.
        """
        if not getattr(self.tokenizer, "is_fast", False):
            return [(m.start(), m.end(), self.control[m[0]]) for m in self.names.finditer(text)]
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [
            (start, stop, number)
            for number, (start, stop) in zip(encoded["input_ids"], encoded["offset_mapping"])
            if number in self.name_of and text[start:stop].strip() == self.name_of[number]
        ]

    def _plain(self, text: str, opens: bool) -> list[int]:
        """Ids of a text in which nothing is a control token; `opens`: as a text begins.

        Raises `ModelError` where the tokenizer makes one whatever is done.
        """
        found = self._raw(text, opens)
        if not any(number in self.name_of for number in found):
            return found
        found, start = [], 0
        for match in self.names.finditer(text):  # the vocabulary itself holds the name: cut it
            middle = (match.start() + match.end() + 1) // 2
            found += self._raw(text[start:middle], opens if start == 0 else False)
            start = middle
        found += self._raw(text[start:], opens if start == 0 else False)
        for number in found:
            if number in self.name_of:
                raise ModelError(
                    f"a message holds text that the tokenizer turns into {self.name_of[number]},"
                    " which would pass for the chat template's own: take it out of the text"
                )
        return found

    def _raw(self, text: str, opens: bool) -> list[int]:
        """Ids without any added token, special or not."""
        if opens or self._anchor is None:
            return self._pipeline(text)
        head, found = self._pipeline(self._anchor), self._pipeline(self._anchor + text)
        return found[len(head) :] if found[: len(head)] == head else self._pipeline(text)

    def _pipeline(self, text: str) -> list[int]:
        if not text:
            return []
        if not getattr(self.tokenizer, "is_fast", False):
            encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
            return list(encoded["input_ids"])
        inner = self.tokenizer.backend_tokenizer
        if inner.normalizer is not None:
            text = inner.normalizer.normalize_str(text)
        parts = [text]
        if inner.pre_tokenizer is not None:
            parts = [part for part, _ in inner.pre_tokenizer.pre_tokenize_str(text)]
        return [token.id for part in parts for token in inner.model.tokenize(part)]

    # --- blanks at the beginning -----------------------------------------------------------------

    def _find_anchor(self) -> str | None:
        """A text behind which others are encoded as they stand; None where they always are."""
        plain = [self._pipeline(text) for text in PROBES]
        for anchor in ANCHORS:
            head = self._pipeline(anchor)
            behind = [self._pipeline(anchor + text) for text in PROBES]
            if head and all(found[: len(head)] == head for found in behind):
                return None if [found[len(head) :] for found in behind] == plain else anchor
        return None

    def _blank_behind_control(self) -> bool:
        """Whether a text behind a control token begins as one at the very beginning does."""
        for name, number in self.control.items():
            found = self._whole(f"{name}a")
            if found[0] == number:
                return found[1:] == self._whole("a")
        return True

    # --- ids to text -----------------------------------------------------------------------------

    def decode(self, tokens: list[int], skip: bool) -> str:
        """The tokenizer's own text of ids, without its special tokens where they are skipped."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=skip))


def control_tokens(tokenizer: Any, template: str, ends: frozenset[int]) -> dict[str, int]:
    """Name -> id of all control tokens.

    Special tokens; other added ones that are tags (those of HTML only where the template writes
    them or they end a turn); tags of the template that are words of the vocabulary. Other added
    tokens (blanks, HTML) are text.
    """
    special, found = set(tokenizer.all_special_ids), {}
    for number, token in tokenizer.added_tokens_decoder.items():
        name = str(getattr(token, "content", token))
        known = number in special or getattr(token, "special", False)
        tag = TAG.fullmatch(name) and not HTML.fullmatch(name)
        named = TAG.fullmatch(name) and (name in template or number in ends)
        if name.strip() and (known or tag or named):
            found[name] = number
    names = {str(tokenizer.convert_ids_to_tokens(number)) for number in ends}
    words = {name for name in names if TAG.fullmatch(name)} | set(WRITTEN.findall(template))
    for name in sorted(words - set(found)):
        number = tokenizer.convert_tokens_to_ids(name)
        alone = list(tokenizer(name, add_special_tokens=False)["input_ids"])
        if number is not None and number != tokenizer.unk_token_id and alone == [number]:
            found[name] = number
    return found


def any_of(names: Iterable[str]) -> re.Pattern[str]:
    """A pattern, one group, of any of these names; of two that begin alike the longer one.

    Built as a tree of characters: some tokenizers have thousands.
    """
    tree: dict[str, Any] = {}
    for name in names:
        node = tree
        for character in name:
            node = node.setdefault(character, {})
        node[""] = {}

    def walk(node: dict[str, Any]) -> str:
        ways = [re.escape(c) + walk(below) for c, below in sorted(node.items()) if c]
        if not ways:
            return ""
        body = ways[0] if len(ways) == 1 else "(?:" + "|".join(ways) + ")"
        return f"(?:{body})?" if "" in node else body

    return re.compile(f"({walk(tree) or '(?!)'})")
