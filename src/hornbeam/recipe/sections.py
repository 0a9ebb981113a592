"""Sections of a recipe that name ready-made things and carry those things' own settings.

What stands beside the name is checked by whoever makes the thing, before anything runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hornbeam.episode.segmenters import Segmenter
from hornbeam.errors import RecipeError, UnknownSetting
from hornbeam.own.own_parts import Base, check_name, code_mark, is_own
from hornbeam.programs.talk import Answer
from hornbeam.recipe.labelling import labelling
from hornbeam.search import Chooser, Strategy, chooser
from hornbeam.search.chunk_labels import chunk_label
from hornbeam.search.labels import MAS_MCTS
from hornbeam.settings import Settings, nearest
from hornbeam.store.ledger import Budget


class NamedSection(BaseModel):
    """A name, and the settings of what it names."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def rest(self) -> dict[str, Any]:
        """The settings beside the name."""
        return dict(self.model_extra or {})


@contextmanager
def keys_of(choice: BaseModel, place: str = "") -> Iterator[None]:
    """Makes what a section names; a key of the section itself that is misspelt is told as such.

    For all that is no key of the section is taken for a setting of what it names.
    """
    try:
        yield
    except UnknownSetting as error:
        own = set(type(choice).model_fields)
        for key in error.unknown:
            near = get_close_matches(key, own.union(error.known), n=1)
            if near and near[0] in own:
                lead = f"{place} has " if place else ""
                raise RecipeError(f"{lead}no key {key!r}: did you mean {near[0]!r}?") from error
        raise


class ProgramSection(NamedSection):
    """`name`: a ready-made program, or "file.py:function" beside the recipe.

    Without one, `agent = "python my_agent.py {task}"` is the command of an agent outside, and
    `verifiers = "NAME"` an environment of the library `verifiers`.
    """

    name: str = "single"

    @model_validator(mode="before")
    @classmethod
    def _outside(cls, data: Any) -> Any:
        """A command in place of an agent's name is the program "agent"; so for an environment."""
        if isinstance(data, dict) and "name" not in data and "verifiers" in data:
            rest = {key: value for key, value in data.items() if key != "verifiers"}
            return {"name": "verifiers", "environment": data["verifiers"], **rest}
        command = data.get("agent") if isinstance(data, dict) and "name" not in data else None
        if not isinstance(command, str) or command.isidentifier():
            return data
        rest = {key: value for key, value in data.items() if key != "agent"}
        return {"name": "agent", "command": command, **rest}


class ToolSection(NamedSection):
    """`use`: a ready-made tool (the table's own name by default), or "file.py:function".

    `mcp`: the tools of an MCP server instead, a command or a URL.
    """

    use: str = ""
    mcp: str = ""


class WorldSection(NamedSection):
    """`kind`: what tools act on that have a parameter `world` (worlds/), or "file.py:Class"."""

    kind: str = ""


class SinkSection(NamedSection):
    """`use`: a ready-made sink (the table's own name by default), or "file.py:Class"."""

    use: str = ""


class GrowSection(NamedSection):
    """`strategy`: where trees grow."""

    strategy: str = "independent"


class CreditSection(NamedSection):
    """`method`: who earned the outcome."""

    method: str = "grpo"


GUIDES = ("prm", "orm", "value_head", "judge", "likelihood", "log_ratio", "sum", "product")


class GuideSection(NamedSection):
    """A guide, whose opinions stand in the column that the table is named after.

    `kind`: "prm" (a fitted value model reads every step), "orm" (it reads where an episode ended),
    "value_head" (training fits it), "judge" (a model says whether a step is right), "likelihood"
    (the policy's), "log_ratio" (to a second model), "sum", "product"; or "file.py:name".
    """

    kind: str = "prm"

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        return check_name("guide", kind, GUIDES)


class SearchSettings(NamedSection):
    """Where trees grow, with that strategy's settings, and how the answer is chosen from them.

    `guides` judge besides those that strategy and choice read; `chooser` are settings of a choice
    of one's own. `budget` is that of one question.
    """

    strategy: str = "independent"
    choose: str = "first"
    chooser: dict[str, Any] = {}
    guides: tuple[str, ...] = ()
    greedy: bool = False
    temperature: float | None = Field(None, gt=0)
    budget: Budget = Budget()

    def choice(self, base: Base = "") -> Chooser:
        """How the answer is chosen. Raises `RecipeError`."""
        return chooser(self.choose, base, **self.chooser)


