"""The same for recipes, run folders (their databases and the files beside them), value models.

    python bench/fuzz_folders.py [--files 2000] [--seed 0] [--only values] [--show 5] [--json FILE]

A recipe has values, keys or bytes changed; a run folder, of a run of the tiny model, one of its
files (the database above all), a row of a table, or a file gone; the folder of a value model a
value of its JSON, the bytes of a file, or a file gone. Each is dry-run, viewed and exported, or
loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from fuzz import READERS, Counts, run
from fuzz_values import HOSTILE, damaged_bytes, mutate
from hornbeam.errors import HornbeamError
from hornbeam.models import tiny_model
from hornbeam.recipe.toml import to_toml
from hornbeam.train import value_files

RECIPES = ("tiny", "delegate_tiny", "reset_tiny", "search_tiny", "tools_tiny")
STEP = ["--set", "run.steps=1", "--set", "sft.count=8", "--set", "run.tasks=2"]
LOOKS = ("view RUN --out OUT", "view RUN --tree train/0/0", "export RUN --out OUT")


def told(counts: Counts, command: str, given: str) -> None:
    """Run a command and count what became of it."""
    code, _, err, trace = run(command.split())
    counts.files += 1
    counts.taken += code == 0
    counts.refused += code == 2
    example = f"hornbeam {command}\n{given[:1500]}\n{trace or err}"
    if trace:
        counts.fault("traceback", trace.strip().splitlines()[-1][:90], example)
    elif code not in (0, 2):
        counts.fault("exit code", f"{command}: {code}", example)
    elif code == 2 and len(err.strip().splitlines()) > 6:
        counts.fault("many lines", err.strip()[:60], example)


def recipes(files: int, rng: random.Random, folder: Path) -> Counts:
    """Recipes that ship, changed, in a dry run."""
    counts = Counts()
    shipped = Path(__file__).parents[1] / "recipes"
    for _ in range(files):
        data = tomllib.loads((shipped / f"{rng.choice(RECIPES)}.toml").read_text("utf-8"))
        changed = mutate([data], rng)
        try:
            text = to_toml(changed[0]).encode("utf-8", "surrogatepass")
        except (HornbeamError, LookupError, TypeError, AttributeError, RecursionError, ValueError):
            continue  # no TOML holds it
        if rng.random() < 0.15:
            text = damaged_bytes(text, rng)
        (folder / "recipe.toml").write_bytes(text)
        told(counts, "train recipe.toml --dry-run", repr(text))
    return counts


def damaged(run_folder: Path, rng: random.Random) -> str:
    """Change one thing of a run folder; what it was."""
    database = run_folder / "run.db"
    what = rng.choice(("bytes", "bytes", "row", "row", "row", "inside", "inside", "file", "gone"))
    if what in ("row", "inside"):
        return changed_row(database, rng, what == "inside")
    held = [path for path in run_folder.rglob("*") if path.is_file() and path.suffix != ".html"]
    path = database if what == "bytes" else rng.choice(held)
    if what == "gone":
        path.unlink()
    else:
        path.write_bytes(damaged_bytes(path.read_bytes(), rng))
    return f"{what} of {path.name}"


JSON_CELLS = (
    *(("meta", "value"), ("trees", "task"), ("trees", "columns"), ("nodes", "data")),
    ("metrics", "data"),
)


def inside(link: sqlite3.Connection, table: str, column: str, where: str, rng: Any) -> Any:
    """The JSON of a cell with a value, a key or an entry of it changed."""
    (text,) = link.execute(f"select {column} from {table} where {where}").fetchone()
    rows = mutate([json.loads(text)], rng)
    return json.dumps(rows[0] if rows else None)


def changed_row(database: Path, rng: random.Random, in_json: bool) -> str:
    """Another value in one cell of a table, or inside the JSON of one."""
    link = sqlite3.connect(database)
    try:
        tables = [
            name for (name,) in link.execute("select name from sqlite_master where type='table'")
        ]
        table = rng.choice(tables)
        columns = [row[1] for row in link.execute(f"pragma table_info({table})")]
        column = rng.choice(columns)
        if in_json:
            table, column = rng.choice(JSON_CELLS)
        (rows,) = link.execute(f"select count(*) from {table}").fetchone()
        value = rng.choice(HOSTILE)
        held = (
            value
            if isinstance(value, (int, float, str)) and rng.random() < 0.5
            else json.dumps(value)
        )
        if isinstance(held, int) and abs(held) > 2**62:
            held = 2**62
        if isinstance(held, str):
            held = held.encode("utf-8", "replace").decode()
        key = ", ".join(row[1] for row in link.execute(f"pragma table_info({table})") if row[5])
        one = f"select {key} from {table} limit 1 offset {rng.randrange(max(1, rows))}"
        where = f"({key}) in ({one})"
        if in_json:
            held = inside(link, table, column, where, rng)
        link.execute(f"update {table} set {column} = ? where {where}", (held,))
        link.commit()
        return f"{table}.{column} = {held!r:.60}"
    except (sqlite3.Error, RecursionError) as error:
        return f"no change: {error}"
    finally:
        link.close()


def runs(files: int, rng: random.Random, folder: Path) -> Counts:
    """A small run, damaged, in every command that reads run folders."""
    counts = Counts()
    whole = folder / "whole"
    code, _, err, trace = run(["train", "tiny", "--out", str(whole), *STEP])
    if code:
        sys.exit(f"the run to damage failed: {err}{trace}")
    for _ in range(files // len(LOOKS)):
        given = folder / "run"
        shutil.rmtree(given, ignore_errors=True)
        shutil.copytree(whole, given)
        what = damaged(given, rng)
        for command in LOOKS:
            marks = {"RUN": str(given), "OUT": str(folder / "out")}
            told(counts, " ".join(marks.get(word, word) for word in command.split()), what)
    return counts


def changed_model(folder: Path, rng: random.Random) -> str:
    """Change one thing of a model's folder; what it was."""
    held = sorted(path for path in folder.iterdir() if path.is_file())
    path, what = rng.choice(held), rng.choice(("value", "value", "value", "bytes", "gone"))
    if what == "gone":
        path.unlink()
    elif what == "value" and path.suffix == ".json":
        rows = mutate([json.loads(path.read_text("utf-8"))], rng)
        text = json.dumps(rows[0] if rows else None)
        path.write_text(text, "utf-8", "replace")
    else:
        path.write_bytes(damaged_bytes(path.read_bytes(), rng))
    return f"{what} of {path.name}"


