"""A made-up search result with the shape of a real one, for the tests of its page and to look at.

`python -m tests.view.search_data FILE.html` writes its page.
"""

import math
import random
import sys

from hornbeam.view.search_page import write_search

from .run_data import HOSTILE

NAMES = (
    "greedy", "majority", "best-of-n", "weighted vote", "SBS", "DVTS", "particles", "MCTS uct",
    "MCTS puct", "policy likelihood", "four agents, SBS", "single-agent chunked MCTS",
)  # fmt: skip


def nodes(rng, count, depth=4):
    """A grown tree of `count` steps as plain data, with its best leaf's path chosen."""
    out = [{"parent": -1, "visits": count}]
    level = [0]
    agents = ("reader", "planner", "solver", "verifier")
    for i in range(1, count + 1):
        parent = rng.choice([k for k in range(i) if level[k] < depth])
        level.append(level[parent] + 1)
        text = HOSTILE if i % 7 == 3 else f"Step {i}: multiply {i} by 9, then subtract 4.\n" * 3
        value = math.tanh(rng.gauss(0.2, 0.8))
        answer = str(rng.randint(1, 60)) if level[i] == depth else None
        out.append({
            "parent": parent, "agent": agents[level[i] % 4], "value": value, "q": value * 0.8,
            "visits": rng.randint(1, 30), "reward": None, "error": None,
            "done": answer is not None, "text": text,
            "answer": answer, "chosen": False,
        })  # fmt: skip
    out[count]["error"] = "ToolError: calculator: took longer than 5 s"
    out[count]["value"] = None
    at = max(range(1, count), key=lambda i: (level[i], out[i]["value"]))
    while at:
        out[at]["chosen"], at = True, out[at]["parent"]
    return out


def point(rng, m, k, label):
    """One budget of a method."""
    tokens = 300 * 2**k * (1 + m % 4)
    accuracy = min(0.28 + 0.05 * k + 0.015 * (m % 5) + rng.gauss(0, 0.01), 0.95)
    return {
        "label": label, "questions": 200, "accuracy": accuracy, "low": accuracy - 0.066,
        "high": accuracy + 0.067, "hit_k": accuracy + 0.05, "oracle": accuracy + 0.2, "gap": 0.2,
        "policy_tokens": tokens, "prompt_tokens": tokens * 1.7, "scorer_tokens": tokens * (m % 3),
        "total_tokens": tokens * (2.7 + m % 3), "calls": 4 * 2**k, "seconds": 0.6 * 2**k + 0.1 * m,
        "against": None if m == 1 else {"difference": accuracy - 0.35, "low": accuracy - 0.39,
                                        "high": accuracy - 0.31, "p": 0.03 / (m + 1)},
        "free": {"first": 0.28, "majority": accuracy - 0.03, "best": accuracy - 0.01},
        "anytime": [[tokens * (2.7 + m % 3) * (i + 1) / 12, accuracy * (i + 4) / 15]
                    for i in range(12)],
        "failed": k % 2, "unanswered": m, "spent": 3 * k,
    }  # fmt: skip


def search_result(methods=4, budgets=4, questions=3, count=30, seed=0):
    """A whole result."""
    rng = random.Random(seed)
    names = NAMES[:methods]
    searched = [
        {"method": name, "label": "n=8", "answer": "41", "correct": (q + m) % 2 == 0,
         "tokens": 1200 + 100 * m, "nodes": nodes(rng, count)}
        for q in range(questions) for m, name in enumerate(names)
    ]  # fmt: skip
    return {
        "title": "GSM8K: <b>search</b>", "baseline": "majority", "k": 5,
        "command": "hornbeam search gsm8k --strategy sbs --budget 4,8,16 & more",
        "methods": [
            {"name": name, "points": [point(rng, m, k, f"n={2**k}") for k in range(budgets)]}
            for m, name in enumerate(names)
        ],
        "questions": [
            {"id": f"q{q}", "gold": "41", "searches": searched[q * methods : (q + 1) * methods],
             "question": f"Ann works {4 + q} hours a day for 9 an hour, 5 days a week, and spends"
             f" a third of it. How much is left after {q + 2} weeks? {HOSTILE if q == 1 else ''}"}
            for q in range(questions)
        ],
    }  # fmt: skip


if __name__ == "__main__":
    print(write_search(search_result(*map(int, sys.argv[2:])), sys.argv[1]))
