"""The mark in a picture's codes: drawn with their odds, and found when enough of them come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from mtgen.marks.codes import codes_p_value, preferences
from mtgen.marks.keys import MarkKey
from mtgen.model.sampling import seeded
from mtgen.tasks.image import choose_marked

SECRET = b"s" * 32
PLACES, RANKS = 64, 2


def drawn(seed: int, secret: bytes | None) -> np.ndarray:
    """Codes of a made-up model, whose odds depend on the place."""
    generator = seeded(seed)
    odds = torch.randn(PLACES * RANKS, 256, generator=seeded(1000 + seed)) * 2
    uniform = torch.rand(PLACES * RANKS, generator=generator)
    if secret is None:
        return torch.multinomial(odds.softmax(-1), 1, generator=generator).view(-1, 2).numpy()
    liked = preferences(secret, PLACES, RANKS).flatten(0, 1)
    return choose_marked(odds.log_softmax(-1), 1.0, uniform, liked).view(PLACES, RANKS).numpy()


def garbled(codes: np.ndarray, seed: int) -> np.ndarray:
    """Codes of which half of the first and a fifth of the second come back."""
    rng = np.random.default_rng(seed)
    kept = rng.random(codes.shape) < np.array([0.5, 0.2])
    return np.where(kept, codes, rng.integers(0, 256, codes.shape))


def test_a_mark_is_found_in_codes_that_come_back_in_part():
    right = [codes_p_value(garbled(drawn(seed, SECRET), seed), SECRET) for seed in range(20)]
    wrong = [codes_p_value(garbled(drawn(seed, SECRET), seed), b"o" * 32) for seed in range(20)]
    assert np.mean(np.array(right) < 0.01) > 0.9
    assert np.mean(np.array(wrong) < 0.01) < 0.2


def test_without_a_mark_p_values_are_uniform():
    found = [codes_p_value(drawn(seed, None), bytes([seed % 251]) * 32) for seed in range(300)]
    assert kstest(found, "uniform").pvalue > 0.01


def test_codes_are_drawn_with_their_odds():
    odds = torch.tensor([0.6, 0.3, 0.1])
    liked = torch.rand(9000, 2, 3, generator=seeded(1)).log()
    uniform = torch.rand(9000, generator=seeded(2))
    chosen = choose_marked(odds.log().expand(9000, 3), 1.0, uniform, liked)
    assert torch.bincount(chosen) / 9000 == pytest.approx(odds.numpy(), abs=0.02)


def test_the_layer_can_be_asked_for_and_seeds_still_matter(tiny_image):
    settings = {"num_inference_steps": 3, "mark": "codes"}
    one, again, other = (tiny_image.image("a dog", seed=s, **settings) for s in (1, 1, 2))
    assert one.marks == (f"codes:{tiny_image.keys.current.fingerprint}",)
    assert one.images[0].tobytes() == again.images[0].tobytes() != other.images[0].tobytes()
    assert set(tiny_image.codes_p_values(one.images[0])) == {tiny_image.keys.current.fingerprint}


def test_real_pictures_carry_it_through_their_pixels(real):
    key: MarkKey = real.keys.current
    prompts = ("a red car", "a dog", "two houses", "a green tree")
    found = [
        real.codes_p_values(real.image(prompt, seed=3, mark="codes").images[0])[key.fingerprint]
        for prompt in prompts
    ]
    assert np.median(found) < 0.01
