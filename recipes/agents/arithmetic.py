"""The tool of the agents here."""

import ast
import operator

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
OPERATORS |= {ast.Div: operator.truediv, ast.USub: operator.neg}
INSTRUCTIONS = "Solve the problem. Call calculate, then answer with the number alone."


def calculate(expression: str) -> str:
    """Work out an arithmetic expression.

    Args:
        expression: Numbers with + - * / between them, such as (48 / 2) * 3.
    """
    try:
        found = _value(ast.parse(expression.strip(), mode="eval").body)
        return str(int(found) if found == int(found) else found)
    except (ArithmeticError, KeyError, SyntaxError, TypeError, ValueError) as error:
        return f"error: {type(error).__name__}"


def _value(node):
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp):
        return OPERATORS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    raise ValueError(type(node).__name__)
