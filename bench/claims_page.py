"""The table and pictures of docs/claims.md, from claims.json and from series recorded before."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import claims
from arms import COLOURS, at

Json = dict[str, Any]
PAGE = claims.ROOT / "docs" / "claims.md"
HEAD = (
    "| claim | paper's figure | where | ours, points [95 %] | verdict | found at 80 % | seeds"
    " | s |\n"
    "|---|---|---|---|---|---|---|---|"
)
PAPERS = {
    "Tree-GRPO": "2509.21240",
    "M-GRPO": "2511.13288",
    "PVPO": "2508.21104",
    "StepWiser": "2508.19229",
    "MASPRM": "2510.24803",
}
SHOWN = {  # of each paper's picture: world, its arms, the scale's words
    "M-GRPO": ("window", ["joint", "main only", "single agent", "single agent, no limit"]),
    "PVPO": ("sparse", ["pvpo", "grpo", "grpo, teacher", "anchors alone"]),
    "StepWiser": ("chains", ["rl judge", "sft judge", "rl, no analysis"]),
    "MASPRM": ("team", ["PRM beam, ORM", "majority", "best of n, ORM", "likelihood beam"]),
}


class Recorded(NamedTuple):
    """A claim on a series of docs/results, run before by the command in that file."""

    name: str
    paper: str
    figure: str
    file: str
    where: str
    differences: list[float]
    least: float = 0.0
    why: str = ""
    ablation: list[float] | None = None


def load(name: str) -> Json:
    """A file of docs/results."""
    return dict(json.loads((claims.RESULTS / f"{name}.json").read_text("utf-8")))


def tree_rows() -> list[Recorded]:
    """Tree-GRPO: the tiny transformer, and a table of logits."""
    tiny, table = load("tree_vs_independent"), load("states_tabular")["long"]["seeds"]
    seeds, budget = tiny["seeds"], tiny["budget"]

    def end(row: Json, arm: str, part: float) -> float:
        return at(row[arm]["curve"], part * budget)

    along = [row["tree"]["mean"] - row["independent"]["mean"] for row in seeds]
    quarter = [end(row, "tree", 0.25) - end(row, "independent", 1) for row in seeds]
    chains = [end(row, "independent", 0.25) - end(row, "independent", 1) for row in seeds]
    states = [row["tree_grpo"]["mean"] - row["grpo"]["mean"] for row in table]
    paper, gain = "Tree-GRPO", "16.7 at budget 2, 3.4 at 16"
    return [
        Recorded(
            "trees above chains at equal total cost", paper, gain,
            "tree_vs_independent", "tiny transformer, doors", along,
        ),
        Recorded(
            "trees above chains at equal sampled steps", paper, gain,
            "states_tabular", "table, ring of eight rooms", states,
        ),
        Recorded(
            "trees at a quarter of the chains' cost not worse by 5 points", paper, "not worse",
            "tree_vs_independent", "tiny transformer, doors", [0.05 + d for d in quarter],
            why="chains at a quarter of their own cost, plus 5 points",
            ablation=[0.05 + d for d in chains],
        ),
    ]  # fmt: skip


def other_rows() -> list[Recorded]:
    """The other papers: series of three to five seeds."""
    arms = load("delegation")["arms"]
    height = {name: arm["at_budget"]["by_seed"] for name, arm in arms.items()}
    anchors = load("anchors")["arms"]["pvpo"]["share"]["by_seed"]
    judge = load("judge_tiny")
    f1 = {name: one["by_seed"] for name, one in judge["judges"]["judges"].items()}
    points = judge["use"]["judges"]["rl"]["points"]
    reset = next(p for p in points if (p["method"], p["label"]) == ("chunk-reset", "attempts=2"))
    votes = next(p for p in points if (p["method"], p["label"]) == ("majority", "n=8"))
    return [
        Recorded(
            "joint training above main only", "M-GRPO", "joint above main only",
            "delegation", "tiny transformer, errands", less(height["joint"], height["main only"]),
        ),
        Recorded(
            "main and sub-agent above a single agent", "M-GRPO", "multi above single",
            "delegation", "the same", less(height["joint"], height["single agent"]),
        ),
        Recorded(
            "97 % of GRPO's last score at 40 % of its cost (as a share)", "PVPO", "97 % at 40 %",
            "anchors", "tiny transformer, doors", [share - 0.97 for share in anchors],
        ),
        Recorded(
            "judge by RL above judge by SFT (F1)", "StepWiser", "61.9 against 39.7",
            "judge_tiny", "tiny transformer, doors",
            [value / 100 for value in less(f1["rl"], f1["sft"])],
        ),
        Recorded(
            "chunk-reset above a majority of 8 that costs more", "StepWiser", "+6 over one pass",
            "judge_tiny", "the same", less(reset["by_seed"], votes["by_seed"]),
        ),
        Recorded(
            "PRM beam above majority at equal tokens", "MASPRM", "43.9 to 74.6 (one pass)",
            "search_svamp", "SmolLM2-135M with a calculator, SVAMP", svamp(),
        ),
    ]  # fmt: skip


def less(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Seed by seed."""
    return [a - b for a, b in zip(ours, theirs, strict=True)]


def svamp() -> list[float]:
    """Beams guided by a value model against majority's curve at their cost, by seed."""
    points = load("search_svamp")["the recipe as it is"]["points"]

    def curve(method: str, seed: int) -> list[tuple[float, float]]:
        own = [point for point in points if point["method"] == method]
        return [(point["total_tokens"], point["by_seed"][seed]) for point in own]

    return [claims.equal_cost(curve("beam", k), curve("majority", k)) for k in range(3)]


