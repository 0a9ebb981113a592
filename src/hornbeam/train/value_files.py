"""Value models to and from disk: Hugging Face layout, model card, what they were fitted on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hornbeam.chat import TemplateChat
from hornbeam.errors import ModelError, StoreError
from hornbeam.files.atomic import whole_folder
from hornbeam.models import catalogue
from hornbeam.models.catalogue import AS_DATA, check_folder, quiet, reading
from hornbeam.train import weights
from hornbeam.train.train_settings import FitSettings

CARD = catalogue.VALUE_CARD
README = "README.md"
HEAD = "score.weight"


@dataclass(frozen=True, slots=True)
class Card:
    """What a value model is: its base, what it was fitted on, and whose ids it reads."""

    base: str
    fingerprint: str = ""
    objective: str = ""  # "" where nothing was fitted yet
    column: str = ""
    trees: int = 0
    epochs: int = 0

    def fitted_on(self, column: str, settings: FitSettings, trees: int) -> Card:
        """The card after a fit."""
        return replace(
            self,
            objective=settings.objective,
            column=column,
            trees=trees,
            epochs=settings.epochs,
        )


def load(folder: Path) -> tuple[Any, Any, Card]:
    """(classifier in float32, tokenizer, card) of a folder; a causal LM is given a head of zeros.

    Raises `ModelError` in one line where the folder holds neither.
    """
    from transformers import AutoTokenizer

    check_folder(folder)
    with reading(f"{folder}: the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, **AS_DATA)
    fresh = not (folder / CARD).is_file()
    with reading(f"{folder}: the model"), _silent():
        how = {"num_labels": 1, "dtype": torch.float32, "output_loading_info": True}
        model, report = _classifier(folder).from_pretrained(folder, **how, **AS_DATA)
    missing = set(report["missing_keys"])
    heads = {name for name in missing if name.startswith("score.")}
    if missing - heads or (heads and not fresh):
        raise ModelError(f"{folder}: the weights of {min(missing)!r} are missing")
    if not hasattr(model, "score"):
        raise ModelError(f"{folder}: {type(model).__name__} has no head named 'score'")
    if heads:
        for parameter in model.score.parameters():
            torch.nn.init.zeros_(parameter)
    weights.fits(model, tokenizer, str(folder))
    return model, tokenizer, _card(folder, tokenizer, fresh)


def _classifier(folder: Path) -> Any:
    """The auto class that gives the family's body a head named `score`, tokens preferred."""
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )

    config = AutoConfig.from_pretrained(folder, **AS_DATA)
    for auto in (AutoModelForTokenClassification, AutoModelForSequenceClassification):
        if type(config) in auto._model_mapping:
            return auto
    raise ModelError(
        f"{folder}: transformers has no classifier of family {config.model_type!r}: take a Llama,"
        " Qwen, Gemma or Mistral for a value model"
    )


def _card(folder: Path, tokenizer: Any, fresh: bool) -> Card:
    with reading(f"{folder}: the tokenizer"):
        found = fingerprint(tokenizer)
    if fresh:
        return Card(folder.resolve().name, found)
    try:
        card = Card(**json.loads((folder / CARD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{folder / CARD}: not readable: {weights.line(error)}") from error
    if card.fingerprint != found:
        raise ModelError(
            f"{folder}: its tokenizer ({found}) is not the one it was fitted with"
            f" ({card.fingerprint}); put that one back"
        )
    return card


def fingerprint(tokenizer: Any) -> str:
    """The digest of a tokenizer, as a chat tells it."""
    return TemplateChat(tokenizer).fingerprint()


@contextmanager
def _silent() -> Iterator[None]:
    """Without the loading report of transformers: what is missing is looked at here."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with quiet():
            yield
    finally:
        logging.set_verbosity(level)


def save(
    model: Any,
    tokenizer: Any,
    card: Card,
    figures: Mapping[str, float],
    folder: Path,
    more: Mapping[str, str] = {},
) -> None:
    """Write weights (adapters merged), tokenizer, card and README; `StoreError` where it fails."""
    about = json.dumps(asdict(card), indent=2) + "\n"
    try:
        with whole_folder(folder) as part, quiet():
            weights.save(model, tokenizer, part)
            (part / CARD).write_text(about, encoding="utf-8")
            (part / README).write_text(readme(type(model).__name__, card, figures), "utf-8")
            for name, text in more.items():
                (part / name).write_text(text, "utf-8")
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {weights.line(error)}") from error


def readme(kind: str, card: Card, figures: Mapping[str, float]) -> str:
    """The model card: what it is, what it was fitted on, how to read it with transformers alone."""
    tokens = kind.endswith("ForTokenClassification")
    auto = "AutoModelForTokenClassification" if tokens else "AutoModelForSequenceClassification"
    place = "[0, -1, 0]" if tokens else "[0, 0]"
    meaning = {
        "regression": "the value of every step in [-1, 1]: `tanh(z)`",
        "pairs": "which of two steps is better: the one of higher z; `tanh(z)` lies in [-1, 1]",
        "outcome": "whether a whole transcript ends well: the probability is `sigmoid(z)`",
    }
    rows = "".join(f"| {name} | {value:.4g} |\n" for name, value in figures.items())
    table = f"\n## Figures\n\n| figure | value |\n|---|---|\n{rows}" if rows else ""
    return f"""---
library_name: transformers
tags: [hornbeam, reward-model]
---

# Value model on {card.base}

A language model's body with a scalar head z, fitted by Hornbeam. It says
{meaning.get(card.objective, "nothing yet: the head is new")}.

- base model: {card.base}
- fitted on: column `{card.column}` of {card.trees} trees, objective `{card.objective}`, \
{card.epochs} epochs
- tokenizer: `{card.fingerprint}` (it reads token ids of this tokenizer only)

The value of a step is read at the last token of the ids that the step's model call saw and
sampled, its end token included.

```python
from transformers import {auto}

model = {auto}.from_pretrained(".")
z = model(input_ids=ids).logits{place}  # ids: shape [1, n], up to the step's last token
```

Served by vLLM (tasks `token_classify`, `classify`) it returns sigmoid(z) by default, not z, unless
the request says `use_activation=False`; the numbers above are of z.
{table}"""
