"""Flex attention over packs, as far as a CPU can tell: forward passes, tiles, kernels compiled."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.errors import ModelError
from hornbeam.train import attention, first_check, flex, forward
from hornbeam.train.pack import packs
from hornbeam.train.policy import Policy
from hornbeam.train.rows import collect
from hornbeam.train.train_settings import OptimSettings
from train import worlds
from train.test_attention import rule, tries

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def tiles(trie):
    """The tiles of a trie, padded, and who sees whom by its definition, [P, P]."""
    _, position, end = trie
    ids = torch.zeros(1, len(end), dtype=torch.long)
    _, place, stop = flex.padded(ids, torch.tensor([position]), torch.tensor(end))
    query, key = torch.arange(len(stop))[:, None], torch.arange(len(stop))
    return flex.Tiles(place[0], stop), (key <= query) & (query < stop)


def rows(seed):
    """Rows of random trees whose every sampled token is trained."""
    trees = worlds.random_trees(seed)
    for tree in trees:
        tree.columns["advantage"] = [1.0] * len(tree)
    return collect(trees)


@settings(max_examples=40)
@given(tries(), st.sampled_from([None, 1, 3, 9]), st.sampled_from([2, 4, 8]))
def test_tiles_hold_what_is_seen_and_nothing_else(trie, window, block):
    before, flex.BLOCK = flex.BLOCK, block
    try:
        made, dense = tiles(trie)
        mask = made.mask(rule(window))
    finally:
        flex.BLOCK = before
    if window is not None:
        dense &= made.position[:, None] - made.position < window
    place = torch.arange(len(dense))
    asked = mask.mask_mod(torch.tensor(0), torch.tensor(0), place[:, None], place)
    assert torch.equal(asked, dense)
    count = len(dense) // block
    squares = dense.view(count, block, count, block).transpose(1, 2)
    kinds = torch.zeros(count, count, dtype=torch.long)
    for kind, number, which in (
        (1, mask.kv_num_blocks, mask.kv_indices),
        (2, mask.full_kv_num_blocks, mask.full_kv_indices),
    ):
        for row in range(count):
            listed = which[0, 0, row, : number[0, 0, row]].long()
            assert not kinds[row, listed].any() and len(set(listed.tolist())) == len(listed)
            kinds[row, listed] = kind
    assert not squares[kinds == 0].any() and squares[kinds == 2].all()
    if window is None:  # no tile is asked token by token without need
        assert not squares[kinds == 1].flatten(1).all(1).any()
        assert squares[kinds == 1].flatten(1).any(1).all()


def test_a_tile_that_a_whole_subtree_lies_in_is_left_out():
    # trunk of 128, two branches of 256: the second sees the trunk and itself
    position = [*range(384), *range(128, 384)]
    end = [640] * 128 + [384] * 256 + [640] * 256
    made, _ = tiles((None, position, end))
    mask = made.mask(None)
    assert mask.full_kv_num_blocks[0, 0].tolist() == [0, 1, 2, 1, 2]
    assert mask.full_kv_indices[0, 0, 4, :2].tolist() == [0, 3]
    assert mask.kv_num_blocks[0, 0].tolist() == [1] * 5  # the diagonal


def test_packs_come_in_few_lengths():
    assert [flex.room(n) for n in (1, 128, 129, 1024, 1025, 2049, 4097, 32768, 32769)] == [
        128, 128, 256, 1024, 1152, 2304, 4608, 32768, 36864,
    ]  # fmt: skip
    lengths = {flex.room(n) for n in range(1, 32769)}
    assert len(lengths) == 8 + 5 * flex.STEPS and all(n % flex.BLOCK == 0 for n in lengths)
    assert all(n <= flex.room(n) < max(n * 9 / 8, n + 128) + 1 for n in range(1, 32769, 7))


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("family", ["Llama", "Gemma2"])
def test_flex_tells_the_log_probs_that_masks_do(family, bf16):
    model = worlds.model(family)
    for pack in packs(rows(3), 64, packed=True):
        with torch.no_grad():
            with attention.packed(model):
                wanted = forward.log_probs(model, pack, bf16=bf16)[0]
            with attention.packed(model, "flex"):
                found = forward.log_probs(model, pack, bf16=bf16)[0]
        torch.testing.assert_close(found, wanted, atol=0.05 if bf16 else 1e-5, rtol=0.01)
    if family == "Llama" and not bf16:
        assert first_check._CheckRows(model, family).packed("flex", False) == ""


def test_a_kernel_serves_all_packs_of_its_length():
    flex.compiled.cache_clear()
    run = flex.compiled("eager")  # what is compiled for what, without a compiler

    def call(length):
        trie = (None, list(range(length)), [length] * length)
        made, dense = tiles(trie)
        q, k, v = torch.randn(3, 1, 2, len(dense), 16).unbind(0)
        mask = made.mask(None)
        wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=dense)
        torch.testing.assert_close(run(q, k, v, block_mask=mask, scale=None), wanted)

    with torch.no_grad():
        call(200)
        call(400)
        with torch.compiler.set_stance("fail_on_recompile"):
            for length in (130, 201, 256, 390, 512):
                call(length)
            with pytest.raises(RuntimeError, match="recompil"):
                call(600)


def test_on_a_cpu_packs_have_masks_and_flex_is_refused():
    model = worlds.model("Llama")
    assert attention.choose("auto", model) == attention.choose("mask", model) == "mask"
    with pytest.raises(ModelError, match=r'^optim.attention = "flex" cannot train on a CPU: set'):
        Policy(model, optim=OptimSettings(attention="flex"))
    assert Policy(model, optim=OptimSettings(attention="flex", packed=False))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: flex trains on no CPU")
@pytest.mark.parametrize("bf16", [False, True])
def test_on_a_gpu_flex_gives_the_gradients_that_masks_do(bf16):
    (pack,) = packs(rows(3), 4096, packed=True, device="cuda")
    found = {}
    for how in ("mask", "flex"):
        model = worlds.model("Llama", head_dim=32).to("cuda")
        assert attention.choose("auto", model) == "flex"
        policy = Policy(model, optim=OptimSettings(attention=how, checkpointing=True))
        with policy._training():
            forward.log_probs(model, pack, bf16=bf16)[0].sum().backward()
        found[how] = [p.grad for p in model.parameters()]
    for a, b in zip(found["flex"], found["mask"]):
        torch.testing.assert_close(a, b, atol=0.05 if bf16 else 1e-4, rtol=0.05 if bf16 else 1e-3)


def saved(model, pack, bf16=False):
    """Bytes that the forward pass of a pack keeps for the backward pass, weights left out."""
    weights = {p.data_ptr() for p in model.parameters()}
    held = {}

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            held[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with attention.packed(model), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        logp, _ = forward.log_probs(model, pack, bf16=bf16)
    return sum(held.values()), logp


def test_checkpointing_keeps_little_and_changes_no_gradient():
    (pack,) = packs(rows(5), 4096, packed=True)
    found = {}
    for checkpointing in (False, True):
        model = worlds.model("Llama", num_hidden_layers=4)
        Policy(model, optim=OptimSettings(checkpointing=checkpointing, bf16=True))
        model.train()
        size, logp = saved(model, pack, bf16=True)
        with attention.packed(model):
            logp.sum().backward()
        assert {p.dtype for p in model.parameters()} == {p.grad.dtype for p in model.parameters()}
        found[checkpointing] = size, [p.grad for p in model.parameters()]
    assert found[True][0] < found[False][0] / 3
    for a, b in zip(found[True][1], found[False][1]):
        torch.testing.assert_close(a, b, atol=1e-2, rtol=2e-2)
