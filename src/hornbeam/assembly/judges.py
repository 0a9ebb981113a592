"""Trained judges as guides, asked as their recipe asked them, and on benchmarks of step labels."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hornbeam.assembly.endpoints import engine_at, folder_of, identity, server_of
from hornbeam.assembly.progress import Progress
from hornbeam.engine.remote.chat_completions import ChatSettings
from hornbeam.engine.remote.http_client import HttpSettings
from hornbeam.errors import DataError, RecipeError, StoreError
from hornbeam.recipe import toml
from hornbeam.score.judge_guide import JudgeGuide, VerdictSettings, first_wrong
from hornbeam.score.prmbench import Marked, Verdict, read_verdicts
from hornbeam.score.processbench import BenchSolution, Prediction, read_predictions, step_tree
from hornbeam.settings import build, digest
from hornbeam.tasks.records import read_records

if TYPE_CHECKING:
    from hornbeam.engine.local.local_engine import LocalEngine
    from hornbeam.protocols import Engine


def judge_settings(given: Mapping[str, Any], folder: Path | None = None) -> VerdictSettings:
    """Settings of a judge, on top of those of the run that made the folder where it trained one.

    Raises `RecipeError` for what cannot be.
    """
    values = {**(trained(folder) if folder else {}), **given}
    return build("guide", {"judge": VerdictSettings}, "judge", values)


def trained(folder: Path) -> dict[str, Any]:
    """What the recipe beside a run's final weights says of how its judge is asked; {} if nothing.

    The texts are those of its program, `max_tokens` that of its agent.
    """
    path = folder.resolve().parent / "recipe.toml"
    if folder.name != "final" or not path.is_file():
        return {}
    recipe = toml.read_toml(path)
    program = dict(recipe.get("program", {}))
    if program.pop("name", None) != "judge":
        return {}
    agent = recipe.get("agents", {}).get(program.pop("agent", "judge"), {})
    return {**{k: agent[k] for k in ("max_tokens",) if k in agent}, **program}


def judge_engine(folder: Path, device: str = "cpu") -> LocalEngine:
    """What samples a judge's verdicts. Raises `ModelError` where the model is unfit."""
    from hornbeam.chat import TemplateChat
    from hornbeam.engine.local.local_engine import LocalEngine
    from hornbeam.train import weights

    model, tokenizer = weights.load(folder)
    chat = TemplateChat(tokenizer, str(folder))
    return LocalEngine(model.to(device).eval(), chat, deterministic=True)


