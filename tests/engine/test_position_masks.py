"""Attention of the local engine: heads that share keys, taken together or one by one."""

import pytest
import torch

from hornbeam.engine.local import position_masks
from hornbeam.engine.local.position_masks import Places, attend, placed
from hornbeam.train.attention import attend as by_mask


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("new", [1, 5, 9])
def test_heads_taken_together_are_the_heads_one_by_one(monkeypatch, new, softcap):
    monkeypatch.setattr(position_masks, "FEW", 5)
    torch.manual_seed(new)
    rows, heads, kept, size, width = 3, 6, 2, 8, 14
    query = torch.randn(rows, heads, new, size)
    key, value = torch.randn(2, rows, kept, width, size).unbind(0)
    at = torch.arange(width - new, width).expand(rows, -1) - torch.arange(rows)[:, None]
    places = Places(at, torch.arange(width).expand(rows, -1), torch.float32)
    with placed(places):
        mask = places.mask(position_masks.causal_mask_function)
        out, _ = attend(None, query, key, value, mask, softcap=softcap)
    assert places.calls == 1 and not places.foreign
    for row in range(rows):
        for head in range(heads):
            one = slice(row, row + 1)
            its = key[one, head // 3, None], value[one, head // 3, None]
            want = by_mask(query[one, head, None], *its, mask[one] == 0, softcap=softcap)
            torch.testing.assert_close(out[row, :, head], want[0, 0], atol=1e-6, rtol=1e-6)
