"""Intervals, tests and power against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evals.metrics.stats import (
    AGGREGATES,
    PERMUTATIONS,
    Interval,
    bootstrap_ci,
    detectable,
    holm,
    normal_test,
    paired_difference,
    paired_test,
    permutation_p,
)


def test_the_bootstrap_of_a_mean_agrees_with_the_closed_form():
    values = np.random.default_rng(1).normal(5, 2, 200)
    interval = bootstrap_ci([[v] for v in values], "mean")
    assert interval
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert interval.ci95[0] == pytest.approx(values.mean() - half, abs=0.05)
    assert interval.ci95[1] == pytest.approx(values.mean() + half, abs=0.05)


@pytest.mark.parametrize(("share", "size"), [(0.5, 60), (0.2, 60), (0.4, 120)])
def test_the_interval_covers_the_truth_about_19_times_in_20(share, size):
    """Of 400 intervals 380 are to hold the truth, give or take 3 * sqrt(400 * .05 * .95) = 13.

    Percentile intervals of so few shares are known to be a little short: 2 points more are allowed
    below.
    """
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        interval = bootstrap_ci(
            [[v] for v in random.binomial(1, share, size).astype(float)], "mean"
        )
        assert interval
        covered += interval.ci95[0] <= share <= interval.ci95[1]
    assert 0.95 - 13 / 400 - 0.02 <= covered / 400 <= 0.95 + 13 / 400


def test_the_interval_of_a_normal_mean_is_as_wide_as_students():
    """Of n samples the bootstrap is too narrow by sqrt((n-1)/n) and t against z: 2% at n = 50.

    The width itself varies by 1 / sqrt(2 * 2000), 1.6%, as the percentiles of 2,000 resamples do.
    """
    from scipy import stats

    for seed in range(5):
        values = np.random.default_rng(seed).normal(3, 7, 50)
        interval = bootstrap_ci(values[:, None].tolist(), "mean")
        assert interval
        low, high = stats.t.interval(0.95, 49, values.mean(), stats.sem(values))
        assert (interval.ci95[1] - interval.ci95[0]) / (high - low) == pytest.approx(0.98, abs=0.06)
        assert interval.standard_error == pytest.approx(stats.sem(values), rel=0.07)


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


def test_the_permutation_test_agrees_with_students_on_normal_pairs():
    from scipy.stats import ttest_rel

    random = np.random.default_rng(5)
    for shift in (0.0, 0.1, 0.2, 0.3):
        a = random.normal(0, 1, 80)
        b = a + random.normal(shift, 1, 80)
        wanted = ttest_rel(b, a).pvalue
        found = permutation_p(a[:, None].tolist(), b[:, None].tolist(), "mean")
        # 3 standard errors of a share of 9,999, doubled for two sides, and 10% for the tails
        assert found == pytest.approx(
            wanted, abs=6 * math.sqrt(wanted / PERMUTATIONS) + 0.1 * wanted
        )


def test_few_samples_are_tested_exactly():
    a, b = [[0.0]] * 5, [[1.0]] * 5
    assert permutation_p(a, b, "mean") == pytest.approx(2 / 2**5)
    assert permutation_p(a, a, "mean") == 1


WIDTHS = {
    "mean": 1, "median": 1, "ratio": 2, "ratio_difference": 4, "exp_ratio": 2, "correlation": 2,
    "chrf": 24, "chrf_difference": 48, "bleu": 10, "ter": 2,
    "f1_difference": 6, "largest_gap": 4, "imbalance": 3,
}  # fmt: skip


def rows_of(aggregate: str, size: int, random: np.random.Generator, shift: float = 0) -> np.ndarray:
    """Samples with parts of the right number, the first of which `shift` moves."""
    rows = random.integers(4, 12, (size, WIDTHS[aggregate])).astype(float)
    if aggregate in ("chrf", "chrf_difference"):  # what both have is no more than either has
        rows[:, 2::3] = rows[:, 2::3] % 4
    elif aggregate == "bleu":
        rows[:, 2:6] = rows[:, 2:6] % 4
    rows[:, 2 if aggregate in ("chrf", "chrf_difference", "bleu") else 0] += shift
    return rows


def test_every_aggregate_can_be_tested():
    assert WIDTHS.keys() == AGGREGATES.keys()


@pytest.mark.parametrize("aggregate", WIDTHS)
def test_chance_is_called_a_difference_once_in_20_times_and_a_difference_is_found(aggregate):
    """Of 100 tests of runs alike 5 are to give p < 0.05, give or take 3 * sqrt(4.75) = 6.5."""
    random = np.random.default_rng(6)
    few = [
        permutation_p(rows_of(aggregate, 12, random), rows_of(aggregate, 12, random), aggregate)
        for _ in range(100)
    ]
    assert sum(p < 0.05 for p in few) <= 11
    assert 0.3 < np.mean(few) < 0.7
    if aggregate != "correlation":  # a shift of all samples moves no correlation
        a, b = rows_of(aggregate, 40, random), rows_of(aggregate, 40, random, shift=4)
        found = paired_test(a.tolist(), b.tolist(), aggregate)
        assert found.p_value is not None
        assert found.p_value < 0.05


def test_a_prompt_changes_sides_with_all_its_pictures():
    before = [[0.0, 4.0]] * 3 + [[2.0, 4.0]] * 9
    after = [[4.0, 4.0]] * 3 + [[2.0, 4.0]] * 9
    assert permutation_p(before, after, "ratio") == pytest.approx(2 / 2**3)  # 3 prompts moved
    pictures = [[0.0, 1.0]] * 12, [[1.0, 1.0]] * 12  # 12 prompts of one picture each
    assert permutation_p(*pictures, "ratio") == pytest.approx(2 / 2**12)
    narrow = paired_test(*([[v, 1.0] for v in side] for side in ([0.0] * 6 + [1.0] * 42,
                                                                [1.0] * 48)), "ratio")  # fmt: skip
    wide = paired_test([[0.0, 4.0]] * 2 + [[4.0, 4.0]] * 10, [[4.0, 4.0]] * 12, "ratio")
    assert narrow.mde
    assert wide.mde
    assert wide.mde > 1.4 * narrow.mde


def test_holm_is_as_in_the_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.03]) == [None, 0.03]
    assert holm([0.7, 0.6]) == [1, 1]
    assert holm([]) == []


@pytest.mark.slow
def test_a_difference_as_large_as_can_be_told_is_found_80_times_in_100():
    """Of 200 runs 160, give or take 3 * sqrt(200 * .8 * .2) = 17."""
    random = np.random.default_rng(7)
    size, spread = 60, 2.0
    shift = detectable(spread / math.sqrt(size))
    found = 0
    for _ in range(200):
        a = random.normal(0, 5, size)
        b = a + random.normal(shift, spread, size)
        found += permutation_p(a[:, None].tolist(), b[:, None].tolist(), "mean") < 0.05
    assert abs(found - 160) <= 17


def test_two_independent_runs_tell_less_than_pairs():
    assert detectable(1.0) == pytest.approx(2.8016, abs=1e-4)
    assert detectable(1.0, num_runs=2) == pytest.approx(2.8016 * math.sqrt(2), abs=1e-4)
    assert detectable(None) is None
    assert detectable(0.0) is None


def test_a_jackknifed_difference_is_tested_by_its_error():
    interval = Interval(ci95=(0.04, 3.96), method="jackknife20", standard_error=1.0)
    assert normal_test(1.96, interval).p_value == pytest.approx(0.05, abs=1e-4)
    assert normal_test(1.0, None).p_value is None
