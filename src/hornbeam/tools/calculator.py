"""A calculator for agents: an expression in, a number as people write it out."""

from __future__ import annotations

from hornbeam.answers.arithmetic import ArithmeticProblem, evaluate, write_number
from hornbeam.protocols import Tool
from hornbeam.tools.tool_settings import ToolSettings
from hornbeam.workers.local_workers import inline, pure


@pure
@inline
def calculate(expression: str) -> str:
    """Work out an arithmetic expression such as "(48 / 2) * 3"."""
    # What cannot be worked out comes back as a text that begins with "error:", for the agent to
    # read; the grammar and its bounds stand in hornbeam.answers.arithmetic.
    if not isinstance(expression, str):
        return "error: the expression must be text"
    try:
        return write_number(evaluate(expression))
    except ArithmeticProblem as problem:
        return f"error: {problem}"


class CalculatorSettings(ToolSettings):
    """The calculator has no settings."""

    def make(self) -> Tool:
        """The tool."""
        return calculate