def points(mean: float, ends: Sequence[float], unit: float = 100) -> str:
    """A difference and its interval."""
    digits = 1 if unit == 100 else 3
    low, high = (f"{unit * x:+.{digits}f}" for x in ends)
    return f"{unit * mean:+.{digits}f} [{low}, {high}]"


def row(claim: claims.Claim | Recorded, found: Json, where: str, took: str, unit: float) -> str:
    """A row of the table."""
    shown = points(found["mean"], found["interval"], unit) + ("" if unit == 100 else " (variance)")
    power = f"{unit * found['power_80']:.{1 if unit == 100 else 3}f}"
    cells = [claim.name, claim.figure, where, shown, f"**{found['verdict']}**", power]
    return "| " + " | ".join([*cells, str(found["seeds"]), took]) + " |"


def reason(name: str, why: str, found: Json, unit: float = 100) -> str:
    """The ablation of a claim that does not hold, or is not decided."""
    return f"| {name} | {why} | {points(found['mean'], found['interval'], unit)} |"


def table(known: Json) -> str:
    """Everything that is generated of the page."""
    parts, hows = [], claims.worlds()
    recorded = [*tree_rows(), *other_rows()]
    for paper, number in PAPERS.items():
        lines, reasons = [], []
        for claim in claims.CLAIMS:
            if claim.paper != paper:
                continue
            seeds, how = known["worlds"][claim.world], hows[claim.world]
            found = claims.judged(claims.differences(claim, seeds, how), claim.least)
            unit = 1 if claim.measure == "variance" else 100
            took = f"{sum(one['seconds'] for one in seeds.values()):.0f}"
            lines.append(row(claim, found, f"`{claim.world}`", took, unit))
            if found["verdict"] != "holds" and claim.ablation:
                other = claims.judged(claims.differences(claim, seeds, how, ablation=True))
                reasons.append(reason(claim.name, claim.why, other))
        for one in (one for one in recorded if one.paper == paper):
            found = claims.judged(one.differences, one.least)
            link = f"{one.where} ([recorded](results/{one.file}.json))"
            lines.append(row(one, found, link, "", 100))
            if found["verdict"] == "does not hold" and one.ablation:
                reasons.append(reason(one.name, one.why, claims.judged(one.ablation)))
        picture = f"![{paper}](results/claims_{slug(paper)}.svg)"
        head = f"### {paper} ([{number}](https://arxiv.org/abs/{number}))"
        because = [
            "",
            "| does not hold | its ablation | points [95 %] |",
            "|---|---|---|",
            *reasons,
        ]
        parts.append(
            "\n".join([head, "", HEAD, *lines, *(because if reasons else []), "", picture])
        )
    return "\n\n".join([*parts, sized(known)])


def sized(known: Json) -> str:
    """What the pilots asked for."""
    text = claims.tomllib.loads(claims.WORLDS.read_text("utf-8"))
    lines = [
        "| world | sd of a seed's difference | seeds for 5 points | run |",
        "|---|---|---|---|",
    ]
    for name, one in text["sizes"].items():
        ran = len(known["worlds"].get(name, {}))
        lines.append(f"| `{name}`: {text[name]['about']} | {one['sd']} | {one['seeds']} | {ran} |")
    return "\n".join(["### Sizes", "", *lines])


def slug(paper: str) -> str:
    """A paper's name in a file's."""
    return paper.lower().replace("-", "_")


def mean_curve(rows: Sequence[Json], arm: str) -> list[tuple[float, float]]:
    """Point by point over seeds."""
    curves = [one["arms"][arm]["curve"] for one in rows]
    return [
        (statistics.mean(x), statistics.mean(y)) for x, y in (zip(*point) for point in zip(*curves))
    ]


def picture(paper: str, known: Json) -> str:
    """Mean score over total cost of a paper's arms, as SVG."""
    if paper in SHOWN:
        world, names = SHOWN[paper]
        curves = {name: mean_curve([*known["worlds"][world].values()], name) for name in names}
    else:
        rows = [{"arms": one} for one in load("tree_vs_independent")["seeds"]]
        curves = {name: mean_curve(rows, name) for name in ("tree", "independent")}
    width, tall, left, top = 560, 240, 48, 16
    most = max(x for curve in curves.values() for x, _ in curve)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 16} '
        f'{top + tall + 44 + 18 * len(curves)}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for tenth in range(0, 11, 2):
        y = top + (1 - tenth / 10) * tall
        parts.append(f'<path d="M{left},{y:.0f} h{width}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{10 * tenth} %</text>'
        )
    for quarter in range(5):
        x, anchor = left + quarter / 4 * width, "end" if quarter == 4 else "middle"
        parts.append(
            f'<text x="{x:.0f}" y="{top + tall + 18}" text-anchor="{anchor}">'
            f"{most * quarter / 4:,.0f}</text>"
        )
    for n, (name, curve) in enumerate(curves.items()):
        line = " ".join(
            f"{left + x / most * width:.1f},{top + (1 - h) * tall:.1f}" for x, h in curve
        )
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{COLOURS[n]}" stroke-width="2"/>'
            f'<text x="{left}" y="{top + tall + 40 + 18 * n}" fill="{COLOURS[n]}">{name}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def page(known: Json, text: str) -> str:
    """The page with its generated part replaced."""
    block = f"<!-- claims -->\n{table(known)}\n<!-- /claims -->"
    return re.sub(r"<!-- claims -->.*<!-- /claims -->", lambda _: block, text, flags=re.DOTALL)


def write() -> None:
    """The page and the pictures."""
    known = claims.read()
    PAGE.write_text(page(known, PAGE.read_text("utf-8")), "utf-8")
    for paper in PAPERS:
        path = claims.RESULTS / f"claims_{slug(paper)}.svg"
        path.write_text(picture(paper, known), "utf-8")