class MethodSection(SearchSettings):
    """One way to search, by name.

    `sweep` gives settings of the strategy several values in turn, one point of the method each
    (lists of one length go side by side).
    """

    name: str
    sweep: dict[str, tuple[Any, ...]] = {}

    @model_validator(mode="after")
    def _even(self) -> Self:
        if len({len(values) for values in self.sweep.values()}) > 1:
            raise ValueError("sweep: lists of one length are expected, they go side by side")
        if not all(self.sweep.values()):
            raise ValueError(
                "sweep: an empty list makes no point: give it a value, or leave it out"
            )
        if "/" in self.name or not self.name.strip():
            raise ValueError("name: a name without '/' is expected")
        return self

    def points(self) -> list[tuple[str, dict[str, Any]]]:
        """(label, settings of the strategy) of every point."""
        if not self.sweep:
            return [("", self.rest())]
        rows = [dict(zip(self.sweep, values)) for values in zip(*self.sweep.values())]
        return [(", ".join(f"{k}={v}" for k, v in row.items()), self.rest() | row) for row in rows]


class ServeSection(SearchSettings):
    """A search that the gateway answers with as model `hornbeam/NAME`, NAME being the table's.

    With `program` the recipe's program answers the question; without, agent `agent` (the first by
    default) answers the messages as they are, and `answer` says what of its text is compared: all
    of it, "number", or a regex's group. By default a program that the recipe names is run.
    """

    program: bool | None = None
    agent: str = ""
    answer: Answer = ""

    @model_validator(mode="after")
    def _one_point(self) -> Self:
        for key in {"sweep", "name"} & set(self.rest()):
            raise ValueError(f"{key}: a served search is one point, by its table's name")
        return self

    def method(self, name: str) -> MethodSection:
        """It as a method of a search."""
        own = {"program", "agent", "answer"}
        return MethodSection.model_validate({**self.model_dump(exclude=own), "name": name})


def check_served(sections: Mapping[str, ServeSection], agents: Collection[str]) -> None:
    """`ValueError` where a served search has a name that a model cannot have, or an agent has."""
    for name, section in sections.items():
        if name in agents:
            raise ValueError(f"serve.{name}: an agent has that name, and clients ask by it")
        if not name or "/" in name or name.split() != [name]:
            raise ValueError(f"serve.{name!r}: a name without '/' and white space is expected")
        if section.agent and section.agent not in agents:
            raise ValueError(
                f"serve.{name}: agent = {section.agent!r}: {nearest(section.agent, agents)}"
            )


class SearchSection(Settings):
    """Methods to compare on the held-out tasks. `baseline` is the one that others are held against.

    `k` is that of Hit@k; so many questions as `show` are drawn in the report page.
    """

    methods: tuple[MethodSection, ...] = ()
    baseline: str = ""
    k: int = Field(5, ge=1)
    show: int = Field(24, ge=0)

    @model_validator(mode="after")
    def _difference(self) -> Self:
        names = [method.name for method in self.methods]
        if len(set(names)) < len(names):
            raise ValueError("search.methods: every method needs a name of its own")
        if self.baseline and self.baseline not in names:
            raise ValueError(
                f"search.baseline = {self.baseline!r}: no such method:"
                f" {nearest(self.baseline, names) if names else 'there is none'}"
            )
        return self


class AnchorSection(Settings):
    """What is known of a task beforehand: runs of a reference policy (PVPO, arXiv 2508.21104).

    `model` is that policy (a folder or a known model; the recipe's own by default), `rollouts` how
    many runs of each training task it makes, at least; they are kept in `store`, a folder or URL
    that runs share. A run with a reward of `solved` or more solves its task. Tasks that no run
    solved are tried by a `teacher` (a folder, a known model, or the address of a server, asked as
    the settings of the http engine in `endpoint` say), until it solves them or after `attempts`
    runs; its run then takes the place of one that training would grow.

    Training uses them with a credit that reads a prior; with others only if told to `inject`. After
    `refresh` steps (0: never) a task's anchor is estimated again by the present policy when the
    task comes. With a `tracker` the prior follows the outcomes, that being its decay. `sample` says
    how tasks are drawn: in shuffled epochs, or by sqrt(v (1 - v)) + `floor`, v being the prior.
    """

    store: str = Field("runs/anchors", min_length=1)
    model: str = ""
    rollouts: int = Field(8, ge=1)
    solved: float = 1.0
    teacher: str = ""
    endpoint: dict[str, Any] = {}
    attempts: int = Field(8, ge=1)
    inject: bool = False
    refresh: int = Field(0, ge=0)
    tracker: float | None = Field(None, ge=0, lt=1)
    sample: Literal["uniform", "priority"] = "uniform"
    floor: float = Field(0.05, gt=0)

    @model_validator(mode="after")
    def _taught(self) -> Self:
        if self.inject and not self.teacher:
            raise ValueError("anchor.inject: there are no runs to inject: name anchor.teacher")
        return self