def values(files: int, rng: random.Random, folder: Path) -> Counts:
    """The folder of a value model, damaged, and read as `score`, `eval` and guides read it."""
    counts, whole = Counts(), folder / "value"
    model, tokenizer, card = value_files.load(tiny_model.make(folder / "base", 0, width=16))
    value_files.save(model, tokenizer, card, {}, whole)
    value_files.load(whole)
    for _ in range(files):
        given = folder / "given"
        shutil.rmtree(given, ignore_errors=True)
        shutil.copytree(whole, given)
        what = changed_model(given, rng)
        told(counts, f"(value_files.load) {given}", what)
    return counts


READERS["(value_files.load)"] = value_files.load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="recipes,runs,values")
    parser.add_argument("--show", type=int, default=0)
    parser.add_argument("--json", type=Path)
    how = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    os.chdir(folder)
    result = {}
    only = how.only.split(",")
    for name, study in (("recipes", recipes), ("runs", runs), ("values", values)):
        if name not in only:
            continue
        counts = study(how.files // len(only), random.Random(f"{how.seed}/{name}"), folder)
        faults = dict(counts.faults)
        kept = f"{counts.files:7} files {counts.taken:6} taken {counts.refused:6} refused"
        print(f"{name:14}{kept} {sum(faults.values()):5} faults  {faults or ''}", flush=True)
        for what, example in list(counts.shown.items())[: how.show]:
            print(f"   -- {what}\n{example}\n")
        result[name] = {"files": counts.files, "faults": faults}
    if how.json:
        how.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(any(each["faults"] for each in result.values()))


if __name__ == "__main__":
    main()
