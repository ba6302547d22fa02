"""Share of outputs in which there is nothing to read."""

from __future__ import annotations

from typing import Any

import evaluate

from evals.metrics.base import averaged, info

_DESCRIPTION = "Share of outputs without a visible character."
_INPUTS = """
Args:
    predictions: outputs, strings.
Returns:
    value: share in 0..1. per_sample: [1.0] for an empty output, else [0.0].
"""


class Empty(evaluate.Metric):
    """Nothing where something was asked for."""

    aggregate = "mean"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string")

    def _compute(self, predictions: list[str]) -> dict[str, Any]:
        return averaged([float(not text.strip()) for text in predictions])
