"""A tree as one SVG picture for documents: drawn left to right, credit as colour, a scale below.

The picture brings its own background, light or dark as the system of the reader is; it reads on
white pages and on dark ones. Left out: pointing and clicking, which the report page has.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from html import escape

from hornbeam.arguments import one_of, wrong
from hornbeam.tree.nodes import Column, Tree, fold_up
from hornbeam.view.colour import DARK, LIGHT, STEPS, Theme, colour, line, rung
from hornbeam.view.shape import credit, depths, first_line, largest, number, signed, slots, spoken

PILL, HIGH = 50, 22  # of a node
TOP, ROW, FOOT = 62, 50, 40  # above the first row; of a row; below the last one
LEFT, DOT, GAP, GUTTER = 24, 14, 22, 108  # margin; the task; to the first column; results
FORK = 56  # width of a fork
SCOPE = "hornbeam-tree"  # class of the picture
LEAST = 320  # width of a picture
LETTER = 6.2  # mean width of a letter of the small text

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class _Drawing:
    """A tree with the places of its nodes. Shapes of lists: [nodes]."""

    tree: Tree
    width: int
    x: list[float]
    y: list[float]
    column: float
    credit: Column
    most: float
    named: bool  # whether several agents speak


def tree_svg(tree: Tree, width: int = 960) -> str:
    """The tree as SVG text: agent, credit and first words of every step, reward at every leaf.

    `width` is in pixels.
    """
    one_of(tree, Tree, "tree_svg", "one tree")
    if one_of(width, int, "tree_svg: width", "a number of pixels") < LEAST:
        raise wrong("tree_svg: width", f"at least {LEAST} pixels", width)
    earned, depth, rows = credit(tree), depths(tree), slots(tree)
    column = (width - 2 * LEFT - DOT - GAP - GUTTER) / max(1, *depth)
    x = [LEFT + DOT + GAP + (d - 1) * column if d else float(LEFT) for d in depth]
    y = [TOP + (row + 0.5) * ROW - 8 for row in rows]
    named = len({node.agent for node in tree.nodes[1:]}) > 1
    drawing = _Drawing(tree, width, x, y, column, earned, largest(earned), named)
    height = round(TOP + (max(rows) + 1) * ROW + FOOT)
    question = first_line(str(tree.task.get("question", tree.task["id"])), (width - 2 * LEFT) // 8)
    steps = range(1, len(tree))
    leaves = fold_up(tree, lambda _: 1, lambda _, below: sum(below))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img" class="{SCOPE}">',
        f"<title>{_clean(question)}: {len(tree) - 1} steps, credit as colour</title>",
        f"<style>{_style()}</style>",
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="12"'
        ' class="background"/>',
        _text(LEFT, 34, question, "ask"),
        _text(width - LEFT, 58, "reward", "soft end"),
        _text(width - LEFT - 52, 58, "answer", "soft end"),
        *(_edge(drawing, i, leaves[i]) for i in steps),
        f'<circle cx="{LEFT + DOT / 2:g}" cy="{y[0]:.1f}" r="6" class="task"/>',
        *(_node(drawing, i) for i in steps),
        *(_result(drawing, i) for i in tree.leaves()),
        _legend(height - 28, drawing),
        "</svg>\n",
    ]
    return "\n".join(line for line in lines if line)


def _fork(drawing: _Drawing, i: int) -> tuple[float, float]:
    """Where lines leave a node, and where they fork: late, so that they cross no words."""
    right, below = drawing.x[i] + (PILL if i else DOT - 1), drawing.tree.children(i)
    return right, max(right, drawing.x[below[0]] - FORK) if len(below) > 1 else right


def _edge(drawing: _Drawing, i: int, leaves: int) -> str:
    """From the parent's fork to the node and on to its own; thicker where more leaves hang on."""
    parent = drawing.tree.nodes[i].parent
    x1, x2, y1, y2 = _fork(drawing, parent)[1], drawing.x[i], drawing.y[parent], drawing.y[i]
    bend = (x2 - x1) * 0.55
    wide = min(1.5 + 0.9 * math.sqrt(leaves - 1), 6)
    d = f"M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    right, fork = _fork(drawing, i)
    if fork > right:
        d += f"M{right:.1f} {y2:.1f}H{fork:.1f}"
    return f'<path d="{d}" stroke-width="{wide:.1f}" class="edge {_tint(drawing, i)}"/>'


