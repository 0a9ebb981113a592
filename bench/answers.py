r"""Accepted answers of the sets at hand against themselves and other spellings of their value.

    python bench/answers.py [--data DIR] [--sets math,gsm8k] [--count N] [--json FILE]

Every accepted answer is judged by the rule "symbolic", and by "numeric" where it is one number:
as it stands, and in three other spellings (`spellings`): of a number its value in another form
(thousands, fraction, power of ten, mixed number, per cent), of the rest in a sentence and a box,
with other LaTeX commands for the same, and without a box and blanks. Beside that stands the next
answer of the set that is a different text, which should be wrong: those that are judged right are
listed, as some of them are (`\frac{1}{2}` beside `0.5`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from hornbeam.answers.numerals import Number
from hornbeam.score import RewardSettings, make_scorer
from hornbeam.score.rules import accepted_number
from hornbeam.tasks.records import read_records
from hornbeam.tree.nodes import Node, Tree

SETS = (
    *("svamp/train.jsonl", "svamp/test.jsonl", "gsm8k/train.jsonl.gz", "gsm8k/test.jsonl.gz"),
    *("math/train.jsonl.gz", "math/test_minus_math500.jsonl.gz", "math500/test.jsonl.gz"),
    *("aime/aime_2022_2025.jsonl.gz", "amc/amc_2022_2023.jsonl", "olympiadbench/test.jsonl.gz"),
    *("mr_math/invalid.jsonl", "prm800k_sample/redundant.jsonl.gz"),
)
SHOWN = 40  # answers of a kind that are listed


def spellings(answer: str) -> list[str]:
    """Three other spellings of an accepted answer."""
    number = accepted_number(answer)
    return of_number(number) if number is not None else of_expression(answer)


def of_number(number: Number) -> list[str]:
    """Forms of a value; a percentage keeps its sign in two of them and is a decimal in one."""
    value, end = number.value, r"\%" if number.percent else ""
    sign, size = "-" if value < 0 else "", abs(value)
    if size.denominator == 1:
        digits = f"{size.numerator:,}"
        out = [
            f"\\boxed{{{sign}{digits.replace(',', '{,}')}{end}}}",
            f"The answer is ${sign}{digits.replace(',', chr(92) + ',')}{end}$.",
        ]
        out.append(f"\\boxed{{{_scientific(size, sign)}{end}}}")
    else:
        over = f"{{{size.numerator}}}{{{size.denominator}}}"
        out = [f"\\boxed{{{sign}\\dfrac{over}{end}}}", _decimal(size, sign) + end.strip("\\")]
        ones, rest = divmod(size.numerator, size.denominator)
        mixed = f"{sign}{ones}\\frac{{{rest}}}{{{size.denominator}}}"
        signed = f"\\frac{{{sign}{size.numerator}}}{{{size.denominator}}}"
        out.append(f"$\\boxed{{{mixed if ones else signed}{end}}}$")
    if number.percent:
        out[1] = _decimal(size / 100, sign)
    return out


def _scientific(size: Fraction, sign: str) -> str:
    digits = str(size.numerator)
    head = digits[0] + ("." + digits[1:] if digits[1:] else "")
    return f"{sign}{head} \\times 10^{{{len(digits) - 1}}}"


def _decimal(size: Fraction, sign: str) -> str:
    """All decimals, those that repeat under a bar, or floating point where the period is long."""
    ones, rest = divmod(size.numerator, size.denominator)
    digits: list[str] = []
    seen: dict[int, int] = {}
    while rest and rest not in seen and len(digits) < 18:
        seen[rest] = len(digits)
        digit, rest = divmod(rest * 10, size.denominator)
        digits.append(str(digit))
    if rest and rest not in seen:  # a long period: as a computer prints it
        return f"{sign}{float(size)!r}"
    text = f"{sign}{ones}." + "".join(digits or ["0"])
    if rest and rest in seen:
        start = len(text) - len(digits) + seen[rest]
        return f"${text[:start]}\\overline{{{text[start:]}}}$"
    return text


def of_expression(answer: str) -> list[str]:
    """A sentence and a box; other commands for the same; bare, with blanks left out."""
    answer = answer.strip()
    inside = re.sub(r"(?<!\\)\$", "", answer).strip().rstrip(".")
    styled = re.sub(r"\\[dt]?frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", inside)
    styled = re.sub(r"\\[dt]?frac", r"\\tfrac", styled)
    styled = re.sub(r"\\sqrt\s*(\d)", r"\\sqrt{\1}", styled)
    styled = styled.replace(r"\left", "").replace(r"\right", "").replace(r"\!", "")
    styled = re.sub(r"\\(?:text|mbox)\s*\{", r"\\mathrm{", styled)
    tight = re.sub(r"(?<!\\)\\ ", " ", inside)
    tight = re.sub(r"(?<![A-Za-z,])\s+|(?<!,)\s+(?=[^A-Za-z])", "", tight)
    return [
        f"Therefore the answer is $\\boxed{{{inside}}}$.",
        f"\\[ \\boxed{{ {styled} }} \\]",
        f"${tight}$",
    ]


def answers(path: Path, most: int | None) -> Iterator[str]:
    """The accepted answers of a file."""
    for number, row in read_records(path):
        if most is None or number <= most:
            yield str(row["answer"])


async def judge(golds: list[str], seconds: float) -> dict[str, Any]:
    """Figures of one set."""
    scorers = {
        r: make_scorer(RewardSettings(rule=r, seconds=seconds)) for r in ("symbolic", "numeric")
    }
    out: dict[str, Any] = {"answers": len(golds), "numbers": 0, "missed": [], "taken": []}
    out |= {f"{rule}_{what}": 0 for rule in scorers for what in ("itself", "spellings", "other")}
    try:
        for place, gold in enumerate(golds):
            is_number = accepted_number(gold) is not None
            out["numbers"] += is_number
            others = (g for g in (*golds[place + 1 :], *golds[:place]) if g.strip() != gold.strip())
            said = [gold, *spellings(gold), next(others)]
            for rule in ("symbolic", "numeric") if is_number else ("symbolic",):
                tree = Tree({"id": "t", "question": "q", "answer": gold})
                for text in said:
                    tree.append(Node(0, text=text, done=True, answer=text))
                verdicts = await scorers[rule].score(tree, tree.leaves())
                _enter(out, rule, gold, said, verdicts)
    finally:
        for scorer in scorers.values():
            await scorer.aclose()
    return out


def _enter(
    out: dict[str, Any], rule: str, gold: str, said: list[str], verdicts: list[float | None]
) -> None:
    out[f"{rule}_itself"] += verdicts[0] == 1
    out[f"{rule}_spellings"] += sum(v == 1 for v in verdicts[1:4])
    out[f"{rule}_other"] += verdicts[4] == 1
    out["missed"] += [[rule, gold, s] for s, v in zip(said[:4], verdicts) if v != 1]
    out["taken"] += [[rule, gold, said[4]]] if verdicts[4] == 1 else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("HORNBEAM_DATA"))
    parser.add_argument("--sets", help="folders, with commas between; by default all")
    parser.add_argument("--count", type=int, help="the first rows of each file only")
    parser.add_argument("--seconds", type=float, default=10.0, help="for one check")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data, or set HORNBEAM_DATA")
    wanted = args.sets.split(",") if args.sets else None
    began, figures = time.perf_counter(), {}
    print(f"{'set':34} {'answers':>8} {'numbers':>8}  symbolic: itself, of 3, other   numeric")
    for name in SETS:
        path = Path(args.data) / name
        if (wanted and name.split("/")[0] not in wanted) or not path.is_file():
            continue
        found = asyncio.run(judge(list(answers(path, args.count)), args.seconds))
        figures[name.removesuffix(".gz").removesuffix(".jsonl")] = found
        row = [
            found[f"{r}_{w}"]
            for r in ("symbolic", "numeric")
            for w in ("itself", "spellings", "other")
        ]
        print(f"{name:34} {found['answers']:8} {found['numbers']:8}  {row}", flush=True)
    for what in ("missed", "taken"):
        for name, found in figures.items():
            for rule, gold, text in found[what][:SHOWN]:
                print(f"{what} by {rule}, {name}: {gold!r}, said {text!r}")
    if args.json:
        for found in figures.values():
            found |= {what: len(found[what]) for what in ("missed", "taken")}
        rows = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in figures.items())
        args.json.write_text(f"{{\n{rows}\n}}\n", "utf-8")
    print(f"{time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
