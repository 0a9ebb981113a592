"""The diverging scale of credit: orange over grey to blue, for a white and for a dark background.

The ends keep enough distance from the text on them that one ink is readable on every colour of a
scale, and orange and blue stay apart for all common colour blindnesses. The page's style sheet
names the same colours.
"""

from __future__ import annotations

from dataclasses import dataclass

STEPS = 4  # colours on each side of zero


@dataclass(frozen=True)
class Theme:
    """Colours of one background, as #rrggbb."""

    background: str
    ink: str
    soft: str
    edge: str
    negative: str
    zero: str
    positive: str
    negative_line: str
    positive_line: str


LIGHT = Theme(
    "#ffffff",
    "#1d2320",
    "#565e59",
    "#cfccc2",
    "#f6a964",
    "#eceae3",
    "#7fbdf0",
    "#b6500a",
    "#1a6cae",
)
DARK = Theme(
    "#1b1f1d",
    "#e7e9e5",
    "#a7aea8",
    "#454c47",
    "#9a4a10",
    "#333a36",
    "#1d649f",
    "#f09a52",
    "#68b1ec",
)


def rung(value: float, most: float) -> int:
    """Which colour a value takes: -STEPS .. STEPS, 0 only for zero itself.

    A value is divided by the largest size and rounded away from zero, so that small credit can
    still be told from none.
    """
    size = min(abs(value) / most, 1.0) * STEPS
    whole = int(size) + (size > int(size))
    return whole if value > 0 else -whole


def colour(place: int, theme: Theme) -> str:
    """The colour of a rung, as #rrggbb: linear between zero and the end of its side."""
    end = theme.positive if place > 0 else theme.negative
    return mix(theme.zero, end, abs(place) / STEPS)


def line(place: int, theme: Theme) -> str:
    """The colour of a thin line that belongs to a rung, as #rrggbb."""
    end = theme.positive_line if place > 0 else theme.negative_line
    return mix(theme.edge, end, abs(place) / STEPS)


def mix(a: str, b: str, share: float) -> str:
    """(1 - share) a + share b, in each of red, green and blue."""
    pairs = zip(channels(a), channels(b))
    return "#" + "".join(f"{round((1 - share) * x + share * y):02x}" for x, y in pairs)


def channels(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of #rrggbb, 0 .. 255."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def contrast(a: str, b: str) -> float:
    """(L1 + 0.05) / (L2 + 0.05), L1 the lighter one's luminance: WCAG 2.2, "contrast ratio"."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    """0.2126 R + 0.7152 G + 0.0722 B over linear channels: WCAG 2.2, "relative luminance"."""
    shares = [value / 255 for value in channels(colour)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
