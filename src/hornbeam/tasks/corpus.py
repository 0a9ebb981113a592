"""Passages to search in: JSON lines with `id`, `title` and `text`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hornbeam.errors import DataError
from hornbeam.tasks.hops import hop_passages
from hornbeam.tasks.records import read_records
from hornbeam.tasks.task_sources import data_directory

# question sets whose passages lie in the folder of another name
_SHARED = dict.fromkeys(("nq", "triviaqa", "popqa", "bamboogle"), "wiki18_subset")


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage of a corpus."""

    id: str
    title: str
    text: str


def load_passages(corpus: str | Path, data: Path | None = None) -> list[Passage]:
    """The passages of a file, or of the question set of that name in the data directory.

    `data` is the data directory, else `HORNBEAM_DATA`. Raises `DataError` where there are none.
    """
    path = find_passages(corpus, data)
    if path is None:
        where = data_directory(data)
        where_else = (
            f"and {where} holds no corpus of that name" if where else "HORNBEAM_DATA is not set"
        )
        raise DataError(f"{corpus}: no such file of passages, {where_else}")
    passages = []
    seen: set[str] = set()
    for number, record in read_records(path):
        text, title = record.get("text"), record.get("title", "")
        if not isinstance(text, str) or not isinstance(title, str):
            raise DataError(f"{path}, line {number}: a passage needs `text` (and `title`) as text")
        name = str(record.get("id", number))
        if name in seen:
            raise DataError(f"{path}, line {number}: the passage id {name!r} occurs twice")
        seen.add(name)
        passages.append(Passage(name, title, text))
    return passages


def find_passages(corpus: str | Path, data: Path | None = None) -> Path | None:
    """The file of passages that is meant, if it is there."""
    path, data = Path(corpus).expanduser(), data_directory(data)
    if path.is_file():
        return path
    name = _SHARED.get(str(corpus), str(corpus))
    folders = [data / name / "corpus.jsonl.gz", data / name / "corpus.jsonl"] if data else []
    return next((path for path in folders if path.is_file()), None)


def made_passages(name: str) -> list[Passage]:
    """The passages that go with the tasks of a generator. Raises `DataError` for others."""
    if name != "hops":
        raise DataError(f"no generator {name!r} makes passages: 'hops' does")
    return [Passage(title, title, text) for title, text in hop_passages().items()]
