"""The picture of results in README.md, drawn from two files of docs/results.

    python bench/results_picture.py [FILE.svg]        docs/images/results.svg by default

Left: held-out accuracy of the main job (main_job.json) with Wilson's 95 % interval over its tasks.
Right: accuracy of searches against their cost (search_svamp.json), means over three seeds, with
the bootstrap interval over all questions. A test holds the committed picture to these files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hornbeam.stats import wilson

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
WIDTH, HEIGHT = 960, 340
TOP, BOTTOM = 76, 284  # of both plots, in pixels
MOST = 0.40  # accuracy at the upper end of the axis
NAMES = {"warm start": "after warm start", "start": "before training"}
SHOWN = {  # method and label of search_svamp.json: its name, where that stands, a value model?
    ("single pass", ""): ("single pass", "right", False),
    ("majority", "n=8"): ("majority of 8", "right", False),
    ("majority", "n=16"): ("majority of 16", "above", False),
    ("beam", "beams=2, width=4"): ("beam 2 x 4", "left", True),
    ("best of n", "n=4"): ("best of 4", "right", True),
    ("particles", "particles=8"): ("8 particles", "right", True),
}
STYLE = (
    '.r text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;'
    "fill:#1d2320;font-variant-numeric:tabular-nums}.r .title{font-size:15px;font-weight:600}"
    ".r .soft{fill:#565e59}.r .background{fill:#ffffff;stroke:#cfccc2}.r .grid{stroke:#eceae3}"
    ".r .line{fill:none;stroke:#1a6cae;stroke-width:2}.r .band{stroke:#749cb8;stroke-width:2}"
    ".r .dot{fill:#1a6cae}.r .other .dot{fill:#bc6f38}.r .other .band{stroke:#c9ad94}"
    "@media(prefers-color-scheme:dark){.r text{fill:#e7e9e5}.r .soft{fill:#a7aea8}"
    ".r .background{fill:#1b1f1d;stroke:#454c47}.r .grid{stroke:#333a36}.r .line{stroke:#68b1ec}"
    ".r .band{stroke:#567e9a}.r .dot{fill:#68b1ec}.r .other .dot{fill:#c5864f}"
    ".r .other .band{stroke:#70604a}}"
)


class Point(NamedTuple):
    """One accuracy in [0, 1] with its interval, at `x` pixels."""

    x: float
    accuracy: float
    low: float
    high: float
    name: str
    side: str = "above"
    ours: bool = True


def height(accuracy: float) -> float:
    """Pixels from the top of the picture."""
    return BOTTOM - accuracy / MOST * (BOTTOM - TOP)


def text(x: float, y: float, words: str, css: str = "", anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{words}</text>'


def mark(point: Point) -> str:
    """A point, its interval and its name."""
    x, y = point.x, height(point.accuracy)
    dx, dy, anchor = {
        "above": (0, height(point.high) - y - 8, "middle"),
        "right": (9, 4, "start"),
        "left": (-9, 4, "end"),
    }[point.side]
    return (
        f'<g class="{"ours" if point.ours else "other"}">'
        f'<path class="band" d="M{x:.1f},{height(point.low):.1f}V{height(point.high):.1f}"/>'
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/></g>'
        + text(x + dx, y + dy, point.name, anchor=anchor)
    )


def key(x: float, words: str, ours: bool) -> str:
    """An entry of the key above a plot."""
    return (
        f'<g class="{"ours" if ours else "other"}">'
        f'<circle class="dot" cx="{x:.1f}" cy="{TOP - 22}" r="4.5"/></g>'
        + text(x + 10, TOP - 18, words, "soft", "start")
    )


def frame(left: float, right: float, title: str, below: str) -> list[str]:
    """Title, grid and axes of one plot."""
    lines = [text(left - 40, 34, title, "title", "start")]
    for tenth in range(5):
        y = height(tenth / 10)
        lines.append(f'<path class="grid" d="M{left},{y:.1f}H{right}"/>')
        lines.append(text(left - 8, y + 4, f"{10 * tenth} %", "soft", "end"))
    lines.append(text((left + right) / 2, BOTTOM + 42, below, "soft"))
    return lines


def training(run: dict[str, Any], left: float, right: float) -> list[str]:
    """The curve of the main job: before, after the warm start, then over steps."""
    looks = run["curve"]
    lines = frame(
        left,
        right,
        "Training: SmolLM2-135M learns to use a calculator",
        f"Tree-GRPO; accuracy on {run['tasks']} held-out SVAMP problems, 95 %",
    )
    points = []
    for place, (stage, step, share) in enumerate(looks):
        x = left + 50 + place * (right - left - 100) / (len(looks) - 1)
        low, high = wilson(share, run["tasks"])
        points.append(Point(x, share, low, high, f"{100 * share:.1f} %"))
        lines.append(text(x, BOTTOM + 20, NAMES.get(stage, f"{step} steps"), "soft"))
    path = " ".join(f"{point.x:.1f},{height(point.accuracy):.1f}" for point in points)
    return [*lines, f'<polyline class="line" points="{path}"/>', *map(mark, points)]


def searching(rows: Sequence[dict[str, Any]], left: float, right: float) -> list[str]:
    """Accuracy of searches over what they cost."""
    lines = frame(
        left,
        right,
        "Search: after the warm start alone",
        "total tokens a question; 300 SVAMP problems, three seeds, 95 %",
    )
    scale = (right - left) / 600
    for tokens in range(0, 601, 100):
        lines.append(text(left + tokens * scale, BOTTOM + 20, str(tokens), "soft"))
    for row in rows:
        if (row["method"], row["label"]) in SHOWN:
            name, side, guided = SHOWN[row["method"], row["label"]]
            x = left + row["total_tokens"] * scale
            lines.append(mark(Point(x, row["accuracy"], *row["interval"], name, side, guided)))
    lines.append(key(left + 14, "with a value model", ours=True))
    lines.append(key(left + 200, "policy alone", ours=False))
    return lines


def picture() -> str:
    """The whole picture as SVG."""
    main_job = json.loads((RESULTS / "main_job.json").read_text("utf-8"))["runs"][0]
    svamp = json.loads((RESULTS / "search_svamp.json").read_text("utf-8"))["the recipe as it is"]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' width="{WIDTH}" height="{HEIGHT}" role="img" class="r">',
        "<title>Accuracy over training steps, and of searches over their cost</title>",
        f"<style>{STYLE}</style>",
        f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="12"'
        ' class="background"/>',
        *training(main_job, 64, 460),
        *searching(svamp["points"], 544, 936),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images" / "results.svg"
    path.write_text(picture(), "utf-8")


if __name__ == "__main__":
    main()
