"""`python table.py ROWS PAGE`: writes the table of docs/frameworks.md from rows of `.ci/agents`."""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

from agents_table import AGENTS, HERE

LISTED = 4  # variations by name
BEGIN, END = "<!-- written by .ci/agents -->\n", "<!-- up to here -->\n"


def versions():
    """Package -> version, of all pins."""
    pins = [
        line
        for file in (HERE / "pins").glob("*.txt")
        for line in file.read_text("utf-8").splitlines()
    ]
    named = [line.strip().split("==") for line in pins if "==" in line]
    return {name.partition("[")[0]: version for name, version in named}


def reasons(agent, rows):
    """What does not hold, with its reason and its variations."""
    why = defaultdict(list)
    for row in rows:
        for kind, reason in agent.expected(row["variation"]).items():
            share = f", {row['kept'] / row['of']:.0%} kept" if kind == "lost" and row["of"] else ""
            why[f"{kind}: {reason}"].append(f"`{row['variation']}`{share}")
    told = {
        reason: ", ".join(names) if len(names) <= LISTED else f"{len(names)} variations"
        for reason, names in why.items()
    }
    return "; ".join(f"{reason} ({names})" for reason, names in told.items())


def line(agent, rows, version):
    """One line of the table: all rows hold a replay, a fork at every step, an equal tree."""
    failed = sum("fails" in row["found"] for row in rows)
    stand, total = sum(row["kept"] for row in rows), sum(row["of"] for row in rows)
    turns = Counter()
    for row in rows:
        turns.update(row["turns"])
    spelt = turns["turns/spelt otherwise"] / max(1, sum(turns.values()))
    cells = [agent.file.removesuffix("_agent"), version, agent.endpoint, f"{len(rows)}"]
    cells += [str(failed), f"{stand / max(1, total):.1%}", f"{spelt:.0%}", reasons(agent, rows)]
    return f"| {' | '.join(cells)} |"


def main(rows, page):
    """Write the table between its marks; who did not run now keeps the line that is there."""
    seen = defaultdict(list)
    for text in Path(rows).read_text("utf-8").splitlines():
        row = json.loads(text)
        seen[row["agent"]].append(row)
    heads = ["framework", "version", "asks", "variations held", "of them failing runs"]
    heads += ["tokens kept", "turns spelt otherwise", "what does not hold, and why"]
    page = Path(page)
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    old, _, after = rest.partition(END)
    lines = {_name(text): text for text in old.splitlines()[2:]}
    for agent in AGENTS:
        ran = {row["variation"]: row for row in seen[str(agent)]}  # the last of each
        if ran:
            new = line(agent, list(ran.values()), versions()[agent.package])
            lines[_name(new)] = new
    order = [_name(line(agent, [], "")) for agent in AGENTS]
    told = [lines[name] for name in order if name in lines]
    told = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *told]
    page.write_text(f"{before}{BEGIN}{chr(10).join(told)}\n{END}{after}", "utf-8")


def _name(text):
    """The framework and what it asks for, by which a line is known."""
    cells = text.split(" | ")
    return cells[0], cells[2]


if __name__ == "__main__":
    main(*sys.argv[1:3])
