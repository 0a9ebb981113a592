"""What stands below a folder, as facts by name that two runs can be held against each other by.

Left out are seconds, and what a run that was killed tells apart. Used by kills.py.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from hornbeam.store.database import LOST, Store
from hornbeam.tree.jsonl import to_json

Facts = dict[str, Any]
NEAR = 1e-5
LOOSE_COSTS = "wall clock|worlds|redone"
BESIDE = re.compile("^(warm start|eval)/")  # by equal weights, as the step of equal number
LIKE = 1e-3  # of weights, as a share of their norm


def scrubbed(value: Any) -> Any:
    """Data without seconds and what is told apart."""
    if isinstance(value, dict):
        loose = ("seconds", "redone_tokens")
        kept = {k: scrubbed(v) for k, v in value.items() if not str(k).startswith(loose)}
        if "anytime" in kept:  # which of two episodes runs the prompt that both share: the batch
            kept["anytime"] = [right for _, right in kept["anytime"]]
        return kept
    return [scrubbed(v) for v in value] if isinstance(value, list) else value


def database(path: Path) -> Iterator[tuple[str, Any]]:
    """What a run's database holds, by what it is."""
    with Store(path.parent, read_only=True) as store:
        keys = store.keys()
        stored = {key: store.read(key) for key in keys}
        yield "trees", {str(k): to_json(s.tree) for k, s in stored.items()}
        yield "half-grown trees", [str(k) for k, s in stored.items() if not s.done or s.open]
        yield "metrics", scrubbed(store.metrics())
        entries = [entry for entry in store.entries() if not entry.kind.startswith("seconds")]
        sums: dict[str, float] = {}
        for tree, *place, kind, amount in entries:
            if kind.startswith("prompt_tokens"):  # who runs what several share hangs on the batch
                tree, place = BESIDE.sub("train/", tree.rpartition("/")[0]), []
            if not tree.startswith(LOST):
                name = "/".join(map(str, (tree, *place, kind)))
                sums[name] = sums.get(name, 0) + amount
        yield "ledger", sums
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        found = db.execute("select name, value from meta where name not like 'seconds/%'")
        records = {name: scrubbed(json.loads(value)) for name, value in found}
        yield "prompt tokens of records", shared_prompts(records)
        yield "records", records
        if db.execute("select 1 from sqlite_master where name = 'trained'").fetchone():
            found = db.execute("select policy, step, data from trained order by 1, 2")
            yield "trained", [(*row[:2], scrubbed(json.loads(row[2]))) for row in found]
            yield "asks left", db.execute("select count(*) from asks").fetchone()[0]


def shared_prompts(records: dict[str, Any]) -> dict[str, float]:
    """What the records of a set (what their names have before the last slash) paid for prompts.

    Taken out of each record's costs: which of two tasks runs what both share hangs on the batch.
    """
    sums: dict[str, float] = {}
    for name, record in records.items():
        costs = record.get("costs") if isinstance(record, dict) else None
        for kind in [kind for kind in costs or () if kind.startswith("prompt_tokens")]:
            of_set = f"{name.rpartition('/')[0]}/{kind}"
            sums[of_set] = sums.get(of_set, 0) + costs.pop(kind)
    return sums


def lost(folder: Path) -> Counter[str]:
    """What the ledgers below a folder tell apart, by kind."""
    out: Counter[str] = Counter()
    for path in folder.rglob("run.db"):
        if not any(parent.is_symlink() for parent in path.parents):
            with Store(path.parent, read_only=True) as store:
                for entry in store.entries():
                    if entry.tree.startswith(LOST) and not entry.kind.startswith("seconds"):
                        out[entry.kind] += int(entry.amount)
    return out


def account(page: str) -> dict[str, str]:
    """What a page tells of costs, by kind: the amounts, but for seconds and what is told apart."""
    table = re.search(r"<table class=costs>.*?</table>", page, re.DOTALL)
    rows = re.findall(r"<tr><th scope=row>(.*?)</th><td>(.*?)</td>", table[0] if table else "")
    return {what: amount for what, amount in rows if not re.search(LOOSE_COSTS, what)}


