"""Share of different n-grams in each answer: 1 is a text that never repeats one."""

from __future__ import annotations

from typing import Any

import evaluate

from evals.metrics.base import averaged, info

_DESCRIPTION = "Different word n-grams over all word n-grams, for each answer, averaged."
_INPUTS = """
Args:
    predictions: answers, strings; those with fewer than n words are left unscored.
    n: length of the n-grams.
Returns:
    value: mean in 0..1. per_sample: [share] or None for each answer.
"""


class DistinctN(evaluate.Metric):
    """Distinct-n within a response (after arXiv:1510.03055, which counts over a corpus)."""

    aggregate = "mean"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string")

    def _compute(self, predictions: list[str], n: int = 2) -> dict[str, Any]:
        shares: list[float | None] = []
        for text in predictions:
            words = text.lower().split()
            grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
            shares.append(len(set(grams)) / len(grams) if grams else None)
        return averaged(shares)
