"""Arms of a bench against `grpo`, seed by seed: what states.py and states_tabular.py tell."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from hornbeam import stats

Json = dict[str, Any]


def compared(rows: Sequence[Json], arms: Sequence[str], measures: Sequence[str]) -> Json:
    """Every measure of every arm: its mean, and against `grpo`."""
    out: Json = {}
    for arm in arms:
        for name in measures:
            values = [row[arm][name] for row in rows]
            differences = [a - row["grpo"][name] for a, row in zip(values, rows)]
            entry: Json = {"mean": statistics.mean(values)}
            if arm != "grpo" and len({*differences}) > 1:
                power = (1.96 + 0.84) * statistics.stdev(differences) / len(rows) ** 0.5
                entry |= {"difference": statistics.mean(differences), "power_80": power}
                entry |= {"interval": stats.student(differences)}
                entry |= {"ahead": sum(d > 0 for d in differences), "seeds": len(rows)}
            out.setdefault(arm, {})[name] = entry
    return out


def say(found: Json) -> str:
    """The table on the screen."""
    lines = []
    for arm, measures in found.items():
        for name, one in measures.items():
            line = f"{arm:14} {name:16} {one['mean']:6.1%}"
            if "interval" in one:
                low, high = (100 * x for x in one["interval"])
                line += f"  {100 * one['difference']:+.1f} points [{low:+.1f}, {high:+.1f}]"
                line += f", ahead on {one['ahead']} of {one['seeds']}"
                line += f", {100 * one['power_80']:.1f} could be told"
            lines.append(line)
    return "\n".join(lines)
