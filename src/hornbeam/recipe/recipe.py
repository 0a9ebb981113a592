"""The recipe: all that a run is told, as frozen settings read from TOML.

Sections that name a ready-made thing (`program`, `grow`, `credit`, each of `tools`) carry that
thing's own settings beside the name; those are checked by whoever makes it, before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, PrivateAttr, model_validator

from hornbeam.chat.call_formats import ToolFormat
from hornbeam.engine.request import SampledBy, Sampling
from hornbeam.episode.program import Limits
from hornbeam.episode.segmenters import Segmenter
from hornbeam.files import paths
from hornbeam.own.own_parts import is_own
from hornbeam.recipe import toml
from hornbeam.recipe.sections import (
    AnchorSection,
    ChunkSection,
    CreditSection,
    GrowSection,
    GuideSection,
    LabelSection,
    NamedSection,
    ProgramSection,
    SearchSection,
    ServeSection,
    SinkSection,
    StageSection,
    ToolSection,
    WorldSection,
    check_served,
    check_stages,
)
from hornbeam.recipe.state_section import StateSection
from hornbeam.score.rules import RewardSettings
from hornbeam.search.branch import GUIDED
from hornbeam.settings import Settings, build, nearest
from hornbeam.store.ledger import Budget
from hornbeam.tasks.task_sources import TaskSettings
from hornbeam.train.train_settings import (
    FitSettings,
    LoraSettings,
    LossSettings,
    OptimSettings,
    SftSettings,
)
from hornbeam.workers.ray_actors import Cluster

S = TypeVar("S", bound=Settings)

# What a resumed run may change: all else would make it another run.
FREE = {
    "run": {"title", "steps", "eval_every", "checkpoint_every", "keep", "at_once", "threads"}
    | {"device", "resume", "tensorboard", "store", "lease"},
    "budget": {"tokens", "calls", "seconds"},
    "world": {"keep", "most", "fork", "copies"},
    "workers": {"kind", "growers", "address", "cpus", "gpus"},
    "anchor": {"store"},  # a run keeps the anchors that it began with
}  # and all of sinks
SEARCHED = {
    "guides",
    "search",
    "serve",
    "label",
    "fit",
    "chunks",
}  # what these grow is told apart by what they say


class RunSettings(Settings):
    """The job: how many steps, of how many tasks each, when to look and when to keep.

    `resume` says what becomes of an interrupted step: "keep" grows its half-grown trees on, with
    every finished call kept; "exact" grows the step again from its seeds, so that the run ends with
    the very weights of one that was never stopped (batches are then formed by order, not arrival).

    `behind` is how many steps a policy may be behind the step whose trees it speaks in: above 0
    trees of the steps to come grow while the policy trains, on a copy of its weights.

    Of runs whose policies are trained by processes of their own: `store` is the database that they
    share (a URL; "": the run folder's), `lease` the seconds of silence after which a process is
    given up.
    """

    title: str = ""
    seed: int = 0
    steps: int = Field(100, ge=0)
    tasks: int = Field(8, ge=1)  # of a step, one tree each
    at_once: int = Field(64, ge=1)  # trees that grow at once
    eval_every: int = Field(10, ge=0)  # steps; 0: only at the start and the end
    eval_start: bool = True  # also before any training
    checkpoint_every: int = Field(10, ge=1)
    keep: int = Field(2, ge=1)  # checkpoints
    resume: Literal["keep", "exact"] = "keep"
    threads: int | None = Field(None, ge=1)  # of torch
    device: str = "cpu"  # where weights lie, as torch names it: "cuda"
    tensorboard: bool = False
    store: str = ""
    behind: int = Field(0, ge=0)
    lease: float = Field(15.0, ge=0.5)


class ModelSettings(Settings):
    """`name` is a known model, a hub repository, a folder, or "tiny" (made from nothing).

    `options` are settings of the tiny model. `chat_template` stands in place of the model's own: a
    ready-made one ("hermes", ChatML with tools), or a .jinja file beside the recipe. `tool_format`
    is how the model writes tool calls, where the template does not show it.
    """

    name: str = "smollm2-135m"
    options: dict[str, Any] = {}
    chat_template: str = ""
    tool_format: ToolFormat = ""

    def other(self, name: str) -> ModelSettings:
        """The settings with other weights; options stay where they are of a tiny model too."""
        options = self.options if name == self.name else {}
        return self.model_copy(update={"name": name, "options": options})


class AgentSettings(Settings):
    """How an agent samples while trees grow, and with which policy; evaluation is greedy."""

    max_tokens: int = Field(256, ge=1)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    stop: tuple[str, ...] = ()
    segment: Segmenter | None = None
    tags: bool = True  # special tokens in what it says are seen, but for the one that ends it
    policy: str = ""  # its table in [policies], where there are several

    def sampling(self, greedy: bool = False) -> Sampling:
        """As the engine wants it."""
        temperature = 0.0 if greedy else self.temperature
        return Sampling(self.max_tokens, temperature, self.top_p, self.top_k, self.stop)


class PolicySettings(Settings):
    """One of several sets of weights; what is not said here is as the recipe has it for all.

    A `chat_template` and a `tool_format` are for a model of its own, as in [model].

    It learns at the steps where step % `every` is `phase`; never without `train`.
    """

    model: str = ""
    chat_template: str = ""
    tool_format: ToolFormat = ""
    lora: LoraSettings | None = None
    loss: dict[str, Any] = {}
    optim: dict[str, Any] = {}
    train: bool = True
    every: int = Field(1, ge=1)
    phase: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _turn(self) -> Self:
        if self.phase >= self.every:
            raise ValueError(f"phase = {self.phase} never comes: below every = {self.every}")
        return self

    def due(self, step: int) -> bool:
        """Whether it learns at this step."""
        return self.train and step % self.every == self.phase


class TaskSection(Settings):
    """Tasks to learn from and tasks held out, each from one source or several."""

    train: tuple[TaskSettings, ...] = ()
    eval: tuple[TaskSettings, ...] = ()


class SftStage(SftSettings):
    """A supervised warm start before the first step, on the first `count` tasks' demonstrations.

    Or on the first `count` rows of an SFT set, `data`: a file (beside the recipe, or from where the
    command is given) as `hornbeam chunks`, `select` and `import` write it, or of conversations as
    TRL's SFTTrainer takes them (docs/formats.md).
    """

    data: str = ""
    count: int | None = Field(None, ge=1)


class EngineSettings(NamedSection):
    """`kind`: what samples, with its own settings beside (docs/engines.md).

    "local" has requests in one batch, tokens of prefixes kept, and in which format weights sample;
    the others have others.
    """

    kind: Literal["local", "vllm", "vllm_server", "http", "chat"] = "local"
    max_batch: int = Field(64, ge=1)
    cache_tokens: int = Field(32768, ge=0)
    weights: SampledBy = "trained"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.kind == "local" and self.model_extra:
            key = min(self.model_extra)
            raise ValueError(
                f'{key!r} is no setting of kind "local": {nearest(key, ("kind", *LOCAL))}'
            )
        return self


LOCAL = ("max_batch", "cache_tokens", "weights")


class WorkerSettings(Cluster):
    """Who grows trees: this process, or actors on a Ray cluster, each with weights of its own."""

    kind: Literal["local", "ray"] = "local"


class Recipe(Settings):
    """All sections of a recipe."""

    run: RunSettings = RunSettings()
    model: ModelSettings = ModelSettings()
    lora: LoraSettings | None = None
    policies: dict[str, PolicySettings] = {}
    agents: dict[str, AgentSettings] = {"solver": AgentSettings()}
    program: ProgramSection = ProgramSection()
    tools: dict[str, ToolSection] = {}
    world: WorldSection = WorldSection()
    limits: Limits = Limits()
    tasks: TaskSection = TaskSection()
    stages: tuple[StageSection, ...] = ()
    reward: RewardSettings = RewardSettings()
    grow: GrowSection = GrowSection()
    state: StateSection = StateSection()
    credit: CreditSection = CreditSection()
    anchor: AnchorSection | None = None
    loss: LossSettings = LossSettings()
    optim: OptimSettings = OptimSettings()
    sft: SftStage | None = None
    budget: Budget = Budget()
    engine: EngineSettings = EngineSettings()
    workers: WorkerSettings = WorkerSettings()
    sinks: dict[str, SinkSection] = {}
    guides: dict[str, GuideSection] = {}
    search: SearchSection = SearchSection()
    serve: dict[str, ServeSection] = {}
    label: LabelSection = LabelSection()
    chunks: ChunkSection = ChunkSection()
    fit: FitSettings = FitSettings()
    _base: Path = PrivateAttr(Path())
    _commands: Path | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not self.agents:
            raise ValueError("agents: name at least one, as [agents.solver]")
        check_stages(self.stages)
        if self.stages and self.anchor is not None:
            raise ValueError(
                "stages and anchor: anchors choose the tasks themselves, leave one out"
            )
        for name, agent in self.agents.items():
            self._check_policy(name, agent.policy)
        check_served(self.serve, self.agents)
        for name in self.names:
            part = self.of(name)
            if not part.agents:
                raise ValueError(f"policies.{name}: no agent uses it: give one policy = {name!r}")
            if len({agent.temperature for agent in part.agents.values()}) > 1:
                raise ValueError("all agents of one policy must sample at one temperature")
        return self

    def _check_policy(self, agent: str, name: str) -> None:
        if name and name not in self.policies:
            known = nearest(name, self.policies) if self.policies else "there is no [policies]"
            raise ValueError(f"agents.{agent}: policy = {name!r}: {known}")
        if not name and len(self.policies) > 1:
            listed = " or ".join(map(repr, self.policies))
            raise ValueError(f"agents.{agent}: no policy: set policy = {listed}")

    @property
    def base(self) -> Path:
        """The folder that it was read from, where its files are looked for first."""
        return self._base

    @property
    def commands(self) -> Path | None:
        """Where its commands run: None is its own folder; of a call the working directory."""
        return self._commands

    def folder(self, name: str) -> Path:
        """Where a model lies that it names, or the name itself where it is no folder."""
        return paths.find(name, self.base, folder=True)

    @property
    def names(self) -> tuple[str, ...]:
        """The policies; one without a name where the recipe has no [policies]."""
        return tuple(self.policies) or ("",)

    def policy_of(self, agent: str) -> str:
        """The policy that speaks for an agent."""
        return self.agents[agent].policy or self.names[0]

    def with_weights(self, model: str) -> Recipe:
        """The recipe with the weights of a known model or folder; of several, each by its name.

        A folder is meant from the working directory.
        """
        if (self.base / model).is_dir() and Path(model).is_dir():
            model = model if self.base.samefile(".") else str(Path(model).resolve())
        folders = {name: Path(model) / name for name in self.policies}
        several = bool(folders) and all(folder.is_dir() for folder in folders.values())
        own = {name: str(folder) if several else "" for name, folder in folders.items()}
        common = self.model if several else self.model.other(model)
        kept = {n: p.model_copy(update={"model": own[n]}) for n, p in self.policies.items()}
        return self.model_copy(update={"model": common, "policies": kept})

    def of(self, policy: str) -> Recipe:
        """The recipe as one policy sees it: its own agents, model, adapters, loss and optimiser."""
        if policy not in self.policies:
            return self
        own = self.policies[policy]
        agents = {n: a for n, a in self.agents.items() if self.policy_of(n) == policy}
        model = self.model.other(own.model) if own.model else self.model
        for key in ("chat_template", "tool_format"):
            if value := getattr(own, key):
                model = model.model_copy(update={key: value})
        loss = _over(f"policies.{policy}.loss", self.loss, own.loss)
        optim = _over(f"policies.{policy}.optim", self.optim, own.optim)
        own_sections = {
            "agents": agents,
            "model": model,
            "lora": own.lora or self.lora,
            "policies": {},
        }
        return self.model_copy(update={**own_sections, "loss": loss, "optim": optim})

    @property
    def trained_loss(self) -> LossSettings:
        """The loss at the temperature of sampling, whatever the recipe says there."""
        temperature = next(iter(self.agents.values())).temperature
        return self.loss.model_copy(update={"temperature": temperature})


def _over(where: str, common: S, own: Mapping[str, Any]) -> S:
    """Settings with some of their keys changed. `RecipeError` names the key that cannot be."""
    if not own:
        return common
    kind = type(common)
    return build("table", {where: kind}, where, {**common.model_dump(), **own})


def load_recipe(path: Path, sets: Sequence[str] = ()) -> Recipe:
    """The recipe of a TOML file with `--set` assignments; `RecipeError` names file and key."""
    return recipe_from_data(toml.override(toml.read_toml(path), sets), path.name, path.parent)


def recipe_from_data(data: Mapping[str, Any], where: str, base: Path) -> Recipe:
    """The recipe of a TOML file's data, as if read from `base`; `where` stands in errors."""
    recipe = toml.parse(Recipe, data, where)
    recipe._base = base.resolve()
    return recipe


def filled(recipe: dict[str, Any]) -> dict[str, Any]:
    """A stored recipe with the keys that it knew nothing of, at their defaults."""
    try:
        return Recipe.model_validate(recipe).model_dump(mode="json")
    except ValueError:  # it has a key that is no more: what differs will be told
        return recipe


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Keys at which two dumped recipes differ and may not ("loss.kl")."""
    out = []
    credit = (new.get("credit") or {}).get("method", "")
    guided = (new.get("grow") or {}).get("pick") in GUIDED
    shaped = "guides" if credit == "shaped" or guided or is_own(credit) else ""
    for section in sorted(set(old) | set(new)):
        a, b = old.get(section), new.get(section)
        if section == "sinks" or (section in SEARCHED and section != shaped):
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            free = FREE.get(section, set())
            keys = sorted(set(a) | set(b))
            out += [f"{section}.{k}" for k in keys if k not in free and a.get(k) != b.get(k)]
        elif a != b:
            out.append(section)
    return out
