"""Rows from the Hugging Face hub through `datasets`; the only import of it.

Whether the hub answers is asked first, within seconds, so that a machine without a network does
not wait for the client's retries. With `HF_HUB_OFFLINE` only what is in the cache is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

SECONDS = 4.0  # how long the hub may take to answer


class HubSilent(Exception):
    """The hub gave no such rows; the text says why in one line."""


def hub_rows(name: str, config: str | None, split: str) -> list[dict[str, Any]]:
    """All rows of one split of a hub data set, or of a local folder in that layout.

    Raises `HubSilent` when the hub cannot be reached or has no such data set, config or split.
    """
    try:
        _probe(name)
        from datasets import load_dataset

        return [dict(row) for row in load_dataset(name, config, split=split)]
    except Exception as error:  # the client's family, its transport's, the system's, the parser's
        raise HubSilent(_one_line(error)) from error


def _probe(name: str) -> None:
    from huggingface_hub import HfApi, constants

    if not Path(name).is_dir() and not constants.HF_HUB_OFFLINE:
        HfApi().dataset_info(name, timeout=SECONDS)


def _one_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else repr(error)
