"""The sampler by numbers worked by hand, by counts, and against transformers' own warpers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TopKLogitsWarper, TopPLogitsWarper

from hornbeam.engine.request import Sampling
from hornbeam.engine.token_sampling import BLOCK, HEAD, inverse_cdf, pick, truncate, uniforms


def test_inverse_cdf_by_hand():
    weights = torch.tensor([[1.0, 0.0, 3.0, 0.0]]).expand(6, 4)
    points = torch.tensor([0.0, 0.24, 0.26, 0.5, 0.99, 1 - 2**-53], dtype=torch.float64)
    assert inverse_cdf(weights, points).tolist() == [0, 0, 2, 2, 2, 2]


@settings(max_examples=60)
@given(st.integers(1, 3 * BLOCK + 5), st.floats(0, 1, exclude_max=True), st.integers(0, 99))
def test_inverse_cdf_is_where_the_running_sum_passes_the_point(size, point, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(2, size, generator=generator)
    weights[torch.rand(2, size, generator=generator) < 0.5] = 0
    weights[:, seed % size] = 0.5
    picked = inverse_cdf(weights, torch.tensor([point, point], dtype=torch.float64))
    for row, token in zip(weights.double(), picked.tolist()):
        sums, target = row.cumsum(0), point * row.sum()
        slack = 1e-5 * row.sum()
        assert row[token] > 0
        assert sums[token] - row[token] - slack <= target <= sums[token] + slack


@pytest.mark.parametrize("size", [7, BLOCK + 3])
def test_tokens_come_as_often_as_their_probability(size):
    torch.manual_seed(0)
    logits, draws, temperature = torch.randn(size) * 2, 20_000, 1.3
    picks = pick(
        logits.expand(draws, size), [Sampling(temperature=temperature)] * draws, uniforms(3, draws)
    )
    seen = torch.bincount(torch.tensor(picks.tokens), minlength=size)
    want = (logits / temperature).softmax(-1) * draws
    likely = want > 5
    score = ((seen - want) ** 2 / want)[likely].sum().item()
    degrees = int(likely.sum())
    assert score < degrees + 5 * (2 * degrees) ** 0.5  # chi-square, five standard deviations


@settings(max_examples=40)
@given(st.integers(1, 60), st.floats(0.05, 1), st.integers(0, 99), st.sampled_from([4, 16, HEAD]))
def test_truncation_is_that_of_transformers(top_k, top_p, seed, width):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(3, 50, generator=generator)
    warped = TopKLogitsWarper(top_k)(None, logits)
    if top_p < 1:
        warped = TopPLogitsWarper(top_p)(None, warped)
    k, p = torch.full((3,), min(top_k, 50)), torch.full((3,), top_p)
    out = truncate(logits.softmax(-1), k, p, width)
    torch.testing.assert_close(out / out.sum(-1, keepdim=True), warped.softmax(-1))


def test_a_nucleus_wider_than_the_head_is_found():
    probs = torch.full((1, 3 * HEAD), 1 / (3 * HEAD))
    kept = truncate(probs, torch.tensor([3 * HEAD]), torch.tensor([0.5]))
    assert abs(int((kept > 0).sum()) - 3 * HEAD // 2) <= 1


def test_rows_with_samplings_of_their_own():
    logits = torch.log(torch.tensor([0.1, 0.2, 0.4, 0.3])).expand(4, 4)
    samplings = [
        Sampling(temperature=0),
        Sampling(),
        Sampling(top_k=1),
        Sampling(temperature=0.5, top_p=0.5),  # 1, 4, 16, 9 of 30: the nucleus is token 2
    ]
    picks = pick(logits, samplings, [0.0, 0.0, 0.99, 0.01])
    assert picks.tokens == [2, 0, 2, 2]
    want = torch.log(torch.tensor([0.4, 0.1, 0.4, 16 / 30]))
    torch.testing.assert_close(torch.tensor(picks.logprobs), want)


def test_rows_that_are_not_finite_are_told():
    logits = torch.zeros(4, 5)
    logits[1, 2], logits[2, 0], logits[3, 1] = torch.nan, torch.inf, -torch.inf
    assert pick(logits, [Sampling()] * 4, [0.5] * 4).sound == [True, False, False, True]
    greedy = pick(logits, [Sampling(temperature=0)] * 4, [0.5] * 4)
    assert greedy.sound == [True, False, False, True]


def test_uniforms_belong_to_the_seed():
    assert uniforms(7, 5) == uniforms(7, 9)[:5] != uniforms(8, 5)
    assert uniforms(-1, 1) == uniforms(2**64 - 1, 1)
