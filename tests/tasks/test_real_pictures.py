"""Pictures of the released weights: what a visitor of the page sees."""

from __future__ import annotations

import numpy as np
import pytest

BACKGROUNDS = {
    "a red apple on a blue background": (2, 0),
    "une pomme rouge sur fond bleu": (2, 0),
    "ein roter Apfel auf grünem Hintergrund": (1, 0),
    "una manzana verde sobre fondo rojo": (0, 1),
}
"""Prompts, and which channel of the background is higher than which."""


def pixels(pipeline, prompt, **settings):
    return [np.asarray(image) for image in pipeline.image(prompt, **settings).images]


@pytest.mark.slow
def test_a_picture_is_the_same_alone_and_among_four(real):
    alone = pixels(real, "two yellow stars", seed=12)[0]
    four = pixels(real, "two yellow stars", seed=10, num_images=4)
    assert np.array_equal(alone, four[2])
    assert not np.array_equal(four[0], four[1])


@pytest.mark.parametrize(("prompt", "channels"), BACKGROUNDS.items())
@pytest.mark.slow
def test_backgrounds_have_their_colour_in_four_languages(real, prompt, channels):
    high, low = channels
    pictures = pixels(real, prompt, seed=1, num_images=4)
    corners = [np.concatenate([p[:24, :24], p[:24, -24:]]).mean((0, 1)) for p in pictures]
    assert sum(corner[high] > corner[low] + 40 for corner in corners) >= 3, corners


@pytest.mark.slow
def test_a_picture_and_its_first_preview_are_there_in_seconds(real):
    pixels(real, "a dog", seed=1)  # the first one loads the weights
    timings = [real.image("a dog", seed=seed).timings for seed in range(3)]
    # twice the bars, which are for two cores that do nothing else
    assert min(t.total_s for t in timings) < 8
    assert min(t.first_preview_s for t in timings) < 2
