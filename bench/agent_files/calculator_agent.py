"""An agent of openai-agents for word problems, as anyone would write it: it knows no trainer.

python calculator_agent.py "A box holds 12 eggs. How many are in 3 boxes?"
"""

import ast
import operator
import sys

from agents import Agent, Runner, function_tool, set_default_openai_api, set_tracing_disabled
from agents.exceptions import MaxTurnsExceeded

OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def value(node):
    """The number that an expression is; KeyError where it is more than arithmetic."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    if isinstance(node, ast.UnaryOp):
        return OPERATIONS[type(node.op)](value(node.operand))
    if isinstance(node, ast.BinOp):
        return OPERATIONS[type(node.op)](value(node.left), value(node.right))
    raise KeyError(type(node).__name__)


@function_tool(strict_mode=False)
def calculator(expression: str) -> str:
    """Work out an arithmetic expression such as "(48 / 2) * 3"."""
    try:
        found = value(ast.parse(expression.strip(), mode="eval").body)
        return str(int(found) if found == int(found) else found)
    except (SyntaxError, KeyError, ArithmeticError, ValueError) as error:
        return f"error: {type(error).__name__}"


set_tracing_disabled(True)
set_default_openai_api("chat_completions")
SOLVER = Agent(
    name="solver",
    model="solver",
    instructions="Solve the problem. Call the calculator, then answer with the number alone.",
    tools=[calculator],
)

if __name__ == "__main__":
    try:
        print(Runner.run_sync(SOLVER, sys.argv[1], max_turns=2).final_output)
    except MaxTurnsExceeded:
        print("no answer")
