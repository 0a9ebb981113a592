"""Who sees whom in a pack, and which models are refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.errors import ModelError
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


@given(tries(), st.sampled_from([None, 1, 3]), st.sampled_from([1, 4, 128]))
def test_a_token_sees_its_ancestors_within_the_window(trie, window, block):
    parents, position, end = trie
    visible = attention.Visible(torch.tensor(position), torch.tensor(end))
    before, attention.BLOCK = attention.BLOCK, block
    try:
        blocks = visible.blocks(window)
    finally:
        attention.BLOCK = before
    for queries, keys, mask in blocks:
        for row, i in enumerate(range(queries.start, queries.stop)):
            line = [i]
            while parents[line[-1]] >= 0:
                line.append(parents[line[-1]])
            assert sorted(line[:window]) == keys[mask[row]].tolist()


@pytest.mark.parametrize("family", ["Llama", "Gemma2", "Gemma3Text", "Mistral"])
def test_these_train_packed(family):
    attention.check(worlds.model(family), family)


def test_the_models_own_attention_is_back_after_the_block():
    model = worlds.model("Llama")
    before = model.config._attn_implementation
    with attention.packed(model):
        assert model.config._attn_implementation == attention.NAME
    assert model.config._attn_implementation == before


def test_refused_by_name():
    with pytest.raises(ModelError, match=r"^gpt2 cannot train packed.*optim.packed = false"):
        from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM

        config = GPTBigCodeConfig(vocab_size=31, n_positions=64, n_embd=16, n_layer=1, n_head=2)
        attention.check(GPTBigCodeForCausalLM(config), "gpt2")


def test_a_head_that_scales_its_logits_is_run_as_the_model_does():
    assert forward.check_head(worlds.model("Granite", logits_scaling=4.0))
    assert forward.check_head(worlds.model("Gemma2", final_logit_softcapping=3.0))


def test_a_head_that_is_not_known_is_refused():
    model = worlds.model("Llama")
    model.config.logits_scaling = 2.0  # the model itself does not scale
    assert not forward.check_head(model)
