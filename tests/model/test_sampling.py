from __future__ import annotations

import pytest
import torch

from mtgen.model.sampling import SHORTLIST, draw_seed, sample_token, seeded


def draws(logits, temperature, top_p, count=4000):
    generator = seeded(1)
    picked = [sample_token(logits, temperature, top_p, generator) for _ in range(count)]
    return torch.bincount(torch.tensor(picked), minlength=len(logits)) / count


def test_temperature_zero_takes_the_likeliest():
    assert sample_token(torch.tensor([0.1, 2.0, 1.9]), 0.0, 1.0, seeded(0)) == 1


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
def test_frequencies_follow_the_softmax(temperature):
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    wanted = (logits / temperature).softmax(0)
    assert torch.allclose(draws(logits, temperature, 1.0), wanted, atol=0.03)


def test_top_p_keeps_the_smallest_set_that_holds_the_share():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    shares = draws(logits, 1.0, 0.7)
    assert torch.allclose(shares, torch.tensor([0.625, 0.375, 0, 0]), atol=0.03)
    assert draws(logits, 1.0, 0.81)[2] > 0


def test_a_flat_distribution_needs_more_than_the_shortlist():
    logits = torch.zeros(SHORTLIST * 4)
    shares = draws(logits, 1.0, 0.9)
    assert (shares > 0).sum() > SHORTLIST * 2


def test_a_tiny_temperature_does_not_overflow():
    assert sample_token(torch.tensor([80.0, -80.0, 79.0]), 1e-9, 1.0, seeded(0)) == 0


def test_the_same_seed_draws_the_same_tokens():
    logits = torch.randn(500)
    first, second = seeded(7), seeded(7)
    for _ in range(20):
        assert sample_token(logits, 1.0, 0.95, first) == sample_token(logits, 1.0, 0.95, second)


def test_drawn_seeds_differ_and_stay_in_range():
    seeds = {draw_seed() for _ in range(100)}
    assert len(seeds) > 95
    assert all(0 <= seed < 2**32 for seed in seeds)
