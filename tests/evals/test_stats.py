"""Intervals against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evals.metrics.stats import AGGREGATES, bootstrap_ci, paired_difference


def test_the_bootstrap_of_a_mean_agrees_with_the_closed_form():
    values = np.random.default_rng(1).normal(5, 2, 200)
    interval = bootstrap_ci([[v] for v in values], "mean")
    assert interval
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert interval.ci95[0] == pytest.approx(values.mean() - half, abs=0.05)
    assert interval.ci95[1] == pytest.approx(values.mean() + half, abs=0.05)


def test_the_interval_covers_the_truth_about_19_times_in_20():
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(120):
        interval = bootstrap_ci([[v] for v in random.binomial(1, 0.4, 60).astype(float)], "mean")
        assert interval
        covered += interval.ci95[0] <= 0.4 <= interval.ci95[1]
    assert 0.87 <= covered / 120 <= 1.0


def test_the_same_rows_give_the_same_interval():
    rows = [[v] for v in np.random.default_rng(3).random(30)]
    assert bootstrap_ci(rows, "median") == bootstrap_ci(rows, "median")


def test_all_passed_is_not_certainty():
    interval = bootstrap_ci([[1.0]] * 10, "mean")
    assert interval
    assert interval.method == "wilson"
    assert interval.ci95[0] == pytest.approx(0.722, abs=0.001)
    assert interval.ci95[1] == pytest.approx(1.0)


@pytest.mark.parametrize(("b", "low", "high"), [(1.0, 0.4, 1.0), (0.0, -0.6, 0.6)])
def test_pairs_that_all_agree_are_not_certainty(b, low, high):
    difference, ci95 = paired_difference([[0.0]] * 3, [[b]] * 3, "mean")
    assert difference == b
    assert ci95 == pytest.approx((low, high), abs=0.05)


def test_one_sample_has_no_interval():
    assert bootstrap_ci([[3.0]], "mean") is None


def test_ratios_weigh_samples_by_their_size():
    rows = [[10 * math.log(2), 10.0], [math.log(8), 1.0]]
    assert AGGREGATES["exp_ratio"](rows) == pytest.approx(2 ** (13 / 11))


def test_pairing_sees_what_two_separate_intervals_hide():
    random = np.random.default_rng(4)
    a = random.normal(0, 10, 100)
    b = a + 1 + random.normal(0, 0.5, 100)
    difference, ci95 = paired_difference([[v] for v in a], [[v] for v in b], "mean")
    assert difference == pytest.approx(1, abs=0.2)
    assert ci95
    assert 0 < ci95[0] < ci95[1] < 1.3
