"""Self-segmentation: an SFT set of the policy's own correct answers, cut into chunks (StepWiser).

Training tasks are answered, correct answers are kept, cut by rules and wrapped in tags. What does
not give the very answer back when the tags are taken out (it held a tag) is left out and counted,
and so is an answer that broke off at its last token: it would be taught to end there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hornbeam.assembly.plan import Plan
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.sft_set import set_line
from hornbeam.assembly.transcript import transcript
from hornbeam.assembly.tree_growth import FolderGrower, part
from hornbeam.chat import Answers, Chat
from hornbeam.episode.reply import Reply
from hornbeam.episode.segmenters import Segmenter
from hornbeam.errors import DataError
from hornbeam.grow.grower import Grower
from hornbeam.recipe.recipe import Recipe
from hornbeam.search import Independent
from hornbeam.store.ledger import NO_BUDGET, Ledger
from hornbeam.tree.nodes import Tree, answered


def correct(tree: Tree) -> list[int]:
    """Leaves whose answer has the whole reward, 1, in order of episode."""
    reward = tree.columns.get("reward") or [None] * len(tree)
    return sorted(
        (i for i in answered(tree) if (reward[i] or 0) >= 1),
        key=lambda i: tree.nodes[i].origin.episode,
    )


def ends(reply: Reply, segment: Segmenter, chat: Chat) -> list[int]:
    """Where an answer's chunks end, in characters of its text; never inside a character."""
    if segment.by != "tokens":
        return segment.ends(reply.text)
    heads = [chat.text(reply.tokens[:n]) for n in segment.cuts(reply.tokens, chat)]
    return [len(head) for head in heads if reply.text.startswith(head)]


def pieces(text: str, at: Sequence[int], least: int = 0) -> list[str]:
    """The text cut at these places; what has fewer than `least` characters goes with the next.

    White space around a piece does not count; what is left at the end goes with the last piece.
    """
    out: list[str] = []
    start = 0
    for end in [*at, len(text)]:
        if len(text[start:end].strip()) >= max(1, least):
            out.append(text[start:end])
            start = end
    if out:
        out[-1] += text[start:]
    return out or [text]


def wrapped(parts: Sequence[str], tags: tuple[str, str]) -> str:
    """Each part in tags; white space at its end stands behind the closing one."""
    bodies = [(part.rstrip(), part[len(part.rstrip()) :]) for part in parts]
    return "".join(f"{tags[0]}{body}{tags[1]}{space}" for body, space in bodies)


def unwrapped(text: str, tags: tuple[str, str]) -> str:
    """The text without tags."""
    return text.replace(tags[0], "").replace(tags[1], "")


class Chunks:
    """The self-segmentation of a recipe over its training tasks, in a run folder."""

    def __init__(self, recipe: Recipe, plan: Plan, path: Path, progress: Progress) -> None:
        self.recipe, self.choice, self.program = recipe, recipe.chunks, plan.program
        self.segment = recipe.chunks.segment.beside(plan.base)
        self.tasks = part(plan.train.tasks, self.choice.skip, self.choice.tasks, "chunks")
        self.stage = f"chunks {self.choice.samples} {self.choice.skip}"
        self.folder_grower = FolderGrower(recipe, plan, path, progress, "training")

    async def go(self) -> tuple[list[str], dict[str, Any]]:
        """Sample what was not sampled yet; the lines of the set, and counts.

        Raises `DataError` where no answer is left.
        """
        folder_grower = self.folder_grower
        try:
            await folder_grower.grow("answers", self.stage, self.tasks, self._grower, NO_BUDGET)
            trees = list(folder_grower.trees(self.stage).values())[: len(self.tasks)]
            found = [(tree, leaf) for tree in trees for leaf in correct(tree)]
            chunked = [await self._chunked(tree, leaf) for tree, leaf in found]
            costs = folder_grower.store.totals(self.stage) | folder_grower.redone(self.stage)
        finally:
            await folder_grower.aclose()
        kept = [said for said in chunked if said]
        answers = sum(len(tree.leaves()) for tree in trees)
        if not kept:
            raise DataError(
                f"of {answers} answers {len(found)} are correct, and none of these could be cut:"
                " nothing is written; easier tasks, more chunks.samples or other chunks.tags"
            )
        return [line for said in kept for line, _ in said], {
            "answers": answers,
            "correct": len(found),
            "left_out": len(chunked) - len(kept),
            "tasks": sum(bool(correct(tree)) for tree in trees),
            "chunks": sum(count for said in kept for _, count in said),
            "costs": costs,
        }

    async def _chunked(self, tree: Tree, leaf: int) -> list[tuple[str, int]]:
        """(line, chunks) of each ask of an answer; empty where one of them is to be left out.

        What the agent said before stands in later messages as it is trained to say it: in tags.
        """
        chats, choice = self.folder_grower.world.policies.chats, self.choice
        limits, tools = self.recipe.limits, self.folder_grower.world.plan.tools
        turns = await transcript(self.program, limits, chats, tree, leaf, tools)
        if any(reply.tools for _, reply in turns):
            raise DataError("answers that call tools natively cannot be cut and wrapped in tags")
        said: Answers[str] = Answers()
        out = []
        for messages, reply in turns:
            cuts = ends(reply, self.segment, chats[reply.agent])
            parts = pieces(reply.text, cuts, choice.least)
            text = wrapped(parts, choice.tags)
            whole = reply.finish == "stop" and reply.text.strip()
            if not whole or unwrapped(text, choice.tags) != reply.text:
                return []
            tagged = said.find(messages)
            marked = [{**m, "content": tagged.get(n, m["content"])} for n, m in enumerate(messages)]
            out.append((set_line(marked, reply, text), len(parts)))
            said.add(messages, reply.text, text)
        return out

    def _grower(self) -> Grower:
        grower = self.folder_grower.world.grower(Ledger(), self.folder_grower.store, trained=False)
        return replace(grower, strategy=Independent(n=self.choice.samples))
