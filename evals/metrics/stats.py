"""Scores with intervals: bootstrap over samples, paired differences and tests, power."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000
PERMUTATIONS = 9999
SEED = 20261123
ALPHA = 0.05
POWER = 0.8
Z95 = NormalDist().inv_cdf(1 - ALPHA / 2)
"""1.96: standard errors on each side of a 95% interval."""
Z_POWER = NormalDist().inv_cdf(POWER)
"""0.84: what must be added to them for the difference to be found in 80 of 100 runs."""

Rows = Sequence[Sequence[float]]
"""Per sample, the parts of its score."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A number that never travels alone."""

    name: str
    value: float | None
    """In `unit`; None when nothing could be scored."""
    ci95: tuple[float, float] | None
    """Over samples; None for fewer than two."""
    n_scored: int
    n_unscored: int
    unit: str
    higher_is_better: bool
    signature: str
    """Enough to reproduce the number."""
    standard_error: float | None = None
    """Of the value, in `unit`; None where none could be had."""
    error: str | None = None
    """What the metric failed with, where it is at fault and not the samples."""

    @property
    def mde(self) -> float | None:
        """Least difference from an independent run of as many samples that would be found."""
        return detectable(self.standard_error, num_runs=2)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"mde": self.mde}


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95% interval and how it was made."""

    ci95: tuple[float, float]
    method: str
    standard_error: float | None = None
    """None where nothing varies."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Score of B less score of A over the same samples."""

    value: float
    ci95: tuple[float, float] | None
    """None for fewer than two samples."""
    standard_error: float | None
    p_value: float | None
    """Two-sided, of this one metric."""

    @property
    def mde(self) -> float | None:
        """Least difference that such a comparison would find."""
        return detectable(self.standard_error)


def detectable(standard_error: float | None, num_runs: int = 1) -> float | None:
    """Minimum detectable effect: found in 80 of 100 runs by a two-sided test at 5%.

    Args:
        standard_error: Of a paired difference, or of one run's score.
        num_runs: 2 where the error is of one run's score and an independent run of the same size
            stands against it: errors add in squares.

    Source: arXiv:2411.00640, on power analysis; why to say it at all, arXiv:2010.06595.
    """
    if not standard_error:
        return None
    return (Z95 + Z_POWER) * math.sqrt(num_runs) * standard_error


def _mean(parts: np.ndarray) -> np.ndarray:
    return parts[0].mean(-1)


def _median(parts: np.ndarray) -> np.ndarray:
    return np.median(parts[0], axis=-1)


def _ratio(parts: np.ndarray) -> np.ndarray:
    return parts[0].sum(-1) / parts[1].sum(-1)


def _ratio_difference(parts: np.ndarray) -> np.ndarray:
    return _ratio(parts[:2]) - _ratio(parts[2:])


def _correlation(parts: np.ndarray) -> np.ndarray:
    """Pearson's; 0 where one of both does not vary."""
    x, y = (part - part.mean(-1, keepdims=True) for part in parts)
    scale = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    return np.divide((x * y).sum(-1), scale, np.zeros_like(scale), where=scale > 0)


def _exp_ratio(parts: np.ndarray) -> np.ndarray:
    return np.exp(parts[0].sum(-1) / parts[1].sum(-1))


def _chrf(sums: np.ndarray) -> np.ndarray:
    """chrF in per cent from n-grams of the hypothesis, of the reference and of both, by order.

    Source: sacrebleu's `CHRF._compute_f_score` with beta 2 and its effective order.
    """
    hyp, ref, both = sums[0::3], sums[1::3], sums[2::3]
    is_counted = (hyp > 0) & (ref > 0)
    num_orders = np.maximum(is_counted.sum(0), 1)
    precision = np.where(is_counted, both / np.maximum(hyp, 1), 0).sum(0) / num_orders
    recall = np.where(is_counted, both / np.maximum(ref, 1), 0).sum(0) / num_orders
    below = 4 * precision + recall
    return 100 * np.divide(5 * precision * recall, below, np.zeros_like(below), where=below > 0)


def _chrf_difference(sums: np.ndarray) -> np.ndarray:
    width = len(sums) // 2
    return _chrf(sums[:width]) - _chrf(sums[width:])