def file_facts(path: Path, name: str) -> Iterator[tuple[str, Any]]:
    """What one file says."""
    if path.name == "run.db":
        yield from ((f"{name}: {what}", value) for what, value in database(path))
    elif path.suffix in (".json", ".jsonl"):
        text = path.read_text(encoding="utf-8")
        texts = text.splitlines() if path.suffix == ".jsonl" else [text]
        result = [scrubbed(json.loads(line)) for line in texts]
        if path.name == "manifest.json":  # torch's files differ in size, not in what they hold
            result[0]["files"] = sorted(result[0]["files"])
        yield name, result
    elif path.suffix == ".html":
        text = path.read_text(encoding="utf-8")
        data = re.search(r"<script[^>]*application/json[^>]*>(.*?)</script>", text, re.DOTALL)
        assert data and text.rstrip().endswith("</html>"), f"{name} is no whole page"
        yield name, scrubbed(json.loads(data[1]))
        yield f"{name}: costs", account(text)
    elif path.suffix == ".safetensors":
        yield name, load_file(path)
    elif path.suffix == ".pt":
        yield name, digest(torch.load(path, map_location="cpu", weights_only=True))
    elif not path.name.endswith(("-wal", "-shm")) and path.name != "lock":
        yield name, hashlib.sha256(path.read_bytes()).hexdigest()


def digest(state: Any) -> Any:
    """A trainer's state with arrays in the place of tensors."""
    if isinstance(state, torch.Tensor):
        return state.numpy()
    if isinstance(state, dict):
        return {str(key): digest(value) for key, value in state.items()}
    return [digest(value) for value in state] if isinstance(state, (list, tuple)) else state


def over(folder: Path) -> bool:
    """Whether a stopped `anchor` had all in its store, and only did not come to print it."""
    path = folder / "anchors" / "run.db"
    if not path.is_file() or path.parent.is_symlink():
        return False
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        if not db.execute("select 1 from sqlite_master where name = 'meta'").fetchone():
            return False
        marks = db.execute("select value from meta where name like '%/began'").fetchall()
    return bool(marks) and all(mark == "null" for (mark,) in marks)


def in_order(value: Any) -> Any:
    """Data with rows of metrics by kind, stage and step, where arrival decides their order."""
    if isinstance(value, dict):
        return {key: in_order(each) for key, each in value.items()}
    if (
        isinstance(value, list)
        and value
        and all(isinstance(v, dict) and "kind" in v for v in value)
    ):
        return sorted(value, key=lambda v: (v["kind"], v.get("stage", ""), v.get("step", -1)))
    return [in_order(each) for each in value] if isinstance(value, list) else value


def facts(folder: Path) -> Facts:
    """All that stands below a folder, and what the command printed as JSON."""
    out: Facts = {}
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not Path(at, name).is_symlink())
        place = Path(at).relative_to(folder)
        for name in sorted(names):
            try:
                out |= dict(file_facts(Path(at, name), str(place / name)))
            except Exception as error:  # whatever a torn file makes of it
                out[str(place / name)] = f"cannot be read: {error}"
        if not names and not folders:
            out[f"{place}/"] = "empty"
    said = Path(f"{folder}.main.out").read_text()
    if said.lstrip().startswith("{"):
        out["what it printed"] = scrubbed(json.loads(said))
    return out


def equal(one: Any, other: Any, exact: bool) -> bool:
    """Whether two things are alike: numbers but for the last bits, which batches leave in them.

    Weights bit for bit where `exact`, else but for what those last bits make of them.
    """
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if exact or not np.issubdtype(one.dtype, np.floating):
            return one.tobytes() == other.tobytes()
        difference = np.linalg.norm(one - other) <= LIKE * np.linalg.norm(other) + NEAR
        return one.shape == other.shape and bool(difference)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=NEAR, abs_tol=NEAR)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key], exact) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(equal(a, b, exact) for a, b in zip(one, other))
    return bool(one == other)


def distance(found: Any, wanted: Any, exact: bool, where: str = "") -> str:
    """The first place where two things differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(key for key in found if key not in wanted)]:
            if key not in found or key not in wanted:
                return f"{where}/{key} {'missing' if key in wanted else 'new'}"
            if not equal(found[key], wanted[key], exact):
                return distance(found[key], wanted[key], exact, f"{where}/{key}")
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for at, (one, other) in enumerate(zip(found, wanted)):
            if not equal(one, other, exact):
                return distance(one, other, exact, f"{where}/{at}")
    return f"{where}: {str(found)[:80]} for {str(wanted)[:80]}"


def differences(found: Facts, wanted: Facts, exact: bool) -> dict[str, str]:
    """By name of the fact, how it differs."""
    out = {}
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        if name not in found:
            out[name] = "missing"
        elif name not in wanted:
            out[name] = "left over"
        elif not equal(found[name], wanted[name], exact):
            out[name] = distance(found[name], wanted[name], exact)
    return out
