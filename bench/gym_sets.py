"""What the rule "reasoning_gym" pays in every set: the own answer, none, a constant, a wrong one.

    python bench/gym_sets.py [SET ...] [--tasks N]

Each set makes N tasks twice, in two processes with other hash seeds. Every task is scored on its
own answer (an example of its metadata where the set keeps none), on "", on another task's answer,
and on constants; the best constant is told with the share of tasks whose own answer it is.
`--table` only writes docs/reasoning-gym.md again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from hornbeam.errors import HornbeamError
from hornbeam.tasks import gym
from hornbeam.tasks.generated import MAKER, reasoning_gym_tasks

ROOT = Path(__file__).parents[1]
OUT, PAGE = ROOT / "docs" / "results" / "reasoning_gym.json", ROOT / "docs" / "reasoning-gym.md"
SECONDS = 10  # for one score
CONSTANTS = [
    *("0", "1", "-1", "2", "24", "0.5", "1/2", "100", "yes", "no", "Yes", "No", "True", "False"),
    *("None", "null", "[]", "{}", "[[0]]", "a", "A", "x", "x + C", "?", "infeasible", "0 0\n0 0"),
]
OPTIONS = {"composite": {"datasets": [{"name": "chain_sum"}, {"name": "gcd"}]}}
EXAMPLES = {
    "graph_color": lambda m: json.dumps(m["possible_answer"]),
    "rubiks_cube": lambda m: m["example_correct_answer"],
    "propositional_logic": lambda m: m["example_answer"],
}


def names():
    """All sets, as the maker's process lists them."""
    asked = json.dumps({"dataset": "?", "seed": 0, "options": {}})
    done = subprocess.run(MAKER, input=asked + "\n", capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["unknown"]


def made(name, count, seed):
    os.environ["PYTHONHASHSEED"] = seed
    return reasoning_gym_tasks("train", count, seed=7, dataset=name, **OPTIONS.get(name, {}))


def late(*_):
    raise TimeoutError


class Scores:
    """Scores of one set; what took too long counts 0, by its kind."""

    def __init__(self, name):
        self.name, self.odd = name, Counter()

    def of(self, answer, task):
        """The score of an answer."""
        signal.alarm(SECONDS)
        try:
            return gym.score(answer, task.to_json())
        except Exception as error:
            self.odd[type(error).__name__] += 1
            return 0.0
        finally:
            signal.alarm(0)

    def mean(self, answers, tasks):
        """The mean score of an answer a task."""
        return sum(self.of(a, t) for a, t in zip(answers, tasks)) / len(tasks)


def gold(name, task):
    if task.answer is not None:
        return task.answer
    return EXAMPLES[name](task.data["metadata"]) if name in EXAMPLES else None


def measured(name, count):
    try:
        tasks = made(name, count, "1")
        same = tasks == made(name, count, "2")
    except HornbeamError as error:
        return {"set": name, "error": str(error)}
    scores, golds = Scores(name), [gold(name, task) for task in tasks]
    known = golds[0] is not None
    options = dict.fromkeys([*CONSTANTS, *(golds if known else [])])
    means = {each: scores.mean([each] * count, tasks) for each in options}
    best = max(means, key=means.__getitem__)
    others = [next((o for o in golds[k:] + golds[:k] if o != golds[k]), None) for k in range(count)]
    wrong = None not in others
    return {
        "set": name,
        "tasks": count,
        "same": same,
        "gold": tasks[0].answer is not None,
        "by_us": name in gym.OWN,
        "own": scores.mean(golds, tasks) if known else None,
        "empty": scores.mean([""] * count, tasks),
        "constant": means[best],
        "constant_is": best[:60],
        "constant_right": sum(g == best for g in golds) / count,
        "wrong": scores.mean(others, tasks) if wrong else None,
        "odd": dict(scores.odd),
    }


def table(result):
    """The page."""

    def cell(value):
        return "" if value is None else f"{value:.2f}"

    lines = []
    for row in result["sets"]:
        if "error" in row:
            lines.append(f"| `{row['set']}` | not made: {row['error']} | | | | | |")
            continue
        notes = ["our own comparison"] * row["by_us"] + ["no stored answer"] * (not row["gold"])
        notes += ["**differs by process**"] * (not row["same"])
        notes += [f"{n} x {what}" for what, n in row["odd"].items()]
        figures = [
            cell(row[key]) for key in ("own", "empty", "constant", "constant_right", "wrong")
        ]
        lines.append(f"| `{row['set']}` | {' | '.join(figures)} | {', '.join(notes)} |")
    text = PAGE.read_text("utf-8")
    head, _, _ = text.partition("| set |")
    return (
        f"{head}| set | own answer | empty | best constant | right for | another's answer | |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |\n" + "\n".join(lines) + "\n"
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", nargs="*")
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, late)
    if not given.table:
        rows = []
        for name in given.sets or names():
            rows.append(measured(name, given.tasks))
            print(json.dumps(rows[-1]), flush=True)
        if given.sets:
            return
        row = {"version": version("reasoning-gym"), "python": sys.version.split()[0], "sets": rows}
        OUT.write_text(json.dumps(row, indent=1))
    PAGE.write_text(table(json.loads(OUT.read_text("utf-8"))), "utf-8")


if __name__ == "__main__":
    main()