def _node(drawing: _Drawing, i: int) -> str:
    """A pill with the credit, below it the agent and the first words."""
    tree, x, y = drawing.tree, drawing.x[i], drawing.y[i]
    node, earned = tree.nodes[i], drawing.credit[i]
    agent = first_line(node.agent or "step", 18) if drawing.named else ""
    free = drawing.column - (FORK + 4 if len(tree.children(i)) > 1 else 10)
    room = int(free / LETTER) - (len(agent) + 1 if agent else 0)
    said = first_line(spoken(node), room) if room > 4 else ""
    failed = " failed" if node.error else ""
    pill = (
        f'<rect x="{x:.1f}" y="{y - HIGH / 2:.1f}" width="{PILL}" height="{HIGH}"'
        f' rx="{HIGH / 2:g}" class="pill {_tint(drawing, i)}{failed}"/>'
    )
    worth = ("✕" if node.error else "") if earned is None else signed(earned)
    who = f'<tspan class="who">{_clean(agent)}</tspan> ' if agent else ""
    below = f'<text x="{x + 2:.1f}" y="{y + HIGH / 2 + 14:.1f}" class="soft">'
    words = f"{below}{who}{_clean(said)}</text>"
    return pill + _text(x + PILL / 2, y + 4, worth, "worth") + words


def _result(drawing: _Drawing, i: int) -> str:
    """The outcome of a leaf, at the right edge."""
    node, reward = drawing.tree.nodes[i], drawing.tree.columns.get("reward")
    right, y = drawing.width - LEFT, drawing.y[i] + 4
    value = None if reward is None else reward[i]
    outcome = "failed" if node.error else "–" if value is None else number(value)
    answer = "" if node.answer is None else first_line(str(node.answer), 9)
    lead = (
        f'<path d="M{drawing.x[i] + PILL + 8:.1f} {y - 4:.1f}H{right - GUTTER + 22}" class="lead"/>'
    )
    return lead + _text(right - 52, y, answer, "soft end") + _text(right, y, outcome, "end")


def _legend(y: float, drawing: _Drawing) -> str:
    """The colours in a row between the two ends of the scale."""
    parts = [_text(LEFT, y + 12, f"credit  {signed(-drawing.most)}", "soft")]
    x = LEFT + 84
    for place in range(-STEPS, STEPS + 1):
        parts.append(f'<rect x="{x}" y="{y:g}" width="20" height="14" class="{_name(place)}"/>')
        x += 20
    parts.append(_text(x + 8, y + 12, signed(drawing.most), "soft"))
    return "".join(parts)


def _tint(drawing: _Drawing, i: int) -> str:
    value = drawing.credit[i]
    return "none" if value is None else _name(rung(value, drawing.most))


def _name(place: int) -> str:
    return f"{'n' if place < 0 else 'p'}{abs(place)}"


def _style() -> str:
    """The rules, each for this picture alone: a notebook puts it among others."""
    dark = _scoped(_colours(DARK))
    return _scoped(_plain() + _colours(LIGHT)) + f"@media(prefers-color-scheme:dark){{{dark}}}"


def _scoped(rules: str) -> str:
    """The rules for what stands below the picture's own class."""
    found = re.findall(r"([^{}]+){([^{}]*)}", rules)
    own = ((",".join(f".{SCOPE} {part}" for part in who.split(",")), how) for who, how in found)
    return "".join(f"{who}{{{how}}}" for who, how in own)


def _plain() -> str:
    font = 'system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif'
    return (
        f"text{{font:12px {font};font-variant-numeric:tabular-nums}}.ask{{font-size:16px;"
        "font-weight:600}.worth{text-anchor:middle;font-size:12.5px}.end{text-anchor:end}"
        ".who{font-weight:600}.edge{stroke-linecap:round;fill:none!important}"
        ".lead{stroke-dasharray:1 5;stroke-linecap:round}.failed{stroke-dasharray:3 2.5}"
    )


def _colours(theme: Theme) -> str:
    rules = [
        f".background{{fill:{theme.background};stroke:{theme.edge}}}text,.who{{fill:{theme.ink}}}",
        f".soft{{fill:{theme.soft}}}.task{{fill:{theme.zero};stroke:{theme.soft}}}",
        f".pill,.lead{{stroke:{theme.edge}}}.none{{fill:{theme.background};stroke:{theme.edge}}}",
    ]
    for place in range(-STEPS, STEPS + 1):
        name, thin = _name(place), line(place, theme)
        rules.append(
            f".{name}{{fill:{colour(place, theme)}}}.edge.{name},.pill.{name}{{stroke:{thin}}}"
        )
    return "".join(rules)


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{_clean(text)}</text>' if text else ""


def _clean(text: str) -> str:
    """Text that can stand in XML: what XML has no place for becomes a replacement mark."""
    return escape(_NOT_XML.sub("\ufffd", text))
