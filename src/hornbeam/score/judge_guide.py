"""A judge as a guide: a model that reads a step and says in words whether it is right.

It is asked as the program `judge` asks (StepWiser, arXiv 2508.19229), so a model trained by that
program steers searches and shapes credit unchanged. What it reads and says is paid. The engine
gathers what all waiting episodes ask, and runs what prompts share once.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from pydantic import Field, model_validator

from hornbeam.chat import Chat, Message
from hornbeam.engine.engine_checks import gives_logprobs
from hornbeam.engine.request import Completion, Request, Sampling
from hornbeam.errors import PromptTooLong, ScoreError
from hornbeam.programs.judge_program import JudgeTexts, judge_messages, verdict, verdict_span
from hornbeam.protocols import Engine, Guide, Opinions
from hornbeam.tasks.judge_tasks import step_texts
from hornbeam.tree.nodes import Tree


class VerdictSettings(JudgeTexts):
    """How a judge is asked for its verdicts; the texts are those of the program.

    `votes` verdicts a step are sampled, at `temperature`: by default 0 (greedy) for one and 1 for
    several. `soft`: a verdict weighs by how sure the judge is of it. Where more than the share
    `stop_above` of at least `at_least` verdicts cannot be read, that is an error.
    """

    max_tokens: int = Field(512, ge=1)
    temperature: float | None = Field(None, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    votes: int = Field(1, ge=1)
    soft: bool = False
    stop_above: float | None = Field(None, ge=0, lt=1)
    at_least: int = Field(50, ge=1)

    @model_validator(mode="after")
    def _draws(self) -> Self:
        if self.votes > 1 and self.temperature == 0:
            raise ValueError("votes: greedy verdicts are all the same; give temperature above 0")
        return self

    @property
    def sampling(self) -> Sampling:
        """As the engine wants it."""
        given = self.temperature
        return Sampling(
            self.max_tokens, float(self.votes > 1) if given is None else given, self.top_p
        )


def value(done: Completion, chat: Chat, settings: VerdictSettings) -> float | None:
    """What one verdict is worth: 1 or -1; soft 2 p - 1 or 1 - 2 p; None where there is none.

    p is the product of the probabilities of the tokens that spell the verdict's word, after all
    that the judge said before it, at the temperature it was sampled at (at 1 where greedy). Raises
    `ScoreError` where a soft verdict comes without log-probs.
    """
    said = verdict(done.text, settings)
    span = verdict_span(done.text, settings)
    if said is None or span is None:
        return None
    sign = 1.0 if said else -1.0
    if not settings.soft:
        return sign
    if not done.logprobs:
        raise ScoreError(
            "soft verdicts need log-probs, and the judge's engine gives none: soft = false"
        )
    held = _spelled(done.tokens, chat, *span)
    return sign * (2 * math.exp(min(0.0, sum(done.logprobs[held]))) - 1)


def _spelled(tokens: array[int], chat: Chat, start: int, end: int) -> slice:
    """The tokens that hold characters [start, end) of their text."""
    sizes = range(len(tokens) + 1)

    def size(n: int) -> int:
        return len(chat.text(tokens[:n]))

    first = bisect_right(sizes, start, key=size) - 1
    return slice(first, bisect_left(sizes, end, key=size))


def majority(values: Sequence[float | None]) -> float | None:
    """Sum of the votes' values / their number: share positive - share negative where not soft.

    A vote without a verdict counts for neither side. None where no vote has one.
    """
    known = [v for v in values if v is not None]
    return sum(known) / len(values) if known else None


class JudgeGuide:
    """Values in [-1, 1] of steps: 1 where all verdicts are positive, -1 where all are negative.

    A step that says nothing, one that failed and one whose prompt is too long for the engine have
    none. `counts`: "verdicts" asked for, "unparseable" ones, "too_long" prompts.
    """

    def __init__(self, engine: Engine, settings: VerdictSettings, column: str = "judge") -> None:
        self.engine, self.settings, self.column = engine, settings, column
        self.barrier = engine.barrier
        self.counts: Counter[str] = Counter()

    async def open(self) -> None:
        """See that the judge is there, before anything is asked of others.

        Raises `EngineError` where it is not, `ScoreError` where it cannot say what is wanted.
        """
        await self.engine.load(self.engine.version)
        if self.settings.soft and not gives_logprobs(self.engine, self.settings.sampling):
            raise ScoreError(
                f"judge {self.column!r}: soft verdicts need log-probs, and the judge's engine gives"
                " none: leave soft out, and take votes instead"
            )

    def messages(self, tree: Tree, i: int) -> list[Message]:
        """What the judge is asked about a step, as the program would ask."""
        question = str(tree.task.get("question", ""))
        return judge_messages(self.settings, question, *step_texts(tree, i))

    def prompt(self, tree: Tree, i: int) -> array[int]:
        """The ids of that."""
        return self.engine.chat.render(self.messages(tree, i))

    def most(self, tree: Tree, nodes: Sequence[int]) -> int:
        """The most tokens that `judge` can run for these nodes, if it is asked next."""
        prompts = [self.prompt(tree, i) for i in _read(tree, nodes)]
        rest = sum(len(prompt) - self.engine.cached(prompt) for prompt in prompts)
        return self.settings.votes * (rest + len(prompts) * self.settings.max_tokens)

    async def judge(self, tree: Tree, nodes: Sequence[int]) -> Opinions:
        """One value a node. Raises `ScoreError` where too many verdicts cannot be read."""
        read = list(_read(tree, nodes))
        said = await asyncio.gather(*(self._votes(tree, i) for i in read))
        values = {i: value for i, (value, _) in zip(read, said)}
        return Opinions([values.get(i) for i in nodes], sum(tokens for _, tokens in said))

    async def _votes(self, tree: Tree, i: int) -> tuple[float | None, int]:
        """(value, tokens run) of a node."""
        prompt, votes = self.prompt(tree, i), range(self.settings.votes)
        try:
            said = await asyncio.gather(*(self._ask(tree, i, prompt, vote) for vote in votes))
        except PromptTooLong:
            self.counts["too_long"] += 1
            return None, 0
        values = [value(done, self.engine.chat, self.settings) for done in said]
        self._count(values, said)
        return majority(values), sum(done.computed + done.paid for done in said)

    async def _ask(self, tree: Tree, i: int, prompt: array[int], vote: int) -> Completion:
        """One verdict. Its seed depends on where the step stands, not on when it is judged."""
        node = tree.nodes[i]
        place = (str(tree.task.get("id")), tree.seed, node.origin.episode, node.origin.step, vote)
        digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
        seed = int.from_bytes(digest, "little") >> 1
        messages = tuple(self.messages(tree, i))
        request = Request(prompt, self.settings.sampling, seed, place, messages)
        return await self.engine.generate(request)

    def _count(self, values: Sequence[float | None], said: Sequence[Completion]) -> None:
        self.counts["verdicts"] += len(values)
        self.counts["unparseable"] += values.count(None)
        asked, none = self.counts["verdicts"], self.counts["unparseable"]
        most = self.settings.stop_above
        if most is None or asked < self.settings.at_least or none <= most * asked:
            return
        last = next((done.text for v, done in zip(values, said) if v is None), "")
        raise ScoreError(
            f"judge {self.column!r}: {none} of {asked} verdicts cannot be read (stop_above ="
            f" {most}), one ends on {last[-60:]!r}: ask as it was trained, or give it more"
            " max_tokens"
        )

    def forget(self, tree: Tree) -> None:
        """The engine keeps within its own bounds."""

    async def aclose(self) -> None:
        """End the engine."""
        await self.engine.aclose()


async def open_judges(guides: Iterable[Guide]) -> None:
    """See that the judges among guides are there. Raises `EngineError` and `ScoreError`."""
    for guide in guides:
        if isinstance(guide, JudgeGuide):
            await guide.open()


def _read(tree: Tree, nodes: Sequence[int]) -> Iterator[int]:
    """Those of the nodes that say something, ascending, each once."""
    for i in sorted(set(nodes)):
        if i and tree.nodes[i].text.strip() and not tree.nodes[i].error:
            yield i


async def first_wrong(guide: Guide, tree: Tree, threshold: float = 0.0) -> tuple[int | None, int]:
    """(the first step of a one-path tree whose value is below the threshold, tokens run).

    Steps count from 0, -1 is none; they are judged one after the other and no further than that.
    None where a step before it has no value.
    """
    tokens = 0
    try:
        for i in range(1, len(tree)):
            said = await guide.judge(tree, [i])
            tokens += said.tokens
            if said.values[0] is None:
                return None, tokens
            if said.values[0] < threshold:
                return i - 1, tokens
    finally:
        guide.forget(tree)
    return -1, tokens
