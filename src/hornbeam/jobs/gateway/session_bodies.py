"""What is read of a request that opens or ends a session, and what is told of a grown one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hornbeam.errors import ScoreError
from hornbeam.gateway.asked import BadRequest
from hornbeam.gateway.session import Ended
from hornbeam.protocols import Scorer
from hornbeam.score.reward_settings import RewardSettings
from hornbeam.score.rules import RuleScorer, check_task, make_scorer
from hornbeam.settings import nearest
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

TASK = ("id", "question", "answer", "data")
OPEN = ("task", "agent", *TASK)
END = ("answer", "reward", "error")


class SessionScorers:
    """Who judges a session: the recipe's rules, where they can; of no answer nobody else."""

    def __init__(self, scorer: Scorer | None) -> None:
        self._scorer, self.none = scorer, make_scorer(RewardSettings(rule="none"))

    def of(self, task: Task) -> Scorer:
        """The scorer of a task. Raises `BadRequest` where its answer can be nobody's."""
        if self._scorer is None:
            return self.none
        try:
            if isinstance(self._scorer, RuleScorer):
                for judged in self._scorer.settings.judged.values():
                    check_task(judged.rule, task)
        except ScoreError as error:
            if task.answer is None:
                return self.none
            raise BadRequest(str(error)) from error
        return self._scorer

    async def aclose(self) -> None:
        """Give back what is held here."""
        await self.none.aclose()


def known(given: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    """Raise `BadRequest` for what is none of the names."""
    for name in given:
        if name not in names:
            raise BadRequest(f"{name!r} is nothing that {what} has: {nearest(name, names)}")


def names_of(given: Mapping[str, Any], agents: Sequence[str]) -> tuple[str, ...]:
    """Who can be asked, the main one first, whom `agent` names. Raises `BadRequest`."""
    main = str(given.get("agent") or agents[0])
    if main not in agents:
        raise BadRequest(f"agent = {main!r}: {nearest(main, agents)}")
    return (main, *[name for name in agents if name != main])


def task_of(given: Mapping[str, Any], ident: str) -> Task:
    """The task of a session: under "task", or beside it. Raises `BadRequest`."""
    told = given.get("task")
    told = {"question": told} if isinstance(told, str) else told
    if told is None:
        told = {name: given[name] for name in TASK if name in given}
    if not isinstance(told, Mapping):
        raise BadRequest("task: a text, or an object with a question, is expected")
    known(told, TASK, "a task")
    question, data = told.get("question", ""), told.get("data", {})
    if not isinstance(question, str):
        raise BadRequest("task.question: a text is expected")
    if not isinstance(data, Mapping):
        raise BadRequest("task.data: an object is expected")
    return Task(str(told.get("id", ident)), question, told.get("answer"), data)


def ended_of(given: Mapping[str, Any]) -> Ended:
    """How a session ended. Raises `BadRequest`."""
    reward, error = given.get("reward"), given.get("error") or ""
    if reward is not None:
        number = isinstance(reward, (int, float)) and not isinstance(reward, bool)
        if not number or not math.isfinite(reward):
            raise BadRequest(f"reward = {reward!r}: a number is expected")
    if not isinstance(error, str):
        raise BadRequest("error: a text is expected")
    return Ended(given.get("answer"), error, None if reward is None else float(reward))


def summary_of(tree: Tree) -> dict[str, Any]:
    """What is told of a grown session."""
    (leaf,) = tree.leaves()
    node = tree.nodes[leaf]
    steps = [tree.nodes[i] for i in tree.path(leaf) if tree.nodes[i].tokens]
    rewards = {
        name: column[leaf] for name, column in tree.columns.items() if column[leaf] is not None
    }
    return {
        "answer": node.answer,
        "error": node.error,
        "steps": len(steps),
        "sampled_tokens": sum(len(step.tokens) for step in steps),
        "rewards": rewards,
    }
