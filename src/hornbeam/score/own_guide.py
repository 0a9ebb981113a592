"""A guide of one's own: a function of a tree and a step, or a class with a method `judge`.

def value(tree, node): ...              # a number, or None; or async def
class Mine:
    async def judge(self, tree, nodes): ...   # one each, or `Opinions`; or def
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from hornbeam.arguments import described, finite
from hornbeam.engine.request import Barrier
from hornbeam.episode.failures import failure
from hornbeam.errors import ArgumentError, HornbeamError, RecipeError, ScoreError
from hornbeam.own.own_functions import OwnFunction, call_settings, own_function, parameters
from hornbeam.own.own_parts import Named
from hornbeam.protocols import Opinions
from hornbeam.settings import Settings, build
from hornbeam.tree.nodes import Tree


class OwnGuide:
    """Calls what a recipe names; of a class, what it lacks of a `Guide` costs and does nothing.

    A step that failed has no value by a function, which is not asked.
    """

    def __init__(self, column: str, part: Named, settings: Mapping[str, Any]) -> None:
        self.column, self._where = column, f"guides.{column}: {part.where}"
        made = checked(part, settings, column)
        self._function = made if isinstance(made, OwnFunction) else None
        self._thing: Any = None if isinstance(made, OwnFunction) else part.thing(**made)
        self.barrier: Barrier = getattr(self._thing, "barrier", None) or Barrier()
        self.reads_ids = bool(getattr(self._thing, "reads_ids", False))

    def most(self, tree: Tree, nodes: Sequence[int]) -> int:
        """What the class says, else nothing."""
        most = getattr(self._thing, "most", None)
        return int(most(tree, nodes)) if most is not None else 0

    async def judge(self, tree: Tree, nodes: Sequence[int]) -> Opinions:
        """What it gives. Raises `ScoreError` where it raises, or gives something else."""
        try:
            said = await self._said(tree, nodes)
        except HornbeamError:
            raise
        except Exception as error:  # whatever a user's code raises
            raise ScoreError(f"{self._where}: {failure(error)}") from error
        values = said.values if isinstance(said, Opinions) else said
        if not isinstance(values, (list, tuple)) or len(values) != len(nodes):
            what = f"{len(values)} values" if isinstance(values, (list, tuple)) else None
            raise ScoreError(
                f"{self._where} gave {what or described(values)} for {len(nodes)} steps: a list"
                " of one each is expected"
            )
        try:
            numbers = [finite(value) for value in values]
        except ArgumentError as error:
            raise ScoreError(f"{self._where}: {error}") from error
        return Opinions(numbers, said.tokens if isinstance(said, Opinions) else 0)

    async def _said(self, tree: Tree, nodes: Sequence[int]) -> Any:
        if self._function is None:
            return await _awaited(self._thing.judge(tree, nodes))
        failed = [bool(tree.nodes[i].error) for i in nodes]
        return [
            None if bad else await _awaited(self._function(tree, i))
            for i, bad in zip(nodes, failed)
        ]

    def forget(self, tree: Tree) -> None:
        """As the class does, if it keeps anything."""
        if (forget := getattr(self._thing, "forget", None)) is not None:
            forget(tree)

    async def aclose(self) -> None:
        """As the class does, if it holds anything."""
        if (close := getattr(self._thing, "aclose", None)) is not None:
            await close()


def checked(part: Named, settings: Mapping[str, Any], column: str) -> OwnFunction | dict[str, Any]:
    """The function, or settings of the class. Raises `RecipeError` for what is no guide."""
    thing = part.thing
    if not isinstance(thing, type):
        return own_function(part, settings, ["tree", "node"])
    if not callable(getattr(thing, "judge", None)):
        raise RecipeError(f"{part.where} is no guide: it has no method judge(self, tree, nodes)")
    if issubclass(thing, Settings):
        return dict(build("guide", {part.where: thing}, part.where, settings))
    named = {p.name for p in parameters(part)}
    own = call_settings(part, settings, {"column"} & named)
    return own | ({"column": column} if "column" in named else {})


async def _awaited(found: Any) -> Any:
    return await found if inspect.isawaitable(found) else found
