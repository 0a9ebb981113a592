"""Environments of Prime Intellect's `verifiers` (extra `verifiers`, whose only import this is).

An environment is a taskset of verifiers 0.4: tasks with a prompt, tools, rewards and metrics. It is
played as verifiers' own "null" harness does: the agent answers, its calls are run, until it makes
none. State is set up anew for each rollout, in this process.

Left out, and refused in one line: environments with a `run` of their own (several agents, games
that play the user), tasks in containers, hooks that want a runtime, interceptors.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError, validate_call
from pydantic_core import to_jsonable_python

from hornbeam.arguments import short
from hornbeam.errors import DataError, RecipeError, ToolError, how_to_get
from hornbeam.tree.task import Task

KEY = "verifiers"  # of a task's data: the environment's own
STOPS = "verifiers_stops"  # of a task's data: whether it says itself when an episode is over


class VerifiersEnvironment:
    """A taskset that is loaded and can be played here. Raises `RecipeError` in one line."""

    def __init__(self, name: str, settings: Mapping[str, Any], base: Path) -> None:
        self.name = name
        vf, loaders = _library()
        with _importable(base):
            try:
                kind = loaders.taskset_class(name)
                config = loaders.taskset_config_type(name)
                own = loaders.environment_class(name)
            except (ImportError, TypeError, AttributeError, ValueError) as error:
                raise RecipeError(f"verifiers = {name!r}: {_line(error)}") from error
            if own is not vf.SingleAgentEnv:
                raise self._unfit(f"{own.__name__} plays tasks by a `run` of its own")
            try:
                self._taskset = kind(config.model_validate({"id": name, **settings}))
                self._task_type = kind.task_type()
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"]))
                known = ", ".join(key for key in config.model_fields if key != "id")
                raise RecipeError(
                    f"verifiers = {name!r}: taskset.{place} = {short(first['input'])}:"
                    f" {first['msg']}; it has {known}"
                ) from error
        self._vf = vf
        self._check(self._task_type)

    def tasks(self, most: int | None) -> list[Task]:
        """Its tasks, the first `most`; all without, which an endless taskset has not."""
        if most is None and not self._taskset.bounded:
            raise RecipeError(f"task source 'verifiers': {self.name!r} has no end: give `count`")
        found = []
        for number, task in enumerate(itertools.islice(self._taskset, most)):
            self._check_task(task, number)
            data = {KEY: task.data.model_dump(mode="json", exclude_none=True), STOPS: self.stops}
            found.append(Task(f"{self.name}-{number}", task.data.prompt_text, None, data))
        return found

    def rebuilt(self, task: Task) -> Any:
        """The environment's task. Raises `DataError` for one that is of no environment."""
        if KEY not in task.data:
            raise DataError(
                f"task {task.id} is of no verifiers environment: its source must be 'verifiers'"
            )
        data = self._task_type.data_type().model_validate(task.data[KEY])
        return self._task_type(data, self._taskset.config.task)

    def tools(self) -> dict[str, Callable[..., Any]]:
        """What its tools are, by name, to be looked at."""
        found: dict[str, Callable[..., Any]] = {}
        for toolset in self._toolsets():
            found |= _registered(toolset, found)
        return found

    @property
    def stops(self) -> bool:
        """Whether its tasks say after each turn whether the episode is over."""
        return bool(self._task_type(None, self._taskset.config.task).hooks("stop"))

    async def open(self, task: Task) -> Rollout:
        """State and tools of one rollout, set up."""
        rollout = Rollout(self._vf, self.rebuilt(task), self._toolsets())
        await rollout.setup()
        return rollout

    def _toolsets(self) -> list[Any]:
        return list(self._task_type.toolsets(self._taskset.config.task))

    def _check(self, kind: Any) -> None:
        """Raise for what cannot be played here, as far as the class tells."""
        from verifiers.v1.utils.decorators import discover_decorated

        base, sample = self._vf.Task, kind(None, self._taskset.config.task)
        if kind.NEEDS_CONTAINER:
            raise self._unfit("its tasks run in containers")
        for hook in ("setup", "finalize", "stage_verifier"):
            if getattr(kind, hook) is not getattr(base, hook):
                raise self._unfit(f"its tasks have a hook `{hook}`, which wants a runtime")
        if discover_decorated(sample, "intercept"):
            raise self._unfit("its tasks intercept requests")
        for function in (*sample.hooks("reward"), *sample.hooks("metric")):
            runtime = inspect.signature(function).parameters.get("runtime")
            if runtime is not None and runtime.default is runtime.empty:
                raise self._unfit(f"{function.__name__} wants a runtime")
        for function in sample.hooks("stop"):
            _check_stop(self, function)
        if self._taskset.toolsets(self._taskset.config):
            raise self._unfit("it has tools that all tasks share")

    def _check_task(self, task: Any, number: int) -> None:
        if task.data.image is not None:
            raise self._unfit(f"task {number} runs in a container")
        begins = opening(task.data.model_dump(mode="json", exclude_none=True))
        if not task.data.prompt or any(not isinstance(m.get("content"), str) for m in begins):
            raise self._unfit(f"task {number} has no prompt of text")

    def _unfit(self, why: str) -> RecipeError:
        return RecipeError(f"verifiers = {self.name!r} cannot be grown as a tree here: {why}")


