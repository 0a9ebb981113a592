"""Who speaks for agents while trees grow."""

from __future__ import annotations

from dataclasses import dataclass

from hornbeam.arguments import one_of
from hornbeam.engine.engine_checks import check_engine
from hornbeam.engine.request import Sampling
from hornbeam.episode.segmenters import Segmenter
from hornbeam.protocols import Engine

SAMPLING = Sampling()


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks for an agent: an engine, how it samples, and where its answers are cut."""

    engine: Engine
    sampling: Sampling = SAMPLING
    segment: Segmenter | None = None
    trained: bool = False  # what it says is trained on, so asks may not change its temperature
    tags: bool = True  # whether its replies show special tokens, the end of the answer apart

    def __repr__(self) -> str:
        more = [self.sampling, *([self.segment] if self.segment else [])]
        return f"<Speaker by {self.engine!r}: {', '.join(map(str, more))}>"

    def __post_init__(self) -> None:
        check_engine(self.engine, "Speaker")
        one_of(self.sampling, Sampling, "Speaker: sampling", "Sampling(max_tokens=..., ...)")
        if self.segment is not None:
            one_of(self.segment, Segmenter, "Speaker: segment", "a Segmenter")
