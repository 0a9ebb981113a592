"""What the pages share: one HTML file that needs no network, and no script in it but ours.

No text of a run ever becomes markup: Python escapes it or embeds it as JSON, the scripts set it as
text, and the page's own policy admits no other script and no network.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from hornbeam.errors import StoreError
from hornbeam.files.atomic import whole_file


def page(template: str, styles: tuple[str, ...], scripts: tuple[str, ...], title: str,
         data: Any, network: str = "", **places: str) -> str:  # fmt: skip
    """A template of this folder, filled. `data` is for the scripts, `places` are HTML already.

    `network` is what its scripts may reach, in words of a content security policy.
    """
    script = "\n".join(asset(name) for name in scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(asset(template)).substitute(
        title=escape(title),
        policy="default-src 'none'; style-src 'unsafe-inline';"
        f" script-src 'sha256-{digest}'{network}",
        style="\n".join(asset(name) for name in styles),
        data=embed(data),
        script=script,
        **places,
    )


def notes(sentences: list[str]) -> str:
    """Sentences as small paragraphs."""
    return "".join(f"<p class=note>{escape(sentence)}</p>" for sentence in sentences)


def asset(name: str) -> str:
    """The text of a file of this folder."""
    return (files("hornbeam.view") / name).read_text(encoding="utf-8")


def embed(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def write_page(path: str | Path, text: str) -> Path:
    """Write a page, whole or not at all. Raises `StoreError`."""
    path = Path(path)
    try:
        with whole_file(path, "wb") as stream:
            stream.write(text.encode("utf-8", "replace"))  # lone surrogates become "?"
    except OSError as error:
        raise StoreError(f"{path}: the report cannot be written: {error}") from error
    return path
