"""Metrics of pictures against golden files and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from evals.metrics import load_metric
from evals.metrics.frechet_distance import frechet
from evals.metrics.kernel_distance import kernel_distance
from evals.metrics.stats import bootstrap_ci, jackknife_ci, paired_difference
from evals.suites.image import SPEED
from tests.evals.test_metrics import golden

NAMES = ("r_precision", "language_gap", "scene_exact", "frechet_distance", "kernel_distance")
CASES = [(name, case) for name in NAMES for case in golden(name)]


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{n}" for n, _ in CASES])
def test_pictures_are_scored_as_worked_out_by_hand(name, case):
    inputs = {k: v for k, v in case.items() if k not in ("value", "per_sample")}
    result = load_metric(name).compute(**inputs)
    assert result["value"] == pytest.approx(case["value"], abs=1e-9)
    if "per_sample" in case:
        assert result["per_sample"] == case["per_sample"]


def test_the_frechet_distance_agrees_with_the_matrix_square_root():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5))
    y = rng.normal(size=(80, 5)) @ rng.normal(size=(5, 5)) + 1
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b).real
    apart = x.mean(0) - y.mean(0)
    assert frechet(x, y) == pytest.approx(apart @ apart + np.trace(a + b - 2 * root))


def test_the_frechet_distance_of_large_samples_is_that_of_their_distributions():
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1, (40_000, 2))
    y = rng.normal(0, 3, (40_000, 2)) + [2, 0]
    assert frechet(x, y) == pytest.approx(4 + 2 * (3 - 1) ** 2, rel=0.03)


def test_the_kernel_distance_is_unbiased_where_the_frechet_distance_is_not():
    rng = np.random.default_rng(3)
    draws = [(rng.normal(size=(30, 4)), rng.normal(size=(30, 4))) for _ in range(300)]
    kernel = np.array([kernel_distance(x, y) for x, y in draws])
    assert abs(kernel.mean()) < 3 * kernel.std() / 300**0.5
    assert min(frechet(x, y) for x, y in draws) > 0


def test_one_picture_has_no_distance():
    for name in ("frechet_distance", "kernel_distance"):
        result = load_metric(name).compute(predictions=["[[1.0]]"], reference=[[1.0], [2.0]])
        assert result["value"] is None


def test_pictures_of_one_prompt_are_no_independent_samples():
    clustered = [[4.0, 4.0]] * 10 + [[0.0, 4.0]] * 10
    spread = [[1.0, 1.0]] * 40 + [[0.0, 1.0]] * 40
    wide, narrow = bootstrap_ci(clustered, "ratio"), bootstrap_ci(spread, "ratio")
    assert wide
    assert narrow
    assert wide.ci95[1] - wide.ci95[0] > 1.7 * (narrow.ci95[1] - narrow.ci95[0])


def test_all_hits_are_not_certainty_and_prompts_count_rather_than_pictures():
    interval = bootstrap_ci([[4.0, 4.0]] * 10, "ratio")
    assert interval == bootstrap_ci([[1.0]] * 10, "mean")
    assert interval
    assert interval.method == "wilson"


def test_a_language_gap_is_paired_by_concept():
    rows = [[2.0, 2.0, 2.0, 2.0], [0.0, 2.0, 0.0, 2.0]] * 10 + [[1.0, 2.0, 2.0, 2.0]] * 10
    interval = bootstrap_ci(rows, "ratio_difference")
    assert interval
    assert interval.ci95[0] == pytest.approx(-1 / 6, abs=0.09)
    assert interval.ci95[1] < 0


@pytest.mark.parametrize(
    ("aggregate", "rows"),
    [("ratio", [[0.0, 2.0]] * 25), ("ratio_difference", [[0.0, 2.0, 0.0, 2.0]] * 25)],
)
def test_a_model_that_never_hits_is_not_certain_to_be_as_good_as_another(aggregate, rows):
    value, ci95 = paired_difference(rows, rows, aggregate)
    assert value == 0
    assert ci95 == pytest.approx((-0.133, 0.133), abs=1e-3)  # Wilson's for 25 of 25: 0.867 to 1
    assert bootstrap_ci([[0.0, 2.0, 0.0, 2.0]] * 25, "ratio_difference").ci95 == ci95


def test_the_speed_of_pictures_is_their_median():
    records = [
        {"id": str(n), "kind": "image", "seconds_per_picture": s, "sample": {}}
        for n, s in enumerate((3.0, 1.0, 2.0))
    ]
    assert SPEED.score(records).value == 2.0
    assert SPEED.score(records).n_scored == 3


def test_the_jackknife_of_a_mean_agrees_with_the_closed_form():
    values = np.random.default_rng(4).normal(size=40)
    left_out = [np.delete(values, place).mean() for place in range(40)]
    interval = jackknife_ci(float(values.mean()), left_out)
    assert interval
    half = 1.96 * values.std(ddof=1) / 40**0.5
    assert interval.ci95[1] == pytest.approx(values.mean() + half)
    assert jackknife_ci(1.0, [1.0]) is None
