"""The mark in texts: exact under the null, found in what it marked."""

import numpy as np
import pytest
from scipy.stats import gamma, kstest

from mtgen.marks.frequent import NUM_PHRASES, frequent_phrases
from mtgen.marks.gumbel import (
    STEPS_PER_NAT,
    GumbelMark,
    evidence,
    log_ratios,
    marked_parts,
    p_value,
    weighted_p_value,
)
from mtgen.marks.tilt import tilt_p_value

MARK = GumbelMark(b"k" * 32)
VOCAB = 500


def text(mark, length, rng, spread=2.0):
    """Tokens of a made-up model, and their probabilities."""
    ids, odds = list(rng.integers(VOCAB, size=2)), [1.0, 1.0]
    seen = set()
    for _ in range(length):
        p = rng.dirichlet(np.full(40, 1 / spread)).clip(1e-12)
        tokens = rng.choice(VOCAB, 40, replace=False)
        context = tuple(ids[-2:])
        if mark is None or context in seen:
            place = rng.choice(40, p=p / p.sum())
        else:
            place = mark.choose(context, tokens, p, int(rng.integers(2)))
        seen.add(context)
        ids.append(int(tokens[place]))
        odds.append(float(p[place]))
    return ids, np.array(odds)


def p_values(ids, odds, mark=MARK):
    places = mark.pairs(ids)
    found = evidence(mark.numbers(ids, places))
    return p_value(found), weighted_p_value(found, odds[places])


@pytest.mark.slow
def test_without_a_mark_p_values_are_uniform():
    rng = np.random.default_rng(0)
    plain, weighted = zip(*(p_values(*text(None, 40, rng)) for _ in range(400)), strict=True)
    assert kstest(plain, "uniform").pvalue > 0.05
    assert kstest(weighted, "uniform").pvalue > 0.05


def test_a_mark_is_found_by_its_key_alone():
    rng = np.random.default_rng(1)
    made = [text(MARK, 25, rng, spread=10) for _ in range(60)]
    right = np.array([p_values(*one) for one in made])
    wrong = np.array([p_values(*one, GumbelMark(b"x" * 32)) for one in made])
    assert (right[:, 0] < 0.01).mean() > 0.8
    assert np.median(right[:, 1]) < np.median(right[:, 0])
    assert (right[:, 1] < 0.01).mean() > 0.9
    assert (wrong < 0.01).mean() < 0.06


def test_marked_tokens_are_drawn_with_their_probabilities():
    rng = np.random.default_rng(2)
    p = np.array([0.5, 0.3, 0.15, 0.05])
    tokens = np.array([3, 44, 91, 400])
    counts = np.zeros(4)
    for number in range(8000):
        counts[MARK.choose((number, number * 7), tokens, p, int(rng.integers(2)))] += 1
    assert counts / 8000 == pytest.approx(p, abs=0.02)


def test_the_weighted_p_value_is_that_of_a_simulation():
    rng = np.random.default_rng(3)
    odds = rng.dirichlet(np.full(30, 0.7)).clip(1e-4)
    odds = np.exp(np.rint(np.log(odds) * STEPS_PER_NAT) / STEPS_PER_NAT)
    drawn = log_ratios(rng.exponential(size=(200_000, 30)), odds[None], 2).sum(1)
    some = rng.exponential(size=(20, 30)) + 0.8
    for row in some:
        score = log_ratios(row, odds, 2).sum()
        wanted = (drawn >= score).mean()
        assert weighted_p_value(row, odds) == pytest.approx(wanted, rel=0.1, abs=2e-4)


@pytest.mark.slow
def test_p_values_stay_right_for_very_long_texts():
    rng = np.random.default_rng(6)
    long = [tilt_p_value(rng.exponential(size=150_000)) for _ in range(12)]
    assert kstest(long, "uniform").pvalue > 0.01
    odds = rng.dirichlet(np.full(8000, 0.3)).clip(1e-9) ** 0.2
    asked = [weighted_p_value(rng.exponential(size=8000), odds) for _ in range(12)]
    assert kstest(asked, "uniform").pvalue > 0.01


def test_repeated_contexts_count_once():
    ids = [1, 2, 3, 1, 2, 3, 1, 2, 9]
    assert MARK.pairs(ids) == [2, 3, 4]
    assert p_value(np.array([])) == 1 == weighted_p_value(np.array([]), np.array([]))
    assert p_value(np.full(10, 3.0)) == pytest.approx(gamma.sf(30, 10))


def test_marked_parts_are_found_where_they_lie():
    rng = np.random.default_rng(4)
    human = rng.exponential(size=400)
    machine = rng.exponential(size=60) + rng.exponential(size=60)
    row = np.r_[human[:150], machine, human[150:], machine]
    found = marked_parts(row, 0.01)
    assert [(abs(a - s) < 25, abs(b - e) < 25) for (a, b, _), (s, e) in
            zip(found, [(150, 210), (460, 520)], strict=True)] == [(True, True)] * 2  # fmt: skip
    assert all(p <= 0.01 for *_, p in found)


def test_unmarked_texts_have_marked_parts_no_more_often_than_said():
    rng = np.random.default_rng(5)
    hits = sum(bool(marked_parts(rng.exponential(size=300), 0.1)) for _ in range(1000))
    assert hits <= 100
    assert marked_parts(np.array([]), 0.01) == []


def test_phrases_that_everyone_writes_do_not_count():
    phrases = frequent_phrases()
    assert len(phrases) == NUM_PHRASES
    first = min(phrases)
    other = next(n for n in range(100) if (*first[:2], n) not in phrases)
    assert MARK.pairs(first) == []
    assert MARK.pairs([*first[:2], other]) == [2]
    assert MARK.pairs([*first, *first[:2], other]) == [3, 4]  # the context has been there