def _bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU from lengths of hypothesis and reference, n-grams that match, and all n-grams.

    Source: sacrebleu's `BLEU.compute_bleu` with exponential smoothing.
    """
    order = (len(sums) - 2) // 2
    hyp_len, ref_len, match, total = sums[0], sums[1], sums[2 : 2 + order], sums[2 + order :]
    halved = 2.0 ** np.cumsum(match == 0, 0)
    precision = np.where(match > 0, match, 1 / halved) / np.maximum(total, 1)
    is_scored = match.any(0) & (total > 0).all(0)
    short = np.minimum(1 - ref_len / np.maximum(hyp_len, 1), 0)
    return 100 * np.where(is_scored, np.exp(short + np.log(precision).mean(0)), 0)


def _ter(sums: np.ndarray) -> np.ndarray:
    """Edits a hundred words of the reference."""
    return 100 * sums[0] / sums[1]


def _imbalance(sums: np.ndarray) -> np.ndarray:
    """Total variation distance of counts of groups from an even split."""
    shares = sums / np.maximum(sums.sum(0), 1)
    return np.abs(shares - 1 / len(sums)).sum(0) / 2


def _f1_difference(sums: np.ndarray) -> np.ndarray:
    """F1 of one class less that of another, each from hits, predictions and targets."""
    hits, below = sums[[0, 3]], sums[[1, 4]] + sums[[2, 5]]
    f1 = np.divide(2 * hits, below, np.zeros_like(below), where=below > 0)
    return f1[0] - f1[1]


def _group_means(sums: np.ndarray) -> np.ndarray:
    """Of each group, from the sum of its values and their number; 0 of an empty one."""
    return sums[0::2] / np.maximum(sums[1::2], 1)


def _largest_gap(sums: np.ndarray) -> np.ndarray:
    """Between the means of any two groups."""
    return np.ptp(_group_means(sums), axis=0)


OF_SUMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "chrf": _chrf,
    "chrf_difference": _chrf_difference,
    "bleu": _bleu,
    "ter": _ter,
    "imbalance": _imbalance,
    "f1_difference": _f1_difference,
    "largest_gap": _largest_gap,
}
"""Scores of a whole corpus from the sums of its samples' parts, [parts] or [parts, resamples]."""


def _of_sums(combine: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda parts: combine(parts.sum(-1))


_VECTORISED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    **{name: _of_sums(combine) for name, combine in OF_SUMS.items()},
    "mean": _mean,
    "correlation": _correlation,
    "median": _median,
    "ratio": _ratio,
    "ratio_difference": _ratio_difference,
    "exp_ratio": _exp_ratio,
}


def _aggregate(name: str) -> Callable[[Rows], float]:
    return lambda rows: float(_VECTORISED[name](np.asarray(rows, np.float64).T))


AGGREGATES: dict[str, Callable[[Rows], float]] = {name: _aggregate(name) for name in _VECTORISED}
"""How per-sample parts become one number, by name."""


ADDITIVE = {"mean": "ratio", "ratio": "ratio", "ratio_difference": "ratio_difference",
            "exp_ratio": "exp_ratio"} | {name: name for name in OF_SUMS}  # fmt: skip
"""Scores that are the same from sums over clusters of samples, and by which aggregate."""


def summed_by_cluster(rows: Rows, clusters: Sequence[Hashable], aggregate: str) -> tuple[Rows, str]:
    """One row for each cluster, with its samples' parts added up, and how such rows combine.

    Samples of one cluster, such as one text in three languages, rise and fall together; counted as
    independent they would make intervals too narrow. Where no two samples share a cluster, and for
    scores that are no sums (medians, correlations), nothing changes.

    Source: clustered standard errors, arXiv:2411.00640.
    """
    if len(set(clusters)) == len(rows) or aggregate not in ADDITIVE:
        return rows, aggregate
    sums: dict[Hashable, np.ndarray] = {}
    for row, cluster in zip(rows, clusters, strict=True):
        parts = np.asarray([*row, 1.0] if aggregate == "mean" else row, np.float64)
        sums[cluster] = sums.get(cluster, 0.0) + parts
    return [list(map(float, parts)) for parts in sums.values()], ADDITIVE[aggregate]


def _wilson_margin(value: float, n: int) -> tuple[float, float]:
    """Interval of a difference of shares that was the same in all of `n` samples."""
    low, _ = _wilson(n, n)
    return max(-1.0, value - (1 - low)), min(1.0, value + 1 - low)


