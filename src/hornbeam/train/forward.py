"""Log-probs of targets: one forward pass of the body, the head only where something is trained.

The head runs over chunks of sources. The first `HELD` logits of a pack are held for the backward
pass; the chunks beyond are computed again there, so that memory does not grow with the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hornbeam.train import attention
from hornbeam.train.pack import Pack, ValuePack
from hornbeam.train.train_settings import CHUNK, HELD

# Log-probs of a chunk of sources [n, vocabulary], and which of all sources they are, to [n].
Beside = Callable[[Tensor, slice], Tensor]


def log_probs(
    model: Any,
    pack: Pack,
    *,
    bf16: bool = False,
    entropy: bool = False,
    temperature: float = 1.0,
    beside: Beside | None = None,
) -> tuple[Tensor, ...]:
    """(log pi of every target, entropy in nats at every target), each [T], float32.

    With `beside` a third one: what it makes of every target's whole distribution.

    `model` is a transformers causal LM; for a packed trie call this, and the backward pass that
    may compute activations again, inside `attention.packed(model)`. Without `entropy` no gradient
    goes through the second.
    """
    with precision(pack, bf16):
        hidden = hidden_states(model, pack).index_select(0, pack.sources)
        run = partial(_chunk, head(model), temperature, entropy, beside)
        vocabulary = model.config.get_text_config().vocab_size
        parts = []
        starts = torch.arange(0, max(1, len(pack.sources)) + CHUNK, CHUNK, device=pack.slot.device)
        cuts = torch.searchsorted(pack.slot, starts).tolist()  # the one wait for the device
        for start, (a, b) in zip(starts.tolist(), pairwise(cuts)):
            given = start, hidden[start : start + CHUNK], pack.slot[a:b] - start, pack.token[a:b]
            if torch.is_grad_enabled() and (start + CHUNK) * vocabulary > HELD:
                parts.append(checkpoint(run, *given, use_reentrant=False, preserve_rng_state=False))
            else:
                parts.append(run(*given))
    return tuple(torch.cat(each) for each in zip(*parts))


def precision(pack: Pack, bf16: bool) -> AbstractContextManager[object]:
    """What a pack is computed in."""
    return torch.autocast(pack.ids.device.type, torch.bfloat16) if bf16 else nullcontext()


def score(
    model: Any, context: Sequence[int], tokens: Sequence[int], temperature: float
) -> list[float]:
    """Log pi of given tokens after a context, one plain forward pass, as an engine would tell."""
    ids = torch.tensor([[*context, *tokens]], device=next(model.parameters()).device)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0, len(context) - 1 : -1].float()
    every = torch.log_softmax(logits / temperature, -1)
    logprobs: list[float] = every.gather(1, ids[0, len(context) :, None])[:, 0].tolist()
    return logprobs


def row_log_probs(model: Any, ids: Tensor, temperature: float = 1.0) -> Tensor:
    """Log pi [N - 1] of every token of one row `ids` [N] after those before it, plainly run.

    The head runs over chunks, so that no long row makes all of its logits at once.
    """
    with torch.no_grad():
        hidden, logits = attention.run_rows(model, ids[None], None)[0], head(model)
        logprobs = []
        for a in range(0, len(ids) - 1, CHUNK):
            token = ids[a + 1 : a + 1 + CHUNK, None]
            every = torch.log_softmax(logits(hidden[a : a + len(token)]).float() / temperature, -1)
            logprobs.append(every.gather(1, token)[:, 0])
    return torch.cat(logprobs)


_SCALES: WeakKeyDictionary[Any, float] = WeakKeyDictionary()  # of heads that `check_head` measured


def head(model: Any) -> Callable[[Tensor], Tensor]:
    """Hidden states -> logits as the model itself makes them: linear, times a scale, capped.

    Where the configuration does not name the scale (`logit_scale` of Cohere, `logits_scaling` of
    Granite), it is what `check_head` found (Falcon-H1's multiplier, MiniCPM3's width ratio).
    """
    config = model.config.get_text_config()
    linear = model.get_output_embeddings()
    cap = getattr(config, "final_logit_softcapping", None)
    scale = _SCALES.get(model) or _named_scale(config)

    def logits(hidden: Tensor) -> Tensor:
        out: Tensor = linear(hidden)
        if scale != 1:
            out = out * scale
        return out if cap is None else torch.tanh(out / cap) * cap

    return logits


def _named_scale(config: Any) -> float:
    scale = getattr(config, "logit_scale", None)
    return float(scale or 1 / (getattr(config, "logits_scaling", None) or 1))


def hidden_states(model: Any, pack: Pack | ValuePack) -> Tensor:
    """The body's last hidden states, flattened to [tokens, size]; there may be more behind them."""
    if pack.end is not None:
        return attention.run(model, pack.ids, pack.position, pack.end).flatten(0, 1)
    return attention.run_rows(model, pack.ids, pack.real).flatten(0, 1)


def _chunk(
    logits_of: Callable[[Tensor], Tensor],
    temperature: float,
    with_gradient: bool,
    beside: Beside | None,
    start: int,
    hidden: Tensor,
    slot: Tensor,
    token: Tensor,
) -> tuple[Tensor, ...]:
    logits = logits_of(hidden).float()
    every = torch.log_softmax(logits if temperature == 1 else logits / temperature, -1)
    with torch.set_grad_enabled(with_gradient and torch.is_grad_enabled()):
        entropy = -torch.linalg.vecdot(every.exp(), every)
    if beside is None:
        return every[slot, token], entropy[slot]
    apart = beside(every, slice(start, start + len(hidden)))
    return every[slot, token], entropy[slot], apart[slot]


def check_head(model: Any) -> bool:
    """Whether body and head as run here give the logits of the model's own forward.

    A scale that no configuration names is measured, and kept for `head`.
    """
    device = model.get_input_embeddings().weight.device
    given = torch.tensor([[1, 2, 3, 4]], device=device) % model.config.get_text_config().vocab_size
    try:
        with torch.no_grad():
            whole = model(input_ids=given, use_cache=False).logits.double()
            hidden = attention.run_rows(model, given, None)
            parts = head(model)(hidden).double()
            if whole.shape == parts.shape and not _close(whole, parts, 1e-5):
                more = (whole * parts).sum() / parts.square().sum().clamp(min=1e-30)
                _SCALES[model] = _named_scale(model.config.get_text_config()) * float(more)
                parts = head(model)(hidden).double()
    except (RuntimeError, TypeError, AttributeError):  # sizes that do not fit, no linear head
        return False
    return whole.shape == parts.shape and _close(whole, parts, 1e-4)


def _close(a: Tensor, b: Tensor, rtol: float) -> bool:
    return torch.allclose(a, b, rtol=rtol, atol=1e-5)
