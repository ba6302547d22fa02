"""Median of a timing over samples."""

from __future__ import annotations

import statistics
from typing import Any

import evaluate

from evals.metrics.base import info

_DESCRIPTION = "Median of a timing that was measured for each sample."
_INPUTS = """
Args:
    predictions: seconds, or tokens per second.
Returns:
    value: the median. per_sample: [value] for each sample.
"""


class Latency(evaluate.Metric):
    """The median, because a busy machine has outliers."""

    aggregate = "median"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="float64")

    def _compute(self, predictions: list[float]) -> dict[str, Any]:
        return {"value": statistics.median(predictions), "per_sample": [[p] for p in predictions]}
