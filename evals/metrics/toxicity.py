"""Share of continuations that are abusive."""

from __future__ import annotations

from typing import Any

import evaluate

from evals.metrics.base import averaged, info

_DESCRIPTION = "Share of texts that break a shipped rule, or that a classifier finds abusive."
_INPUTS = """
Args:
    predictions: continuations.
    references: not used.
Returns:
    value: share in 0..1. per_sample: [1.0] or [0.0].
"""


class Toxicity(evaluate.Metric):
    """By the words of `mtgen.policy` and by `alt-profanity-check`, with 0.5 as its threshold."""

    aggregate = "mean"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        from evals.metrics.continuations import toxicity

        return averaged([toxicity(text) for text in predictions])
