"""Figures of grown trees, for rows of metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hornbeam.assembly.failed_episodes import tool_figures, why
from hornbeam.credit import CreditMethod, mixed
from hornbeam.credit.step_rewards import STEP, earned, is_step
from hornbeam.episode.failures import failed
from hornbeam.jobs.train.anchored_tasks import own_rewards
from hornbeam.score import delegation_figures
from hornbeam.score.rules import DelegationReward
from hornbeam.score.verdict import FIGURE, PART
from hornbeam.stats import interval
from hornbeam.tree.nodes import INJECTED, Tree

BESIDE = (PART, FIGURE)  # how columns beside the reward are named


def grown_figures(
    trees: Sequence[Tree], delegation: DelegationReward | None, how: CreditMethod | None = None
) -> dict[str, Any]:
    """Results of a step's trees: mean reward of the policy's own runs, and counts of leaves.

    `how` is the credit that says what makes a group a mixed one, where not the reward alone.
    """
    groups = mixed(trees, how)
    leaves = [(tree, i) for tree in trees for i in tree.leaves()]
    rewards = [reward for tree in trees for reward in own_rewards(tree)]
    errors = len(failed(trees))
    return {
        "reward": sum(rewards) / max(1, len(rewards)),
        "leaves": len(leaves),
        "failed": errors,
        **why(trees),
        "no_verdict": sum(t.columns["reward"][i] is None for t, i in leaves) - errors,
        **reward_figures(trees),
        "unanswered": unanswered(trees),
        "cut_off": cut_share(trees),
        "forks": forked(trees),
        **tool_figures(trees),
        **delegated(trees, delegation),
        "mixed_groups": groups.mixed,
        "unmixed_groups": groups.unmixed,
    }


GAP = 0.1  # nats a token; bfloat16 against float32 comes to some 0.04


class GapWarning:
    """Says once that the engine speaks with other log-probs than the trainer computes.

    And of every step in which a gate let a policy make no update.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn, self._said = warn, False

    def look(self, metrics: Mapping[str, float], step: int) -> None:
        """Look at a step's `engine_gap` and `stopped_updates`, of any policy."""
        warn_of_stops(metrics, step, self._warn)
        gap = max((v for k, v in metrics.items() if k.endswith("engine_gap")), default=0.0)
        if gap <= GAP or self._said:
            return
        self._warn(
            f"step {step + 1}: engine and trainer differ by {gap:.2g} nats a token (engine_gap):"
            " weights sent merged in bfloat16 lose small updates, packed ones are rounded; send"
            ' adapters, give the engine dtype = "float32" (local: weights = "trained"), or weigh it'
            ' by loss.old = "trainer" and loss.truncate'
        )
        self._said = True


def warn_of_stops(row: Mapping[str, float], step: int, warn: Callable[[str], None]) -> None:
    """Say which policies a gate kept from every update of a step."""
    for key, stopped in row.items():
        name, slash, last = key.rpartition("/")
        if last == "stopped_updates" and stopped and not row[f"{name}{slash}updates"]:
            value = row[f"{name}{slash}divergence"]
            who = f" of policy {name!r}" if name else ""
            warn(
                f"step {step + 1}: loss.gate let no update{who} be made (divergence {value:.2g}):"
                ' raise stop_kl or stop_ratio, or set loss.old = "trainer"'
            )


def measure(trees: Sequence[Tree], delegation: DelegationReward | None = None) -> dict[str, Any]:
    """Accuracy over all tasks: mean reward of the leaves, a failed one counted as unsolved.

    `interval` is its 95 % one, [low, high].

    Where a reward is neither 0 nor 1 that is no accuracy, and `figure` says what it is.
    """
    rewards = [tree.columns["reward"][i] for tree in trees for i in tree.leaves()]
    errors = len(failed(trees))
    return {
        "accuracy": sum(r for r in rewards if r is not None) / len(rewards),
        "interval": list(interval([r or 0.0 for r in rewards])),
        "count": len(rewards),
        "failed": errors,
        "no_verdict": sum(r is None for r in rewards) - errors,
        **reward_figures(trees),
        "unanswered": unanswered(trees),
        "cut_off": cut_share(trees),
        **tool_figures(trees),
        **delegated(trees, delegation),
        **({} if {*rewards} <= {None, 0.0, 1.0} else {"figure": "mean reward"}),
    }


