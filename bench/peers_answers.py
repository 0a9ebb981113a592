r"""Answers as this house judges them, beside the tables and graders of others.

    pip download --no-deps --no-binary :all: math-verify==0.9.0 -d T; tar xf T/*.gz -C T
    pip install --no-deps --target P verl==0.9.1 pylatexenc
    python bench/peers_answers.py --math-verify T/math_verify-0.9.0/tests --verl P
        [--trl-tests FILE] [--data DIR] [--json FILE]

Tables: the rows of math-verify's tests that compare a gold text with a prediction, and those of
TRL's tests of its accuracy reward (`tests/test_rewards.py` of its repository), each judged by the
rule "symbolic". Rows of options that there are not here (another precision, other variables, sets
for relations) are counted apart. Each row that is judged otherwise is named, with who is right.

Graders: verl's `math_reward` (MATH's own normalisation), `math_dapo` and `prime_math`, on accepted
answers of the data directory, themselves, in other spellings (bench/answers.py) and on the next
answer of the set. There it is known who is right: spellings are right, another answer is wrong.

GSM8K: what OpenAI's labels call right in `model_solutions`, by the rule "numeric".

Nothing of their text is kept here: rows are named by file, test and number.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import importlib
import io
import json
import os
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import answers as spelled
from hornbeam.score import RewardSettings, RuleScorer, make_scorer
from hornbeam.tasks.records import read_records
from hornbeam.tree.nodes import Node, Tree

GRADED = (
    *("math500/test.jsonl.gz", "aime/aime_2022_2025.jsonl.gz", "amc/amc_2022_2023.jsonl"),
    *("olympiadbench/test.jsonl.gz", "math/test_minus_math500.jsonl.gz"),
)
OPTIONS = ("strict=False", "precision=", "allow_set_relation_comp=", "float_rounding")
VERL = ("math_reward", "math_dapo", "prime_math")


class Row(NamedTuple):
    """One comparison of a table: what is right, and whether it is about an option."""

    name: str
    gold: str
    said: str
    right: bool | None
    option: bool


# --- tables --------------------------------------------------------------------------------------


def math_verify_rows(folder: Path) -> Iterator[Row]:
    """Rows of all parametrised tests that take a gold text, a prediction and what is expected."""
    for path in sorted(folder.glob("test_*.py")):
        source = path.read_text("utf-8")
        for node in ast.parse(source).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            body = ast.get_source_segment(source, node) or ""
            for call in (d for d in node.decorator_list if isinstance(d, ast.Call) and d.args):
                names = [n.strip() for n in str(ast.literal_eval(call.args[0])).split(",")]
                if names[:2] != ["gold", "pred"] or not isinstance(call.args[1], ast.List):
                    continue
                for number, row in enumerate(call.args[1].elts):
                    with contextlib.suppress(ValueError):  # a row that is computed
                        gold, said, *more = ast.literal_eval(row)
                        how = dict(zip(names[2:], more))
                        right = bool(how.get("expected", how.get("result")))
                        option = any(o in body for o in OPTIONS)
                        yield Row(f"{path.stem}.{node.name}[{number}]", gold, said, right, option)


def trl_rows(path: Path) -> Iterator[Row]:
    """Completions, solutions and asserted rewards of the tests of TRL's accuracy reward."""
    classes = [n for n in ast.parse(path.read_text("utf-8")).body if isinstance(n, ast.ClassDef)]
    for test in (t for c in classes if c.name == "TestAccuracyReward" for t in c.body):
        lists: dict[str, Any] = {}
        for node in ast.walk(test):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                with contextlib.suppress(ValueError):
                    lists[node.targets[0].id.rstrip("s")] = ast.literal_eval(node.value)
        pairs = list(zip(lists.get("completion", []), lists.get("solution", [])))
        rights: dict[int, Any] = {}
        for node in (n for n in ast.walk(test) if isinstance(n, ast.Assert)):
            compared = node.test
            if isinstance(compared, ast.Compare):
                with contextlib.suppress(ValueError):
                    wanted = ast.literal_eval(compared.comparators[0])
                    at = compared.left
                    if isinstance(at, ast.Subscript):
                        rights[ast.literal_eval(at.slice)] = wanted
                    elif isinstance(wanted, list) and wanted:
                        rights |= dict(enumerate(wanted))
        for number, ((message,), gold) in enumerate(pairs):
            if number in rights:
                right = None if rights[number] is None else bool(rights[number])
                yield Row(f"trl.{test.name}[{number}]", gold, message["content"], right, False)


async def verdict(scorer: RuleScorer, gold: str, said: str) -> bool:
    """Whether the rule calls the answer right; no verdict in time is wrong."""
    tree = Tree({"id": "t", "question": "q", "answer": gold})
    tree.append(Node(0, text=said, done=True, answer=said))
    return (await scorer.score(tree, [1])) == [1.0]


