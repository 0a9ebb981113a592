"""Who sees whom in a pack, and what the head of a model is."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.masking_utils import sliding_window_causal_mask_function

from hornbeam.train import attention, forward
from train import worlds


@st.composite
def tries(draw):
    """A random trie in preorder as (parents, position, end)."""
    n = draw(st.integers(1, 40))
    path, parents = [], []
    for i in range(n):
        keep = draw(st.integers(0, len(path))) if i else 0
        parents.append(path[keep - 1] if keep else -1)
        path = [*path[:keep], i]
    position, end = [0] * n, [n] * n
    for i, p in enumerate(parents):
        position[i] = position[p] + 1 if p >= 0 else 0
    for i in range(n):
        after = (k for k in range(i + 1, n) if position[k] <= position[i])
        end[i] = next(after, n)
    return parents, position, end


def rule(window):
    """transformers' own rule of a layer."""
    return None if window is None else sliding_window_causal_mask_function(window)


@given(tries(), st.sampled_from([None, 1, 3]), st.sampled_from([1, 4, 128]))
def test_a_token_sees_its_ancestors_within_the_window(trie, window, block):
    parents, position, end = trie
    visible = attention.Visible(torch.tensor(position), torch.tensor(end))
    before, attention.BLOCK = attention.BLOCK, block
    try:
        blocks = visible.blocks(rule(window))
    finally:
        attention.BLOCK = before
    for queries, keys, mask in blocks:
        for row, i in enumerate(range(queries.start, queries.stop)):
            line = [i]
            while parents[line[-1]] >= 0:
                line.append(parents[line[-1]])
            assert sorted(line[:window]) == keys[mask[row]].tolist()


def test_the_models_own_attention_is_back_after_the_block():
    model = worlds.model("Llama")
    before = model.config._attn_implementation
    with attention.packed(model):
        assert model.config._attn_implementation == attention.NAME
    assert model.config._attn_implementation == before


def test_a_head_that_scales_its_logits_is_run_as_the_model_does():
    assert forward.check_head(worlds.model("Granite", logits_scaling=4.0))
    assert forward.check_head(worlds.model("Gemma2", final_logit_softcapping=3.0))


def test_a_scale_that_no_configuration_names_is_measured():
    model = worlds.model("Llama")
    own = model.forward

    def scaled(**given):
        out = own(**given)
        out.logits = out.logits * 0.7
        return out

    model.forward = scaled
    assert forward.check_head(model)
    hidden = torch.randn(1, 3, 32)
    torch.testing.assert_close(forward.head(model)(hidden), 0.7 * model.lm_head(hidden))


def test_a_head_that_is_not_known_is_refused():
    model = worlds.model("Llama")
    own = model.forward

    def bent(**given):
        out = own(**given)
        out.logits = out.logits.sin()
        return out

    model.forward = bent
    assert not forward.check_head(model)