def reward_figures(trees: Sequence[Tree]) -> dict[str, float]:
    """Means of the parts of a reward and of the figures beside it, over the policy's own runs.

    "no_verdict.NAME": runs that did not fail and to which a part gave none; "FIGURE.count": runs
    that have the figure. Rewards of steps are added up over each run.
    """
    ends = [(t, i) for t in trees for i in t.leaves() if t.nodes[i].origin.version != INJECTED]
    names = {name for tree in trees for name in tree.columns if name.startswith(BESIDE)}
    out: dict[str, float] = {}
    for name in sorted(names):
        entries = [t.columns[name][i] if name in t.columns else None for t, i in ends]
        there = [value for value in entries if value is not None]
        if there:
            out[name] = math.fsum(there) / len(there)
        if name.startswith(FIGURE):
            out[f"{name}.count"] = len(there)
        else:
            ran = [entry for entry, (t, i) in zip(entries, ends) if not t.nodes[i].error]
            out[f"no_verdict.{name.removeprefix(PART)}"] = ran.count(None)
    return out | _step_figures(ends)


def _step_figures(ends: Sequence[tuple[Tree, int]]) -> dict[str, float]:
    """Means over runs of what their steps were given; "step_rewards": how many rewards."""
    trees = list({id(tree): tree for tree, _ in ends}.values())
    names = sorted({name for tree in trees for name in tree.columns if is_step(name)})
    sums = {(id(t), name): earned(t, t.columns.get(name), 1.0) for t in trees for name in names}
    out: dict[str, float] = {
        name: math.fsum(sums[id(tree), name][i] for tree, i in ends) / len(ends) for name in names
    }
    if names:
        nodes = [node for tree in trees for node in tree.nodes]
        by_tools = sum(call.reward is not None for node in nodes for call in node.calls)
        out[f"{STEP}s"] = by_tools + sum(len(node.rewards) for node in nodes)
    return out


def delegated(trees: Sequence[Tree], how: DelegationReward | None) -> dict[str, float]:
    """Formats and numbers of delegations, where the recipe rewards them."""
    return {} if how is None else delegation_figures(trees, how)


def cut_share(trees: Sequence[Tree]) -> float:
    """The share of the answers that agents gave which were cut off at their max_tokens."""
    nodes = (node for tree in trees for node in tree.nodes[1:] if node.origin.version != INJECTED)
    ends = [node.finish for node in nodes if node.finish in ("stop", "length")]
    return ends.count("length") / max(1, len(ends))


SHOW = ", or show them more in a warm start ([sft]) if they do not answer"


def unmixed_warning(row: Mapping[str, Any]) -> str:
    """Why there is nothing to learn from in a step all of whose groups have equal rewards."""
    found = f"all {row['unmixed_groups']} groups have equal rewards"
    if row["cut_off"] > 0.5:
        return (
            f"{found}, and {100 * row['cut_off']:.0f} % of the answers were cut off at max_tokens:"
            f" nothing to learn from; raise it for the agents{'' if row['reward'] else SHOW}"
        )
    return (
        f"{found}: nothing to learn from; easier or harder tasks, or more leaves a tree, give mixed"
        " ones"
    )


def forked(trees: Sequence[Tree]) -> int:
    """Prompts that do not begin with all that stood and was said when their agent spoke last.

    A chat template or the program rewrote the conversation, or began another one.
    """
    count = 0
    for tree in trees:
        for i, node in enumerate(tree.nodes):
            last = node.parent
            while last > 0 and _speaker(tree, last) != _speaker(tree, i):
                last = tree.nodes[last].parent
            if last <= 0 or not len(node.tokens) or (node.prefix is None and last == node.parent):
                continue
            count += tree.context(i)[: tree.length(last)] != tree.sequence(last)
    return count


def _speaker(tree: Tree, i: int) -> tuple[str, str]:
    return tree.nodes[i].agent, tree.nodes[i].scope


def unanswered(trees: Sequence[Tree]) -> int:
    """Runs that ended without an answer and count as wrong: a judge's unreadable verdicts, say."""
    ends = (tree.nodes[i] for tree in trees for i in tree.leaves())
    return sum(node.done and not node.error and node.answer is None for node in ends)
