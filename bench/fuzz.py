"""Mutated files given to every command that reads files: what ends in a traceback, what is taken
against the documented format, what is written that is no strict JSON.

    python bench/fuzz.py [--files 10000] [--seed 0] [--only trees,sft] [--show 5] [--json FILE]

Each file is a valid one with something in it changed: a value, a key, a line, its bytes, or its
gzip stream. A command may take it (exit 0) or refuse it in one line (exit 2); all else is a fault.
What is taken of trees is held against the format by an own reading of docs/tree-format.md.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import math
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_seeds import RECIPE, SEEDS
from fuzz_values import damage, mutate
from hornbeam.cli.main import main as hornbeam
from hornbeam.errors import HornbeamError
from hornbeam.score.prmbench import read_marked
from hornbeam.score.processbench import read_predictions, read_solutions

# Commands that need a model are asked for their readers alone.
READERS: dict[str, Callable[[Path], Any]] = {
    "(read_solutions)": read_solutions,
    "(read_predictions)": read_predictions,
    "(read_marked)": lambda path: read_marked([path]),
}
FINISHES = {"", "stop", "length", "chunk", "error", "too long", "end", "ready"}


# --- what is allowed ------------------------------------------------------------------------------


def strict(text: str) -> Any:
    """JSON as RFC 8259 has it: no NaN, no infinities."""
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def tree_fault(row: Any) -> str:
    """What of a tree is against the format, "" where nothing is."""
    if not isinstance(row.get("task"), dict) or "id" not in row["task"]:
        return "task"
    task = row["task"]
    if not isinstance(task.get("question", ""), str):
        return "task.question"
    if not isinstance(task.get("data", {}), dict):
        return "task.data"
    for node in row["nodes"]:
        for name, least in (("version", -1), ("episode", 0), ("step", 0), ("turn", 0), ("seed", 0)):
            if not whole(node.get(name, 0), least):
                return name
        if node.get("finish", "") not in FINISHES:
            return "finish"
        if any(not whole(t, 0) for name in ("tokens", "prompt") for t in node.get(name, ())):
            return "ids"
        for p in node.get("logprobs", ()):
            if isinstance(p, bool) or not isinstance(p, (int, float)) or not p <= 1e-3:
                return "logprobs"
    return ""


def trees_fault(data: bytes) -> str:
    """The first fault of a file of trees, by a strict reading."""
    for line in data.decode("utf-8").splitlines():
        if line.strip():
            try:
                row = strict(line)
            except (ValueError, RecursionError) as error:
                return f"not strict JSON: {str(error)[:40]}"
            if fault := tree_fault(row):
                return fault
    return ""


def foreign(data: bytes) -> str:
    """Files of other libraries may hold NaN, which is read as null; nothing is asked of them."""
    return ""


def anything(data: bytes) -> str:
    """For rows of ours and of published sets: only strict JSON is asked for."""
    try:
        for line in data.decode("utf-8-sig").splitlines():
            if line.strip():
                strict(line)
    except UnicodeDecodeError:
        return "not UTF-8"
    except (ValueError, RecursionError) as error:
        return f"not strict JSON: {str(error)[:40]}"
    return ""


# --- the cases ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Commands on one kind of file: FILE and OUT stand for paths, DIR for the folder."""

    kind: str
    seed: str
    commands: tuple[str, ...]
    fault: Callable[[bytes], str] = anything
    name: str = "given.jsonl"
    zipped: bool = False
    recipe: str = ""


CREDIT = tuple(f"credit {how} FILE --out OUT" for how in ("grpo", "tree_grpo", "tree_rl"))
CASES = [
    Case("trees", "trees", CREDIT, trees_fault),
    Case("trees", "trees", ("credit m_grpo FILE --set returns=outcome --out OUT",), trees_fault),
    Case("trees", "trees", ("score FILE --rule numeric --replace --out OUT",), trees_fault),
    Case("trees", "trees", ("view FILE --tree 1", "view FILE --out OUT"), trees_fault),
    Case("trees", "trees", ("steps FILE --to math-shepherd --out OUT",), trees_fault),
    Case("trees", "trees", ("steps FILE --to trl --out OUT",), trees_fault),
    Case("trees", "trees", ("import FILE --tools-as-text --out OUT",), trees_fault),
    Case("steps", "trl", ("steps FILE --from trl --out OUT",)),
    Case("steps", "shepherd", ("steps FILE --from math-shepherd --out OUT",)),
    Case("steps", "prm800k", ("steps FILE --from prm800k --out OUT",)),
    Case("steps", "prm800k_short", ("steps FILE --from prm800k --out OUT",)),
    Case("chats", "chats", ("import FILE --out OUT", "import FILE --out OUT --sft OUT2"), foreign),
    Case("chats", "verifiers", ("import FILE --format verifiers --out OUT",), foreign),
    Case("chats", "traces", ("import FILE --format verifiers-traces --out OUT",), foreign),
    Case("chats", "lightning", ("import FILE --format agent-lightning --out OUT",), foreign),
    Case("chats", "rllm", ("import FILE --format rllm --out OUT",), foreign),
    Case("tasks", "tasks", ("train DIR/recipe.toml --dry-run",), recipe="tasks"),
    Case("tasks", "tasks", ("train DIR/recipe.toml --dry-run",), name="given.jsonl.gz", zipped=True,
         recipe="tasks"),
    Case("sft", "sft", ("train DIR/recipe.toml --dry-run",), recipe="sft"),
    Case("sft", "sft", ("train DIR/recipe.toml --dry-run",), name="given.jsonl.gz", zipped=True,
         recipe="sft"),
    Case("processbench", "processbench", ("(read_solutions) FILE",)),
    Case("processbench", "predictions", ("(read_predictions) FILE",)),
    Case("prmbench", "prmbench", ("(read_marked) FILE",)),
]  # fmt: skip


