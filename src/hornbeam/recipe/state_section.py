"""[state]: how a run tells in which state each step was taken."""

from __future__ import annotations

from hornbeam.recipe.sections import NamedSection


class StateSection(NamedSection):
    """`key`: "observation", "prompt", "world" (grow/step_states), or "file.py:name", whose settings
    stand beside. "": "observation" where the credit reads states, else none is kept.
    """

    key: str = ""
