"""What one search came to: its answer, what it cost, and what it would have said earlier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hornbeam.episode.failures import causes, failed
from hornbeam.errors import EngineError, ProgramError, PromptTooLong
from hornbeam.jobs.search.readout import Costs, QuestionResult, ranked, stops
from hornbeam.jobs.search.search_points import with_columns
from hornbeam.jobs.service.served_names import ServedSearch
from hornbeam.programs.conversation import before_stop
from hornbeam.search import restore
from hornbeam.search.choose import Same
from hornbeam.store.ledger import Entry
from hornbeam.tree.nodes import Tree

POINTS = 8  # of the curve


@dataclass(frozen=True, slots=True)
class Outcome:
    """One search. `text` is what a client is told, `answer` what was compared and chosen.

    `curve`: (tokens spent, answer) had it been stopped after a share of its episodes. `spent`: its
    budget ended it. Tokens are those of the whole search; `prompt` counts what guides read too.
    """

    name: str
    program: bool  # whether the recipe's program ran, and not a bare model
    tree: str  # its id
    answer: Any
    text: str
    calls_made: tuple[tuple[str, str], ...]  # (tool, arguments) of a bare model's answer
    finish: str  # "stop", or "length" where the answer was cut off or there was no budget for one
    prompt: int
    cached: int
    sampled: int
    scorer: int
    calls: int
    episodes: int
    failed: int
    spent: bool
    curve: tuple[tuple[int, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """All but the text, as clients are told it."""
        tokens = {"sampled": self.sampled, "scorer": self.scorer, "prompt_cached": self.cached}
        tokens["prompt_computed"] = self.prompt - self.cached - self.scorer
        return {
            "search": self.name,
            "tree": self.tree,
            "answer": self.answer,
            "tokens": tokens,
            "calls": self.calls,
            "episodes": self.episodes,
            "failed": self.failed,
            "spent": self.spent,
            "curve": [{"tokens": tokens, "answer": answer} for tokens, answer in self.curve],
        }


def outcome_of(
    search: ServedSearch, tree: Tree, ident: str, entries: Sequence[Entry], same: Same
) -> Outcome:
    """What a grown tree came to, which cost these entries.

    Raises `PromptTooLong` and `EngineError` where that ended every run, `ProgramError` where all
    failed of something else.
    """
    how, choose = search.job.strategy, search.job.choose
    prepare = partial(with_columns, how)
    tree = prepare(tree)
    chosen = next(iter(ranked(tree, choose, same, 1)), None)
    errors = failed([tree])
    spent = bool(how.ask(tree, restore(tree, how.steps)))
    if chosen is None and errors and len(errors) == len(tree.leaves()):
        raise _why(errors)
    costs = Costs.of(entries)
    reading = QuestionResult(tree, [] if chosen is None else [chosen], costs, same)
    curve = stops(reading, choose, prepare, min(POINTS, len(costs.by_episode)))
    cached = sum(e.amount for e in entries if e.kind == "prompt_tokens_cached")
    answer = None if chosen is None else tree.nodes[chosen].answer
    text, finish = _said(search, tree, chosen)
    made: Sequence[Mapping[str, str]] = ()
    if not search.program and isinstance(answer, Mapping):
        text, made = answer["text"], answer["calls"]
    return Outcome(
        name=search.name,
        program=search.program,
        tree=ident,
        answer=answer,
        text=text,
        calls_made=tuple((call["name"], call["arguments"]) for call in made),
        finish=finish,
        prompt=int(costs.prompt + cached + costs.scorer),
        cached=int(cached),
        sampled=int(costs.policy),
        scorer=int(costs.scorer),
        calls=int(costs.calls),
        episodes=len({node.origin.episode for node in tree.nodes[1:]}),
        failed=len(errors),
        spent=spent,
        curve=tuple(
            (int(tokens), None if leaf is None else tree.nodes[leaf].answer)
            for tokens, leaf in curve
        ),
    )


def _said(search: ServedSearch, tree: Tree, chosen: int | None) -> tuple[str, str]:
    """(what a client is told, why it ends there).

    A program tells its answer. An agent tells all that it said: where no text held an answer, the
    first that ended.
    """
    if search.program:
        answer = None if chosen is None else tree.nodes[chosen].answer
        return "" if answer is None else answer_text(
            answer
        ), "stop" if answer is not None else "length"
    ends = [i for i in tree.leaves() if tree.nodes[i].done and not tree.nodes[i].error]
    leaf = chosen if chosen is not None else min(ends, default=None)
    if leaf is None:
        return "", "length"
    stop = (tree.task.get("data") or {}).get("sampling", {}).get("stop", ())
    text = "".join(tree.nodes[i].text for i in tree.path(leaf))
    return before_stop(text, stop), "length" if tree.nodes[leaf].finish == "length" else "stop"


def answer_text(answer: Any) -> str:
    """An answer as a text; what is none as JSON."""
    import json

    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def _why(errors: Sequence[str]) -> EngineError | ProgramError:
    """What ended every run."""
    said = causes(errors)
    for kind in (PromptTooLong, EngineError):
        if all(error.startswith(f"{kind.__name__}: ") for error in errors):
            return kind(said.removeprefix(f"{kind.__name__}: "))
    return ProgramError(f"no run of the search ended: {said}")