class LabelSection(NamedSection):
    """The search that labels steps of the training tasks, by `strategy`.

    "mcts" is MAS-MCTS (arXiv 2510.24803; with `style` "masprm" as its code runs it), "rollouts"
    whole runs from every step of a few trunks (StepWiser, arXiv 2508.19229). Trees whose root value
    in [-1, 1] (2 Q_0 - 1 for rollouts) is beyond +-`most` teach little and are left out; 0.7 by
    default, with rollouts none is. `tasks` is how many tasks are searched (all by default), after
    the first `skip`: of tasks whose demonstrations it has seen a policy knows more than it will
    know later.

    "blame" grows `runs` trunks, and from those that failed forks where they tell most of the step
    that lost them: V is Q, and labels are 1 before that step and -1 there.

    `chunk_label`, for rollouts and blame, is the rule by which column "label" is written, with its
    `thresholds`; where rollouts are adaptive it is what they settle.
    """

    strategy: str = "mcts"
    most: float | None = Field(None, ge=0, le=1)
    tasks: int | None = Field(None, ge=1)
    skip: int = Field(0, ge=0)
    chunk_label: str = ""
    thresholds: dict[str, float] = {}

    @model_validator(mode="after")
    def _rule(self) -> Self:
        if self.chunk_label and not is_own(self.chunk_label):  # `label_strategy` looks at those
            chunk_label(self.chunk_label, **self.thresholds)
        elif self.thresholds:
            raise ValueError("thresholds are those of a rule: name it as chunk_label")
        return self

    @property
    def bound(self) -> float:
        """`most`, or what it is by default."""
        share = self.strategy in ("rollouts", "blame")
        return self.most if self.most is not None else 1.0 if share else 0.7


def label_strategy(choice: LabelSection, base: Base = "") -> Strategy:
    """The strategy of section label. Raises `RecipeError`."""
    settings = choice.rest()
    if choice.strategy == "mcts":
        settings = {**MAS_MCTS.model_dump(exclude_unset=True), **settings, "rollout": True}
    if choice.strategy == "rollouts" and choice.chunk_label and settings.get("adaptive"):
        if "settles" in settings:
            raise RecipeError("label.settles: leave it out, label.chunk_label says it")
        if is_own(choice.chunk_label):
            raise RecipeError("label.adaptive goes by a ready-made label.chunk_label")
        settings |= {"settles": choice.chunk_label, "thresholds": choice.thresholds}
    if is_own(choice.chunk_label):
        chunk_label(choice.chunk_label, base, **choice.thresholds)
    unfit = choice.chunk_label and choice.strategy not in ("rollouts", "blame")
    try:
        with keys_of(choice, "[label]"):
            how = labelling(choice.strategy, base, **settings)
    except UnknownSetting:
        if not unfit:
            raise
    if unfit:
        raise RecipeError(
            "label.chunk_label goes by shares of rollouts: set label.strategy = 'rollouts'"
        )
    if how.steps is not None and "reward" not in how.reads:
        raise RecipeError("label.strategy: one that goes by outcomes is expected, as mcts")
    return how


def label_identity(choice: LabelSection, how: Strategy, base: Base = "") -> list[Any]:
    """What tells the trees of a label search from those of others, its own code too."""
    return [choice.strategy, how.identity(), choice.skip, *code_mark(choice.strategy, base)]


class StageSection(Settings):
    """A part of a run: what is trained on from step `begin` on.

    As it begins the present policy runs every training task `rollouts` times; the tasks stay of
    which a share from `least` to `most` of the runs is right, with a reward of `solved` or more.
    Without `rollouts` all come.
    """

    begin: int = Field(0, ge=0)
    least: float = Field(0.0, ge=0, le=1)
    most: float = Field(1.0, ge=0, le=1)
    rollouts: int = Field(0, ge=0)
    solved: float = 1.0

    @model_validator(mode="after")
    def _sound(self) -> StageSection:
        if self.least > self.most:
            raise ValueError(f"least = {self.least} is above most = {self.most}")
        if not self.rollouts and (self.least > 0 or self.most < 1):
            raise ValueError("least and most need rollouts, by which tasks are measured")
        return self


def check_stages(stages: Sequence[StageSection]) -> None:
    """`ValueError` for stages that do not follow one another from step 0 on."""
    begins = [stage.begin for stage in stages]
    if stages and (begins[0] != 0 or sorted(set(begins)) != begins):
        raise ValueError(f"stages: begin = {begins}: the first at 0, each later than the last")


class ChunkSection(Settings):
    """How own answers are cut and wrapped for `hornbeam chunks` (StepWiser, arXiv 2508.19229).

    Each of `tasks` training tasks (all by default), after the first `skip`, is answered `samples`
    times. A chunk of fewer than `least` characters goes together with the next, the last with the
    one before; `tags` stand around each.
    """

    samples: int = Field(4, ge=1)
    tasks: int | None = Field(None, ge=1)
    skip: int = Field(0, ge=0)
    segment: Segmenter = Segmenter()
    least: int = Field(0, ge=0)
    tags: tuple[str, str] = ("<chunk>", "</chunk>")

    @model_validator(mode="after")
    def _tagged(self) -> Self:
        if not all(tag.strip() for tag in self.tags) or self.tags[0] == self.tags[1]:
            raise ValueError("chunks.tags: an opening and a closing tag are expected, not alike")
        return self
