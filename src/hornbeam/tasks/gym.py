"""Items of reasoning-gym and their scores; the only import of it.

Run as a script, under a fixed hash seed, it makes items: it reads one JSON line, {"dataset": ...,
"seed": ..., "options": {...}}, and writes items one a line for as long as somebody reads:
{"question", "answer", "metadata"}, and "made" where JSON by itself would change the metadata (see
`encoded`). What goes wrong is {"error": ...}, and {"unknown": [...]} lists the sets there are.

A process of its own, as some sets hang on the order of Python's sets (word_ladder, ransom_note ...)
and one on the global random numbers (list_functions): here the same seed gives the same items on
any machine. Scoring is for a checker's process (`score.check`), which can be killed: answers may
hang a parser. Both import nothing of ours, so that they start in a second.
"""

from __future__ import annotations

import ast
import json
import math
import operator
import os
import random
import re
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from itertools import count
from typing import Any

KIND, PARTS = "__kind__", "parts"

GRIDS = frozenset(("arc_agi", "rearc"))  # compare a tuple of tuples with what metadata hold
# Sets whose scorers run the answer as Python (eval); they get literals only.
RUNS_IT = frozenset(("string_insertion", "spiral_matrix", "binary_matrix", "n_queens"))


def encoded(value: Any) -> Any:
    """A value as JSON that `decoded` reads back as it was: tuples, sets, any keys."""
    if isinstance(value, (tuple, set, frozenset)):
        kind = "tuple" if isinstance(value, tuple) else "set"
        parts = [encoded(part) for part in value]
        return {KIND: kind, PARTS: parts if kind == "tuple" else sorted(parts, key=repr)}
    if isinstance(value, list):
        return [encoded(part) for part in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) and key != KIND for key in value):
            return {str(key): encoded(part) for key, part in value.items()}
        return {KIND: "dict", PARTS: [[encoded(k), encoded(v)] for k, v in value.items()]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    item = getattr(value, "item", None)  # numpy's numbers
    return item() if callable(item) and getattr(value, "ndim", 1) == 0 else str(value)


def decoded(value: Any) -> Any:
    """What `encoded` was given."""
    if isinstance(value, list):
        return [decoded(part) for part in value]
    if not isinstance(value, dict):
        return value
    if KIND not in value:
        return {key: decoded(part) for key, part in value.items()}
    parts = [decoded(part) for part in value[PARTS]]
    made: dict[str, Callable[[Any], Any]] = {"tuple": tuple, "set": set, "dict": dict}
    return made[value[KIND]](parts)


def plain(value: Any) -> Any:
    """The same as plain JSON has it: tuples are lists, keys are texts."""
    return json.loads(json.dumps(value, default=str))


def dataset_of(name: str, options: Mapping[str, Any], **more: Any) -> Any:
    """The set of that name with these options; the parts of `composite` are tables."""
    from reasoning_gym.composite import DatasetSpec
    from reasoning_gym.factory import create_dataset

    given = dict(options)
    if name == "composite" and isinstance(given.get("datasets"), list):
        parts = [{"weight": 1.0, "config": {}, **part} for part in given["datasets"]]
        given["datasets"] = [DatasetSpec(**part) for part in parts]
    return create_dataset(name, **given, **more)


def line(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as it is written."""
    metadata = item.get("metadata", {})
    kept, made = plain(metadata), encoded(metadata)
    row = {"question": item["question"], "answer": item["answer"], "metadata": kept}
    return row if kept == made else {**row, "made": made}


# --- scores --------------------------------------------------------------------------------------


def score(answer: str, task: Mapping[str, Any]) -> float:
    """What the set's own scorer says of an answer, in [0, 1]; ours where its own pays a constant.

    A scorer that raises over an answer gives 0; over the task's own answer too, the error goes on.
    """
    data = task["data"]
    scoring = data.get("scoring", {})
    metadata = decoded(scoring["made"]) if "made" in scoring else data["metadata"]
    name = data["dataset"]
    if name == "composite":
        name = metadata["source_dataset"]
    if name in GRIDS and isinstance(metadata.get("output"), list):  # out of somebody's JSON lines
        metadata = {**metadata, "output": tuple(map(tuple, metadata["output"]))}
    entry = {"question": task["question"], "answer": task["answer"], "metadata": metadata}
    if name in OWN:
        return float(OWN[name](answer.strip(), entry))
    scorer = _scorer(data["dataset"], json.dumps(scoring.get("options", {}), sort_keys=True))
    try:
        value = float(scorer(answer, entry) or 0.0)
    except (ImportError, MemoryError):
        raise
    except Exception:
        if entry["answer"] is not None:
            scorer(entry["answer"], entry)
        value = 0.0
    return min(1.0, max(0.0, value)) if math.isfinite(value) else 0.0


def ready() -> None:
    """Load the library, which the first score would wait for."""
    import reasoning_gym  # noqa: F401


@cache
def _scorer(name: str, options: str) -> Callable[[str, Mapping[str, Any]], Any]:
    """The scorer of a set with these options, which its verdicts hang on (`puzzle24`)."""
    made = dataset_of(name, json.loads(options))
    from reasoning_gym.factory import DATASETS

    for each in RUNS_IT:
        sys.modules[DATASETS[each][0].__module__].__dict__["eval"] = ast.literal_eval

    def scorer(answer: str, entry: Mapping[str, Any]) -> Any:
        if "__" in answer:  # no answer holds it, and sympy's parser would run it
            return 0.0
        return made.score_answer(answer, entry)

    return scorer


def _halting(answer: str, entry: Mapping[str, Any]) -> bool:
    """The word that is asked for; its own scorer pays any text that is not empty."""
    gold: str = entry["answer"]
    return answer.strip("'\".").casefold() == gold.casefold()


def _board(answer: str, entry: Mapping[str, Any]) -> bool:
    """All cells; its own scorer pays each, of which nearly all are empty."""
    try:
        return bool(json.loads(answer) == json.loads(entry["answer"]))
    except ValueError:
        return False


def _probability(answer: str, entry: Mapping[str, Any]) -> bool:
    """The number, to four places and to a twentieth; its own scorer pays "0" for all of 0.3."""
    per_cent = answer.endswith("%")
    try:
        said = Fraction(answer.rstrip("% ").replace(",", "")) / (100 if per_cent else 1)
    except (ValueError, ZeroDivisionError):
        return False
    gold = Fraction(entry["answer"])
    return abs(said - gold) <= min(Fraction(1, 10_000), gold / 20)


_SUMS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _makes_24(answer: str, entry: Mapping[str, Any]) -> bool:
    """24 out of the numbers given, each once; its own scorer takes any four numbers."""

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp) and type(node.op) in _SUMS:
            return _SUMS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return Fraction(node.value)
        raise ValueError("not a sum of whole numbers")

    used = sorted(int(number) for number in re.findall(r"[0-9]+", answer[:200]))
    try:
        made = value(ast.parse(answer[:200], mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError):
        return False
    return made == 24 and used == sorted(int(n) for n in entry["metadata"]["numbers"])


# Sets whose own scorer pays one answer for nearly all tasks: right or wrong, by us.
OWN: dict[str, Callable[[str, Mapping[str, Any]], bool]] = {
    "game_of_life_halting": _halting,
    "game_of_life": _board,
    "coin_flip": _probability,
    "puzzle24": _makes_24,
}


# --- items ---------------------------------------------------------------------------------------


def main() -> None:
    """Write items until nobody reads any more."""
    asked = json.loads(sys.stdin.readline())
    name, seed = asked["dataset"], asked["seed"]
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not stand among the items
    from reasoning_gym.factory import DATASETS

    def write(row: Mapping[str, Any]) -> None:
        out.write(json.dumps(row) + "\n")
        out.flush()

    try:
        if name not in DATASETS:
            return write({"unknown": sorted(DATASETS)})
        made = dataset_of(name, asked["options"], seed=seed)
        for index in count():
            random.seed(f"{name}/{seed}/{index}")
            write(line(made[index]))
    except BrokenPipeError:  # enough
        os._exit(0)
    except Exception as error:
        text = str(error).strip().partition("\n")[0]
        write({"error": f"{type(error).__name__}: {text}"[:300]})


if __name__ == "__main__":
    main()
