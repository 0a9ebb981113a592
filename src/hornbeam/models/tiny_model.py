"""A tiny chat model with random weights: for fast tests, learning curves and comparisons.

A Llama of some 100,000 parameters whose vocabulary is the words of the tiny world, one id each, and
all bytes, so that it reads any text. It lies on disk in Hugging Face layout like any other model.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from hornbeam.models.catalogue import quiet
from hornbeam.settings import Settings, build
from hornbeam.tasks.lookup_world import WORDS

SPECIAL = ("<pad>", "<end>", "<system>", "<user>", "<assistant>")
TEMPLATE = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + '<end>' }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CONTEXT = 2048


class TinyShape(Settings):
    """How wide and deep the tiny model is, and which `words` beside those of its world it has.

    Each of these has an id at the beginning of a text's word and one inside, as "/" in "ash/bay".
    """

    width: int = Field(64, ge=4, le=1024)
    layers: int = Field(2, ge=1, le=24)
    heads: int = Field(4, ge=1)
    words: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError("width must be a multiple of twice the heads")
        if wrong := [word for word in self.words if len(word.split()) != 1 or "▁" in word]:
            raise ValueError(f"words: {wrong[0]!r} is no single word")
        return self


def make(folder: str | Path, seed: int = 0, **options: Any) -> Path:
    """Write a tiny model with its tokenizer into `folder`; equal seeds give equal weights.

    `options` are those of `TinyShape`. Raises `RecipeError` for others.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = build("model", {"tiny": TinyShape}, "tiny", options)
    words = tokenizer(shape.words)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=shape.width,
        intermediate_size=2 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=words.pad_token_id,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    with quiet():
        words.save_pretrained(folder)
        model.save_pretrained(folder)
    return Path(folder)


def tokenizer(more: Iterable[str] = ()) -> Any:
    """One id a word of the tiny world, bytes for all other text, and a chat template.

    `more` are `TinyShape.words`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    all_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = [*SPECIAL, *all_bytes, "▁", *(f"▁{word}" for word in WORDS)]
    own = (piece for word in more for piece in (f"▁{word}", word))
    pieces += [piece for piece in dict.fromkeys(own) if piece not in pieces]
    inner = Tokenizer(models.Unigram([(p, -1.0) for p in pieces], unk_id=0, byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()  # a word stands with the space before it
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<end>",
        additional_special_tokens=list(SPECIAL[2:]),
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
    )
    fast.chat_template = TEMPLATE
    return fast
