"""Scores with intervals: bootstrap over samples, paired differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000
SEED = 20261123

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
    error: str | None = None
    """What the metric failed with, where it is at fault and not the samples."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95% interval and how it was made."""

    ci95: tuple[float, float]
    method: str


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


OF_SUMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "chrf": _chrf,
    "chrf_difference": _chrf_difference,
    "bleu": _bleu,
    "ter": _ter,
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
    if aggregate == "mean" and _is_binary(parts) and np.all(parts[0] == parts[0][0]):
        return Interval(ci95=_wilson(int(parts[0].sum()), len(rows)), method="wilson")
    if aggregate == "ratio" and (np.all(parts[0] == parts[1]) or not parts[0].any()):
        passed = len(rows) if parts[0].any() else 0  # samples count, however much is in each
        return Interval(ci95=_wilson(passed, len(rows)), method="wilson")
    if aggregate in OF_SUMS:
        return Interval(ci95=_percentiles_of_sums(parts, OF_SUMS[aggregate]), method=_method())
    low, high = _percentiles(parts, _VECTORISED[aggregate])
    if aggregate == "ratio_difference" and low == high:
        value = AGGREGATES[aggregate](rows)
        return Interval(ci95=_wilson_margin(value, len(rows)), method="wilson")
    return Interval(ci95=(low, high), method=_method())


def paired_difference(a: Rows, b: Rows, aggregate: str) -> tuple[float, tuple[float, float] | None]:
    """Score of `b` less score of `a`, over the same samples in the same order.

    Returns:
        The difference and its 95% paired bootstrap interval, None for fewer than two samples.
    """
    parts_a, parts_b = np.asarray(a, np.float64).T, np.asarray(b, np.float64).T
    combine = _VECTORISED[aggregate]
    width = len(parts_a)

    def difference(parts: np.ndarray) -> np.ndarray:
        return combine(parts[width:]) - combine(parts[:width])

    both = np.concatenate([parts_a, parts_b])
    value = float(difference(both))
    if len(a) < 2:
        return value, None
    if aggregate in OF_SUMS:
        of_sums = OF_SUMS[aggregate]
        return value, _percentiles_of_sums(
            both, lambda sums: of_sums(sums[width:]) - of_sums(sums[:width])
        )
    shares = aggregate in ("ratio", "ratio_difference") or (
        aggregate == "mean" and _is_binary(parts_a) and _is_binary(parts_b)
    )
    low, high = _percentiles(both, difference)
    return value, _wilson_margin(value, len(a)) if shares and low == high else (low, high)


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
    return Interval(ci95=(value - 1.96 * error, value + 1.96 * error), method=f"jackknife{n}")


def _is_binary(parts: np.ndarray) -> bool:
    return bool(np.isin(parts[0], (0, 1)).all())


def _wilson(num_passed: int, n: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    limits = binomtest(num_passed, n).proportion_ci(method="wilson")
    return float(limits.low), float(limits.high)


def _percentiles(
    parts: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, float]:
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
    low, high = map(float, result.confidence_interval)
    assert not math.isnan(low)
    return low, high


def _percentiles_of_sums(
    parts: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, float]:
    """The same bootstrap where sums are enough: one matrix product makes all resamples at once."""
    n = parts.shape[1]
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)  # how often each sample is drawn
    low, high = np.percentile(statistic(parts @ drawn.T.astype(np.float64)), (2.5, 97.5))
    return float(low), float(high)


def _method() -> str:
    return f"bootstrap{RESAMPLES}@{SEED}"
