"""The mark in translations: beams lean towards what the key likes, and the lean is found."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from mtgen.marks.gumbel import evidence
from mtgen.marks.tilt import STRENGTH, Tilt, tilt_mark, tilt_p_value

SECRET, OTHER = b"s" * 32, b"o" * 32
VOCAB = 500


def text(length: int, seed: int, strength: float, secret: bytes = SECRET) -> list[int]:
    """Tokens of a made-up model that is searched greedily, with a bonus."""
    rng = np.random.default_rng(seed)
    bonus = Tilt(secret, strength)
    ids = list(rng.integers(VOCAB, size=2))
    while len(ids) < length:
        tokens = torch.from_numpy(rng.choice(VOCAB, 8, replace=False))
        odds = torch.from_numpy(rng.dirichlet(np.full(8, 0.7))).log()
        scores = odds + bonus(torch.tensor([ids]), tokens[None])[0]
        ids.append(int(tokens[scores.argmax()]))
    return ids


def p_value(ids: list[int], secret: bytes) -> float:
    mark = tilt_mark(secret)
    return tilt_p_value(evidence(mark.numbers(ids, mark.pairs(ids))))


def test_a_long_translation_is_found_by_its_key_and_no_other():
    texts = [text(300, seed, 2.0) for seed in range(10)]
    assert max(p_value(ids, SECRET) for ids in texts) < 0.01
    assert min(p_value(ids, OTHER) for ids in texts) > 0.001


@pytest.mark.slow
def test_without_a_mark_p_values_are_uniform():
    found = [p_value(text(60, seed, 0.0), SECRET) for seed in range(400)]
    assert kstest(found, "uniform").pvalue > 0.01


def test_beams_without_a_context_get_no_bonus():
    bonus = Tilt(SECRET)
    nothing = bonus(torch.zeros(3, 1, dtype=torch.int64), torch.arange(12).view(3, 4))
    assert nothing.tolist() == [[0.0] * 4] * 3
    some = bonus(torch.zeros(3, 2, dtype=torch.int64), torch.arange(12).view(3, 4))
    assert 0.45 * STRENGTH < some.abs().max() <= STRENGTH / 2
    assert some.unique().numel() == 12


def test_an_empty_text_proves_nothing():
    assert tilt_p_value(np.array([])) == 1
    assert tilt_p_value(np.array([5.0])) == pytest.approx(np.exp(-5), rel=0.1)
