"""What is printed: texts of runs, files and servers are shown on a terminal, never obeyed.

All that Hornbeam prints goes through `escaped`; a test holds that nothing else prints.
"""

from __future__ import annotations

import json
import sys
from unicodedata import category

JOINERS = "\u200c\u200d"  # within words of some scripts, and within emoji


def escaped(text: str, kept: str = "\n\t") -> str:
    r"""The text with control characters, line separators, bidi marks and surrogates written out.

    As JSON writes them (\u001b), so that what is read of printed JSON stays the same. `kept`: those
    that pass.
    """
    if text.isprintable():
        return text
    kept += JOINERS
    return "".join(c if _harmless(c) or c in kept else json.dumps(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """The same, line ends and tabs too."""
    return escaped(text, "")


def as_markup(text: str) -> str:
    """The same as rich's markup, which says nothing but the text."""
    from rich.markup import escape

    return escape(one_line(text))


def tell(text: str, err: bool = False, end: str = "\n") -> None:
    """Print on standard output, or on standard error."""
    print(escaped(text), end=end, file=sys.stderr if err else sys.stdout, flush=True)


def to_stderr(line: str) -> None:
    """One line on standard error."""
    tell(line, err=True)


def _harmless(c: str) -> bool:
    return c.isprintable() or category(c) == "Zs"
