"""What the asks of a tree said, kept while it grows: many forks of a node share one replay.

A replay holds its asks against these as they are. Where nothing is known of one (the tree was left
half-grown), its digest is compared and it is known from then on.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from hornbeam.chat import Message
from hornbeam.episode.reply import Reply
from hornbeam.tree.nodes import Tree

T = TypeVar("T")
Payload = tuple[list[Message], dict[str, Any]]  # messages and settings, not to be changed
MOST = 32  # prompts kept of one tree


class NextAsk(NamedTuple):
    """The ask behind a node, and its prompt."""

    name: str
    scope: str
    payload: Payload
    context: array[int]
    digest: str


class KnownAsks:
    """Of one tree, by node: what it was asked (`said`), what its program was told (`replies`, of
    those), the ask behind it (`coming`), and all its ids (`sequences`).
    """

    def __init__(self) -> None:
        self.said: dict[int, Payload] = {}
        self.replies: dict[int, Reply] = {}
        self.coming: OrderedDict[int, NextAsk] = OrderedDict()
        self.sequences: OrderedDict[int, array[int]] = OrderedDict()


class PathAsks:
    """The asks along one path. `indices` are its nodes in the tree, the task's first."""

    def __init__(self, known: KnownAsks, indices: Sequence[int]) -> None:
        self._known, self._indices, self._at = known, indices, indices[-1]
        self._answered: Payload | None = None

    def said(self, k: int) -> Payload | None:
        """What path[k] was asked, where that is known."""
        return self._known.said.get(self._indices[k]) if k < len(self._indices) else None

    def reply(self, k: int) -> Reply | None:
        """What the program was told of path[k], which calls no tools."""
        return self._known.replies.get(self._indices[k]) if k < len(self._indices) else None

    def learn_reply(self, k: int, reply: Reply) -> None:
        """What the program is told of path[k]."""
        if k < len(self._indices):
            self._known.replies[self._indices[k]] = reply

    def learn(self, k: int, payload: Payload) -> None:
        """What path[k] was asked."""
        if k < len(self._indices):
            self._known.said[self._indices[k]] = payload

    def answered(self, payload: Payload) -> None:
        """What the node that is committed next was asked."""
        self._answered = payload

    def committed(self, index: int, sequence: array[int]) -> None:
        """The path goes on with this node of the tree, whose ids these are."""
        self._at = index
        self._keep(self._known.sequences, sequence)
        if self._answered is not None:
            self._known.said[index], self._answered = self._answered, None

    def left(self, index: int) -> None:
        """The path goes on behind an earlier node."""
        self._at, self._answered = index, None

    def coming(self) -> NextAsk | None:
        """The ask behind the last node, where it is known."""
        return self._known.coming.get(self._at)

    def comes(self, ask: NextAsk) -> None:
        """The ask behind the last node."""
        self._keep(self._known.coming, ask)

    def sequence(self, tree: Tree) -> array[int]:
        """All ids up to the end of the last node, not to be changed."""
        known = self._known.sequences.get(self._at)
        if known is None:
            known = tree.sequence(self._at)
            self._keep(self._known.sequences, known)
        return known

    def _keep(self, kept: OrderedDict[int, T], value: T) -> None:
        """Keep what is known of the last node, and of few others."""
        kept[self._at] = value
        if len(kept) > MOST:
            kept.popitem(last=False)