async def tables(rows: list[Row], judged: dict[str, list[str]]) -> dict[str, Any]:
    """Agreements with a table; rows judged otherwise, with who is right of them."""
    scorer = make_scorer(RewardSettings(rule="symbolic", seconds=20))
    out: dict[str, Any] = {"rows": 0, "agree": 0, "options": 0, "no_verdict": 0, "otherwise": []}
    try:
        for row in rows:
            if row.option or row.right is None:
                out["options" if row.option else "no_verdict"] += 1
                continue
            out["rows"] += 1
            ours = await verdict(scorer, row.gold, row.said)
            out["agree"] += ours == row.right
            if ours != row.right:
                who, why = judged.get(row.name, ["?", ""])
                out["otherwise"].append([row.name, "right" if ours else "wrong", who, why])
                print(f"{row.name}: {row.gold!r}, said {row.said!r}: ours {ours}; {who} {why}")
    finally:
        await scorer.aclose()
    return out


# --- graders -------------------------------------------------------------------------------------


def verl_graders(folder: Path) -> dict[str, Callable[[str, str], bool]]:
    """(gold, said) -> verdict, by name. Their packages are entered without what they start."""
    sys.path.insert(0, str(folder))
    for name in ("verl", "verl.utils", "verl.utils.reward_score"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = package
    found = {n: importlib.import_module(f"verl.utils.reward_score.{n}") for n in VERL}

    def grader(name: str) -> Callable[[str, str], bool]:
        def grade(gold: str, said: str) -> bool:
            with contextlib.redirect_stdout(io.StringIO()):
                result = found[name].compute_score(said, gold)
            if isinstance(result, dict):
                return bool(result["acc"])
            return bool(result[0] if isinstance(result, tuple) else result)

        return grade

    return {name: grader(name) for name in VERL}


def inside(text: str) -> str:
    """A spelling as it is put into the reply that each grader looks for."""
    from hornbeam.answers.latex import boxed

    found = boxed(text)
    plain = text if found is None else found
    return (
        plain.removeprefix("The answer is ")
        .lstrip(" $")
        .rstrip(" $.")
        .removeprefix("\\[")
        .removesuffix("\\]")
    )


async def graders(data: Path, count: int, folder: Path) -> dict[str, Any]:
    """Per grader: right and wrong verdicts on spellings of an answer and on other answers."""
    ask = verl_graders(folder)
    out = {name: Counter[str]() for name in ("ours", *ask)}
    scorer = make_scorer(RewardSettings(rule="symbolic", seconds=20))
    try:
        for path in (data / name for name in GRADED if (data / name).is_file()):
            golds = list(spelled.answers(path, count))
            for place, gold in enumerate(golds):
                other = next(g for g in (*golds[place + 1 :], *golds) if g.strip() != gold.strip())
                said = [gold, *spelled.spellings(gold), other]
                for kind, text in zip(("itself", *["spelling"] * 3, "other"), said):
                    box, line = f"\\boxed{{{inside(text)}}}", f"Answer: ${inside(text)}$"
                    right = kind != "other"
                    out["ours"][f"{kind} {await verdict(scorer, gold, box) == right}"] += 1
                    for name, grade in ask.items():
                        reply = line if name == "math_dapo" else box
                        out[name][f"{kind} {grade(gold, reply) == right}"] += 1
    finally:
        await scorer.aclose()
    return {name: dict(found) for name, found in out.items()}


async def gsm8k(path: Path) -> dict[str, Any]:
    """Agreements with the labels of sampled solutions, which end in a line "A: number"."""
    scorer = make_scorer(RewardSettings(rule="numeric"))
    out: dict[str, Any] = {"solutions": 0, "agree": 0, "otherwise": []}
    for number, row in read_records(path):
        for place, result in enumerate(row["solutions"]):
            ours = await verdict(scorer, row["answer"], result["solution"])
            out["solutions"] += 1
            out["agree"] += ours == result["is_correct"]
            if ours != result["is_correct"]:
                end = result["solution"].rpartition("\n")[2]
                out["otherwise"].append([f"line {number}, solution {place}", ours])
                print(f"gsm8k {number}.{place}: gold {row['answer']}, {end!r}: ours {ours}")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--math-verify", type=Path, help="the folder tests of its source")
    parser.add_argument("--trl-tests", type=Path, help="tests/test_rewards.py of its source")
    parser.add_argument("--verl", type=Path, help="the folder that holds the package verl")
    parser.add_argument("--data", type=Path, default=os.environ.get("HORNBEAM_DATA"))
    parser.add_argument("--count", type=int, default=400, help="answers a file for graders")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    judged = json.loads((Path(__file__).parent / "peers_answers.json").read_text("utf-8"))
    figures: dict[str, Any] = {}
    if args.math_verify:
        rows = list(math_verify_rows(args.math_verify))
        figures["math-verify"] = asyncio.run(tables(rows, judged))
    if args.trl_tests:
        figures["trl"] = asyncio.run(tables(list(trl_rows(args.trl_tests)), judged))
    if args.data and (args.data / "gsm8k/model_solutions.jsonl.gz").is_file():
        figures["gsm8k labels"] = asyncio.run(gsm8k(args.data / "gsm8k/model_solutions.jsonl.gz"))
    if args.verl and args.data:
        figures["graders"] = asyncio.run(graders(args.data, args.count, args.verl))
    for name, found in figures.items():
        print(name, {k: v for k, v in found.items() if k != "otherwise"})
    if args.json:
        rows = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in figures.items())
        args.json.write_text(f"{{\n{rows}\n}}\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
