"""The two tools of every agent here, and its two questions: what the frameworks are given."""

import ast
import operator

WORDS = {"answer": "forty-two", "bark": "the skin of a tree", "node": "where a branch begins"}
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
OPERATORS[ast.Div] = operator.truediv
INSTRUCTIONS = "Use the tools, then answer in a few words."


def calculator(expression: str, note: str = "", count: int = 0) -> str:
    """Work out an arithmetic expression.

    Args:
        expression: Numbers with + - * / between them.
        note: A note of your own.
        count: How often it was asked.
    """
    return str(_value(ast.parse(expression, mode="eval").body))


def lookup(word: str = "answer") -> str:
    """Look a word up in the dictionary.

    Args:
        word: The word.
    """
    return WORDS.get(word, "not found")


def _value(node):
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    raise ValueError("numbers and + - * / only")


def questions(task):
    """The first question of a task, and the one that is asked behind its answer."""
    first, _, second = task.question.partition(" // ")
    return first, second


def told(session, answers):
    """What an agent returns: all it answered; its own reward counts the answers with a 42."""
    answers = [str(answer) for answer in answers]
    session.reward(sum("42" in answer for answer in answers) / 2)
    return answers
