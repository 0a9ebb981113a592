"""What is blamed: the failed runs of a run folder, of a run's database or of a file of trees.

A run has failed where its episode ended in an error, or with a reward below the one that counts as
a success. One without a verdict has not failed: nobody knows. What is read is not written to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hornbeam.assembly.run_folder import FILES_IN, changed_code
from hornbeam.errors import DataError, StoreError
from hornbeam.files import paths
from hornbeam.recipe.recipe import Recipe
from hornbeam.store.database import Store, TreeKey
from hornbeam.tree.jsonl import read_trees
from hornbeam.tree.nodes import Tree, answered, canonical

OWN = "blame"  # the folder inside a run folder that holds the forks of its runs


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One path of a tree, from its task down to `leaf`; `place` names the tree."""

    place: str
    tree: Tree
    leaf: int


class RecordedRuns:
    """Trees of `run`, a folder or a file, or of the database of a run (`store`, a URL).

    `recipe` is the run's as data, `base` the folder of its files and `weights` what its training
    ended with, each where it is known; forks are kept in `out` if nothing else is said.
    """

    def __init__(self, run: Path, store: str | None = None) -> None:
        self.name, self.store = store or str(run), store
        self.recipe: Mapping[str, Any] | None = None
        self.base, self.weights = Path(), None if store else run / "final"
        self._trees: list[Tree] = []
        self._keys: list[TreeKey] = []
        if store is None and (run.is_file() or run.suffix in (".jsonl", ".json", ".gz")):
            self._trees = [canonical(tree) for tree in read_trees(paths.check_file(run))]
            self.out = Path("runs") / f"{run.name.split('.')[0]}-{OWN}"
        else:
            self.out = run / OWN
            with self._open() as held:
                self._keys = sorted({*held.keys()} - {*held.unfinished()})
                self.recipe, base = held.kept_recipe() or None, held.get(FILES_IN)
            self.base = Path(base) if isinstance(base, str) and base else run
        if not (self._trees or self._keys):
            raise DataError(f"{self.name} holds no tree that has grown to its end")

    def _open(self) -> Store:
        return Store(self.store or self.name, read_only=True)

    def check_code(self, recipe: Recipe, base: Path) -> None:
        """`StoreError` where the code that the run began with was changed since."""
        if self.recipe is None:
            return
        with self._open() as held:
            for shown in changed_code(held, recipe, base):
                raise StoreError(f"{self.name}: this run began with other {shown} as it was")

    def _read(self, key: TreeKey) -> Tree:
        with self._open() as held:
            return canonical(held.read(key).tree)

    def tree(self, name: str) -> tuple[str, Tree]:
        """(its place, the tree): "train/12/0" of a run; of a file its number or its task's id."""
        for key in self._keys:
            if str(key) == name:
                return name, self._read(key)
        for number, tree in enumerate(self._trees, 1):
            if name in (str(number), str(tree.task.get("id"))):
                return str(number), tree
        ends = [str(key) for key in self._keys] or ["1", str(len(self._trees))]
        known = f"it has {ends[0]} to {ends[-1]}"
        raise DataError(f"--tree {name}: {self.name} has no such tree: {known}")

    def newest(self, stage: str | None = None) -> Iterator[tuple[str, Tree]]:
        """All trees (of a stage), the newest first, those of training before others."""
        if stage is not None and stage not in (known := {key.stage for key in self._keys}):
            listed = ", ".join(sorted(known)) or "none: it is a file"
            raise DataError(
                f"--stage {stage}: {self.name} has no trees of it; its stages: {listed}"
            )
        keys = [key for key in reversed(self._keys) if stage in (None, key.stage)]
        for key in sorted(keys, key=lambda key: key.stage != "train"):
            yield str(key), self._read(key)
        for number in range(len(self._trees), 0, -1):
            yield str(number), self._trees[number - 1]


class Failed(NamedTuple):
    """Which runs are looked at: with a reward below `success` or an error, or `won` ones."""

    success: float = 0.5
    won: bool = False

    def none(self) -> str:
        """That there is none, in words."""
        if self.won:
            return f"no run won: none has a reward of {self.success:g} or more (--success)"
        return f"no run failed: none has an error, or a reward below {self.success:g} (--success)"


def outcome(tree: Tree, leaf: int) -> float | None:
    """The reward of a run in [0, 1], 0 where it failed with an error; None without a verdict."""
    reward = (tree.columns.get("reward") or [None] * len(tree))[leaf]
    if tree.nodes[leaf].error:
        return 0.0
    return None if reward is None else min(max(reward, 0.0), 1.0)


def leaves_of(tree: Tree, success: float, won: bool = False) -> list[int]:
    """Leaves of runs with less than a `success`, or an error; those of the others if `won`."""
    ends = [*answered(tree), *(i for i in tree.leaves() if tree.nodes[i].error)]
    return sorted(i for i in ends if (w := outcome(tree, i)) is not None and (w >= success) == won)


def one_run(
    runs: RecordedRuns, place: str | None, leaf: int | None, stage: str | None, how: Failed
) -> RecordedRun:
    """The run that is named, or the newest that failed. Raises `DataError` where there is none."""
    if place is None:
        if leaf is not None:
            raise DataError(f"--leaf {leaf}: is a step of one tree: name that by --tree")
        return next(failed_runs(runs, stage, how))
    place, tree = runs.tree(place)
    if leaf is None:
        found = leaves_of(tree, *how)
        if not found:
            raise DataError(
                f"--tree {place}: {how.none()}: name the end of a run by --leaf:"
                f" {_listed(tree.leaves())}"
            )
        return RecordedRun(place, tree, found[0])
    if leaf not in tree.leaves():
        raise DataError(
            f"--leaf {leaf}: no run of tree {place} ends there: {_listed(tree.leaves())}"
        )
    return RecordedRun(place, tree, leaf)


def failed_runs(runs: RecordedRuns, stage: str | None, how: Failed) -> Iterator[RecordedRun]:
    """All runs that failed (or the others), the newest first. `DataError` where there is none."""
    none, scored = True, False
    for place, tree in runs.newest(stage):
        scored = scored or any(outcome(tree, i) is not None for i in tree.leaves())
        for leaf in leaves_of(tree, *how):
            none = False
            yield RecordedRun(place, tree, leaf)
    if none:
        mend = "no run has a reward: `hornbeam score` gives them one"
        raise DataError(f"{runs.name}: {how.none() if scored else mend}")


def _listed(leaves: Sequence[int]) -> str:
    shown = ", ".join(map(str, leaves[:12]))
    return f"runs end at {shown}{', ...' if leaves[12:] else ''}"