def content(folder: Path) -> str:
    """What tells a folder's weights from others: a digest of size, head and tail of each file.

    "" where it holds no safetensors.
    """
    path = folder / "model.safetensors"
    files = [path] if path.is_file() else sorted(folder.glob("model-*-of-*.safetensors"))
    if not files:
        return ""
    part, digest = 1 << 20, hashlib.blake2b(digest_size=8)
    for path in files:
        size = path.stat().st_size
        with path.open("rb") as stream:
            digest.update(stream.read(part))
            stream.seek(max(0, size - part))
            digest.update(stream.read(part) + str(size).encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class JudgeModel:
    """Who judges: a model in a folder, or one behind a server."""

    folder: Path | None = None
    server: HttpSettings | None = None
    base: Path = Path()  # of the recipe

    @classmethod
    def of(
        cls, where: str, name: str, endpoint: Mapping[str, Any], base: Path = Path()
    ) -> JudgeModel:
        """By its name; `where` is the key of its endpoint. Raises `RecipeError`, `ModelError`."""
        server = server_of(where, name, endpoint)
        return cls(None if server else folder_of(name, base), server, base)

    @property
    def _folder(self) -> Path:
        assert self.folder is not None
        return self.folder.resolve()

    @property
    def place(self) -> str:
        """What tells its engine from others."""
        return str(self.server) if self.server else f"judge {self._folder}"

    @property
    def short(self) -> str:
        """A short name for files."""
        if self.server is not None:
            return re.sub(r"\W+", "-", self.server.model or self.server.root.partition("//")[2])
        return self._folder.parent.name if self._folder.name == "final" else self._folder.name

    def mark(self, *more: Any) -> str:
        """A digest of its weights, as far as they are known, and of more."""
        return digest([identity(self.server) if self.server else content(self._folder), *more])

    def engine(self, device: str = "cpu") -> Engine:
        """What says its verdicts."""
        if self.server is not None:
            return engine_at(self.server, base=self.base)
        return judge_engine(self._folder, device)


def check_judge(where: str, given: Mapping[str, Any]) -> None:
    """Raise `RecipeError` where a guide's table is no judge's."""
    values = dict(given)
    model, endpoint = values.pop("model", None), values.pop("endpoint", {})
    if not isinstance(model, str):
        raise RecipeError(f"{where}: model: the folder of a judge, or a server's url is expected")
    if not isinstance(endpoint, dict):
        raise RecipeError(f"{where}: endpoint: a table of a server's settings is expected")
    server = server_of(f"{where}.endpoint", model, endpoint)
    settings = build(f"{where}:", {"judge": VerdictSettings}, "judge", values)
    if settings.soft and isinstance(server, ChatSettings):
        raise RecipeError(
            f'{where}: soft verdicts need log-probs, which a server of kind = "chat" does not give:'
            " leave soft out, and take votes instead"
        )


# --- benchmarks of step labels -------------------------------------------------------------------


class JudgedItem(Protocol):
    """What a judge said of an item, as a file of predictions keeps it."""

    @property
    def id(self) -> str:
        """The item's name in its split."""
        ...

    @property
    def split(self) -> str:
        """The part of the benchmark that the item is of."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Its line."""
        ...


S = TypeVar("S", bound=JudgedItem)
Ask = Callable[[JudgeGuide, BenchSolution], Awaitable[tuple[S, int]]]  # what was said, tokens run
Known = dict[tuple[str, str], tuple[S, int]]  # (split, id) -> what was said, tokens


@dataclass(frozen=True, slots=True)
class Bench:
    """A judge on a benchmark: what is said goes into file `out` as it comes."""

    model: JudgeModel
    settings: VerdictSettings
    out: Path
    threshold: float
    progress: Progress
    device: str = "cpu"
    at_once: int = 64

    async def first_wrong(self, items: Sequence[BenchSolution]) -> tuple[list[Prediction], int]:
        """ProcessBench: (predictions in the order of the items, judge tokens of all of them).

        What stands in the file is not asked again. Raises `DataError` where it is another judge's.
        """

        async def ask(guide: JudgeGuide, item: BenchSolution) -> tuple[Prediction, int]:
            tree = step_tree(item, guide.engine.chat)
            wrong, tokens = await first_wrong(guide, tree, self.threshold)
            return Prediction(item.id, item.split, item.label, wrong, item.correct), tokens

        return await self._all(items, read_predictions, ask)

    async def every_step(self, items: Sequence[Marked]) -> tuple[list[Verdict], int]:
        """PRMBench: (verdicts in the order of the items, judge tokens of all), in the same way."""
        marked = {(item.solution.split, item.solution.id): item for item in items}

        async def ask(guide: JudgeGuide, item: BenchSolution) -> tuple[Verdict, int]:
            tree = step_tree(item, guide.engine.chat)
            judged = await guide.judge(tree, range(1, len(tree)))
            guide.forget(tree)
            return marked[item.split, item.id].said(judged.values, self.threshold), judged.tokens

        return await self._all([item.solution for item in items], read_verdicts, ask)

    async def _all(
        self, items: Sequence[BenchSolution], read: Callable[[Path], list[S]], ask: Ask[S]
    ) -> tuple[list[S], int]:
        mark = self.model.mark(self.settings.model_dump(), self.threshold)
        known = _known(self.out, mark, read)
        left = [item for item in items if (item.split, item.id) not in known]
        if left:
            self.progress.begin("judging", len(left))
            guide = JudgeGuide(self.model.engine(self.device), self.settings)
            try:
                await guide.open()
                await self._ask(guide, left, mark, known, ask)
            finally:
                self.progress.end()
                await guide.aclose()
        found = [known[item.split, item.id] for item in items]
        return [said for said, _ in found], sum(tokens for _, tokens in found)

    async def _ask(
        self,
        guide: JudgeGuide,
        items: Sequence[BenchSolution],
        mark: str,
        known: Known[S],
        ask: Ask[S],
    ) -> None:
        """Judge items, so many at once, and keep each as it comes."""
        waiting, before = iter(items), len(known)
        self.out.parent.mkdir(parents=True, exist_ok=True)

        async def work() -> None:
            for item in waiting:
                said, tokens = await ask(guide, item)
                line = {**said.to_json(), "judge_tokens": tokens, "judge": mark}
                try:
                    with self.out.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(line) + "\n")
                except OSError as error:
                    raise StoreError(f"{self.out}: cannot be written: {error.strerror}") from error
                known[item.split, item.id] = (said, tokens)
                done = len(known) - before
                self.progress.step(done, "", f"judged {done}/{len(items)}" * (done % 50 == 0))

        await asyncio.gather(*(work() for _ in range(self.at_once)))


def _known(out: Path, mark: str, read: Callable[[Path], list[S]]) -> Known[S]:
    """What a file of predictions holds; a line that a crash left half-written is cut off."""
    if not out.exists():
        return {}
    held = out.read_bytes()
    whole = held.rfind(b"\n") + 1
    if held[whole:].startswith(b'{"id"'):
        with out.open("r+b") as stream:
            stream.truncate(whole)
        held = held[:whole]
    if not held:
        return {}
    tokens = []
    for number, row in read_records(out):
        if row.get("judge") != mark:
            raise DataError(
                f"{out}, line {number}: the prediction of another judge, or of one that was asked"
                " otherwise: choose another --out"
            )
        tokens.append(int(row.get("judge_tokens", 0)))
    said = read(out)
    return {(item.split, item.id): pair for item, pair in zip(said, zip(said, tokens))}
