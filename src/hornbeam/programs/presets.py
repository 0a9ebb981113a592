"""Teams that are known by name: agents, who hears whom, how the answer is read (see team).

`math`, `debate`, `logic` and `single` are the systems of MASPRM (arXiv 2510.24803); their prompts
are ours. `arithmetic` speaks so briefly that a small model learns it from some hundred examples.
"""

from __future__ import annotations

from typing import Any

from hornbeam.answers.arithmetic import ArithmeticProblem, evaluate, spaced, tokens, write_number

MARKED = r"####\s*([^\n]+)"
CHOICE = r"####\s*\(?([A-Z])\b"


def _agent(name: str, role: str, prompt: str) -> dict[str, Any]:
    return {"name": name, "role": role, "prompt": prompt}


_READER = "{question}\n\nList the numbers and facts of this problem. Do not solve it."
_PLANNER = "{question}\n\nFacts:\n{reader}\n\nWrite a short plan of steps. Do not solve it."
_SOLVER = "{question}\n\nPlan:\n{planner}\n\nFollow the plan. End with #### and the answer."
_VERIFIER = "{question}\n\nSolution:\n{solver}\n\nCheck it. End with #### and the right answer."
_ANGEL = "{question}\n\nSay briefly which choice is best supported, and why."
_DEVIL = "{question}\n\nSay briefly which tempting choice is wrong, and what speaks against it."
_JUDGE = (
    "{question}\n\nOne side:\n{angel}\n\nThe other side:\n{devil}\n\n"
    "Weigh both. End with #### and the letter of the right choice."
)
_CONSTRAINT = "{question}\n\nList all facts and rules of the text, one a line. Do not answer."
_WORLD = "{question}\n\nRules:\n{constraint}\n\nSay what must, can and cannot be the case."
_QUERY = (
    "{question}\n\nRules:\n{constraint}\n\nWhat follows:\n{world}\n\n"
    "Test each choice. End with #### and the letter of the right one."
)

PRESETS: dict[str, dict[str, Any]] = {
    "single": {
        "agents": [_agent("solver", "", "{question}\n\nEnd with #### and the answer.")],
        "answer": MARKED,
    },
    "math": {
        "agents": [
            _agent("reader", "You read problems carefully.", _READER),
            _agent("planner", "You plan solutions.", _PLANNER),
            _agent("solver", "You carry out plans step by step.", _SOLVER),
            _agent("verifier", "You check solutions and correct them.", _VERIFIER),
        ],
        "answer": MARKED,
    },
    "debate": {
        "agents": [
            _agent("angel", "You argue for the best choice.", _ANGEL),
            _agent("devil", "You look for mistakes.", _DEVIL),
            _agent("judge", "You decide.", _JUDGE),
        ],
        "edges": [{"from": "angel", "to": "judge"}, {"from": "devil", "to": "judge"}],
        "answer": CHOICE,
    },
    "logic": {
        "agents": [
            _agent("constraint", "You read rules.", _CONSTRAINT),
            _agent("world", "You work out what the rules allow.", _WORLD),
            _agent("query", "You answer by the rules.", _QUERY),
        ],
        "answer": CHOICE,
    },
    "arithmetic": {
        "agents": [
            _agent("reader", "List the numbers that are needed.", "{question}"),
            _agent("planner", "Write one expression.", "{question}\nNumbers: {reader}"),
            _agent("solver", "Work it out.", "{planner}"),
            _agent("verifier", "Give the answer.", "{question}\n{planner}\n{solver}"),
        ],
        "answer": MARKED,
    },
}


def worked(expression: str) -> dict[str, str]:
    r"""What each agent of `arithmetic` says for a gold expression.

    >>> worked("48 + (48 / 2)")["solver"]
    '48 / 2 = 24\n48 + 24 = 72'

    Brackets are worked out from the inside, one line each. Raises `ArithmeticProblem` where there
    is no value, or a result on the way cannot be written exactly.
    """
    listed = tokens(expression)
    numbers = dict.fromkeys(token for token in listed if token[0] in ".0123456789")
    lines = []
    rest = listed
    while "(" in rest:  # the first group that holds no other
        close = rest.index(")")
        start = close - rest[:close][::-1].index("(")
        lines.append(spaced("".join(rest[start:close])))
        rest = [*rest[: start - 1], write_number(evaluate(lines[-1])), *rest[close + 1 :]]
    lines.append(spaced("".join(rest)))
    results = [write_number(evaluate(line)) for line in lines]
    if evaluate(results[-1]) != evaluate(expression):
        raise ArithmeticProblem(f"{expression!r} has results that cannot be written exactly")
    return {
        "reader": ", ".join(numbers),
        "planner": spaced(expression),
        "solver": "\n".join(f"{line} = {result}" for line, result in zip(lines, results)),
        "verifier": f"#### {results[-1]}",
    }