@dataclass
class Counts:
    """What became of the files of one kind."""

    files: int = 0
    taken: int = 0
    refused: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    shown: dict[str, str] = field(default_factory=dict)

    def fault(self, kind: str, what: str, example: str) -> None:
        """One more, with an example of the first."""
        self.faults[kind] += 1
        self.shown.setdefault(f"{kind}: {what}", example)


def run(words: Sequence[str]) -> tuple[int, str, str, str]:
    """(exit code, standard output, standard error, traceback) of the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["hornbeam", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if reader := READERS.get(words[0]):
                reader(Path(words[1]))
            else:
                hornbeam()
        except HornbeamError as error:
            return 2, "", str(error), ""
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
            return code, out.getvalue(), err.getvalue(), ""
        except BaseException:  # whatever it is, it is what is looked for
            return 1, out.getvalue(), err.getvalue(), traceback.format_exc()
    return 0, out.getvalue(), err.getvalue(), ""


def files(case: Case, rng: random.Random) -> bytes:
    """A file of this case with something in it changed."""
    return damage(mutate(json.loads(json.dumps(SEEDS[case.seed])), rng), case.zipped, rng)


def whole_file(case: Case) -> bytes:
    """The file of this case as it should be."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in SEEDS[case.seed])
    return gzip.compress(text.encode(), 1) if case.zipped else text.encode()


def look(case: Case, data: bytes, folder: Path, counts: Counts) -> None:
    """Give one file to each command of its case."""
    given = folder / case.name
    given.write_bytes(data)
    if case.recipe:
        (folder / "recipe.toml").write_text(RECIPE[case.recipe].replace("FILE", case.name), "utf-8")
    fault = "" if case.zipped else _quietly(case.fault, data)
    for command in case.commands:
        counts.files += 1
        out = [folder / "out", folder / "out2"]
        for path in out:
            path.unlink(missing_ok=True)
        marks = {"FILE": str(given), "OUT": str(out[0]), "OUT2": str(out[1])}
        words = [marks.get(word, word.replace("DIR", str(folder))) for word in command.split()]
        code, _, err, trace = run(words)
        example = f"hornbeam {command}\n{data[:1500]!r}\n{trace or err}"
        if trace:
            counts.fault("traceback", f"{command}: {trace.strip().splitlines()[-1][:80]}", example)
        elif code == 0 and fault:
            counts.fault("taken against the format", f"{command}: {fault}", example)
        elif code == 2 and len(err.strip().splitlines()) > 3:
            counts.fault("more than one line", f"{command}: {err.strip()[:60]}", example)
        elif code not in (0, 1, 2):
            counts.fault("exit code", f"{command}: {code}", example)
        counts.taken += code == 0
        counts.refused += code == 2
        for path in out:
            if code and path.exists():
                counts.fault("half written", command, example)
            elif path.exists() and "view" not in command and anything(path.read_bytes()):
                counts.fault("written, no strict JSON", command, example)


def _quietly(fault: Callable[[bytes], str], data: bytes) -> str:
    try:
        return fault(data)
    except Exception:  # what is no tree at all is refused by every reader
        return ""


def study(total: int, seed: int, only: Sequence[str]) -> Iterator[tuple[str, Counts]]:
    """The counts of each kind, `total` files in all, in equal parts by case."""
    chosen = [case for case in CASES if not only or case.kind in only]
    counts = {case.kind: Counts() for case in chosen}
    commands = sum(len(case.commands) for case in chosen)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    here = Path.cwd()
    try:
        os.chdir(folder)
        for number, case in enumerate(chosen):
            rng = random.Random(f"{seed}/{number}")
            look(case, whole_file(case), folder, sound := Counts())
            if sound.refused or sound.faults:
                sys.exit(f"{case.commands}: the file it starts from is refused: {sound}")
            for _ in range(math.ceil(total / commands)):
                look(case, files(case, rng), folder, counts[case.kind])
    finally:
        os.chdir(here)
        shutil.rmtree(folder, ignore_errors=True)
    yield from counts.items()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--show", type=int, default=0, help="examples of each kind")
    parser.add_argument("--json", type=Path)
    how = parser.parse_args()
    only = [name for name in how.only.split(",") if name]
    result = {}
    for kind, counts in study(how.files, how.seed, only):
        faults = dict(counts.faults)
        told = f"{counts.files:7} files {counts.taken:6} taken {counts.refused:6} refused"
        print(f"{kind:14}{told} {sum(faults.values()):5} faults  {faults or ''}", flush=True)
        for what, example in list(counts.shown.items())[: how.show]:
            print(f"   -- {what}\n{example}\n")
        result[kind] = {
            "files": counts.files,
            "taken": counts.taken,
            "refused": counts.refused,
            "faults": faults,
        }
    if how.json:
        how.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    sys.exit(any(each["faults"] for each in result.values()))


if __name__ == "__main__":
    main()
