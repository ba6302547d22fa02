"""The mark in a picture's codes: chosen by its key, read from the picture alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import kstest

import mtgen
from mtgen.marks.codes import CodesReading, chosen_levels, codes_p_value, numbers
from mtgen.marks.keys import CODES, KeyRing, MarkKey
from mtgen.marks.picture import read_picture

KEY = b"k" * 32
OWN, OTHER = MarkKey(b"\1" * 32), MarkKey(b"\2" * 32, host="another host")
PROMPTS = ("a red apple", "a car", "a house", "a blue fish", "a guitar", "a green tree")


def drawn_from(scores: torch.Tensor, secret: bytes) -> CodesReading:
    """What a reader finds that makes no mistake."""
    levels = (chosen_levels(scores, secret) + 1.5).long()[0]
    odds = (scores[0].double() / 0.8).softmax(-1).gather(-1, levels[..., None])[..., 0]
    return CodesReading(levels.numpy(), odds.numpy())


def test_levels_are_chosen_by_their_odds():
    scores = torch.tensor([0.0, 1.0, 2.0, -20.0]).expand(1, 200, 100, 4)
    levels = chosen_levels(scores, KEY) + 1.5
    shares = torch.bincount(levels.flatten().long(), minlength=4) / levels.numel()
    assert shares.numpy() == pytest.approx((scores[0, 0, 0] / 0.8).softmax(-1).numpy(), abs=0.01)
    assert torch.equal(levels, chosen_levels(scores, KEY) + 1.5)
    assert not torch.equal(levels, chosen_levels(scores, b"x" * 32) + 1.5)


def test_numbers_of_a_key_are_even():
    found = numbers(KEY, 64, 64)
    assert found.shape == (64, 64, 4)
    assert kstest(found.flatten(), "uniform").pvalue > 0.01


@pytest.mark.slow
def test_the_right_key_is_found_and_others_give_even_p_values():
    scores = torch.randn(1, 64, 32, 4, generator=torch.Generator().manual_seed(0)) * 3
    reading = drawn_from(scores, KEY)
    assert codes_p_value(reading, KEY) < 1e-9
    rng = np.random.default_rng(0)
    assert kstest([codes_p_value(reading, rng.bytes(32)) for _ in range(300)], "uniform")[1] > 0.01


def test_nothing_is_found_where_nothing_was_left_open():
    sure = CodesReading(np.zeros((4, 4), np.int64), np.ones((4, 4)))
    assert codes_p_value(sure, KEY) == 1.0


@pytest.fixture(scope="module")
def pipeline(trunk_folder):
    return mtgen.load(keys=KeyRing(OWN, (OTHER,)), progress=False)


@pytest.fixture(scope="module")
def pictures(pipeline):
    return [pipeline.image(prompt, seed=n).images[0] for n, prompt in enumerate(PROMPTS)]


def found_in(pipeline, image: Image.Image):
    return {t.key: t for t in read_picture(image, pipeline.keys, codes=pipeline.read_codes)}


@pytest.mark.slow
def test_released_weights_leave_enough_to_the_key(pipeline, pictures):
    tests = [found_in(pipeline, image) for image in pictures]
    own = np.array([test[OWN.fingerprint].p_codes for test in tests])
    other = np.array([test[OTHER.fingerprint].p_codes for test in tests])
    assert np.median(own) < 1e-2
    assert (own < 0.05).all()
    assert other.min() > 1e-3


def test_codes_survive_being_drawn_anew_which_pixels_do_not(pipeline, pictures):
    autoencoder, own = pipeline.painters().autoencoder, []
    for image in pictures:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1
        anew = (autoencoder.decode(autoencoder.encode(pixels))[0] + 1) * 127.5
        image = Image.fromarray(anew.round().byte().permute(1, 2, 0).numpy())
        own.append(found_in(pipeline, image)[OWN.fingerprint])
    assert np.median([test.p_codes for test in own]) < 1e-2
    assert np.median([test.p_pixels for test in own]) > 1e-2


def test_a_picture_says_where_it_is_marked(pipeline, pictures):
    buffer = io.BytesIO()
    pictures[0].save(buffer, "JPEG", quality=60)
    found = pipeline.verify(buffer.getvalue(), name="a.jpg")
    assert found.verdict == "marked"
    assert "Watermark found in the pixels and the codes, made" in found.summary
    cut = pictures[0].crop((20, 10, 256, 220))
    assert found_in(pipeline, cut)[OWN.fingerprint].p_codes is None


def test_without_a_mark_codes_are_drawn_at_their_means(pipeline):
    plain = pipeline.image(PROMPTS[0], seed=0, mark="none").images[0]
    test = found_in(pipeline, plain)[OWN.fingerprint]
    assert min(test.p_codes, test.p_pixels) > 1e-3
    assert MarkKey(b"\1" * 32).derived(CODES) != MarkKey(b"\2" * 32).derived(CODES)
