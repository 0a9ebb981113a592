"""Chat templates that ship with the package, for models whose own has no place for tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hornbeam.chat.call_formats import FORMATS
from hornbeam.chat.call_scan import CallFormat
from hornbeam.errors import ModelError
from hornbeam.files.paths import find, missing
from hornbeam.settings import nearest

# The control tokens that each of them writes.
READY: dict[str, tuple[str, ...]] = {
    "hermes": ("<|im_start|>", "<|im_end|>"),  # ChatML: SmolLM2, Qwen and others
    "tiny": ("<system>", "<user>", "<assistant>", "<end>"),  # the tiny model
}
FORMAT = "tool_format"  # among the settings of a tokenizer
FOLDER = Path(__file__).with_name("templates")


def template_file(name: str, base: Path = Path()) -> Path:
    """Where a chat template lies: a ready-made one by name, or a .jinja file beside `base`.

    Raises `ModelError` where there is none.
    """
    if name in READY:
        return FOLDER / f"{name}.jinja"
    if "." not in name and "/" not in name:
        raise ModelError(f"no chat template {name!r}: {nearest(name, READY)}, or name a file")
    path = find(name, base)
    if not path.is_file():
        raise ModelError(missing(name, base))
    return path


def template_text(name: str, base: Path = Path()) -> str:
    """The text of a chat template. Raises `ModelError` where it cannot be read."""
    path = template_file(name, base)
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: no chat template can be read: {error}") from error


def with_template(tokenizer: Any, name: str, base: Path = Path()) -> Any:
    """The tokenizer with that chat template in place of its own; it is saved with it.

    Raises `ModelError` where a ready-made one writes control tokens that the tokenizer has not.
    """
    text = template_text(name, base)
    known = tokenizer.get_added_vocab()
    lacks = [token for token in READY.get(name, ()) if token not in known]
    if lacks:
        raise ModelError(
            f"chat_template = {name!r} writes {' and '.join(lacks)}, no control tokens of this"
            " model: write one of your own, a .jinja file"
        )
    tokenizer.chat_template = text
    return tokenizer


def with_format(tokenizer: Any, name: str) -> Any:
    """The tokenizer with a form of tool calls that its model writes; it is saved with it.

    Raises `ModelError` for a form that is not known.
    """
    form_of(name)
    tokenizer.init_kwargs[FORMAT] = name
    return tokenizer


def form_of(name: str) -> CallFormat:
    """A form of tool calls by its name. `ModelError` where there is none."""
    if name not in FORMATS:
        raise ModelError(f"no tool_format {name!r}: {nearest(name, FORMATS)}")
    return FORMATS[name]
