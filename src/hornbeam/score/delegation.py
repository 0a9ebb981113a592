"""Rewards of delegations and of the main agent, once all leaves of a tree are scored.

    R_M = main_format + main_correct * correct                        at the leaf
    R_S = format + correct * correct_main + expert * found            at the end of a delegation

each 0 where its format is bad (Hong et al. 2025, M-GRPO, arXiv 2511.13288). `correct` is what the
scorer said of the leaf, `correct_main` its mean over the scored leaves of whose path the delegation
is one, `found` what a rule or a guide says of the delegation's result.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from statistics import fmean

from hornbeam.credit.scoped import walk
from hornbeam.errors import DataError
from hornbeam.programs.talk import read_answer
from hornbeam.score.normalise import normalise
from hornbeam.score.rules import DelegationReward, answer_text, rule_of
from hornbeam.tree.nodes import Column, Tree

Expert = Callable[[Tree, int, str], float | None]


def scope_rewards(
    tree: Tree, how: DelegationReward, expert: Expert | None = None
) -> dict[str, Column]:
    """Columns `reward` (see the head) and `outcome` (what the scorer said), for a scored tree.

    A tree that has `outcome` already is read there, so that twice is once. Delegations without a
    scored leaf below, or of which the guide has no opinion, get no reward. `expert` stands for a
    rule that is a function (`delegation_expert`). Raises `DataError` where the task or the tree
    lacks what the settings name.
    """
    outcome = [*tree.columns.get("outcome", tree.columns["reward"])]
    reward: Column = [None] * len(tree)
    below: dict[int, list[float]] = {}
    for leaf, last in walk(tree):
        correct, node = outcome[leaf], tree.nodes[leaf]
        if correct is None or not tree.is_leaf(leaf):
            continue
        good = _answered(tree, leaf)
        reward[leaf] = how.main_format + how.main_correct * correct if good else 0.0
        for scope, end in last.items():
            if scope not in ("", node.scope):
                below.setdefault(end, []).append(correct)
    for end, correct_main in below.items():
        reward[end] = _reward(tree, end, fmean(correct_main), how, expert)
    return {"outcome": outcome, "reward": reward}


def delegation_figures(trees: Sequence[Tree], how: DelegationReward) -> dict[str, float]:
    """What the trees say of format and of delegating, for the metrics of a step.

    `format`: share of ended rollouts whose answer can be read; `delegation_format`: the same of
    delegations (each once, however many leaves share it); `delegations`: mean d_k over rollouts;
    `delegations_99`: the least d with P(d_k <= d) >= 0.99, which M-GRPO takes for its d.
    """
    main: list[bool] = []
    many: list[int] = []
    sub: dict[tuple[int, int], bool] = {}
    for number, tree in enumerate(trees):
        for leaf, last in walk(tree):
            if not tree.is_leaf(leaf):
                continue
            main.append(_answered(tree, leaf))
            ends = [end for name, end in last.items() if name not in ("", tree.nodes[leaf].scope)]
            many.append(len(ends))
            sub.update({(number, end): _replied(tree, end, how) is not None for end in ends})
    if not many:
        return {}
    return {
        "format": fmean(main),
        "delegation_format": fmean(sub.values()) if sub else 0.0,
        "delegations": fmean(many),
        "delegations_99": float(sorted(many)[math.ceil(0.99 * len(many)) - 1]),
    }


def _answered(tree: Tree, leaf: int) -> bool:
    """Whether the rollout that ends there was not cut off and has an answer."""
    node = tree.nodes[leaf]
    return node.finish in ("stop", "end") and answer_text(node.answer) is not None


def _replied(tree: Tree, end: int, how: DelegationReward) -> str | None:
    """The answer of the delegation that ends there; None where it was cut off or has none."""
    whole = tree.nodes[end].finish == "stop"
    return read_answer(how.answer, reply(tree, end)) if whole else None


def _reward(
    tree: Tree, end: int, correct_main: float, how: DelegationReward, expert: Expert | None
) -> float | None:
    """R_S; None where it is not known."""
    answer = _replied(tree, end, how)
    if answer is None:
        return 0.0
    text = answer if how.reads == "reply" else last_result(tree, end)
    if how.column:
        found = _opinion(tree, end, how)
    elif expert is not None and how.expert:
        found = expert(tree, end, text)
    else:
        found = _found(tree, text, how)
    return None if found is None else how.format + how.correct * correct_main + how.expert * found


def _opinion(tree: Tree, end: int, how: DelegationReward) -> float | None:
    """The guide's value V in [-1, 1] as (V + 1)/2."""
    if how.column not in tree.columns:
        raise DataError(
            f"task {tree.task.get('id')!r}: no column {how.column!r} for reward.delegation.column"
        )
    value = tree.columns[how.column][end]
    return None if value is None else (value + 1) / 2


def _found(tree: Tree, text: str, how: DelegationReward) -> float:
    """The best that the rule says of the answer, or of the last result, against what is wanted."""
    if not how.expert:
        return 0.0
    data = tree.task.get("data") or {}
    wanted = data.get(how.gold) if how.gold else tree.task.get("answer")
    accepted = [str(w) for w in (wanted if isinstance(wanted, list) else [wanted]) if w is not None]
    if not accepted:
        raise DataError(
            f"task {tree.task.get('id')!r}: no {f'data.{how.gold}' if how.gold else 'answer'} to"
            " hold a delegation's answer against; set reward.delegation.gold, or expert = 0"
        )
    rule = contains if how.rule == "contains" else rule_of(how.rule, data)
    return max(rule(text, each) for each in accepted)


def contains(text: str, accepted: str) -> float:
    """1 where the accepted words stand in the text one after the other, normalised as for SQuAD."""
    words = normalise(accepted)
    return float(bool(words) and f" {words} " in f" {normalise(text)} ")


def reply(tree: Tree, end: int) -> str:
    """What was said in the ask that ends there, chunks as one."""
    text, above = tree.nodes[end].text, tree.nodes[end].parent
    while tree.nodes[above].finish == "chunk":
        text, above = tree.nodes[above].text + text, tree.nodes[above].parent
    return text


def last_result(tree: Tree, end: int) -> str:
    """What the last tool call of the delegation that ends there gave, "" if it made none.

    A call that came back after another delegation had spoken stands with that one's node.
    """
    scope = tree.nodes[end].scope
    for i in reversed([0, *tree.path(end)]):
        for call in reversed(tree.nodes[i].calls):
            if call.scope == scope:
                plain = isinstance(call.result, str)
                return call.result if plain else json.dumps(call.result, ensure_ascii=False)
    return ""
