"""A value model with random weights, for tests of what reads one."""

import torch
from transformers import LlamaConfig, LlamaForTokenClassification

from hornbeam.models.tiny_model import tokenizer


def value_head(context):
    """A tiny token classifier whose window holds so many tokens of the tiny tokenizer."""
    config = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=len(tokenizer()), max_position_embeddings=context, num_labels=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForTokenClassification(config)
        torch.nn.init.normal_(model.score.weight)
    return model
