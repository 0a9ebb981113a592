"""Random numbers that hang on the path so far and nothing else."""

from __future__ import annotations

import random


class Draws:
    """The generators of one position of a path, one a scope."""

    def __init__(self) -> None:
        self._told, self._here = -1, dict[str, random.Random]()

    def at(self, seed: int, told: int, scope: str) -> random.Random:
        """The generator of a scope after so many effects told, `seed` being that of the last."""
        if self._told != told:
            self._told, self._here = told, {}
        if scope not in self._here:
            self._here[scope] = random.Random(f"{seed}:{told}:{scope}")
        return self._here[scope]