class Rollout:
    """State and tools of one rollout. Whatever its own code raises goes up."""

    def __init__(self, vf: Any, task: Any, toolsets: Sequence[Any]) -> None:
        from verifiers.v1.state import state_cls

        self._vf, self._task, self._toolsets = vf, task, toolsets
        self.state = state_cls(type(task))()
        self._tools: dict[str, Callable[..., Any]] = {}

    async def setup(self) -> None:
        """Set up the tools; their state is the rollout's, without the server that keeps it else."""

        async def pull() -> Any:
            return self.state

        async def push(before: bytes) -> None:
            """The state is the one object."""

        for toolset in self._toolsets:
            toolset._pull_state, toolset._push_state = pull, push
            await toolset._exit_stack.__aenter__()
            await toolset.setup()
            await toolset.setup_task(self._task.data)
            self._tools |= _registered(toolset, self._tools)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """What a tool returns, as JSON data."""
        try:
            return to_jsonable_python(await validate_call(self._tools[name])(**arguments))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ToolError(f"{name}: {place}: {first['msg']}") from error

    async def stopped(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The name of the stop that ends the episode, "" where it goes on."""
        trace = self._trace(messages, "")
        for function in self._task.hooks("stop"):
            parameter = next(iter(inspect.signature(function).parameters))
            said = function(**{parameter: trace})
            if await said if inspect.isawaitable(said) else said:
                return str(function.__name__)
        return ""

    async def score(self, messages: Sequence[Mapping[str, Any]], ended: str) -> dict[str, Any]:
        """{"reward": weighted sum or None, "figures": {name: value}} of a conversation."""
        trace = self._trace(messages, ended)
        await self._task.score(trace)
        rewards = trace.rewards
        scored = [each.value for each in rewards.values() if each is not None]
        figures = {name: each.score for name, each in rewards.items() if each is not None}
        figures |= {name: value for name, value in trace.metrics.items() if value is not None}
        return {"reward": float(sum(scored)) if scored else None, "figures": figures}

    async def close(self) -> None:
        """Give back what the tools hold."""
        for toolset in self._toolsets:
            await toolset._exit_stack.aclose()

    def _trace(self, messages: Sequence[Mapping[str, Any]], ended: str) -> Any:
        """The conversation as verifiers' hooks read it, what the agent said marked as sampled."""
        vf, task = self._vf, self._task
        given = len(opening(task.data.model_dump(mode="json", exclude_none=True)))
        kind = vf.TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash)
        trace = vf.Trace(task=kind, state=self.state, agent=vf.AgentInfo(config=vf.AgentConfig()))
        for number, message in enumerate(messages):
            said = number >= given and message["role"] == "assistant"
            parent = number - 1 if number else None
            node = vf.MessageNode(parent=parent, message=_typed(vf, message), sampled=said)
            trace.nodes.append(node)
            if said:
                trace.calls.append(vf.ModelCall(node=number, finish_reason="stop"))
        if ended:
            trace.stop(ended)
        return trace


def opening(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages that an episode begins with, by the data of an environment's task."""
    system, prompt = data.get("system_prompt"), data.get("prompt")
    found = [{"role": "system", "content": system}] if system else []
    if isinstance(prompt, str):
        return [*found, {"role": "user", "content": prompt}]
    return found + list(prompt or [])


@cache
def environment(name: str, settings: str, base: Path) -> VerifiersEnvironment:
    """The environment with settings as JSON text, loaded once a process."""
    return VerifiersEnvironment(name, json.loads(settings), base)


def _library() -> tuple[Any, Any]:
    try:
        import verifiers.v1 as vf
        from verifiers.v1.utils import loaders
    except ImportError as error:
        need = how_to_get("verifiers")
        raise RecipeError(f"environments of verifiers (0.4) need the extra; {need}") from error
    return vf, loaders


@contextmanager
def _importable(base: Path) -> Any:
    """Modules beside the recipe can be imported."""
    sys.path.insert(0, str(base.resolve()))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(base.resolve()))


class _Register:
    """Takes what a toolset registers with a server."""

    def __init__(self) -> None:
        self.found: dict[str, Callable[..., Any]] = {}

    def add_tool(self, function: Callable[..., Any], name: str, description: str | None) -> None:
        self.found[name] = function


def _registered(toolset: Any, known: Iterable[str]) -> dict[str, Callable[..., Any]]:
    """The tools of a toolset under the names that verifiers' harness gives them."""
    register, server = _Register(), toolset.server_name
    toolset.register(register)
    found = {f"{server}_{name}" if server else name: f for name, f in register.found.items()}
    if twice := set(found) & set(known):
        raise RecipeError(f"two toolsets have a tool {min(twice)!r}: set TOOL_PREFIX")
    return found


def _check_stop(environment: VerifiersEnvironment, function: Callable[..., Any]) -> None:
    from verifiers.v1.session import hook_boundary
    from verifiers.v1.trace import Trace

    if hook_boundary(function, allow_trace=True) is not Trace:
        raise environment._unfit(f"the stop {function.__name__} reads single requests")


def _typed(vf: Any, message: Mapping[str, Any]) -> Any:
    """A message as verifiers has it."""
    role, content = message["role"], message["content"]
    if role == "assistant":
        calls = [
            vf.ToolCall(
                id=str(call.get("id", "")),
                name=call["function"]["name"],
                arguments=_text(call["function"]["arguments"]),
            )
            for call in message.get("tool_calls") or ()
        ]
        thought = message.get("reasoning_content")
        return vf.AssistantMessage(
            content=content, reasoning_content=thought, tool_calls=calls or None
        )
    if role == "tool":
        call_id, name = message.get("tool_call_id", ""), message.get("name")
        return vf.ToolMessage(tool_call_id=call_id, content=content, name=name)
    return (vf.SystemMessage if role == "system" else vf.UserMessage)(content=content)


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
