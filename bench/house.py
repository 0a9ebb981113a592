"""How the house is built: rooms, arrows, sizes, words, names that occur twice (`make house`).

    python bench/house.py [CHECKOUT ...] [--json FILE]

A column a checkout, this one where none is named. Read from the sources alone; nothing is imported
of them. A *room* is a folder at the top of the package, or a loose file there; an *arrow* leads
from a room to another that it imports from; it goes *up* where the other stands on a higher floor
of the checkout's tests/test_house.py (FLOORS there; a module stands where its longest prefix
stands). Coined words are those that this checkout bans (BANNED there).
"""

from __future__ import annotations

import argparse
import ast
import collections
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
Sources = Mapping[str, tuple[Path, ast.Module]]


def sources(checkout: Path) -> Sources:
    """The modules of a checkout by dotted name without the package's: path and syntax tree."""
    top = checkout / "src" / "hornbeam"
    found = {}
    for path in sorted(top.rglob("*.py")):
        parts = [*path.relative_to(top).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = (path, ast.parse(path.read_text("utf-8")))
    return found


def imported(modules: Sources, name: str) -> set[str]:
    """The modules of ours that one imports, anywhere in its file."""
    found = set()
    for node in ast.walk(modules[name][1]):
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            dotted = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for each in dotted:
            package, _, inner = each.partition(".")
            room, _, given = inner.rpartition(".")
            if package == "hornbeam" and given in door(modules, room):
                found.add(room)
            elif package == "hornbeam":
                found.add(inner if inner in modules else room)
    return found - {name}


def door(modules: Sources, room: str) -> set[str]:
    """The names that a room's own file gives: what it imports from its files, and defines."""
    body = modules[room][1].body if room in modules else []
    bound = {alias.name for n in body if isinstance(n, ast.ImportFrom) for alias in n.names}
    return bound | {getattr(node, "name", "") for node in body}


def table_of(checkout: Path, name: str) -> Any:
    """A table of a checkout's tests/test_house.py, by its name."""
    tree = ast.parse((checkout / "tests" / "test_house.py").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise SystemExit(f"{checkout}: no {name} in tests/test_house.py")


def floor(table: Mapping[str, int], name: str) -> int:
    """Where a module stands; the package's own door above all."""
    parts = name.split(".")
    prefixes = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((table[p] for p in prefixes if p in table), 99 if not name else 0)


def room(name: str) -> str:
    """The room of a module: the first word of its dotted name."""
    return name.partition(".")[0]


def classes(modules: Sources) -> Iterator[tuple[str, str]]:
    """(name of a class, module) of every class of the package."""
    for name, (_, tree) in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield node.name, name


def twice(names: Iterator[str]) -> list[str]:
    """Names that occur more than once."""
    return sorted(name for name, count in collections.Counter(names).items() if count > 1)


def words(name: str) -> set[str]:
    """The words of a name: under_scores and CamelCase apart, small."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def fields(modules: Sources, name: str) -> int:
    """Fields that a class states, 0 where there is no such class."""
    for _, tree in modules.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return sum(isinstance(line, ast.AnnAssign) for line in node.body)
    return 0


def figures(checkout: Path) -> dict[str, Any]:
    """All figures of one checkout."""
    modules, table = sources(checkout), table_of(checkout, "FLOORS")
    banned = table_of(HERE, "BANNED")
    files = [path for path, _ in modules.values()]
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, (path, _) in modules.items()}
    sizes, arrows, up = collections.Counter[str](), set(), set()
    counts = collections.Counter[str]()
    busiest = {name: len(imported(modules, name)) for name in modules}
    for name in modules:
        here = room(name)
        folder = modules[name][0].parent.relative_to(checkout / "src" / "hornbeam").as_posix()
        counts[folder] += folder != "."
        sizes[folder] += lines[name]
        for other in imported(modules, name):
            there = room(other)
            if there != here:
                arrows.add((here, there))
            if floor(table, other) > floor(table, name):
                up.add((name, other))
    most = max(counts, key=lambda r: counts[r])
    busy = max(busiest, key=lambda n: busiest[n])
    loop = next(name for name in modules if name.endswith(".loop"))
    named = [*classes(modules)]
    coined = {p.stem for p in files if words(p.stem) & banned}
    coined |= {name for name, _ in named if words(name) & banned}
    return {
        "files": len(files),
        "lines": sum(lines.values()),
        "loose files at the root": sum(path.parent.name == "hornbeam" for path in files),
        "rooms": len({room(name) for name in modules}),
        "largest folder": f"{most}: {counts[most]} files, {sizes[most]:,} lines",
        "arrows between rooms": len(arrows),
        "arrows up": len(up),
        "busiest file": f"{busy}: imports {busiest[busy]}",
        "files that import more than 15": sum(count > 15 for count in busiest.values()),
        "loop": f"{lines[loop]} lines",
        "fields of Node": fields(modules, "Node"),
        "fields of Origin": fields(modules, "Origin"),
        "file names that occur twice": len(
            twice(path.name for path in files if path.name != "__init__.py")
        ),
        "class names that mean two": len(twice(name for name, _ in named)),
        "coined words in file and class names": len(coined),
        "longest file": max(lines.values()),
    }


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkouts", nargs="*", type=Path, default=[HERE], metavar="CHECKOUT")
    parser.add_argument("--json", type=Path, metavar="FILE")
    words = parser.parse_args()
    rows = [figures(checkout.resolve()) for checkout in words.checkouts]
    for name in rows[0]:
        print(f"{name:<38}" + "".join(f"{row[name]!s:<34}" for row in rows).rstrip())
    if words.json:
        words.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