def bootstrap_ci(rows: Rows, aggregate: str) -> Interval | None:
    """95% percentile bootstrap over samples; None for fewer than two samples.

    Where every sample scored alike, the bootstrap of shares and of their differences would claim to
    be certain; the Wilson interval is given instead.

    Source: Efron and Tibshirani 1993, chapter 13; Wilson 1927.
    """
    if len(rows) < 2:
        return None
    parts = np.asarray(rows, np.float64).T
    if aggregate == "largest_gap":
        return _largest_gap_interval(parts)
    if aggregate == "mean" and _is_binary(parts) and np.all(parts[0] == parts[0][0]):
        return _wilson_interval(_wilson(int(parts[0].sum()), len(rows)))
    if aggregate == "ratio" and (np.all(parts[0] == parts[1]) or not parts[0].any()):
        passed = len(rows) if parts[0].any() else 0  # samples count, however much is in each
        return _wilson_interval(_wilson(passed, len(rows)))
    interval = _bootstrap(parts, aggregate)
    is_share = aggregate in ("ratio_difference", "f1_difference")
    if is_share and interval.ci95[0] == interval.ci95[1]:
        return _wilson_interval(_wilson_margin(AGGREGATES[aggregate](rows), len(rows)))
    return interval


def paired_difference(a: Rows, b: Rows, aggregate: str) -> tuple[float, tuple[float, float] | None]:
    """Score of `b` less score of `a`, over the same samples in the same order.

    Returns:
        The difference and its 95% paired bootstrap interval, None for fewer than two samples.
    """
    value, interval = _paired_interval(a, b, aggregate)
    return value, interval.ci95 if interval else None


def paired_test(a: Rows, b: Rows, aggregate: str) -> Paired:
    """The same, with standard error and p-value."""
    value, interval = _paired_interval(a, b, aggregate)
    if interval is None:
        return Paired(value=value, ci95=None, standard_error=None, p_value=None)
    return Paired(
        value=value, ci95=interval.ci95, standard_error=interval.standard_error,
        p_value=permutation_p(a, b, aggregate),
    )  # fmt: skip


def _paired_interval(a: Rows, b: Rows, aggregate: str) -> tuple[float, Interval | None]:
    parts_a, parts_b = np.asarray(a, np.float64).T, np.asarray(b, np.float64).T
    value = float(_VECTORISED[aggregate](parts_b) - _VECTORISED[aggregate](parts_a))
    if len(a) < 2:
        return value, None
    interval = _bootstrap(np.concatenate([parts_a, parts_b]), aggregate, is_paired=True)
    shares = aggregate in ("ratio", "ratio_difference") or (
        aggregate == "mean" and _is_binary(parts_a) and _is_binary(parts_b)
    )
    if shares and interval.ci95[0] == interval.ci95[1]:
        return value, _wilson_interval(_wilson_margin(value, len(a)))
    return value, interval


def permutation_p(a: Rows, b: Rows, aggregate: str) -> float:
    """Two-sided p-value of the difference between two runs of the same samples.

    If the runs are alike, each sample's two answers could as well be the other way round; so whole
    samples change sides at random, with all their parts (a prompt with all its pictures), and the
    scores are computed anew. All ways are tried where there are no more than PERMUTATIONS.

    Source: `scipy.stats.permutation_test`; of scores of a corpus, as "approximate randomization",
    Riezler and Maxwell 2005.
    """
    from scipy.stats import permutation_test

    parts_a, parts_b = np.asarray(a, np.float64).T, np.asarray(b, np.float64).T

    def difference(sides: np.ndarray, axis: int = -1) -> np.ndarray:
        stay = np.moveaxis(sides, axis, -1) > 0
        if aggregate in OF_SUMS:  # sums are enough: one matrix product instead of all samples
            first = (parts_b.sum(-1) + stay @ (parts_a - parts_b).T).T
            both = (parts_a + parts_b).sum(-1).reshape(-1, *[1] * (first.ndim - 1))
            return OF_SUMS[aggregate](both - first) - OF_SUMS[aggregate](first)
        shape = (len(parts_a), *[1] * (stay.ndim - 1), parts_a.shape[1])
        x, y = parts_a.reshape(shape), parts_b.reshape(shape)
        combine = _VECTORISED[aggregate]
        return combine(np.where(stay, y, x)) - combine(np.where(stay, x, y))

    result = permutation_test(
        (np.ones(parts_a.shape[1]),),
        difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=1000,
        rng=np.random.default_rng(SEED),
    )
    return float(result.pvalue)


def normal_interval(value: float, standard_error: float) -> Interval:
    """Of a value whose error is known."""
    half = 1.96 * standard_error
    return Interval(
        ci95=(value - half, value + half), method="normal", standard_error=standard_error or None
    )


