"""Search in a corpus of passages on this machine: BM25 through bm25s, the only import of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field

from hornbeam.errors import ToolError
from hornbeam.files.paths import find
from hornbeam.protocols import Tool
from hornbeam.tasks.corpus import Passage, find_passages, load_passages, made_passages
from hornbeam.tools.tokenise import query_words, words
from hornbeam.tools.tool_settings import ToolSettings
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import pure

MAX_QUERY = 1000  # characters of a query that are read


@pure
class Retrieval:
    """The `k` passages that fit a query best (BM25, Lucene's form; ties in corpus order)."""

    def __init__(self, passages: Sequence[Passage], k: int = 3, name: str = "") -> None:
        if not passages:
            raise ToolError("retrieval: there are no passages to search in")
        self.passages = passages
        self.k = k
        self._index = _bm25s().BM25(backend="numpy")
        found = [words(f"{passage.title}\n{passage.text}") for passage in passages]
        if not any(found):
            raise ToolError(
                f"retrieval: none of the {len(passages)} passages{name and f' of {name!r}'} holds a"
                " word to search for"
            )
        self._index.index(found, show_progress=False)

    def search(self, query: str) -> list[dict[str, str]]:
        """The best passages first, as id, title and text; none that shares no word with `query`."""
        sought = [word for word in query_words(query[:MAX_QUERY]) if word in self._index.vocab_dict]
        if not sought:
            return []
        scores = self._index.get_scores(sought)
        best = np.argsort(-scores, kind="stable")[: self.k]
        found = [self.passages[i] for i in best if scores[i] > 0]
        return [{"id": p.id, "title": p.title, "text": p.text} for p in found]

    def __call__(self, query: str) -> str:
        """Search for the passages that fit a query best."""
        if not isinstance(query, str):
            return "error: the query must be text"
        found = self.search(query)
        lines = [f"[{n}] {each['title']}: {each['text']}" for n, each in enumerate(found, 1)]
        return "\n".join(lines) or "no passage fits this query"


def _bm25s() -> Any:
    """The library, imported when it is needed: that takes most of a second."""
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it asks for DEBUG on import
    return bm25s


class RetrievalSettings(ToolSettings):
    """`corpus` is a file of passages, or a question set of the data directory ("hotpotqa").

    `data` is the data directory, else `HORNBEAM_DATA`. Tasks that the generator `fallback` made
    ("hops") are answered out of its passages instead, and then `corpus` may be missing.
    """

    corpus: str
    k: int = Field(3, gt=0)
    data: Path | None = None
    fallback: str = ""

    def beside(self, base: Path) -> Self:
        """The settings with their files found, `base` being the recipe's own folder."""
        data = self.data and find(self.data, base, folder=True)
        return self.model_copy(update={"corpus": str(find(self.corpus, base)), "data": data})

    def make(self) -> Tool:
        """The tool, its index built."""
        if not self.fallback:
            return self._read()
        made = Retrieval(made_passages(self.fallback), self.k)
        there = find_passages(self.corpus, self.data) is not None
        read = self._read() if there else None

        @pure
        def search(task: Task, query: str) -> str:
            """Search for the passages that fit a query best."""
            if task.data.get("corpus") == self.fallback:
                return made(query)
            if read is None:
                raise ToolError(f"retrieval: the passages of {self.corpus!r} are not here")
            return read(query)

        return search

    def _read(self) -> Retrieval:
        return Retrieval(load_passages(self.corpus, self.data), self.k, self.corpus)
