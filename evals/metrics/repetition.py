"""How much of each answer goes over old ground: 0 is none, near 1 is a loop."""

from __future__ import annotations

from typing import Any

import evaluate

from evals.metrics.base import averaged, info

_DESCRIPTION = "Share of words that stand in a word n-gram seen earlier in the same answer."
_INPUTS = """
Args:
    predictions: answers, strings; those with fewer than n words are left unscored.
    n: length of the n-grams.
Returns:
    value: mean in 0..1. per_sample: [share] or None for each answer.
"""


class Repetition(evaluate.Metric):
    """Words covered by repeated n-grams."""

    aggregate = "mean"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string")

    def _compute(self, predictions: list[str], n: int = 4) -> dict[str, Any]:
        shares: list[float | None] = []
        for text in predictions:
            words = text.lower().split()
            seen: set[tuple[str, ...]] = set()
            repeated: set[int] = set()
            for start in range(len(words) - n + 1):
                gram = tuple(words[start : start + n])
                if gram in seen:
                    repeated.update(range(start, start + n))
                seen.add(gram)
            shares.append(len(repeated) / len(words) if seen else None)
        return averaged(shares)