def normal_test(value: float, interval: Interval | None) -> Paired:
    """A difference that only has a standard error; its p-value is of the normal distribution."""
    error = interval.standard_error if interval else None
    p_value = None if interval is None else 1.0
    if error:
        p_value = 2 * NormalDist().cdf(-abs(value) / error)
    ci95 = interval.ci95 if interval else None
    return Paired(value=value, ci95=ci95, standard_error=error, p_value=p_value)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted for their number, whatever their dependence; None stays and is not counted.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted: list[float | None] = [None] * len(p_values)
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = highest
    return adjusted


def jackknife_ci(value: float, left_out: Sequence[float]) -> Interval | None:
    """95% interval of a statistic that is no mean of samples; None for fewer than two groups.

    Args:
        value: Of all samples.
        left_out: Of all samples but one group's, for each group; the groups are about equal.

    Source: Efron and Tibshirani 1993, chapter 11.
    """
    n = len(left_out)
    if n < 2:
        return None
    spread = np.asarray(left_out, np.float64)
    error = math.sqrt((n - 1) / n * float(((spread - spread.mean()) ** 2).sum()))
    half = 1.96 * error
    return Interval(
        ci95=(value - half, value + half), method=f"jackknife{n}", standard_error=error or None
    )


def _is_binary(parts: np.ndarray) -> bool:
    return bool(np.isin(parts[0], (0, 1)).all())


def _wilson(num_passed: int, n: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    limits = binomtest(num_passed, n).proportion_ci(method="wilson")
    return float(limits.low), float(limits.high)


def _wilson_interval(ci95: tuple[float, float]) -> Interval:
    """Its error is that of a normal interval as wide."""
    return Interval(ci95=ci95, method="wilson", standard_error=(ci95[1] - ci95[0]) / (2 * Z95))


def _bootstrap(parts: np.ndarray, aggregate: str, is_paired: bool = False) -> Interval:
    """Percentile interval and standard error.

    Args:
        parts: Of each sample, [parts, samples]; of A and then of B where `is_paired`.
        aggregate: How they become a score.
        is_paired: Of the score of B less that of A.
    """
    width = len(parts) // 2

    def statistic(drawn: np.ndarray) -> np.ndarray:
        combine = OF_SUMS.get(aggregate) or _VECTORISED[aggregate]
        return combine(drawn[width:]) - combine(drawn[:width]) if is_paired else combine(drawn)

    drawn = _of_resampled_sums if aggregate in OF_SUMS else _of_resamples
    values = drawn(parts, statistic)
    low, high = map(float, np.percentile(values, (2.5, 97.5)))
    assert not math.isnan(low)
    error = float(values.std(ddof=1)) if low < high else None
    return Interval(ci95=(low, high), method=_method(), standard_error=error)


def _of_resamples(
    parts: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]
) -> Float[np.ndarray, " R"]:
    from scipy.stats import bootstrap

    result = bootstrap(
        tuple(parts),
        lambda *resampled, axis=-1: statistic(np.stack(resampled)),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return result.bootstrap_distribution


def _of_resampled_sums(
    parts: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]
) -> Float[np.ndarray, " R"]:
    """The same bootstrap where sums are enough: one matrix product makes all resamples at once."""
    return statistic(_resampled_sums(parts))


def _resampled_sums(parts: np.ndarray) -> Float[np.ndarray, "P R"]:
    n = parts.shape[1]
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)  # how often each sample is drawn
    return parts @ drawn.T.astype(np.float64)


def _largest_gap_interval(parts: np.ndarray) -> Interval:
    """95% interval of the largest of all differences between groups; from 0 where none is clear.

    The largest of several noisy differences is above 0 where the groups are alike, and so are all
    its resamples: their percentiles would never hold the truth. So the margin is what none of the
    differences strays by in 95% of resamples, as in Tukey's range test.

    Source: Efron and Tibshirani 1993, chapter 13; Tukey 1949; the coverage is in tests.
    """
    sums, resampled = parts.sum(-1), _resampled_sums(parts)
    gap = float(_largest_gap(sums))
    strayed = _group_means(resampled) - _group_means(sums)[:, None]
    margin = float(np.percentile(np.ptp(strayed, axis=0), 95))
    if margin == 0:  # all alike within each group: as certain as the smallest group is large
        low, high = _wilson_margin(gap, int(sums[1::2].min()))
        return _wilson_interval((max(0.0, low), high))
    return Interval(
        ci95=(max(0.0, gap - margin), gap + margin), method=f"tukey-{_method()}",
        standard_error=float(np.std(_largest_gap(resampled), ddof=1)),
    )  # fmt: skip


def _method() -> str:
    return f"bootstrap{RESAMPLES}@{SEED}"
